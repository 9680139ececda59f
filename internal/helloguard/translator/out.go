package translator

import (
	"bytes"
	"time"

	"xl2tpd-keepalive/internal/l2tp"
)

// Out judges a packet from xl2tpd on its way to the peer.
func (t *Translator) Out(p *l2tp.Packet, now time.Time, life Life) *Verdict {
	t.begin(Pass)
	m := p.Msg
	if t.foreignOut(p) {
		return t.pass(Foreign)
	}
	newest := ahead
	if !t.exact {
		newest = reach
	}
	if t.next.known && !l2tp.Near(m.Ns, t.next.n, reach, reach) ||
		t.expects.known && !l2tp.Near(m.Nr, t.expected, reach, newest) {
		return t.pass(OutOfReach)
	}
	t.tun.PeerID = m.Tunnel
	if !t.next.known {
		t.next = seq{m.Ns, true}
	}
	t.heardNr(m.Nr)
	t.seqs.forget(t.next.n - history)
	if w := t.seqs.wire(m.Ns); !t.oldest.known || l2tp.Before(w, t.oldest.n) {
		t.oldest = seq{w, true}
	}
	switch {
	case m.Type == l2tp.TypeHello && m.Length == l2tp.HelloLen:
		return t.outHello(p, now, life)
	case m.ZLB():
		return t.outZLB(p, now)
	}
	return t.outMessage(p, now)
}

// foreignOut reports whether the packet is another tunnel's. A peer that has restarted may
// have given another tunnel's id again, and xl2tpd only now gives that one up.
func (t *Translator) foreignOut(p *l2tp.Packet) bool {
	m := p.Msg
	if p.Src != t.tun.Local || p.Dst != t.tun.Peer || m.Tunnel == 0 || t.tun.PeerID != 0 && m.Tunnel != t.tun.PeerID {
		return true
	}
	if m.Type == l2tp.TypeStopCCN && t.tun.LocalID != 0 {
		own, ok := l2tp.AssignedTunnel(p.Payload())
		return ok && own != t.tun.LocalID
	}
	return false
}

// seen notes a message that is not older than all seen. Behind a gap, or as the first of
// all, it may be a retransmission: later ones may be on the wire too.
func (t *Translator) seen(ns uint16, now time.Time) {
	t.skip(ns)
	t.advance(ns, now)
	t.sent = now
	t.confirm(now)
}

// advance notes that xl2tpd's next message is the one behind ns.
func (t *Translator) advance(ns uint16, now time.Time) {
	t.exact = ns == t.next.n && t.exact || !t.exact && t.certain(now)
	t.next.n = ns + 1
}

// skip notes that messages before ns may have gone past: they are behind a pending Hello.
func (t *Translator) skip(ns uint16) {
	if t.hello.set && !t.gapless && ns != t.next.n {
		t.hello.overtaken, t.out.Save = true, true
	}
}

// certain reports whether all that xl2tpd has on the wire was seen: nothing could go past,
// or it was watched for so long that xl2tpd has sent again what did.
func (t *Translator) certain(now time.Time) bool {
	closed := t.hello.closed
	return t.exact || t.gapless || now.Sub(t.since) >= quiet || !closed.IsZero() && now.Sub(closed) >= quiet
}

// confirm believes what the peer acknowledged beyond all that was seen, now that xl2tpd
// itself shows that it has sent so much.
func (t *Translator) confirm(now time.Time) {
	if t.claimed.known && !l2tp.Before(t.wireNext(), t.claimed.n) {
		t.acked, t.claimed = t.claimed, seq{}
		t.out.Save = true
		t.decide(false, now)
	}
}

// outHello decides about a Hello of xl2tpd. What was swallowed stays swallowed, and what
// is on the wire stays there, whatever life says later.
func (t *Translator) outHello(p *l2tp.Packet, now time.Time, life Life) *Verdict {
	ns := p.Msg.Ns
	w := t.seqs.wire(ns)
	isNew := !l2tp.Before(ns, t.next.n)
	switch {
	case t.seqs.has(ns):
		return t.outSwallowed(p, now, life)
	case t.hello.set && ns == t.hello.local:
		return t.outCopy(p, now, life)
	case isNew && t.heard && !life.LetGo && (t.deaf || t.hello.set && (t.certain(now) || t.hello.adopted && now.Sub(t.hello.latest) >= roundTrip)):
		// The peer gets no Hello any more once it has left one uncounted, and none behind
		// a pending one: one Hello asks as well as two.
		return t.swallow(p, now, life)
	case isNew && t.mayHold(w, now, life):
		return t.swallow(p, now, life)
	}
	if isNew {
		t.seen(ns, now)
	}
	if t.acked.known && l2tp.Before(w, t.acked.n) {
		t.acknowledge() // xl2tpd has missed the peer's acknowledgement
		t.mustAnswer(now)
		return t.forwardOut(p, w)
	}
	t.out.Reason = HelloPassed
	if t.hello.set && t.heard { // one that may have been on the wire before all was seen
		t.hello.overtaken = true
		t.mustAnswer(now)
	} else {
		t.pend(ns, now)
	}
	return t.forwardOut(p, w)
}

// mayHold reports whether a Hello that was never on the wire may be kept from a peer
// that counts like xl2tpd.
func (t *Translator) mayHold(w uint16, now time.Time, life Life) bool {
	return life.Tunnel && !life.PassFirst && !t.closing && t.certain(now) && t.heard && t.acked.known && t.acked.n == w
}

// outCopy judges another copy of the pending Hello.
func (t *Translator) outCopy(p *l2tp.Packet, now time.Time, life Life) *Verdict {
	t.out.Reason = HelloPassed
	if t.hello.adopted {
		t.acknowledge()
		t.out.Reason = HelloAdopted
	}
	if t.hello.asked || !t.hello.waits.IsZero() && t.wait(now) {
		// A copy now would spoil the answers to the questions.
		t.hello.latest = now
		t.ask(now, life)
		t.out.Action = Drop
		return &t.out
	}
	t.copied(now)
	return t.forwardOut(p, t.hello.wire)
}

// swallow keeps a new Hello from the peer.
func (t *Translator) swallow(p *l2tp.Packet, now time.Time, life Life) *Verdict {
	ns := p.Msg.Ns
	t.advance(ns, now)
	t.seqs.add(ns)
	t.confirm(now)
	t.out.Save = true
	return t.answerSwallowed(ns, now, life)
}

// outSwallowed judges another copy of a Hello that was swallowed.
func (t *Translator) outSwallowed(p *l2tp.Packet, now time.Time, life Life) *Verdict {
	ns := p.Msg.Ns
	// The acknowledgement for xl2tpd has not arrived. A peer that has been kept from no
	// other Hello gets this one after all: it may well answer.
	if t.Offset() == 1 && ns+1 == t.next.n && t.seqs.lastStart(ns) && !t.returned.known && !t.hello.set && !t.owed {
		t.seqs.remove(ns)
		t.pend(ns, now)
		t.adopt(now)
		return t.outCopy(p, now, life)
	}
	return t.answerSwallowed(ns, now, life)
}

// answerSwallowed answers a swallowed Hello if the tunnel lives, and else asks whether
// it does.
func (t *Translator) answerSwallowed(ns uint16, now time.Time, life Life) *Verdict {
	if life.LetGo {
		t.owed = false
		return t.drop(HelloWaits)
	}
	if t.hello.set || !life.Tunnel {
		t.ask(now, life)
	}
	if life.Tunnel && !t.closing && t.ackedForLocal(ns) {
		t.owed = false
		t.acknowledge()
		return t.drop(HelloAcked)
	}
	t.owed = !t.closing
	return t.drop(HelloWaits)
}

// outZLB judges an acknowledgement of xl2tpd's. Its number is that of xl2tpd's next
// message (control.c, add_control_hdr).
func (t *Translator) outZLB(p *l2tp.Packet, now time.Time) *Verdict {
	ns := p.Msg.Ns
	if l2tp.Before(ns, t.next.n) {
		return t.forwardOut(p, t.seqs.wire(ns))
	}
	// Gapless, the messages before it that were not seen are not on the wire.
	if !t.gapless {
		t.skip(ns)
		t.next.n = ns
	}
	t.exact = true
	t.confirm(now)
	w, both, wait := t.zlbNumber(now)
	if wait {
		t.hello.zlbWaits, t.out.Save = true, true
		return t.drop(ZLBWaits)
	}
	t.hello.zlbWaits = false
	if both {
		t.send(ToPeer, l2tp.Message{Ns: t.hello.wire, Nr: t.nrToPeer()})
	}
	return t.forwardOut(p, w)
}

// zlbNumber is the number of a ZLB to the peer: the one that the peer expects. Some peers
// ignore a ZLB with another number (xl2tpd: check_control). While a Hello is pending, the
// peer expects the next number or the Hello's. What it says in a new message a round trip and
// 2 s after the Hello tells which. The ZLB for an earlier message waits as long, until that is
// decided or ackForXl2tpd sends one. Then it goes out under both numbers: some peers say nothing
// before their message is acknowledged. So does one to a peer that sends its messages again and
// again, or whose round trip is not known, and one behind a restart.
func (t *Translator) zlbNumber(now time.Time) (ns uint16, both, wait bool) {
	h := &t.hello
	next := t.wireNext()
	switch {
	case !h.set || !t.acked.known || t.acked.n != h.wire:
		return next, false, false
	case t.rtt >= slowAnswer: // it has counted the Hello when the ZLB arrives, if it counts any
		return next, h.adopted && !t.counts, false
	case t.rtt == 0:
		return next, now.Sub(h.first) >= settle, false
	case h.restored || h.repeats > 2 || h.repeats > 1 && t.counts:
		return next, true, false
	case t.counts:
		return next, false, false
	case t.lastNew.Sub(h.last) >= settle+t.rtt:
		return h.wire, false, false
	case now.Sub(h.last) >= settle+t.rtt:
		return next, true, false
	}
	return next, false, true
}

// outMessage judges a message of xl2tpd that is no Hello: it has to arrive, in order
// and once.
func (t *Translator) outMessage(p *l2tp.Packet, now time.Time) *Verdict {
	ns, stop := p.Msg.Ns, p.Msg.Type == l2tp.TypeStopCCN
	if t.gapless && l2tp.Before(t.next.n, ns) {
		// The messages between were lost while nobody was on the queue.
		if !stop && now.Sub(t.since) < quiet {
			// They come again and one may be a Hello: its number would have to be
			// known by now.
			return t.drop(MessageEarly)
		}
		if stop {
			// call.c call_close() has forgotten them: they never come.
			for lost := t.next.n; lost != ns; lost++ {
				t.seqs.add(lost)
			}
		}
	}
	w := t.seqs.wire(ns)
	if !l2tp.Before(ns, t.next.n) {
		t.seen(ns, now)
		t.out.Save = true
	}
	if t.ackedForLocal(ns) {
		t.acknowledge() // xl2tpd has missed the peer's acknowledgement
	}
	if stop && !t.closing {
		t.closing, t.out.Save = true, true
	}
	h := &t.hello
	if h.set && !l2tp.Before(w, h.wire+1) {
		if !stop && t.wait(now) {
			return t.drop(MessageWaits)
		}
		t.overtake(p, stop)
	}
	if h.set || !l2tp.Before(w, t.acked.n) {
		t.returned = seq{}
	}
	t.mustAnswer(now)
	return t.forwardOut(p, w)
}

// wait reports whether a message that has to go out behind the pending Hello waits for
// the peer's word: a deaf peer expects it under the Hello's number. xl2tpd sends it again.
func (t *Translator) wait(now time.Time) bool {
	h := &t.hello
	if h.waits.IsZero() {
		h.waits = now
		h.plan()
	}
	return t.fast() && !t.counts && !h.overtaken && now.Sub(h.waits) < waitMost
}

// overtake sends the pending Hello again ahead of a message behind it, if xl2tpd no
// longer does so. A StopCCN goes out under the Hello's number as well: a peer that has
// counted the Hello sees a duplicate, and another one the end of the tunnel where it
// expects the next message.
func (t *Translator) overtake(p *l2tp.Packet, stop bool) {
	h := &t.hello
	h.overtaken, t.out.Save = true, true
	if !stop {
		if h.adopted {
			t.send(ToPeer, l2tp.Message{Type: l2tp.TypeHello, Ns: h.wire, Nr: t.nrToPeer()})
		}
		return
	}
	if first, err := l2tp.ParsePacket(bytes.Clone(p.Raw())); err == nil && len(t.out.Inject) < maxInject {
		first.SetSeq(h.wire, t.nrToPeer())
		t.out.Inject = append(t.out.Inject, Injection{To: ToPeer, Packet: first.Raw()})
	}
}

// forwardOut lets xl2tpd's p through with the newest Nr. A peer that is deaf to Hellos does
// not see the one of a Hello.
func (t *Translator) forwardOut(p *l2tp.Packet, ns uint16) *Verdict {
	nr := t.nrToPeer()
	if t.waiting && l2tp.Before(t.waitNs, nr) && p.Msg.Type != l2tp.TypeHello {
		t.waiting = false
	}
	return t.forward(p, ns, nr)
}
