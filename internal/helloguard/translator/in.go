package translator

import (
	"time"

	"xl2tpd-keepalive/internal/l2tp"
)

// In judges a packet from the peer on its way to xl2tpd.
func (t *Translator) In(pkt []byte, now time.Time) *Verdict {
	t.begin()
	p, err := l2tp.ParsePacket(pkt)
	if err != nil {
		return t.pass(err)
	}
	m := p.Msg
	if p.Src != t.tun.Peer || p.Dst != t.tun.Local || m.Tunnel == 0 ||
		t.tun.LocalID != 0 && m.Tunnel != t.tun.LocalID {
		return t.pass(ErrForeign)
	}
	if t.expKnown && !m.ZLB() && !l2tp.Near(m.Ns, t.expected, reach, reach) {
		return t.pass(ErrReach)
	}
	known := t.acked
	if !t.heardAck(m.Nr, now) {
		// It acknowledges what was never sent. xl2tpd is to see it as the
		// peer meant it, but nothing is learnt from it.
		t.out.Why = ErrReach
		return t.forward(&p, m.Ns, m.Nr+uint16(t.Debt()))
	}
	t.tun.LocalID, t.spoke = m.Tunnel, now
	if m.Type == l2tp.TypeStopCCN && !t.closing && t.Takes(m.Ns) {
		t.closing, t.out.Save = true, true
	}
	if !t.expKnown {
		return t.forward(&p, m.Ns, t.localAck())
	}

	ns := m.Ns
	if m.ZLB() {
		if l2tp.Before(known, t.acked) {
			// Some peers put another number into a ZLB than RFC 2661 §5.8
			// says, and xl2tpd would not look at what it acknowledges.
			ns = t.expected
		}
		return t.forward(&p, ns, t.localAck())
	}
	if !l2tp.Before(ns, t.told) {
		t.refill()
	}
	t.heardNs(&m, now)
	return t.forward(&p, ns, t.localAck())
}

// Takes reports whether xl2tpd would take a message of the peer with that number: the
// next one, as far as that is known.
func (t *Translator) Takes(ns uint16) bool {
	missed := 0
	if !t.synced {
		missed = maxMissed
	}
	return !t.expKnown || l2tp.Near(ns, t.expected, 0, missed)
}

// heardAck takes in what the peer acknowledges and reports whether that can be
// true. Stale acknowledgements are true, and teach nothing.
func (t *Translator) heardAck(r uint16, now time.Time) bool {
	if !t.highKnown {
		t.highKnown, t.high = true, r
	}
	if next := t.wireNext(); l2tp.Before(next, r) {
		if t.synced || !l2tp.Near(r, next, 0, reach) {
			return false
		}
		t.high = t.ledger.local(r) // messages went past us
		t.ledger.forget(t.high - history)
	}
	switch {
	case !t.ackKnown:
		if !l2tp.Near(r, t.wireNext(), reach, 0) {
			return false
		}
		t.ackKnown, t.acked, t.out.Save = true, r, true
	case l2tp.Before(r, t.acked):
		return l2tp.Near(r, t.acked, reach, 0)
	default:
		t.out.Save = t.out.Save || t.acked != r
		t.acked = r
	}
	t.ackSure = true
	t.settle(now)
	return true
}

// heardNs takes in a message of the peer's.
func (t *Translator) heardNs(m *l2tp.Message, now time.Time) {
	isHello := m.Type == l2tp.TypeHello
	if m.Ns == t.expected {
		t.expected++
		if isHello && m.Ns == t.helloTo {
			t.helloTo++
		}
	}
	// A message that xl2tpd has acknowledged comes again because that was lost:
	// it can be said again for any type.
	if (isHello || l2tp.Before(m.Ns, t.confirmed)) && l2tp.Before(m.Ns, t.expected) && !t.waiting {
		t.waiting, t.waitNs = true, m.Ns
		t.waitUntil = now.Add(t.timing.Answer)
	}
}

// refill gives xl2tpd again the Hellos that were acknowledged in its name and
// that it has not acknowledged itself: it must not miss a number.
func (t *Translator) refill() {
	if !t.vouched || !t.ackKnown {
		return
	}
	for ns := t.confirmed; ns != t.told; ns++ {
		t.send(ToLocal, l2tp.Message{Type: l2tp.TypeHello, Ns: ns, Nr: t.localAck()})
	}
}
