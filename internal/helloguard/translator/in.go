package translator

import (
	"time"

	"xl2tpd-keepalive/internal/l2tp"
)

// In judges a packet from the peer on its way to xl2tpd.
func (t *Translator) In(p *l2tp.Packet, now time.Time) *Verdict {
	t.begin(Pass)
	m := p.Msg
	if p.Src != t.tun.Peer || p.Dst != t.tun.Local || m.Tunnel == 0 ||
		t.tun.LocalID != 0 && m.Tunnel != t.tun.LocalID {
		return t.pass(Foreign)
	}
	if t.expects.known && !m.ZLB() && !l2tp.Near(m.Ns, t.expected, reach, reach) {
		return t.pass(OutOfReach)
	}
	before := t.acked
	if !t.heardAck(&m, now) {
		// It acknowledges what was never sent, and nothing is learnt from it. xl2tpd must not
		// believe it either: it would never send the messages with these numbers (network.c,
		// control_xmit).
		t.out.Reason = OutOfReach
		nr := m.Nr + uint16(t.Offset())
		if t.acked.known {
			nr = t.ackForLocal()
		}
		return t.forward(p, m.Ns, nr)
	}
	t.tun.LocalID = m.Tunnel
	if !t.heard {
		t.heard, t.out.Save = true, true
	}
	t.lookAgain(now)
	if m.Type == l2tp.TypeStopCCN && !t.closing && t.Expects(m.Ns) {
		t.closing, t.out.Save = true, true
	}
	nr := t.ackForLocal()
	if !t.acked.known || t.claimed.known {
		nr = m.Nr + uint16(t.Offset()) // not believed yet, and not hidden either
	}
	if !t.expects.known {
		return t.forward(p, m.Ns, nr)
	}
	if t.owed && !t.closing {
		t.owed = false
		t.acknowledge()
	}
	if m.Ns != t.expected && l2tp.Before(before.n, t.acked.n) {
		// xl2tpd does not look at what an old message acknowledges, nor a ZLB with another
		// number than RFC 2661 §5.8 says, as some peers send it.
		t.acknowledge()
	}
	if m.ZLB() {
		return t.forward(p, m.Ns, nr)
	}
	if !l2tp.Before(m.Ns, t.told) {
		t.refill()
	}
	t.heardNs(&m, now)
	return t.forward(p, m.Ns, nr)
}

// Expects reports whether xl2tpd would take a message of the peer with that number: the
// next one, as far as that is known.
func (t *Translator) Expects(ns uint16) bool {
	missed := 0
	if !t.exact {
		missed = maxMissed
	}
	return !t.expects.known || l2tp.Near(ns, t.expected, 0, missed)
}

// heardAck takes in what the peer acknowledges and reports whether that can be true.
// Stale acknowledgements are true, and teach nothing.
func (t *Translator) heardAck(m *l2tp.Message, now time.Time) bool {
	r := m.Nr
	if !t.next.known {
		t.claimed = seq{r, true}
		return true
	}
	if l2tp.Before(t.wireNext(), r) && !t.takeBack(r) {
		// Messages may have gone past unseen. Only xl2tpd can show that: a forged number
		// must not be believed.
		if t.exact || !l2tp.Near(r, t.wireNext(), 0, reach) {
			return false
		}
		t.claimed = seq{r, true}
		return true
	}
	t.claimed = seq{}
	switch {
	case !t.acked.known:
		if !l2tp.Near(r, t.wireNext(), reach, 0) {
			return false
		}
	case l2tp.Before(r, t.acked.n):
		return l2tp.Near(r, t.acked.n, reach, 0)
	}
	if t.acked != (seq{r, true}) {
		t.acked, t.out.Save = seq{r, true}, true
		if r == t.wireNext() && !t.sent.IsZero() {
			t.rtt = min(max(now.Sub(t.sent), time.Millisecond), roundTrip)
		}
	}
	t.decide(t.fresh(m, now), now)
	return true
}

// heardNs takes in a message of the peer's.
func (t *Translator) heardNs(m *l2tp.Message, now time.Time) {
	isHello := m.Type == l2tp.TypeHello
	if m.Ns != t.expected {
		t.hello.repeats++
	} else {
		t.lastNew = now
		t.expected++
		if isHello && m.Ns == t.helloTo {
			t.helloTo++
		}
	}
	// A message that xl2tpd has acknowledged comes again because that was lost: it can
	// be said again for any type.
	if (isHello || l2tp.Before(m.Ns, t.expects.n)) && l2tp.Before(m.Ns, t.expected) && !t.waiting {
		t.waiting, t.waitNs = true, m.Ns
		t.waitUntil = now.Add(answerTime)
	}
}

// heardNr takes in what xl2tpd expects next. Retransmissions repeat an old Nr.
func (t *Translator) heardNr(nr uint16) {
	if !t.expects.known {
		t.expects = seq{nr, true}
		t.expected, t.helloTo = nr, nr
	}
	t.expects.n = l2tp.Later(t.expects.n, nr)
	t.expected = l2tp.Later(t.expected, nr)
	t.helloTo = l2tp.Later(t.helloTo, nr)
	if !l2tp.Before(t.expects.n, t.told) {
		t.vouched = false
	}
	t.refill()
}

// refill gives xl2tpd again the Hellos that were acknowledged for it and that it has not
// acknowledged itself: it must not miss a number.
func (t *Translator) refill() {
	if !t.vouched || !t.acked.known {
		return
	}
	for ns := t.expects.n; ns != t.told; ns++ {
		t.send(ToLocal, l2tp.Message{Type: l2tp.TypeHello, Ns: ns, Nr: t.ackForLocal()})
	}
}
