// Package fullstatus combines what the supervisor and the Hello guard know about each tunnel.
package fullstatus

import (
	"context"
	"os"
	"time"

	"xl2tpd-keepalive/internal/helloguard"
	"xl2tpd-keepalive/internal/status"
	"xl2tpd-keepalive/supervisor"
)

// Supervisor knows every tunnel. ok is false if ctx ends first.
type Supervisor interface {
	Overview(ctx context.Context) (o supervisor.Overview, ok bool)
}

// Guard lists every control connection.
type Guard interface {
	Channels() []helloguard.Channel
}

// A Combiner makes what status and the metrics show.
type Combiner struct {
	version    string
	supervisor Supervisor
	guard      Guard
}

// New makes a combiner. version is the program's.
func New(version string, s Supervisor, g Guard) *Combiner {
	return &Combiner{version: version, supervisor: s, guard: g}
}

// Status returns what is known now. The error is that of ctx.
func (c *Combiner) Status(ctx context.Context) (status.Status, error) {
	known, ok := c.supervisor.Overview(ctx)
	if !ok {
		return status.Status{}, ctx.Err()
	}
	join(known.Details, c.guard.Channels())
	all := status.Status{
		Version: c.version, Pid: os.Getpid(), Time: time.Now(), Libreswan: known.Libreswan,
		Problems: append([]status.Problem{}, known.Problems...), Tunnels: []status.Tunnel{}, // in JSON, none is [] and not null
	}
	for _, d := range known.Details {
		rebaseTimes(&d.Status, all.Time)
		all.Tunnels = append(all.Tunnels, d.Status)
	}
	return all, nil
}

// rebaseTimes converts a tunnel's times to the clock as it is now. The clock may have been set since they were taken,
// but the time that has passed is known. The wall clock and the monotonic clock are not read at the same instant, so
// their difference is rounded. A time is then the same in each status.
func rebaseTimes(t *status.Tunnel, now time.Time) {
	times := []*time.Time{&t.Since}
	if l := t.Link; l != nil {
		times = append(times, &l.Up, &l.Evidence.Reply, &l.Evidence.Data, &l.Evidence.Control)
	}
	if t.SA != nil {
		times = append(times, &t.SA.Since)
	}
	if t.Last != nil {
		last := *t.Last // not the supervisor's own copy
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
