package ppp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"xl2tpd-keepalive/internal/wake"
)

const (
	coalesce = 20 * time.Millisecond // hints within this time make one look
	// After a look, hints wait cooldownFactor times as long as that look took, but at most
	// maxCooldown. While a thousand links come up, hints arrive all the time.
	cooldownFactor = 4
	maxCooldown    = 200 * time.Millisecond
	resync         = 2 * time.Minute // between looks without a hint
	// blindResync is resync while no source of hints works.
	blindResync = time.Second

	// The pppd of a device without a pid file may be about to write one, or there
	// may be none: look again ever more rarely, and stop after this time.
	unownedTime = 10 * time.Second

	// Without rtnetlink no event reports that IPCP has set the addresses, nor
	// that pppd has then put the device up.
	notUpPoll = 250 * time.Millisecond
	notUpTime = time.Minute

	lookTries = 5 // failed looks in a row that make the loop fail
)

// loop owns all state: it alone looks and delivers.
type loop struct {
	log       *slog.Logger
	deliver   func(Snapshot)
	read      func() (state, error)
	findPppds func(now time.Time) []int // for lost pppds
	again     wake.Signal               // look again
	changes   chan change

	sources Sources
	last    *Snapshot // delivered last
	sent    time.Time // when last was delivered

	// Since when a device has no known pppd, or a link is not up, by index.
	unowned, notUp map[int]time.Time

	lost     []int // see Snapshot
	searched time.Time
}

// change reports that a source of hints works now (err is nil) or has failed.
type change struct {
	source string
	err    error
}

// run looks and delivers until ctx ends or lookTries looks in a row have failed.
func (l *loop) run(ctx context.Context) error {
	// Each source reports within busTime whether it works, and that causes a look.
	l.sources = Sources{DBus: true, Rtnetlink: true}
	due := time.Now().Add(coalesce)
	timer := time.NewTimer(coalesce)
	defer timer.Stop()
	pause := coalesce
	soon := func() {
		if at := time.Now().Add(pause); at.Before(due) {
			due = at
			timer.Reset(pause)
		}
	}
	failed, backoff := 0, newBackoff()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case c := <-l.changes:
			l.sourceChanged(c)
			soon()
		case <-l.again.C():
			soon()
		case <-timer.C:
			wait, began := coalesce, time.Now()
			v, err := l.read()
			pause = max(coalesce, min(cooldownFactor*time.Since(began), maxCooldown))
			if err != nil {
				if failed++; failed == lookTries {
					return fmt.Errorf("look at PPP links: %w", err)
				}
				wait = lessAQuarter(backoff.Next(0))
			} else {
				failed = 0
				backoff.Reset()
				wait = l.nextWait(v, time.Now())
				l.findLost(time.Now())
				l.deliverIfNew(v)
			}
			due = time.Now().Add(wait)
			timer.Reset(wait)
		}
	}
}

// sourceChanged records and logs that a source works or has failed.
func (l *loop) sourceChanged(c change) {
	up := &l.sources.DBus
	if c.source == sourceRtnetlink {
		up = &l.sources.Rtnetlink
	} else {
		l.sources.NoSystemd = errors.Is(c.err, errNoSystemd)
	}
	*up = c.err == nil
	switch {
	case *up:
		l.log.Info("watching PPP links", "through", c.source)
	case errors.Is(c.err, errNoSystemd):
		l.log.Info("can't watch PPP links, rtnetlink is enough", "through", c.source, "err", c.err)
	default:
		l.log.Warn("can't watch PPP links, trying again", "through", c.source, "err", c.err)
	}
}

// deliverIfNew delivers a snapshot if it is new or the last one is older than resync.
func (l *loop) deliverIfNew(v state) {
	s := Snapshot{Links: v.links, Sources: l.sources, Lost: l.lost}
	if l.last != nil && same(s, *l.last) && time.Since(l.sent) < resync {
		return
	}
	l.last, l.sent = &s, time.Now()
	l.deliver(s)
}

// nextWait returns how long to wait for a hint before the next look.
func (l *loop) nextWait(v state, now time.Time) time.Duration {
	l.unowned = firstSeen(l.unowned, v.unowned, now)
	var notUp []int
	for _, k := range v.links {
		if !k.Up {
			notUp = append(notUp, k.Index)
		}
	}
	l.notUp = firstSeen(l.notUp, notUp, now)

	wait := resync
	if l.sources == (Sources{}) {
		wait = blindResync
	}
	for _, t := range l.unowned {
		if age := now.Sub(t); age < unownedTime {
			wait = min(wait, max(coalesce, age/4))
		}
	}
	if !l.sources.Rtnetlink {
		for _, t := range l.notUp {
			if now.Sub(t) < notUpTime {
				wait = min(wait, notUpPoll)
			}
		}
	}
	return wait
}

// firstSeen returns since when each index has been in the set. old is the last
// result, set the indexes as of now.
func firstSeen(old map[int]time.Time, set []int, now time.Time) map[int]time.Time {
	times := make(map[int]time.Time, len(set))
	for _, i := range set {
		t, ok := old[i]
		if !ok {
			t = now
		}
		times[i] = t
	}
	return times
}
