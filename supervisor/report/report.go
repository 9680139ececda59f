// Package report combines what the supervisor and the Hello guard know about each tunnel.
package report

import (
	"context"
	"os"
	"time"

	"xl2tpd-keepalive/internal/helloguard"
	"xl2tpd-keepalive/internal/status"
	"xl2tpd-keepalive/supervisor"
)

// Supervisor reports every tunnel. ok is false if ctx ends first.
type Supervisor interface {
	Report(ctx context.Context) (details []supervisor.Detail, problems []status.Problem, libreswan, ok bool)
}

// Guard lists every control connection.
type Guard interface {
	Channels() []helloguard.Channel
}

// Reporter makes the reports that status and the metrics show.
type Reporter struct {
	version    string
	supervisor Supervisor
	guard      Guard
}

// New makes a reporter. version is the program's.
func New(version string, s Supervisor, g Guard) *Reporter {
	return &Reporter{version: version, supervisor: s, guard: g}
}

// Report makes a report. The error is that of ctx.
func (r *Reporter) Report(ctx context.Context) (status.Report, error) {
	details, problems, libreswan, ok := r.supervisor.Report(ctx)
	if !ok {
		return status.Report{}, ctx.Err()
	}
	join(details, r.guard.Channels())
	all := status.Report{
		Version: r.version, Pid: os.Getpid(), Time: time.Now(), Libreswan: libreswan,
		Problems: append([]status.Problem{}, problems...), Tunnels: []status.Tunnel{}, // in JSON, none is [] and not null
	}
	for _, d := range details {
		rebaseTimes(&d.Report, all.Time)
		all.Tunnels = append(all.Tunnels, d.Report)
	}
	return all, nil
}

// rebaseTimes converts a report's times to the clock as it is now. The clock may have been set since they were taken,
// but the time that has passed is known. The wall clock and the monotonic clock are not read at the same instant, so
// their difference is rounded. A time is then the same in each report.
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
