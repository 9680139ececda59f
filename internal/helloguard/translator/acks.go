package translator

import (
	"time"

	"xl2tpd-keepalive/internal/l2tp"
)

// answerTime is how long xl2tpd may take to acknowledge the peer's Hello. It does so
// immediately unless it hangs.
const answerTime = 2 * time.Second

// acknowledge sends xl2tpd a ZLB from the peer. xl2tpd takes a ZLB only with the Ns that it expects.
// If a message of the peer has passed and not reached xl2tpd, the Ns is wrong. Then xl2tpd sends its
// Hello again, and gets another ZLB. What xl2tpd expects may be known only from a retransmission,
// which repeats an old Nr, or from a stored state: then the next numbers get a ZLB too.
func (t *Translator) acknowledge() {
	if !t.in.expects.known || !t.out.acked.known && !t.out.ackedAll {
		return
	}
	last := t.in.expected + t.missed()
	for ns := t.in.expected; !l2tp.Before(last, ns); ns++ {
		t.send(ToXl2tpd, l2tp.Message{Ns: ns})
	}
}

// missed is how many messages of the peer may have reached xl2tpd unseen.
func (t *Translator) missed() uint16 {
	if t.out.exact && !t.in.restored {
		return 0
	}
	return maxMissed
}

// NextTimer returns when HandleTimers wants to be called, which may be now, and
// false if it does not. It can change with every packet, and has to be asked after
// Restore too.
func (t *Translator) NextTimer() (time.Time, bool) {
	asks := t.out.hello.hasTimer() && !t.closing
	if asks && (!t.in.unacked.known || t.out.hello.askAt.Before(t.in.ackAt)) {
		return t.out.hello.askAt, true
	}
	return t.in.ackAt, t.in.unacked.known
}

// HandleTimers does what waited for the time now.
func (t *Translator) HandleTimers(now time.Time, live Liveness) *Verdict {
	t.reply.begin(Drop)
	t.out.givesUp = live.GivesUp
	if t.out.hello.hasTimer() && !t.closing && !now.Before(t.out.hello.askAt) {
		t.handleHelloTimer(now, live)
	}
	if t.in.unacked.known && !now.Before(t.in.ackAt) {
		t.ackForXl2tpd(now, live)
	}
	return &t.reply.Verdict
}

// ackForXl2tpd acknowledges the peer's Hello if xl2tpd has not done so in time. It does
// so only while the peer is alive and xl2tpd runs, and only a few times in a row. It repeats for any
// message what xl2tpd has acknowledged itself: that ZLB may have been held back. If it has, it goes
// out whatever is known of xl2tpd.
func (t *Translator) ackForXl2tpd(now time.Time, live Liveness) {
	in := &t.in
	in.ackAt = now.Add(answerTime)
	nr := in.nrToPeer()
	if live.Peer && live.Xl2tpd {
		nr = l2tp.Later(nr, in.helloTo)
	}
	if !live.Xl2tpd && !t.out.hello.zlbWaits || t.closing || !t.out.next.known || !l2tp.Before(in.unacked.number, nr) ||
		!l2tp.Near(nr, in.expects.number, 0, maxAckedForXl2tpd) {
		return
	}
	ns, both, wait := t.out.zlbNumber(in.lastNew, now)
	if wait {
		in.ackAt = t.out.waitEnds()
		return
	}
	in.unacked = seq{}
	if l2tp.Before(in.expects.number, nr) {
		in.told, t.reply.Save = seq{nr, true}, true
	}
	t.send(ToPeer, l2tp.Message{Ns: ns})
	if both {
		t.send(ToPeer, l2tp.Message{Ns: t.out.hello.wire})
	}
	t.reply.Reason = PeerHelloAcked
}
