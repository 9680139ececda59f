package ppp

import (
	"context"
	"math/rand/v2"
	"time"
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

// restartDelay returns how long to wait after the n-th failure in a row: from
// firstRestart, doubled each time, up to slowRestart, less a random quarter at most.
func restartDelay(n int) time.Duration {
	d := slowRestart
	if shift := n - 1; shift < 9 {
		d = min(d, firstRestart<<shift)
	}
	return d - rand.N(d/4)
}

// feed runs one source until ctx ends, and restarts it when it fails.
func (l *loop) feed(ctx context.Context, name string, follow stream) {
	report := func(c change) {
		select {
		case l.changes <- c:
		case <-ctx.Done():
		}
	}
	failed := 0
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
		// After a longer run the delays start from the shortest again.
		if time.Since(start) > healthyAfter {
			failed = 0
		}
		failed++
		select {
		case <-time.After(restartDelay(failed)):
		case <-ctx.Done():
			return
		}
	}
}
