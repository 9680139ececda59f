package l2tp

import (
	"encoding/binary"
	"fmt"
	"time"
)

// outgoing is a message on its way to being acknowledged.
type outgoing struct {
	packet Packet
	sends  int
	first  time.Time // of the first send
	due    time.Time // of the next send, or of giving up
	pause  time.Duration
	urgent bool // does not wait for the window
}

func (o *outgoing) is(typ MessageType) bool { return o.packet.Type() == typ }

// send queues a message; it leaves as soon as the peer's window allows.
func (t *Tunnel) send(now time.Time, session uint16, avps ...AVP) {
	t.enqueue(now, session, false, avps)
}

// sendNow is for StopCCN, which cannot wait for a peer that is silent.
func (t *Tunnel) sendNow(now time.Time, session uint16, avps ...AVP) {
	t.enqueue(now, session, true, avps)
}

func (t *Tunnel) enqueue(now time.Time, session uint16, urgent bool, avps []AVP) {
	t.queue = append(t.queue, &outgoing{
		packet: Packet{Tunnel: t.peer, Session: session, Ns: t.ns, AVPs: avps},
		pause:  time.Duration(t.b.RetransmitFirst),
		urgent: urgent,
	})
	t.ns++
	t.pump(now)
}

// pump sends what has not been sent yet and fits in the window.
func (t *Tunnel) pump(now time.Time) {
	for i, m := range t.queue {
		if m.sends == 0 && (m.urgent || i < t.window) {
			m.first = now
			t.transmit(now, m)
		}
	}
}

func (t *Tunnel) transmit(now time.Time, m *outgoing) {
	m.sends++
	// A repeated message has its first Ns, and the Nr of now (§5.8).
	if m.sends == 1 || !t.b.RetransmitOldNr {
		m.packet.Nr = t.expected
		t.nrSent = t.expected
		t.ackDue = time.Time{}
	}
	t.post(now, m.packet)
	event := Event{Name: EventRetransmit, Message: m.packet.Type().String(), Try: m.sends}
	if m.is(Hello) {
		event.Name = EventHelloSent
	}
	if m.is(Hello) && t.b.KeepaliveTries > 0 {
		m.due = now.Add(time.Duration(t.b.KeepaliveInterval))
	} else {
		m.due = now.Add(m.pause)
		m.pause = min(2*m.pause, time.Duration(t.b.RetransmitCap))
	}
	if m.is(Hello) || m.sends > 1 {
		t.event(event)
	}
}

// acknowledged takes an Nr: everything sent before it has arrived. One that
// is old, or ahead of what was sent, says nothing.
func (t *Tunnel) acknowledged(now time.Time, nr uint16) {
	if len(t.queue) == 0 {
		return
	}
	n := int(nr - t.queue[0].packet.Ns)
	if n > len(t.queue) || n > 0 && t.queue[n-1].sends == 0 {
		return
	}
	for _, m := range t.queue[:n] {
		switch {
		case m.is(Hello):
			t.helloDue = t.nextHello(now, m)
			t.event(Event{Name: EventHelloAcked, Try: m.sends, Waited: now.Sub(m.first)})
		case m.is(StopCCN):
			t.state = gone
		}
	}
	t.queue = t.queue[n:]
	t.pump(now)
}

// nextHello is when the Hello after this one is due.
func (t *Tunnel) nextHello(now time.Time, m *outgoing) time.Time {
	interval := time.Duration(t.b.KeepaliveInterval)
	switch {
	case t.b.KeepaliveQuiet:
		return now.Add(interval)
	case t.b.KeepaliveTries > 0:
		return m.due
	}
	return m.first.Add(interval)
}

func (t *Tunnel) keepalive(now time.Time) {
	if t.b.KeepaliveInterval > 0 && !t.helloQueued() && !now.Before(t.helloDue) {
		t.send(now, 0, Hello.avp())
	}
}

func (t *Tunnel) helloQueued() bool {
	for _, m := range t.queue {
		if m.is(Hello) {
			return true
		}
	}
	return false
}

// retransmit sends again what is due, and gives up on what has been sent
// often enough.
func (t *Tunnel) retransmit(now time.Time) {
	for _, m := range t.queue {
		if m.sends == 0 || now.Before(m.due) {
			continue
		}
		tries, reason := t.b.RetransmitTries, ReasonRetransmitTimeout
		if m.is(Hello) {
			reason = ReasonKeepaliveTimeout
		}
		if m.is(Hello) && t.b.KeepaliveTries > 0 {
			tries = t.b.KeepaliveTries
		}
		switch {
		case m.sends < tries:
			t.transmit(now, m)
		case t.Active():
			t.queue = nil
			t.close(now, reason, fmt.Sprintf("%s unacknowledged after %d sends", m.packet.Type(), m.sends))
			return
		default:
			// The peer has not acknowledged the StopCCN either: give up.
			t.queue, t.state = nil, gone
			return
		}
	}
}

// result is the Result Code AVP of a StopCCN or CDN as text.
func result(p Packet) string {
	v, ok := p.Find(AVPResultCode)
	if !ok || len(v) < 2 {
		return "no result code"
	}
	text := fmt.Sprintf("result %d", binary.BigEndian.Uint16(v))
	if len(v) >= 4 {
		text += fmt.Sprintf(" error %d", binary.BigEndian.Uint16(v[2:]))
		if len(v) > 4 {
			text += fmt.Sprintf(" %q", v[4:])
		}
	}
	return text
}
