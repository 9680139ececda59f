package translator

import (
	"time"

	"xl2tpd-keepalive/internal/l2tp"
)

// localAck is the Nr for xl2tpd: everything before it was acknowledged by the
// peer, or is a Hello acknowledged in its name. It never goes past a message
// that still has to arrive, unless the peer is buried: what it sent before may
// still come.
func (t *Translator) localAck() uint16 {
	if t.buried {
		return t.high
	}
	n := t.ledger.local(t.acked)
	if t.limbo.adopted && t.inLimbo(t.acked) {
		end := t.ledger.local(t.limbo.first + t.limbo.count)
		if l2tp.Before(t.limbo.cover, end) {
			end = t.limbo.cover
		}
		return l2tp.Later(n, end)
	}
	return n
}

// acknowledge sends xl2tpd a ZLB from the peer. xl2tpd takes it only with the
// Ns that it expects; if a message just passed has not reached it, it sends the
// Hello again, and gets another. What it expects may be known from a retransmission
// only, which repeats an old Nr: then the next numbers get a ZLB too.
func (t *Translator) acknowledge() {
	if t.expKnown && t.ackKnown {
		t.tellLocal(t.localAck())
	}
}

func (t *Translator) tellLocal(nr uint16) {
	last := t.expected
	if !t.synced {
		last += maxMissed
	}
	for ns := t.expected; !l2tp.Before(last, ns); ns++ {
		t.send(ToLocal, l2tp.Message{Ns: ns, Nr: nr})
	}
}

// ackedHere reports whether xl2tpd may be told that its message ns arrived.
func (t *Translator) ackedHere(ns uint16) bool { return t.ackKnown && l2tp.Before(ns, t.localAck()) }

// nrToPeer never goes behind what the peer was told, by xl2tpd or in its name:
// RFC 2661 §5.8 wants a retransmission to carry the current Nr, xl2tpd repeats
// the old one.
func (t *Translator) nrToPeer() uint16 {
	if t.vouched {
		return l2tp.Later(t.confirmed, t.told)
	}
	return t.confirmed
}

// sureOfAck reports whether it is known what the peer has acknowledged. A while
// after the start, with nothing heard from it, that is all that was not seen
// since, up to the Hello with local number ns.
func (t *Translator) sureOfAck(ns uint16, now time.Time) bool {
	if t.ackSure {
		return true
	}
	if now.Before(t.sureAt()) {
		return false
	}
	all := t.ledger.wire(ns)
	if t.limbo.count > 0 {
		all = t.limbo.first
	}
	if t.realSeen && l2tp.Before(t.realWire, all) {
		all = t.realWire // its acknowledgement would have been seen
	}
	if !t.ackKnown || l2tp.Before(t.acked, all) {
		t.acked = all
	}
	t.ackKnown, t.ackSure, t.out.Save = true, true, true
	return true
}

// sureAt is when what was out before the watch began has been seen again, or is
// acknowledged: xl2tpd has given up on nothing without a StopCCN.
func (t *Translator) sureAt() time.Time { return t.since.Add(t.timing.Quiet) }
