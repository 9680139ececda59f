package helloguard

import (
	"time"

	"xl2tpd-keepalive/internal/helloguard/translator"
	"xl2tpd-keepalive/internal/l2tp"
)

// pairByData pairs a tunnel whose Hello waits, if it is the only one of its path and data
// have come in for one tunnel only.
func (h *handler) pairByData(u *unpaired, at path, f *half, now time.Time) *channel {
	if len(u.halves) > 1 || u.tooMany || !f.waits(now) {
		return nil
	}
	own, ok := h.onlyData(u, at, now)
	if !ok {
		return nil
	}
	c := h.openPair(u, at, own, f.peerID, now)
	if c != nil {
		c.guessed, u.guess = f, c
	}
	return c
}

// onlyData returns xl2tpd's id of the only unknown tunnel of a path for which data came in.
// If some came through IPsec, others are forged.
func (h *handler) onlyData(u *unpaired, at path, now time.Time) (own uint16, ok bool) {
	var clear, secured []uint16
	for a, came := range h.data.read(now) {
		if a.path != at || h.table.known(at, a.id, false) != nil {
			continue
		}
		if came.clear.After(u.since) {
			clear = append(clear, a.id)
		}
		if came.secured.After(u.since) {
			secured = append(secured, a.id)
		}
	}
	if u.secured || len(secured) > 0 {
		u.secured = true
		clear = secured
	}
	if len(clear) != 1 {
		return 0, false
	}
	return clear[0], true
}

// openPair opens the channel of a tunnel whose two ids are known now. xl2tpd's Hello may be
// on its way to the peer since before.
func (h *handler) openPair(u *unpaired, at path, own, peerID uint16, now time.Time) *channel {
	if h.table.known(at, own, false) != nil || h.table.known(at, peerID, true) != nil {
		return nil
	}
	f := u.halves[peerID]
	if f == nil {
		f = &half{since: now}
	}
	delete(u.halves, peerID)
	if u.asked == f {
		u.asked = nil
	}
	t := translator.Tunnel{Local: at.local, Peer: at.peer, LocalID: own, PeerID: peerID}
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
func (h *handler) replay(c *channel, f *half, live translator.Liveness, now time.Time) {
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

// pairSoon makes due look at the tunnels whose Hellos wait.
func (h *handler) pairSoon(now time.Time) {
	if h.pairAt.IsZero() {
		h.pairAt = now.Add(pairEvery)
	}
}

// pairWaiting pairs tunnels whose Hellos wait for an answer, or asks their peers.
func (h *handler) pairWaiting(now time.Time) {
	h.pairAt = time.Time{}
	for at, u := range h.table.unpaired {
		if h.pairOne(u, at, now) {
			h.pairAt = now.Add(pairEvery)
		}
	}
}

// pairOne does that on one path, and reports whether a Hello waits there still.
func (h *handler) pairOne(u *unpaired, at path, now time.Time) (waits bool) {
	var next *half
	for _, f := range u.halves {
		if !f.waits(now) {
			continue
		}
		if h.pairByData(u, at, f, now) != nil {
			return false
		}
		if waits = true; next == nil || f.askedAt.Before(next.askedAt) {
			next = f
		}
	}
	if waits {
		h.askHalf(u, at, next, now)
	}
	return waits
}

// askHalf makes the peer show xl2tpd's own id of a tunnel: it acknowledges a message that it
// gets again (RFC 2661 §5.8). Only the owner may ask that, so the owner has to be known.
func (h *handler) askHalf(u *unpaired, at path, f *half, now time.Time) {
	if u.owner.ownership != known || h.hasEnded(u.owner) || now.Sub(f.since) < watchedFor || now.Sub(f.askedAt) < askAgain {
		return
	}
	f.askedAt, u.asked = now, f
	m := l2tp.Message{Type: l2tp.TypeSCCCN, Tunnel: f.peerID, Ns: f.copies[0].ns - 1, Nr: f.nr}
	h.inject(translator.Injection{To: translator.ToPeer, Packet: l2tp.AppendPacket(nil, at.local, at.peer, m), Question: true},
		translator.Tunnel{Local: at.local, Peer: at.peer, PeerID: f.peerID}, now)
}
