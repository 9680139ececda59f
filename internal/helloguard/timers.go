package helloguard

import (
	"log/slog"
	"time"
)

// handleTimers does what waited for the time now, and returns when there is more.
func (h *handler) handleTimers(now time.Time) (next time.Time, ok bool) {
	for _, c := range h.timers.Take(now) {
		if !c.review.IsZero() && !now.Before(c.review) {
			c.review = time.Time{}
			h.ownLinks(c, now)
		}
		h.catchUp(c, now)
		h.sendStop(c, now)
		h.plan(c)
	}
	if !h.pairAt.IsZero() && !now.Before(h.pairAt) {
		h.askWaiting(now)
	}
	next = h.next()
	return next, !next.IsZero()
}

// next is when there is something to do again; zero: nothing waits.
func (h *handler) next() time.Time {
	next := h.timers.Next()
	if next.IsZero() || !h.pairAt.IsZero() && h.pairAt.Before(next) {
		return h.pairAt
	}
	return next
}

// plan notes when a channel has something to do again.
func (h *handler) plan(c *channel) {
	at, wants := c.translator.NextTimer()
	if !wants {
		at = time.Time{}
	}
	if !c.review.IsZero() && (!wants || c.review.Before(at)) {
		at, wants = c.review, true
	}
	if c.closesForXl2tpd() && (!wants || c.stops.next.Before(at)) {
		at = c.stops.next
	}
	h.timers.Set(c, at)
}

// catchUp does what a channel has to do now. Behind a packet that has shown something new, it
// has to come before the answer to that packet.
func (h *handler) catchUp(c *channel, now time.Time) {
	if c.ackStop {
		c.ackStop = false
		h.act(c, c.translator.AckStop(), now)
	}
	if at, wants := c.translator.NextTimer(); wants && !at.After(now) {
		live, _ := h.liveness(c, now)
		h.act(c, c.translator.HandleTimers(now, live), now)
	}
}

// tidy forgets tunnels that are no more. The session calls it once a minute.
func (h *handler) tidy(now time.Time) {
	h.table.expire(now)
	h.expireUnpaired(now)
	h.noteOwnerEnds(now)
	for _, c := range h.table.all() {
		c.rounds++
		switch {
		case h.isOver(c, now):
			h.drop(c)
		case !c.inKernel || !c.noted.IsZero():
			h.ownLinks(c, now) // its links may be certain now, or no longer
		}
	}
}

// isOver reports whether nothing can come of a channel any more. Silence alone says nothing:
// when the clock is set back, xl2tpd's timers rest for as long.
func (h *handler) isOver(c *channel, now time.Time) bool {
	t := c.translator.Connection()
	switch {
	case c.translator.Closing(), !c.phase.agreed(), c.phase == ownerEnded && c.stops.sent == maxStops:
		return c.rounds > closedRounds
	case c.rounds <= silentRounds, c.phase == ownerEnded, h.table.has(t):
		return false
	case c.inKernel:
		return true
	}
	s := h.ownLinks(c, now)
	if !s.Certain && !s.Unknown && !c.noted.IsZero() && h.data.works(now) {
		return now.Sub(later(c.noted, h.dataOf(c, now))) > dataTTL
	}
	return !s.Linked
}

func (h *handler) drop(c *channel) {
	h.table.remove(c)
	h.forget(c)
}

// forget undoes what was done for a channel that is in the table no more.
func (h *handler) forget(c *channel) {
	h.timers.Set(c, time.Time{})
	h.noteData(c, false, time.Now())
	t := c.translator.Connection()
	if c.failClosed {
		if err := h.fx.failClosed(t, false); err != nil {
			h.logError(c, time.Now(), slog.LevelWarn, "hello guard: rules can't be changed", err)
		}
	}
	if c.listening {
		h.stopListening(t)
	}
	if c.written.is() {
		h.store.forget(t)
	}
}
