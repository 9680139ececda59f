package l2tp

import "time"

// Receive takes a control packet addressed to this tunnel, or a repeated
// SCCRQ.
func (t *Tunnel) Receive(now time.Time, p Packet) []Output {
	if t.state == gone {
		return nil
	}
	if t.b.KeepaliveQuiet {
		t.helloDue = now.Add(time.Duration(t.b.KeepaliveInterval))
	}
	switch {
	case p.ZLB():
		t.receiveZLB(now, p)
	case p.Type() == Hello && t.deaf(now):
		t.event(Event{Name: EventHelloReceived, Message: Hello.String(), Seq: t.seq(p), Answer: HelloDeaf})
	default:
		t.receiveMessage(now, p)
	}
	return t.take()
}

// deaf reports whether Hellos go unheard now.
func (t *Tunnel) deaf(now time.Time) bool {
	age := now.Sub(t.upSince)
	return t.b.Hello == HelloDeaf ||
		t.state == established && age >= time.Duration(t.b.DeafFrom) && age < time.Duration(t.b.DeafUntil)
}

func (t *Tunnel) receiveZLB(now time.Time, p Packet) {
	expected := p.Ns == t.expected
	if expected || !t.b.StrictNs {
		t.acknowledged(now, p.Nr)
	} else {
		t.event(Event{Name: EventIgnoredZLB, Message: p.Type().String(), Seq: t.seq(p)})
	}
	if t.b.Early == EarlyWedge && int16(p.Ns-t.expected) > 0 {
		t.wedged = true
	}
	if !expected && t.b.AckEarly == AckEarlyAll {
		t.acknowledge(now, p)
	}
}

func (t *Tunnel) receiveMessage(now time.Time, p Packet) {
	if t.wedged {
		t.event(Event{Name: EventWedged, Message: p.Type().String(), Seq: t.seq(p)})
		t.acknowledged(now, p.Nr)
		t.acknowledge(now, p)
		return
	}
	// §5.8: half of the number space is behind, the other half ahead.
	switch ahead := int16(p.Ns - t.expected); {
	case ahead < 0:
		t.receiveDuplicate(now, p)
		return
	case ahead > 0 && !t.takesEarly(now, p):
		return
	}
	t.accept(now, p)
	for next, ok := t.early[t.expected]; ok; next, ok = t.early[t.expected] {
		delete(t.early, t.expected)
		t.accept(now, next)
	}
	// What was sent meanwhile carries the acknowledgement already.
	if t.nrSent != t.expected {
		t.acknowledge(now, p)
	}
}

func (t *Tunnel) receiveDuplicate(now time.Time, p Packet) {
	t.event(Event{Name: EventDuplicate, Message: p.Type().String(), Seq: t.seq(p)})
	t.acknowledged(now, p.Nr)
	if t.b.AckDuplicates && !t.silentOn(p) {
		t.acknowledge(now, p)
	}
}

// takesEarly reports whether an early message is processed as if it were due.
func (t *Tunnel) takesEarly(now time.Time, p Packet) bool {
	t.event(Event{Name: EventOutOfOrder, Message: p.Type().String(), Seq: t.seq(p)})
	if t.b.Early == EarlySkip {
		return true
	}
	if !t.b.StrictNs {
		t.acknowledged(now, p.Nr)
	}
	if t.b.Early == EarlyQueue && p.Ns-t.expected < t.b.ReceiveWindow {
		t.keep(p)
	}
	t.wedged = t.b.Early == EarlyWedge
	if t.b.AckEarly != AckEarlyNone {
		t.acknowledge(now, p)
	}
	return false
}

func (t *Tunnel) keep(p Packet) {
	if t.early == nil {
		t.early = map[uint16]Packet{}
	}
	t.early[p.Ns] = p
}

// accept processes the message that is due.
func (t *Tunnel) accept(now time.Time, p Packet) {
	seq := t.seq(p)
	t.expected = p.Ns + 1
	t.acknowledged(now, p.Nr)
	t.handle(now, p, seq)
	if t.silentOn(p) {
		t.nrSent = t.expected
	}
}

// silentOn reports whether a message gets no acknowledgement of its own.
func (t *Tunnel) silentOn(p Packet) bool {
	return p.Type() == Hello && t.b.Hello == HelloCountOnly
}
