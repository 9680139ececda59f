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

// stream follows one source of hints: it calls ready once when no event can
// be missed any more, hint at each event, neither of which block, and returns
// when the source is lost or ctx has ended.
type stream func(ctx context.Context, ready, hint func()) error

const (
	firstRestart = 100 * time.Millisecond
	slowRestart  = 2 * time.Second
)

// restartDelay is how long to wait after the n-th failure in a row: twice as
// long each time, within limits, less up to a quarter by chance.
func restartDelay(n int) time.Duration {
	d := slowRestart
	if shift := n - 1; shift < 5 {
		d = min(d, firstRestart<<shift)
	}
	return d - rand.N(d/4)
}

// feed runs one source until ctx ends, again and again.
func (l *loop) feed(ctx context.Context, name string, follow stream) {
	report := func(c change) {
		select {
		case l.changes <- c:
		case <-ctx.Done():
		}
	}
	failed := 0
	lost := false // reported so
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
		// One that has held for a while starts afresh.
		if time.Since(start) > slowRestart {
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
