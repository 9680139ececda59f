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
	case foreignIn(&t.connection, p):
		return t.reply.pass(Foreign)
	case t.in.expects.known && !m.ZLB() && !l2tp.Near(m.Ns, t.in.expected, reach, reach):
		return t.reply.pass(OutOfReach)
	}
	before := t.out.acked
	if !t.heardAck(&m, now) {
		return t.hideAck(p)
	}
	t.learnIn(m, now)
	nr := t.out.nrToXl2tpd()
	if !t.out.acked.known || t.out.claimed.known {
		nr = m.Nr + t.out.offset() // not believed yet, and not hidden either
	}
	if t.in.expects.known {
		t.answerXl2tpd(m, before)
		if !m.ZLB() {
			t.in.heardMessage(m, now)
		}
	}
	return t.reply.forward(p, m.Ns, nr)
}

func foreignIn(own *l2tp.Connection, p *l2tp.Packet) bool {
	id := p.Msg.Tunnel
	return p.Src != own.Peer || p.Dst != own.Local || id == 0 || own.LocalID != 0 && id != own.LocalID
}

// hideAck lets a packet through that acknowledges what was never sent, such as a forged one. The translator
// takes nothing from it, and xl2tpd must not believe it: xl2tpd would never send the messages with these
// numbers (network.c, control_xmit).
func (t *Translator) hideAck(p *l2tp.Packet) *Verdict {
	t.reply.Reason = OutOfReach
	nr := p.Msg.Nr + t.out.offset()
	if t.out.acked.known {
		nr = t.out.nrToXl2tpd()
	}
	return t.reply.forward(p, p.Msg.Ns, nr)
}

// learnIn takes in that the peer has sent m.
func (t *Translator) learnIn(m l2tp.Message, now time.Time) {
	t.connection.LocalID = m.Tunnel
	if !t.out.peer.heard {
		t.out.peer.heard, t.reply.Save = true, true
	}
	if !t.closing {
		t.out.hello.lookAgain(now)
	}
	if m.Type == l2tp.TypeStopCCN && t.Expects(m.Ns) {
		t.beginClosing()
	}
}

// answerXl2tpd sends xl2tpd the acknowledgement that it does not get from the peer's message m.
// before is what the peer had acknowledged before that.
func (t *Translator) answerXl2tpd(m l2tp.Message, before seq) {
	if t.out.waits && !t.closing {
		t.out.waits = false
		t.acknowledge()
	}
	// xl2tpd does not look at what an old message acknowledges. Nor does it look at a ZLB whose
	// number is not the one of RFC 2661 §5.8, as some peers send it.
	if m.Ns != t.in.expected && l2tp.Before(before.number, t.out.acked.number) {
		t.acknowledge()
	}
	if !m.ZLB() && !l2tp.Before(m.Ns, t.in.told.number) {
		t.refill()
	}
	if !m.ZLB() && m.Ns != t.in.expected {
		t.out.hello.repeats++
	}
}

// Expects reports whether xl2tpd would take a message of the peer with that number: the
// next one, as far as that is known.
func (t *Translator) Expects(ns uint16) bool {
	return !t.in.expects.known || l2tp.Near(ns, t.in.expected, 0, int(t.missed()))
}

// heardAck takes in what the peer acknowledges and reports whether that can be true.
// Stale acknowledgements are true, and teach nothing.
func (t *Translator) heardAck(m *l2tp.Message, now time.Time) bool {
	if !t.out.next.known {
		t.out.claimed = seq{m.Nr, true}
		return true
	}
	if l2tp.Before(t.out.wireNext(), m.Nr) && !t.out.takeBack(m.Nr, &t.reply) {
		return t.out.claim(m.Nr, &t.reply)
	}
	t.out.claimed = seq{}
	switch acked := t.out.acked; {
	case !acked.known && !l2tp.Near(m.Nr, t.out.wireNext(), reach, 0):
		return false
	case acked.covers(m.Nr):
		return l2tp.Near(m.Nr, acked.number, reach, 0)
	case !acked.is(m.Nr):
		t.out.ackedUpTo(m.Nr, now, &t.reply)
	}
	t.decide(t.out.fresh(m, t.in.expected, now), now)
	return true
}

// refill gives xl2tpd again the Hellos that were acknowledged for it and that it has not
// acknowledged itself: it must not miss a number.
func (t *Translator) refill() {
	if !t.in.told.known || !t.out.acked.known {
		return
	}
	for ns := t.in.expects.number; ns != t.in.told.number; ns++ {
		t.send(ToXl2tpd, l2tp.Message{Type: l2tp.TypeHello, Ns: ns})
	}
}
