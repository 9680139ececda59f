package helloguard

import (
	"log/slog"
	"time"
)

const (
	// restoreEvery is the shortest time between two restorations of the table. A host with
	// containers may change its tables all the time.
	restoreEvery = 200 * time.Millisecond
	// After manyRestorations in a row the log falls silent. calmAfter after the last one it
	// says how many there were.
	manyRestorations = 5
	calmAfter        = 10 * time.Second
)

// restorations counts how often the guard has put its table back since the table was last left alone for calmAfter.
type restorations struct {
	n    int
	last time.Time // zero: none yet
}

// wait returns how long the next restoration has to wait.
func (r *restorations) wait(now time.Time) time.Duration {
	if r.last.IsZero() {
		return 0
	}
	return max(0, r.last.Add(restoreEvery).Sub(now))
}

// add notes a restoration.
func (r *restorations) add(log *slog.Logger, now time.Time) {
	r.calm(log, now)
	r.n++
	r.last = now
	switch {
	case r.n < manyRestorations:
		log.Warn("hello guard: its nftables table was taken away, putting it back", "table", "ip "+TableName)
	case r.n == manyRestorations:
		log.Warn("hello guard: its nftables table is taken away again and again, putting it back every time, at most five times a second",
			"table", "ip "+TableName)
	}
}

// calm reports whether the table is left alone now.
func (r *restorations) calm(log *slog.Logger, now time.Time) bool {
	if now.Sub(r.last) < calmAfter {
		return false
	}
	if r.n >= manyRestorations {
		log.Info("hello guard: its nftables table is left alone again", "table", "ip "+TableName, "restored", r.n)
	}
	r.n = 0
	return true
}
