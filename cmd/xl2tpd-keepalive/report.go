package main

import (
	"context"
	"net/netip"
	"os"
	"time"

	"xl2tpd-keepalive/internal/config"
	"xl2tpd-keepalive/internal/helloguard"
	"xl2tpd-keepalive/internal/status"
	"xl2tpd-keepalive/internal/xl2tpd"
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

// join adds what the guard has done to the tunnels it did it for. In userspace mode nothing
// tells the links of one peer apart: each shows all that was done for that peer.
func join(details []supervisor.Detail, channels []helloguard.Channel) {
	var links supervisor.Links[*supervisor.Detail]
	strays := map[int][]*supervisor.Detail{} // links of which no peer is known, by their xl2tpd
	for i := range details {
		d := &details[i]
		if d.Report.Link == nil {
			continue
		}
		setLocal(d, d.Session.Local)
		links.Add(d, d.Session, d.Outer, d.Daemon)
		if d.Session == (xl2tpd.Session{}) && !d.Outer.IsValid() {
			strays[d.Daemon] = append(strays[d.Daemon], d)
		}
	}
	unmatched := map[int][]helloguard.Channel{} // by their xl2tpd
	for _, c := range channels {
		of, _ := links.Of(control(helloguard.Connection{Tunnel: c.Tunnel, Owner: c.Owner}))
		for _, d := range of {
			add(d, c)
		}
		if len(of) == 0 && c.Owner.Pid != 0 {
			unmatched[c.Owner.Pid] = append(unmatched[c.Owner.Pid], c)
		}
	}
	for pid, all := range unmatched {
		if len(all) == 1 && len(strays[pid]) == 1 {
			add(strays[pid][0], all[0])
		}
	}
}

// add adds what was done in one control connection.
func add(d *supervisor.Detail, c helloguard.Channel) {
	r := &d.Report
	setLocal(d, c.Tunnel.Local)
	if r.Guard == nil {
		r.Guard = &status.Guard{Mode: supervisor.GuardName(d.Guard)}
	}
	if !c.Heard.Before(r.Link.Signs.Control) {
		r.Link.Signs.Control, r.Vendor = c.Heard, c.Vendor
	}
	g := r.Guard
	g.Holding = g.Holding || c.Holding && d.Guard != config.GuardOff
	g.Held, g.Passed, g.Answered = g.Held+c.Held, g.Passed+c.Passed, g.Answered+c.Answered
}

// setLocal notes this end's outer address, if it is one. The kernel's own word comes first.
func setLocal(d *supervisor.Detail, local netip.AddrPort) {
	if a := local.Addr().Unmap(); !d.Report.Local.IsValid() && a.IsValid() && !a.IsUnspecified() {
		d.Report.Local = a
	}
}
