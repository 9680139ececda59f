package ppp

import (
	"context"
	"math/rand/v2"
	"time"

	"xl2tpd-keepalive/internal/wake"
)

const (
	sourceDBus      = "dbus"
	sourceRtnetlink = "rtnetlink"
)

// stream follows one source of hints. It calls ready once, when no event can be
// missed any more, and hint at each event; neither blocks. It returns when the
// source has failed or ctx has ended.
type stream func(ctx context.Context, ready, hint func()) error

const (
	firstRestart = 100 * time.Millisecond
	slowRestart  = 30 * time.Second // a host without D-Bus is asked for it no more often
	healthyAfter = 2 * time.Second
)

// newBackoff returns the pauses of something that fails again and again.
func newBackoff() wake.Backoff {
	return wake.Backoff{First: firstRestart, Longest: slowRestart, Healthy: healthyAfter}
}

// lessAQuarter shortens a pause by a random quarter at most: what failed together should not restart together.
func lessAQuarter(d time.Duration) time.Duration { return d - rand.N(d/4) }

// feed runs one source until ctx ends, and restarts it when it fails.
func (l *loop) feed(ctx context.Context, name string, follow stream) {
	report := func(c change) {
		select {
		case l.changes <- c:
		case <-ctx.Done():
		}
	}
	backoff := newBackoff()
	lost := false // the failure was reported
	for {
		start := time.Now()
		err := follow(ctx, func() {
			lost = false
			report(change{source: name})
		}, l.again.Send)
		if ctx.Err() != nil {
			return
		}
		if !lost {
			lost = true
			report(change{source: name, err: err})
		}
		if wake.After(ctx, lessAQuarter(backoff.Next(time.Since(start)))) != nil {
			return
		}
	}
}
