package main

import (
	"context"
	"os"
	"time"

	"xl2tpd-keepalive/config"
	"xl2tpd-keepalive/internal/helloguard"
	"xl2tpd-keepalive/status"
	"xl2tpd-keepalive/supervisor"
)

// report puts together what the brain and the guard know.
func report(ctx context.Context, loop *supervisor.Loop, g *helloguard.Guard) (status.Report, error) {
	details, problems, ok := loop.Report(ctx)
	if !ok {
		return status.Report{}, ctx.Err()
	}
	join(details, g.Channels())
	r := status.Report{
		Version: version, Pid: os.Getpid(), Time: time.Now(),
		Problems: append([]string{}, problems...), Tunnels: []status.Tunnel{}, // in JSON, none is [] and not null
	}
	for _, d := range details {
		reckon(&d.Report, r.Time)
		r.Tunnels = append(r.Tunnels, d.Report)
	}
	return r, nil
}

// reckon puts a report's times on the clock as it is now. It may have been set since
// they were taken; how long ago that was is known all the same. The two clocks are not
// read at one instant, so less than half a second between them means nothing, and a time
// is the same in each report.
func reckon(t *status.Tunnel, now time.Time) {
	times := []*time.Time{&t.Since}
	if l := t.Link; l != nil {
		times = append(times, &l.Up, &l.Signs.Reply, &l.Signs.Data, &l.Signs.Control)
	}
	if t.SA != nil {
		times = append(times, &t.SA.Since)
	}
	if t.Last != nil {
		last := *t.Last // the brain's own
		t.Last = &last
		times = append(times, &last.Time)
	}
	for _, at := range times {
		if !at.IsZero() {
			then := at.Round(0) // by the clock as it was
			*at = then.Add(now.Add(-now.Sub(*at)).Sub(then).Round(time.Second))
		}
	}
}

// join adds what the guard has done to the tunnels it did it for. In userspace
// mode several links may be one channel's, and then each shows it.
func join(details []supervisor.Detail, channels []helloguard.Channel) {
	var links supervisor.Links[*supervisor.Detail]
	for i := range details {
		if d := &details[i]; d.Report.Link != nil {
			links.Add(d, d.Session, d.Outer)
		}
	}
	for _, c := range channels {
		for _, d := range links.Of(control(c.Tunnel), len(channels)) {
			r := &d.Report
			if r.Guard != nil && r.Link.Signs.Control.After(c.Heard) {
				continue // an older tunnel's channel, not forgotten yet
			}
			r.Link.Signs.Control = c.Heard
			r.Vendor = c.Vendor
			r.Guard = &status.Guard{
				Mode: supervisor.GuardName(d.Guard), Holding: c.Holding && d.Guard != config.GuardOff,
				Held: c.Held, Passed: c.Passed, Answered: c.Answered,
			}
		}
	}
}
