package translator

import (
	"bytes"
	"time"

	"xl2tpd-keepalive/internal/l2tp"
)

// limbo is a row of Hellos on the wire, next to each other in wire numbers,
// that the peer has not acknowledged.
type limbo struct {
	first, count uint16 // wire numbers
	// adopted: xl2tpd was told, in the peer's name, that they arrived; up to
	// local number cover, exclusive. So copies are ours to send from now on.
	adopted bool
	cover   uint16
	last    time.Time // when the latest copy went out
}

// inLimbo reports whether wire number w is that of an unacknowledged Hello.
func (t *Translator) inLimbo(w uint16) bool { return w-t.limbo.first < t.limbo.count }

// limboNext reports whether the peer expects one of the limbo: all else has then
// arrived.
func (t *Translator) limboNext() bool { return t.ackKnown && t.inLimbo(t.acked) }

// behindLimbo reports whether wire number w is the first behind the limbo.
func (t *Translator) behindLimbo(w uint16) bool {
	return t.limbo.count > 0 && w == t.limbo.first+t.limbo.count
}

// enterLimbo notes that the Hello with wire number w is on the wire: after a
// restart too its number must count as used.
func (t *Translator) enterLimbo(w uint16) {
	t.out.Save = true
	l := &t.limbo
	switch {
	case l.count == 0:
		*l = limbo{first: w, count: 1, last: l.last}
	case w == l.first+l.count && l.count < maxLimbo:
		l.count++
	}
}

// tryAdopt adopts the limbo if the tunnel lives, now or as soon as it is certain
// that nothing before it is unacknowledged.
func (t *Translator) tryAdopt(end uint16, now time.Time, fresh bool) bool {
	t.unsure = fresh && !t.limboNext() && !t.sureOfAck(end-1, now)
	if !fresh || t.unsure {
		return false
	}
	t.adopt(end)
	return true
}

// adopt notes that xl2tpd is told that all before local number end arrived.
func (t *Translator) adopt(end uint16) {
	l := &t.limbo
	if !l.adopted || l2tp.Before(l.cover, end) {
		l.adopted, l.cover = true, end
		t.out.Save = true
	}
}

// settle takes those Hellos out of the limbo of which t.acked, just heard, says
// whether the peer took them.
func (t *Translator) settle(now time.Time) {
	l := &t.limbo
	if l.count == 0 {
		return
	}
	if l2tp.Before(l.first, t.acked) {
		t.hears = true
		gone := min(t.acked-l.first, l.count)
		l.first += gone
		l.count -= gone
		t.out.Save = true
	}
	if l.count == 0 {
		*l = limbo{last: l.last}
		return
	}
	// The peer speaks, and does not expect what follows the Hello though every
	// copy has long arrived or is lost: it did not take it. The number is free
	// again if nothing was sent behind it: a peer may keep what comes early.
	if !l.adopted || t.acked != l.first || !t.synced ||
		t.wireNext() != l.first+1 || now.Sub(l.last) < t.timing.Lifetime {
		return
	}
	t.ledger.add(t.ledger.local(l.first))
	*l = limbo{last: l.last}
	t.out.Save = true
	t.out.Why = WhyReclaimed
}

// fill sends the peer the Hellos of the limbo again, ahead of a message with a
// later number, if xl2tpd no longer does. A ZLB needs none: it takes no number,
// and each copy puts off the proof that the peer does not take Hellos.
func (t *Translator) fill(now time.Time) {
	l := &t.limbo
	for i := range min(l.count, maxFill) {
		t.send(ToPeer, l2tp.Message{Type: l2tp.TypeHello, Ns: l.first + i, Nr: t.nrToPeer()})
	}
	l.last = now
}

// fillStop sends a StopCCN ahead of itself under the numbers of the limbo: a peer
// that took the Hellos sees copies of what it has, and one that did not sees the
// end of the tunnel where it expects the next message.
func (t *Translator) fillStop(pkt []byte) {
	for i := range min(t.limbo.count, maxFill) {
		p, err := l2tp.ParsePacket(bytes.Clone(pkt))
		if err != nil || len(t.out.Inject) == maxInject {
			return
		}
		p.SetSeq(t.limbo.first+i, t.nrToPeer())
		t.out.Inject = append(t.out.Inject, Injection{To: ToPeer, Packet: p.Raw()})
	}
}
