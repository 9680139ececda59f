package translator

import (
	"time"

	"xl2tpd-keepalive/internal/l2tp"
)

// In decides about a packet from the peer on its way to xl2tpd.
func (t *Translator) In(p *l2tp.Packet, now time.Time) *Verdict {
	t.reply.begin(Pass)
	m := p.Msg
	switch {
	case t.foreignIn(p):
		return t.reply.pass(Foreign)
	case t.in.expects.known && !m.ZLB() && !l2tp.Near(m.Ns, t.in.expected, reach, reach):
		return t.reply.pass(OutOfReach)
	}
	before := t.out.acked
	if !t.heardAck(&m, now) {
		return t.hideAck(p)
	}
	t.learnIn(m, now)
	nr := t.nrToXl2tpd()
	if !t.out.acked.known || t.out.claimed.known {
		nr = m.Nr + t.out.offset() // not believed yet, and not hidden either
	}
	if t.in.expects.known {
		t.answerXl2tpd(m, before)
		if !m.ZLB() {
			t.inMessage(m, now)
		}
	}
	return t.reply.forward(p, m.Ns, nr)
}

func (t *Translator) foreignIn(p *l2tp.Packet) bool {
	id, own := p.Msg.Tunnel, t.connection
	return p.Src != own.Peer || p.Dst != own.Local || id == 0 || own.LocalID != 0 && id != own.LocalID
}

// hideAck lets a packet through that acknowledges what was never sent. The translator takes nothing from it,
// and xl2tpd must not believe it: xl2tpd would never send the messages with these numbers
// (network.c, control_xmit).
func (t *Translator) hideAck(p *l2tp.Packet) *Verdict {
	t.reply.Reason = OutOfReach
	nr := p.Msg.Nr + t.out.offset()
	if t.out.acked.known {
		nr = t.nrToXl2tpd()
	}
	return t.reply.forward(p, p.Msg.Ns, nr)
}

// learnIn takes in that the peer has sent m.
func (t *Translator) learnIn(m l2tp.Message, now time.Time) {
	t.connection.LocalID = m.Tunnel
	if !t.peer.heard {
		t.peer.heard, t.reply.Save = true, true
	}
	if t.phase == open {
		t.hello.lookAgain(now)
	}
	if m.Type == l2tp.TypeStopCCN && t.Expects(m.Ns) {
		t.beginClosing()
	}
}

// answerXl2tpd sends xl2tpd the acknowledgement that it does not get from the peer's message m.
// before is what the peer had acknowledged before that.
func (t *Translator) answerXl2tpd(m l2tp.Message, before seq) {
	if t.out.waits && t.phase == open {
		t.out.waits = false
		t.acknowledge()
	}
	// xl2tpd does not look at what an old message acknowledges. Nor does it look at a ZLB whose
	// number is not the one of RFC 2661 §5.8, as some peers send it.
	if m.Ns != t.in.expected && l2tp.Before(before.number, t.out.acked.number) {
		t.acknowledge()
	}
}

// Expects reports whether xl2tpd would take a message of the peer with that number: the
// next one, as far as that is known.
func (t *Translator) Expects(ns uint16) bool {
	missed := 0
	if !t.out.exact {
		missed = maxMissed
	}
	return !t.in.expects.known || l2tp.Near(ns, t.in.expected, 0, missed)
}

// heardAck takes in what the peer acknowledges and reports whether that can be true.
// Stale acknowledgements are true, and teach nothing.
func (t *Translator) heardAck(m *l2tp.Message, now time.Time) bool {
	if !t.out.next.known {
		t.out.claimed = seq{m.Nr, true}
		return true
	}
	if l2tp.Before(t.out.wireNext(), m.Nr) && !t.takeBack(m.Nr) {
		return t.claim(m.Nr)
	}
	t.out.claimed = seq{}
	switch acked := t.out.acked; {
	case !acked.known && !l2tp.Near(m.Nr, t.out.wireNext(), reach, 0):
		return false
	case acked.covers(m.Nr):
		return l2tp.Near(m.Nr, acked.number, reach, 0)
	case !acked.is(m.Nr):
		t.ackedUpTo(m.Nr, now)
	}
	t.decide(t.fresh(m, now), now)
	return true
}

// claim notes an acknowledgement beyond all that was seen, and reports whether it can be true.
// Messages may have gone past unseen. Only xl2tpd can show that: a forged number must not be
// believed.
func (t *Translator) claim(nr uint16) bool {
	if t.out.exact || !l2tp.Near(nr, t.out.wireNext(), 0, reach) {
		return false
	}
	t.out.claimed = seq{nr, true}
	return true
}

// ackedUpTo takes in that the peer has acknowledged more.
func (t *Translator) ackedUpTo(nr uint16, now time.Time) {
	t.out.acked, t.reply.Save = seq{nr, true}, true
	if nr == t.out.wireNext() && !t.out.sent.IsZero() {
		t.peer.rtt = min(max(now.Sub(t.out.sent), time.Millisecond), roundTrip)
	}
}

// inMessage takes in a message of the peer's that is no ZLB.
func (t *Translator) inMessage(m l2tp.Message, now time.Time) {
	if !l2tp.Before(m.Ns, t.in.told.number) {
		t.refill()
	}
	in := &t.in
	isHello := m.Type == l2tp.TypeHello
	if m.Ns != in.expected {
		t.hello.repeats++
	} else {
		in.lastNew = now
		in.expected++
		if isHello && m.Ns == in.helloTo {
			in.helloTo++
		}
	}
	// A message that xl2tpd has acknowledged comes again because that acknowledgement was
	// lost. It can be repeated for any type.
	if (isHello || l2tp.Before(m.Ns, in.expects.number)) && l2tp.Before(m.Ns, in.expected) && !in.unacked.known {
		in.unacked, in.ackAt = seq{m.Ns, true}, now.Add(answerTime)
	}
}

// refill gives xl2tpd again the Hellos that were acknowledged for it and that it has not
// acknowledged itself: it must not miss a number.
func (t *Translator) refill() {
	if !t.in.told.known || !t.out.acked.known {
		return
	}
	for ns := t.in.expects.number; ns != t.in.told.number; ns++ {
		t.send(ToXl2tpd, l2tp.Message{Type: l2tp.TypeHello, Ns: ns, Nr: t.nrToXl2tpd()})
	}
}
