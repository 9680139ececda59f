package l2tp

import "time"

// delayed is a packet on its way out of a peer that is slow to answer.
type delayed struct {
	at     time.Time
	packet []byte
}

// acknowledge answers p by the number that is due, in the peer's own way.
func (t *Tunnel) acknowledge(now time.Time, p Packet) {
	if t.b.AckDelay == 0 {
		t.sendZLB(now, p)
		return
	}
	t.ackOf = p
	if t.ackDue.IsZero() {
		t.ackDue = now.Add(time.Duration(t.b.AckDelay))
	}
}

// sendZLB acknowledges p and all before it, unless the peer has another way.
func (t *Tunnel) sendZLB(now time.Time, p Packet) {
	flying := len(t.queue) > 0 && t.queue[0].sends > 0
	switch {
	case t.b.ZLB == ZLBNever, t.b.ZLB == ZLBHeld && flying:
		return
	case t.b.ZLB == ZLBResend && flying:
		t.resend(now)
		return
	}
	ns := t.ns
	for _, m := range t.queue {
		if m.sends == 0 {
			ns = m.packet.Ns
			break
		}
	}
	if p.Type() == Hello || t.b.ZLBNsOffsetAll {
		ns += uint16(t.b.ZLBNsOffset)
	}
	nr := t.expected
	if t.b.NrFollows {
		nr = p.Ns + 1
	}
	t.nrSent = t.expected
	t.post(now, Packet{Tunnel: t.peer, Ns: ns, Nr: nr})
}

// resend repeats what is unacknowledged, with the Nr of now; it takes no try
// and leaves the schedule of repetitions alone.
func (t *Tunnel) resend(now time.Time) {
	for _, m := range t.queue {
		if m.sends > 0 {
			m.packet.Nr = t.expected
			t.post(now, m.packet)
		}
	}
	t.nrSent = t.expected
}

// post sends a packet, or puts it on the long way out.
func (t *Tunnel) post(now time.Time, p Packet) {
	if !t.delaying {
		t.output(Send{p.Marshal()})
		return
	}
	t.leaving = append(t.leaving, delayed{now.Add(time.Duration(t.b.AnswerDelay)), p.Marshal()})
}

// leave sends what has been on its way out for long enough.
func (t *Tunnel) leave(now time.Time) {
	for len(t.leaving) > 0 && !now.Before(t.leaving[0].at) {
		t.output(Send{t.leaving[0].packet})
		t.leaving = t.leaving[1:]
	}
}
