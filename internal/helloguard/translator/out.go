package translator

import (
	"bytes"
	"time"

	"xl2tpd-keepalive/internal/l2tp"
)

// Out decides about a packet from xl2tpd on its way to the peer.
func (t *Translator) Out(p *l2tp.Packet, now time.Time, live Liveness) *Verdict {
	t.reply.begin(Pass)
	m := p.Msg
	switch {
	case foreignOut(&t.connection, p):
		return t.reply.pass(Foreign)
	case !t.possibleOut(m):
		return t.reply.pass(OutOfReach)
	}
	t.learnOut(m)
	switch {
	case m.Type == l2tp.TypeHello && m.Length == l2tp.HelloLen:
		return t.outHello(p, now, live)
	case m.ZLB():
		return t.outZLB(p, now)
	case m.Type == l2tp.TypeStopCCN:
		return t.outStop(p, now)
	}
	return t.outMessage(p, now)
}

// foreignOut reports whether the packet is another tunnel's. A peer that has restarted may
// have given another tunnel's id again, and xl2tpd only now gives that one up.
func foreignOut(own *l2tp.Connection, p *l2tp.Packet) bool {
	m := p.Msg
	if p.Src != own.Local || p.Dst != own.Peer || m.Tunnel == 0 || own.PeerID != 0 && m.Tunnel != own.PeerID {
		return true
	}
	if m.Type == l2tp.TypeStopCCN && own.LocalID != 0 {
		id, ok := l2tp.AssignedTunnel(p.Payload())
		return ok && id != own.LocalID
	}
	return false
}

// possibleOut reports whether the numbers of a message of xl2tpd are near those expected.
func (t *Translator) possibleOut(m l2tp.Message) bool {
	newest := reach
	if t.out.exact {
		newest = ahead
	}
	return (!t.out.next.known || l2tp.Near(m.Ns, t.out.next.number, reach, reach)) &&
		(!t.in.expects.known || l2tp.Near(m.Nr, t.in.expected, reach, newest))
}

// learnOut takes in the header of a message of xl2tpd.
func (t *Translator) learnOut(m l2tp.Message) {
	t.connection.PeerID = m.Tunnel
	if !t.out.next.known {
		t.out.next = seq{m.Ns, true}
		t.out.exact = m.Type == l2tp.TypeSCCCN // the tunnel begins with that: nothing else is on the wire
	}
	t.in.heardNr(m.Nr)
	t.refill()
	t.out.note(m.Ns)
}

// seen notes a message that is not older than all seen. Behind a gap, or as the first of
// all, it may be a retransmission: later ones may be on the wire too.
func (t *Translator) seen(ns uint16, now time.Time) {
	t.out.skip(ns, &t.reply)
	t.out.advance(ns, now)
	t.out.sent = now
	t.confirm(now)
}

// confirm believes what the peer acknowledged beyond all that was seen, now that xl2tpd
// itself shows that it has sent so much.
func (t *Translator) confirm(now time.Time) {
	if t.out.claimed.known && !l2tp.Before(t.out.wireNext(), t.out.claimed.number) {
		t.out.acked, t.out.claimed = t.out.claimed, seq{}
		t.reply.Save = true
		t.decide(false, now)
	}
}

// outHello decides about a Hello of xl2tpd. What was swallowed stays swallowed, and what
// is on the wire stays there, whatever is known of life later.
func (t *Translator) outHello(p *l2tp.Packet, now time.Time, live Liveness) *Verdict {
	t.out.givesUp, t.out.hurries = live.GivesUp, live.Hurries
	if h := &t.out.hello; t.out.isNew(p.Msg.Ns) && live.GivesUp && t.out.answeredUnseen(now) {
		t.out.acked.number = h.wire + 1
		t.decide(false, now)
	}
	switch ns := p.Msg.Ns; {
	case t.out.has(ns):
		return t.outSwallowed(p, now, live)
	case t.out.hello.inFlight() && ns == t.out.hello.local:
		return t.outCopy(p, now, live)
	case t.out.isNew(ns) && (t.out.mustHold(now, live) || !t.closing && t.out.mayHold(ns, now, live)):
		t.out.advance(ns, now)
		t.out.add(ns)
		t.confirm(now)
		t.reply.Save = true
		return t.answerSwallowed(ns, now, live)
	}
	return t.passHello(p, now)
}

// mustHold reports whether a new Hello is kept from the peer in any case: the peer has left
// one uncounted, or one is in flight. One Hello asks as well as two.
func (o *toPeer) mustHold(now time.Time, live Liveness) bool {
	h := &o.hello
	if !o.peer.heard || live.LetGo {
		return false
	}
	// What looks new may be a copy, if first copies went past before the Hello in flight was acknowledged for the peer.
	old := h.ackedForPeer() && now.Sub(h.latest) >= roundTrip && (h.closed.IsZero() || now.Sub(h.closed) >= roundTrip)
	return o.peer.deaf || h.inFlight() && (o.certain(now) || old)
}

// mayHold reports whether a new Hello may be kept from a peer that counts like xl2tpd.
func (o *toPeer) mayHold(ns uint16, now time.Time, live Liveness) bool {
	return live.Peer && !live.PassFirst && o.certain(now) && o.peer.heard && o.acked.is(o.wire(ns))
}

// answeredUnseen reports, when xl2tpd sends its next Hello, whether the peer's acknowledgement of the
// one in flight has gone past: an xl2tpd that gives up would have sent a copy since, or closed the tunnel.
func (o *toPeer) answeredUnseen(now time.Time) bool {
	h := &o.hello
	return h.state == unanswered && o.acked.is(h.wire) && now.Sub(h.latest) >= quiet && now.Sub(o.watched) >= quiet
}

// passHello lets a Hello through that the translator has not let through before.
func (t *Translator) passHello(p *l2tp.Packet, now time.Time) *Verdict {
	ns := p.Msg.Ns
	w := t.out.wire(ns)
	if t.out.isNew(ns) {
		t.seen(ns, now)
	}
	if t.out.acked.covers(w) {
		t.acknowledge() // xl2tpd has missed the peer's acknowledgement
		t.out.mustAnswer(now, &t.reply)
		return t.forwardOut(p, w)
	}
	t.reply.Reason = HelloPassed
	if t.out.hello.inFlight() && t.out.peer.heard { // one that may have been on the wire before all was seen
		t.out.hello.overtaken = true
		t.out.mustAnswer(now, &t.reply)
	} else {
		t.out.launch(ns, now, &t.reply)
	}
	return t.forwardOut(p, w)
}

// outCopy decides about another copy of the Hello in flight.
func (t *Translator) outCopy(p *l2tp.Packet, now time.Time, live Liveness) *Verdict {
	h := &t.out.hello
	passed, held := HelloPassed, MessageWaits
	if h.ackedForPeer() {
		t.acknowledge()
		passed, held = HelloAckedForPeer, HelloAckedForPeer
	}
	if h.asked && h.ackedForPeer() || !h.waits.IsZero() && t.out.mustWait(now) {
		// A copy now would spoil the answers to the questions. For as long as xl2tpd is not answered, it goes out all the
		// same: the peer may have got none yet.
		h.latest = now
		t.ask(now, live)
		return t.reply.drop(held)
	}
	h.anotherCopy(now, t.out.elicited)
	t.reply.Save, t.reply.Reason = true, passed
	// With a newer Nr the peer could send its next message before it counts the Hello, and so
	// would not acknowledge the Hello with it. Some peers say nothing else.
	return t.reply.forward(p, h.wire, p.Msg.Nr)
}

// outSwallowed decides about another copy of a Hello that was swallowed.
func (t *Translator) outSwallowed(p *l2tp.Packet, now time.Time, live Liveness) *Verdict {
	ns := p.Msg.Ns
	// The acknowledgement for xl2tpd has not arrived. If the peer has missed no other
	// Hello, it gets this one now, and may well answer it.
	only := t.out.offset() == 1 && ns+1 == t.out.next.number && t.out.lastStart(ns)
	if only && !t.out.returned.known && !t.out.hello.inFlight() && !t.out.waits {
		t.out.remove(ns)
		t.out.launch(ns, now, &t.reply)
		t.out.ackForPeer(now, &t.reply)
		return t.outCopy(p, now, live)
	}
	return t.answerSwallowed(ns, now, live)
}

// answerSwallowed answers a swallowed Hello if the tunnel lives. If not, it asks the peer for a
// sign of life.
func (t *Translator) answerSwallowed(ns uint16, now time.Time, live Liveness) *Verdict {
	if live.LetGo {
		t.out.waits = false
		return t.reply.drop(HelloWaits)
	}
	if t.out.hello.inFlight() || !live.Peer {
		t.ask(now, live)
	}
	if live.Peer && !t.closing && t.out.ackedForXl2tpd(ns) {
		t.out.waits = false
		t.acknowledge()
		return t.reply.drop(HelloAcked)
	}
	t.out.waits = !t.closing
	return t.reply.drop(HelloWaits)
}

// outZLB decides about an acknowledgement of xl2tpd's. Its number is that of xl2tpd's next
// message (control.c, add_control_hdr).
func (t *Translator) outZLB(p *l2tp.Packet, now time.Time) *Verdict {
	ns := p.Msg.Ns
	t.in.restored = false
	if !t.out.isNew(ns) {
		return t.forwardOut(p, t.out.wire(ns))
	}
	// Gapless, the messages before it that were not seen are not on the wire.
	if !t.out.gapless {
		t.out.skip(ns, &t.reply)
		t.out.next.number = ns
	}
	t.out.exact = true
	t.confirm(now)
	w, both, wait := t.out.zlbNumber(t.in.lastNew, now)
	if t.closing && t.out.hello.inFlight() {
		// xl2tpd acknowledges the peer's StopCCN once, and has no tunnel any more (network.c, network_thread).
		both, wait = true, false
	}
	if t.out.hello.zlbWaits = wait; wait {
		t.reply.Save = true
		return t.reply.drop(ZLBWaits)
	}
	if both {
		t.send(ToPeer, l2tp.Message{Ns: t.out.hello.wire})
	}
	return t.forwardOut(p, w)
}

// zlbNumber is the number of a ZLB to the peer: the one that the peer expects. Some peers
// ignore a ZLB with another number (xl2tpd: check_control). While a Hello is in flight, the
// peer expects the next number or the Hello's. A new message of the peer shows which, if it
// comes a round trip and lateness after the Hello.
//
// The ZLB for an earlier message waits as long behind the first copy, until that is decided or
// ackForXl2tpd sends one. Then it goes out under both numbers: some peers say nothing before their message is
// acknowledged. A ZLB goes out under both in four more cases: the peer has repeated its messages
// twice (some give up after that), its round trip is not known, the translator was restored, or xl2tpd hurries.
func (o *toPeer) zlbNumber(lastNew, now time.Time) (ns uint16, both, wait bool) {
	h, p := &o.hello, o.peer
	next := o.wireNext()
	switch {
	case !h.inFlight() || !o.acked.is(h.wire):
		return next, false, false
	case p.rtt >= slowAnswer: // it has counted the Hello when the ZLB arrives, if it counts any
		return next, h.ackedForPeer() && !p.counts || h.repeats > 1, false
	case p.rtt == 0:
		return next, now.Sub(h.first) >= lateness, false
	case h.restored || h.repeats > 1 || o.hurries:
		return next, true, false
	case p.counts:
		return next, false, false
	case lastNew.Sub(h.last) >= lateness+p.rtt:
		return h.wire, false, false
	case !now.Before(o.waitEnds()):
		return next, true, false
	}
	return next, false, true
}

// waitEnds is until when a ZLB waits at most, see zlbNumber.
func (o *toPeer) waitEnds() time.Time { return o.hello.first.Add(lateness + o.peer.rtt) }

// outMessage decides about a message of xl2tpd that has to arrive, in order and once.
func (t *Translator) outMessage(p *l2tp.Packet, now time.Time) *Verdict {
	ns := p.Msg.Ns
	if t.out.gapless && l2tp.Before(t.out.next.number, ns) && now.Sub(t.out.watched) < quiet {
		// The messages between were lost while nobody was on the queue. xl2tpd sends them
		// again, and one may be a Hello: its number would have to be known by now.
		return t.reply.drop(MessageEarly)
	}
	mayBeCopy := t.out.isNew(ns) && !t.out.certain(now) // earlier ones may have gone past
	w := t.take(ns, now)
	if t.out.hello.isBefore(w) {
		if !mayBeCopy && t.out.mustWait(now) {
			return t.reply.drop(MessageWaits)
		}
		t.out.hello.overtaken, t.reply.Save = true, true
		if t.out.hello.ackedForPeer() { // xl2tpd sends the Hello no more
			t.send(ToPeer, l2tp.Message{Type: l2tp.TypeHello, Ns: t.out.hello.wire})
		}
	}
	return t.deliver(p, w, now)
}

// outStop decides about xl2tpd's StopCCN. Behind a Hello in flight it goes out under the Hello's number
// as well. A peer that has counted the Hello sees a duplicate. Another one sees the end of the
// tunnel under the number that it expects.
func (t *Translator) outStop(p *l2tp.Packet, now time.Time) *Verdict {
	ns := p.Msg.Ns
	if t.out.gapless {
		// The messages between were lost while nobody was on the queue. call.c call_close()
		// has forgotten them: they never come.
		for lost := t.out.next.number; l2tp.Before(lost, ns); lost++ {
			t.out.add(lost)
		}
	}
	w := t.take(ns, now)
	t.beginClosing()
	if t.out.hello.isBefore(w) {
		t.out.hello.overtaken, t.reply.Save = true, true
		if first, err := l2tp.ParsePacket(bytes.Clone(p.Raw())); err == nil && !t.reply.full() {
			first.SetSeq(t.out.hello.wire, t.in.nrToPeer())
			t.reply.Inject = append(t.reply.Inject, Injection{To: ToPeer, Packet: first.Raw()})
		}
	}
	return t.deliver(p, w, now)
}

// take notes a message of xl2tpd that has to arrive, and returns its wire number.
func (t *Translator) take(ns uint16, now time.Time) uint16 {
	w := t.out.wire(ns)
	if t.out.isNew(ns) {
		t.seen(ns, now)
		t.reply.Save = true
	}
	if t.out.ackedForXl2tpd(ns) {
		t.acknowledge() // xl2tpd has missed the peer's acknowledgement
	}
	return w
}

// deliver lets a message through that the peer has to answer.
func (t *Translator) deliver(p *l2tp.Packet, w uint16, now time.Time) *Verdict {
	if t.out.hello.inFlight() || !l2tp.Before(w, t.out.acked.number) {
		t.out.returned = seq{}
	}
	t.out.mustAnswer(now, &t.reply)
	return t.forwardOut(p, w)
}

// mustWait reports whether a message that has to go out after the Hello in flight waits for
// the peer's word: a deaf peer expects it under the Hello's number. xl2tpd sends it again.
func (o *toPeer) mustWait(now time.Time) bool {
	h := &o.hello
	if h.waits.IsZero() {
		h.waits = now
		h.plan()
	}
	return o.peer.fast() && !o.peer.counts && !o.hurries && !h.overtaken && now.Sub(h.waits) < waitMost
}

// forwardOut lets xl2tpd's p through with the newest Nr. A peer that is deaf to Hellos does
// not see the one of a Hello.
func (t *Translator) forwardOut(p *l2tp.Packet, ns uint16) *Verdict {
	nr := t.in.nrToPeer()
	if t.in.unacked.known && l2tp.Before(t.in.unacked.number, nr) && p.Msg.Type != l2tp.TypeHello {
		t.in.unacked = seq{}
	}
	return t.reply.forward(p, ns, nr)
}
