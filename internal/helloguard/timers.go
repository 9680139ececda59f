package helloguard

import (
	"time"
)

// handleTimers does what waited for the time now, and returns when there is more.
func (h *handler) handleTimers(now time.Time) (next time.Time, ok bool) {
	for _, c := range h.exec.timers.Take(now) {
		if !c.review.IsZero() && !now.Before(c.review) {
			c.review = time.Time{}
			h.evidence.ownLinks(c, now)
		}
		h.catchUp(c, now)
		h.closer.sendStop(c, now)
		h.exec.plan(c)
	}
	if !h.unpaired.pairAt.IsZero() && !now.Before(h.unpaired.pairAt) {
		h.unpaired.askWaiting(now)
	}
	next = h.next()
	return next, !next.IsZero()
}

// next is when there is something to do again; zero: nothing waits.
func (h *handler) next() time.Time {
	next := h.exec.timers.Next()
	if next.IsZero() || !h.unpaired.pairAt.IsZero() && h.unpaired.pairAt.Before(next) {
		return h.unpaired.pairAt
	}
	return next
}

// catchUp does what a channel has to do now. After a packet that has shown something new, that has to come before the
// answer to the packet.
func (h *handler) catchUp(c *channel, now time.Time) {
	if c.ackStop {
		c.ackStop = false
		h.exec.act(c, c.translator.AckStop(), now)
	}
	if at, wants := c.translator.NextTimer(); wants && !at.After(now) {
		live, _ := h.evidence.liveness(c, now)
		h.exec.act(c, c.translator.HandleTimers(now, live), now)
	}
}

// tidy forgets tunnels that are no more. The session calls it once a minute.
func (h *handler) tidy(now time.Time) {
	h.table.expire(now)
	h.unpaired.expire(now)
	h.closer.noteOwnerEnds(now)
	for _, c := range h.table.all() {
		c.rounds++
		switch {
		case h.isOver(c, now):
			h.exec.drop(c)
		case !c.inKernel || !c.noted.IsZero():
			h.evidence.ownLinks(c, now) // its links may be certain now, or no longer
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
	s := h.evidence.ownLinks(c, now)
	if !s.Certain && !s.Unknown && !c.noted.IsZero() && h.evidence.data.works(now) {
		return now.Sub(later(c.noted, h.evidence.dataOf(c, now))) > dataTTL
	}
	return !s.Linked
}
