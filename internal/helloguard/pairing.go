package helloguard

import (
	"time"

	"xl2tpd-keepalive/internal/helloguard/translator"
	"xl2tpd-keepalive/internal/l2tp"
)

// openPair opens the channel of a tunnel whose two ids are known now. xl2tpd's Hello may be
// on its way to the peer since before.
func (h *handler) openPair(u *unpaired, at path, own, peerID uint16, now time.Time) *channel {
	if h.table.find(at, own, false) != nil || h.table.find(at, peerID, true) != nil {
		return nil
	}
	f := u.tunnels[peerID]
	if f == nil {
		f = &unpairedTunnel{since: now}
	}
	delete(u.tunnels, peerID)
	if u.asked == f {
		u.asked = nil
	}
	t := at.connection(own, peerID)
	c := h.open(&channel{translator: translator.New(t, f.since), owner: h.confirmed(u.owner, at, now),
		phase: established, paired: true, secured: u.secured}, now)
	if c == nil {
		return nil
	}
	if live, ok := h.wanted(c, true, now); ok {
		h.replay(c, f, live, now)
		return c
	}
	return nil
}

// replay shows a channel's translator the copies of the Hello that the peer has got.
func (h *handler) replay(c *channel, f *unpairedTunnel, live translator.Liveness, now time.Time) {
	for _, one := range f.copies {
		p, err := l2tp.ParsePacket(one.raw)
		if err != nil {
			return
		}
		h.act(c, c.translator.Out(&p, one.at, live), now)
		c.clock(one.at)
	}
	if !f.askedAt.IsZero() {
		c.translator.Questioned(f.askedAt)
	}
}

// pairSoon makes handleTimers look at the tunnels whose Hellos wait.
func (h *handler) pairSoon(now time.Time) {
	if h.pairAt.IsZero() {
		h.pairAt = now.Add(pairEvery)
	}
}

// askWaiting asks the peers of tunnels whose Hellos wait for an answer.
func (h *handler) askWaiting(now time.Time) {
	h.pairAt = time.Time{}
	for at, u := range h.table.unpaired {
		if h.askOne(u, at, now) {
			h.pairAt = now.Add(pairEvery)
		}
	}
}

// askOne asks for one tunnel of a path, and reports whether a Hello waits there still.
func (h *handler) askOne(u *unpaired, at path, now time.Time) (waits bool) {
	var next *unpairedTunnel
	for _, f := range u.tunnels {
		if !f.waits(now) {
			continue
		}
		if waits = true; next == nil || f.askedAt.Before(next.askedAt) {
			next = f
		}
	}
	if waits {
		h.askUnpaired(u, at, next, now)
	}
	return waits
}

// askUnpaired makes the peer show xl2tpd's own id of a tunnel: it acknowledges a message that it
// gets again (RFC 2661 §5.8). Only the owner may ask that, so the owner has to be known.
func (h *handler) askUnpaired(u *unpaired, at path, f *unpairedTunnel, now time.Time) {
	if u.owner.ownership != ownerKnown || h.hasEnded(u.owner) || now.Sub(f.since) < watchedFor || now.Sub(f.askedAt) < askAgain {
		return
	}
	f.askedAt, u.asked = now, f
	m := l2tp.Message{Type: l2tp.TypeSCCCN, Tunnel: f.peerID, Ns: f.copies[0].ns - 1, Nr: f.nr}
	h.inject(translator.Injection{To: translator.ToPeer, Packet: l2tp.AppendPacket(nil, at.local, at.peer, m), Question: true},
		at.connection(0, f.peerID), now)
}
