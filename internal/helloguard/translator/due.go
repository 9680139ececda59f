package translator

import (
	"time"

	"xl2tpd-keepalive/internal/l2tp"
)

// Ask sends the peer a message again that it has taken: RFC 2661 §5.8 has it
// acknowledge that, and the acknowledgement is a sign of life. It does nothing
// before the peer has been heard, nor if it would have to say again what was said in
// the name of an xl2tpd that is dead now.
func (t *Translator) Ask(life Life) *Verdict {
	t.begin()
	t.out.Action = Drop
	nr := t.nrToPeer()
	if t.ackKnown && t.expKnown && !t.closing && !t.spoke.IsZero() && (life.Daemon || nr == t.confirmed) {
		t.send(ToPeer, l2tp.Message{Type: l2tp.TypeHello, Ns: t.acked - 1, Nr: nr})
	}
	return &t.out
}

// Wake returns when Due wants to be called, which may be at once, and false if
// it does not. It can change with every packet, and has to be asked after
// Restore too.
func (t *Translator) Wake() (time.Time, bool) {
	if at := t.unsureUntil(); t.unsure && (!t.waiting || at.Before(t.waitUntil)) {
		return at, true
	}
	return t.waitUntil, t.waiting
}

// unsureUntil is when the limbo can be adopted: all before it is certain, and the
// peer has had its turn.
func (t *Translator) unsureUntil() time.Time {
	at := t.since
	if !t.ackSure && !t.limboNext() {
		at = t.sureAt()
	}
	if t.offered.After(at) {
		at = t.offered
	}
	return at
}

// Due does what waited for the time now: see vouch, and outHello for a Hello
// that could not be acknowledged before it was certain what else is not.
func (t *Translator) Due(now time.Time, life Life) *Verdict {
	t.begin()
	t.out.Action = Drop
	if t.unsure && !now.Before(t.unsureUntil()) {
		t.unsure = false
		l := t.limbo
		if end := t.ledger.local(l.first + l.count); l.count > 0 && life.Tunnel && !t.closing &&
			(t.limboNext() || t.sureOfAck(end, now)) {
			t.adopt(end)
			t.acknowledge()
			t.fill(now) // xl2tpd no longer sends it again
			t.out.Why = WhyAdopted
		}
	}
	if t.waiting && !now.Before(t.waitUntil) {
		t.vouch(now, life)
	}
	return &t.out
}

// vouch acknowledges the peer's Hello if xl2tpd has not done so in time. It
// does so only for a living tunnel of a living xl2tpd, only for Hellos and what
// xl2tpd has acknowledged itself, and only a few in a row.
func (t *Translator) vouch(now time.Time, life Life) {
	t.waitUntil = now.Add(t.timing.Answer)
	nr := l2tp.Later(t.nrToPeer(), t.helloTo)
	if !life.Daemon || !life.Tunnel || t.closing || !t.highKnown || t.crossed() || !l2tp.Before(t.waitNs, nr) ||
		!l2tp.Near(nr, t.confirmed, 0, maxVouched) {
		return
	}
	t.waiting = false
	if l2tp.Before(t.confirmed, nr) {
		t.vouched, t.told = true, nr
		t.out.Save = true
	}
	ns := t.wireNext()
	if t.limboNext() {
		ns = t.acked
	}
	t.send(ToPeer, l2tp.Message{Ns: ns, Nr: nr})
	t.out.Why = WhyVouched
}
