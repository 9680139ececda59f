package translator

import (
	"time"

	"xl2tpd-keepalive/internal/l2tp"
)

// answerTime is how long xl2tpd may take to acknowledge the peer's Hello. It does so at
// once unless it hangs.
const answerTime = 2 * time.Second

// ackForLocal is the Nr for xl2tpd: the peer has acknowledged everything before it, or
// it is a Hello acknowledged for the peer. It never goes past a message that still has
// to arrive, unless the peer is dead: what that sent before may still come.
func (t *Translator) ackForLocal() uint16 {
	if t.deadPeer {
		return t.next.n
	}
	n := t.seqs.local(t.acked.n)
	if t.hello.adopted && t.acked.n == t.hello.wire {
		return l2tp.Later(n, t.seqs.local(t.hello.wire+1))
	}
	return n
}

// ackedForLocal reports whether xl2tpd may be told that its message ns has arrived.
func (t *Translator) ackedForLocal(ns uint16) bool {
	return t.acked.known && l2tp.Before(ns, t.ackForLocal())
}

// acknowledge sends xl2tpd a ZLB from the peer. xl2tpd takes it only with the Ns that it
// expects; if a message just passed has not reached it, it sends the Hello again, and
// gets another. What it expects may be known from a retransmission only, which repeats
// an old Nr: then the next numbers get a ZLB too.
func (t *Translator) acknowledge() {
	if t.expects.known && t.acked.known {
		t.tellLocal(t.ackForLocal())
	}
}

func (t *Translator) tellLocal(nr uint16) {
	last := t.expected
	if !t.exact {
		last += maxMissed
	}
	for ns := t.expected; !l2tp.Before(last, ns); ns++ {
		t.send(ToLocal, l2tp.Message{Ns: ns, Nr: nr})
	}
}

// nrToPeer never goes behind what the peer was told, by xl2tpd or for it: RFC 2661 §5.8
// wants a retransmission to carry the current Nr, xl2tpd repeats the old one.
func (t *Translator) nrToPeer() uint16 {
	if t.vouched {
		return l2tp.Later(t.expects.n, t.told)
	}
	return t.expects.n
}

// NextTimer returns when HandleTimers wants to be called, which may be at once, and
// false if it does not. It can change with every packet, and has to be asked after
// Restore too.
func (t *Translator) NextTimer() (time.Time, bool) {
	asks := t.hello.set && !t.hello.askAt.IsZero() && !t.closing
	if asks && (!t.waiting || t.hello.askAt.Before(t.waitUntil)) {
		return t.hello.askAt, true
	}
	return t.waitUntil, t.waiting
}

// HandleTimers does what waited for the time now.
func (t *Translator) HandleTimers(now time.Time, life Life) *Verdict {
	t.begin(Drop)
	if h := &t.hello; h.set && !h.askAt.IsZero() && !now.Before(h.askAt) && !t.closing {
		t.handleHelloTimer(now, life)
	}
	if t.waiting && !now.Before(t.waitUntil) {
		t.ackForXl2tpd(now, life)
	}
	return &t.out
}

// ackForXl2tpd acknowledges the peer's Hello if xl2tpd has not done so in time. It does
// so only for a living tunnel of a living xl2tpd, and only a few in a row. What xl2tpd has
// acknowledged itself is said again for any tunnel: its ZLB may have been held back.
func (t *Translator) ackForXl2tpd(now time.Time, life Life) {
	t.waitUntil = now.Add(answerTime)
	nr := t.nrToPeer()
	if life.Tunnel {
		nr = l2tp.Later(nr, t.helloTo)
	}
	if !life.Daemon || t.closing || !t.next.known || !l2tp.Before(t.waitNs, nr) ||
		!l2tp.Near(nr, t.expects.n, 0, maxVouched) {
		return
	}
	ns, both, wait := t.zlbNumber(now)
	if wait {
		return
	}
	t.waiting = false
	if l2tp.Before(t.expects.n, nr) {
		t.vouched, t.told = true, nr
		t.out.Save = true
	}
	t.send(ToPeer, l2tp.Message{Ns: ns, Nr: nr})
	if both {
		t.send(ToPeer, l2tp.Message{Ns: t.hello.wire, Nr: nr})
	}
	t.out.Reason = PeerHelloAcked
}
