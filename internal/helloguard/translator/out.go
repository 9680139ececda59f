package translator

import (
	"time"

	"xl2tpd-keepalive/internal/l2tp"
)

// Out judges a packet from xl2tpd on its way to the peer.
func (t *Translator) Out(pkt []byte, now time.Time, life Life) *Verdict {
	t.begin()
	p, err := l2tp.ParsePacket(pkt)
	if err != nil {
		return t.pass(err)
	}
	m := p.Msg
	if p.Src != t.tun.Local || p.Dst != t.tun.Peer || m.Tunnel == 0 ||
		t.tun.PeerID != 0 && m.Tunnel != t.tun.PeerID {
		return t.pass(ErrForeign)
	}
	// A peer that has restarted may have given another tunnel's id again, and that
	// one is only now given up.
	if m.Type == l2tp.TypeStopCCN && t.tun.LocalID != 0 {
		if own, ok := l2tp.AssignedTunnel(p.Payload()); ok && own != t.tun.LocalID {
			return t.pass(ErrForeign)
		}
	}
	newest := ahead
	if !t.synced {
		newest = reach
	}
	if t.highKnown && !l2tp.Near(m.Ns, t.high, reach, reach) ||
		t.expKnown && !l2tp.Near(m.Nr, t.expected, reach, newest) {
		return t.pass(ErrReach)
	}
	t.tun.PeerID = m.Tunnel
	if !t.highKnown {
		t.highKnown, t.high = true, m.Ns
	}
	t.heardNr(m.Nr)
	t.ledger.forget(t.high - history)

	if m.Type == l2tp.TypeHello && m.Length == l2tp.HelloLen {
		return t.outHello(&p, now, life)
	}
	w := t.ledger.wire(m.Ns)
	if m.ZLB() {
		// add_control_hdr(): a ZLB carries the number of the next message.
		// Sealed, the messages before it that were not seen are not on the
		// wire: their number is still the next.
		if !l2tp.Before(m.Ns, t.high) {
			if !t.sealed {
				t.high = m.Ns
			}
			t.synced = true
			if t.crossed() {
				t.out.Action, t.out.Why = Drop, WhyTurn
				return &t.out
			}
			w = t.zlbNs(now)
		}
		return t.forwardOut(&p, w)
	}
	stop := m.Type == l2tp.TypeStopCCN
	if t.sealed && l2tp.Before(t.high, m.Ns) {
		// The messages between were lost while nobody was on the queue.
		if !stop && now.Sub(t.since) < t.timing.Quiet {
			// They come again and one may be a Hello: its number would have
			// to be known by now.
			t.out.Action, t.out.Why = Drop, WhyEarly
			return &t.out
		}
		if stop {
			// call.c call_close() has forgotten them: they never come.
			for ns := t.high; ns != m.Ns; ns++ {
				t.ledger.add(ns)
			}
			w = t.ledger.wire(m.Ns)
		}
	}
	if !l2tp.Before(m.Ns, t.high) {
		t.seen(m.Ns)
		t.out.Save = true
	}
	if t.ackedHere(m.Ns) {
		t.acknowledge() // xl2tpd missed the peer's
	}
	if stop && !t.closing {
		t.closing, t.out.Save = true, true
	}
	if !t.ackSure && (!t.realSeen || l2tp.Before(w, t.realWire)) {
		t.realSeen, t.realWire = true, w
	}
	switch behind := !l2tp.Before(w, t.limbo.first+t.limbo.count); {
	case stop && behind:
		t.fillStop(pkt)
	case t.limbo.adopted && behind:
		t.fill(now)
	}
	return t.forwardOut(&p, w)
}

// crossed reports whether the peer has been heard last when a Hello had just gone
// out to it, of which it is not known whether it takes any: it may have spoken
// before the Hello came. Whichever number a ZLB had now, one kind of peer would
// not take it. The acknowledgement has to wait until the peer asks again.
func (t *Translator) crossed() bool {
	return t.limboNext() && !t.hears && t.spoke.Before(t.offered)
}

// zlbNs is the number of a ZLB that is not older than all seen: the one the peer
// expects. A peer that takes Hellos has the one that has just gone out. A Hello that
// another left unanswered may have changed its count, and then some ignore the ZLB
// and send their message again, not before a second has passed (RFC 2661 §5.8); the
// answer to that goes by the Hello.
func (t *Translator) zlbNs(now time.Time) uint16 {
	if !t.limboNext() || t.acked != t.limbo.first || t.hears && t.spoke.Before(t.offered) {
		return t.wireNext()
	}
	if nr := t.nrToPeer(); t.zlbAt.IsZero() || t.zlbNr != nr {
		t.zlbNr, t.zlbAt = nr, now
	}
	if now.Sub(t.zlbAt) >= time.Second/2 {
		return t.wireNext()
	}
	return t.acked
}

// seen notes a message that is not older than all seen. Behind a gap, or as the
// first of all, it may be a retransmission: later ones may be on the wire too.
func (t *Translator) seen(ns uint16) {
	t.synced = t.synced && ns == t.high
	t.high = ns + 1
}

// heardNr takes in what xl2tpd expects next. Retransmissions repeat an old Nr.
func (t *Translator) heardNr(nr uint16) {
	if !t.expKnown {
		t.expKnown = true
		t.confirmed, t.expected, t.helloTo = nr, nr, nr
	}
	t.confirmed = l2tp.Later(t.confirmed, nr)
	t.expected = l2tp.Later(t.expected, nr)
	t.helloTo = l2tp.Later(t.helloTo, nr)
	if !l2tp.Before(t.confirmed, t.told) {
		t.vouched = false
	}
	t.refill()
}

// outHello decides about a Hello of xl2tpd. What was swallowed once stays
// swallowed, and what may be on the wire stays there, whatever life says later.
func (t *Translator) outHello(p *l2tp.Packet, now time.Time, life Life) *Verdict {
	ns := p.Msg.Ns
	fresh := life.Tunnel && !t.closing
	if t.ledger.has(ns) {
		return t.outSwallowed(p, now, fresh)
	}
	// Whatever was out before the watch began has been seen again by now.
	watched := !now.Before(t.sureAt())
	if t.synced && ns == t.high || (watched || t.sealed) && !l2tp.Before(ns, t.high) {
		t.high, t.synced = ns, true
		return t.outNew(p, now, fresh, life)
	}

	// The first one seen after a gap, or one that went out before: it may be
	// with the peer already.
	if !l2tp.Before(ns, t.high) {
		t.seen(ns)
	}
	w := t.ledger.wire(ns)
	t.out.Why = WhyUncertain
	if t.ackKnown && l2tp.Before(w, t.acked) {
		t.acknowledge()
		return t.forwardOut(p, w)
	}
	first := !t.inLimbo(w)
	t.enterLimbo(w)
	if !t.inLimbo(w) {
		return t.forwardOut(p, w)
	}
	t.limbo.last = now
	if first {
		t.offered = now.Add(t.timing.Offer)
	}
	switch {
	case first && fresh && life.Offer && t.Debt() == 0:
		t.unsure = true // it may have been the last copy, so do not wait for another
		t.out.Why = WhyOffered
	case t.tryAdopt(ns+1, now, fresh):
		t.acknowledge()
		t.out.Why = WhyAdopted
	}
	return t.forwardOut(p, w)
}

// outNew judges a Hello that certainly has not been on the wire.
func (t *Translator) outNew(p *l2tp.Packet, now time.Time, fresh bool, life Life) *Verdict {
	ns := p.Msg.Ns
	w := t.ledger.wire(ns)
	offer := fresh && life.Offer && t.limbo.count == 0 && t.Debt() == 0
	if !offer && (fresh && t.sureOfAck(ns, now) || t.ackSure && t.acked != w) || t.behindLimbo(w) {
		// Either the tunnel lives; or a message is unacknowledged, and its
		// retransmissions find a dead peer as well as this Hello would.
		t.ledger.add(ns)
		t.high = ns + 1
		t.out.Save = true
		return t.outSwallowed(p, now, fresh)
	}
	t.high = ns + 1
	t.enterLimbo(w)
	t.limbo.last, t.offered = now, now.Add(t.timing.Offer)
	t.unsure = fresh && !offer
	t.out.Why = WhyPassed
	if offer {
		t.out.Why = WhyOffered
	}
	return t.forwardOut(p, w)
}

// outSwallowed judges a Hello that is in the ledger.
func (t *Translator) outSwallowed(p *l2tp.Packet, now time.Time, fresh bool) *Verdict {
	ns := p.Msg.Ns
	w := t.ledger.wire(ns)
	t.out.Action, t.out.Why = Drop, WhyHeld
	if t.behindLimbo(w) && !t.ackedHere(ns) {
		// One Hello is as good as another: this one goes out as a copy of the
		// last unacknowledged one, until that is acknowledged.
		t.tryAdopt(ns+1, now, fresh)
		t.limbo.last = now
		t.out.Action, t.out.Why = Pass, WhyPassed
		t.forwardOut(p, w-1)
	}
	if t.ackedHere(ns) {
		t.acknowledge()
		t.out.Why = WhySwallowed
	}
	return &t.out
}

// forwardOut lets xl2tpd's p through with the newest Nr.
func (t *Translator) forwardOut(p *l2tp.Packet, ns uint16) *Verdict {
	nr := t.nrToPeer()
	if t.waiting && l2tp.Before(t.waitNs, nr) {
		t.waiting = false
	}
	return t.forward(p, ns, nr)
}
