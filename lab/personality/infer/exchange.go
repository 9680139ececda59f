// Package infer finds out by which personality of lab/lns a router answers as it did in a capture. It feeds what the
// client sent to lab/lns's own state machine, under one personality after the other, and compares what comes out.
package infer

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"xl2tpd-keepalive/lab/lns/l2tp"
	"xl2tpd-keepalive/lab/personality/capture"
)

// event is something that happens to the router.
type event struct {
	at     time.Time // by the clock of the capture, as if the router stood there
	number int       // of the packet
	kind   eventKind
	packet l2tp.Packet // of the client
	id     uint16      // of the session that ends
}

type eventKind int

const (
	packetCame   eventKind = iota
	dataPassed             // in either direction
	sessionEnded           // on the router, for a reason that L2TP does not show
	operatorStop           // of the router
)

// message is a control packet of the router.
type message struct {
	at     time.Time
	number int // of the packet; 0: none in the capture
	l2tp.Packet
}

// exchange is a connection as the router saw it.
type exchange struct {
	*capture.Connection
	begin   time.Time
	in      []event // the first is the SCCRQ
	out     []message
	timed   []message // of them, those that are no ZLBs
	sent    []*sent
	jitter  time.Duration // of acknowledgements
	rtt     time.Duration // between the place of the capture and the router
	up      time.Time     // the SCCCN came; zero: it did not
	callUp  time.Time     // the first ICCN came; zero: it did not
	refusal string        // why the router refused the tunnel
	session uint16        // the router's first session id
	idle    bool          // the router's idle timer has closed the tunnel, as far as is seen
}

var errNoAnswer = errors.New("the router did not answer the SCCRQ: no personality can be seen in that")

func newExchange(c *capture.Connection) (*exchange, error) {
	x := &exchange{Connection: c, begin: c.Packets[0].At}
	for _, p := range c.Packets {
		if p.FromRouter && !p.Data {
			x.out = append(x.out, message{p.At, p.Number, p.Packet})
		}
	}
	for _, m := range x.out {
		if !m.ZLB() {
			x.timed = append(x.timed, m)
		}
	}
	x.sent = sends(x.out)
	if len(x.sent) == 0 {
		return nil, fmt.Errorf("packet %d: %w", c.Packets[0].Number, errNoAnswer)
	}
	x.rtt = x.roundTrip()
	ids := x.sessionIDs()
	for _, p := range c.Packets {
		e := event{at: p.At, number: p.Number}
		switch {
		case p.Data:
			e.kind = dataPassed
		case p.FromRouter:
			continue
		default:
			e.at = p.At.Add(x.rtt)
			e.packet = p.Packet
			if id, ok := ids[p.Session]; ok {
				e.packet.Session = id
			}
		}
		x.in = append(x.in, e)
		switch {
		case p.Type() == l2tp.SCCCN && x.up.IsZero():
			x.up = e.at
		case p.Type() == l2tp.ICCN && x.callUp.IsZero():
			x.callUp = e.at
		}
	}
	x.order()
	x.acknowledgements()
	x.ends(ids)
	slices.SortStableFunc(x.in, func(a, b event) int { return a.at.Compare(b.at) })
	return x, nil
}

// roundTrip is the shortest time between a request of the set-up and its answer.
func (x *exchange) roundTrip() time.Duration {
	shortest := time.Duration(-1)
	for answer, request := range map[l2tp.MessageType]l2tp.MessageType{l2tp.SCCRP: l2tp.SCCRQ, l2tp.ICRP: l2tp.ICRQ} {
		var asked time.Time
		for _, p := range x.Packets {
			switch {
			case p.Type() == request && !p.FromRouter:
				asked = p.At
			case p.Type() == answer && p.FromRouter && !asked.IsZero():
				if d := p.At.Sub(asked); shortest < 0 || d < shortest {
					shortest = d
				}
				asked = time.Time{}
			}
		}
	}
	return max(shortest, 0)
}

// sessionIDs maps the router's session ids to those that the state machine will choose: it counts from the first one.
func (x *exchange) sessionIDs() map[uint16]uint16 {
	ids := map[uint16]uint16{}
	for _, m := range x.out {
		id, ok := m.Find16(l2tp.AVPAssignedSession)
		if _, known := ids[id]; !ok || known || m.Type() != l2tp.ICRP {
			continue
		}
		if x.session == 0 {
			x.session = id
		}
		ids[id] = x.session + uint16(len(ids))
	}
	if x.session == 0 {
		x.session = 1
	}
	return ids
}

// ends adds what the router did of its own accord: calls that it ended, and a refusal.
func (x *exchange) ends(ids map[uint16]uint16) {
	for _, s := range x.sent {
		if id, ok := s.first().Find16(l2tp.AVPAssignedSession); ok && s.kind == l2tp.CDN {
			x.in = append(x.in, event{at: s.first().at, kind: sessionEnded, id: ids[id]})
		}
	}
	first := x.sent[0]
	if first.kind != l2tp.StopCCN || first.first().Ns != 0 {
		return
	}
	x.refusal = l2tp.ReasonDataPlane
	switch result, code := resultOf(first.first()); {
	case result == 4:
		x.refusal = l2tp.ReasonChallenged
	case result == 2 && code == 4:
		x.refusal = l2tp.ReasonMaxClients
	}
}

// order corrects the times at which messages of the client came to the router: its next messages' Nr show which of them
// was sent before and which after.
func (x *exchange) order() {
	const soon = 300 * time.Millisecond
	var last time.Time
	for i := range x.in {
		e := &x.in[i]
		if e.kind != packetCame {
			continue
		}
		if !e.packet.ZLB() {
			e.at = x.between(*e, e.at.Add(-x.rtt), e.at.Add(soon))
		}
		if e.at.Before(last) {
			e.at = last
		}
		last = e.at
	}
}

// inexactOrder is how near to each other packets may be for their order at the router to be unknown.
const inexactOrder = 25 * time.Millisecond

// between is the time of an event, moved behind the router's last message that does not count it and before the first
// one that does.
func (x *exchange) between(e event, from, to time.Time) time.Time {
	var before time.Time
	for _, m := range x.out {
		switch {
		case m.at.Before(from):
		case m.at.After(to):
			if before.After(e.at) && before.Sub(e.at) < inexactOrder {
				return before
			}
			return e.at
		case int16(m.Nr-e.packet.Ns) <= 0:
			if !m.ZLB() {
				before = m.at.Add(1)
			}
		case e.at.After(m.at):
			return m.at
		case e.at.Before(before):
			return before
		default:
			return e.at
		}
	}
	return e.at
}

// acknowledgements notes when each message of the router was acknowledged.
func (x *exchange) acknowledgements() {
	for _, s := range x.sent {
		for _, e := range x.in {
			if e.kind == packetCame && !e.at.Before(s.first().at) && int16(e.packet.Nr-s.first().Ns) > 0 {
				s.acked = e.at
				break
			}
		}
	}
}

// since is a time of the exchange.
func (x *exchange) since(at time.Time) string {
	return fmt.Sprintf("%.3f s", at.Sub(x.begin).Seconds())
}

func (m message) String() string {
	name := m.Type().String()
	return fmt.Sprintf("%s Ns %d Nr %d", name, m.Ns, m.Nr)
}

// where is a message and where it is in the capture.
func (x *exchange) where(m message) string {
	return fmt.Sprintf("packet %d (%s, %v)", m.number, x.since(m.at), m)
}

// sent is one message of the router with all its repetitions.
type sent struct {
	kind  l2tp.MessageType
	times []message
	acked time.Time // an Nr of the client's passed it first; zero: none did
}

func (s *sent) first() message { return s.times[0] }
func (s *sent) last() message  { return s.times[len(s.times)-1] }

// sends groups the router's messages by their Ns.
func sends(out []message) (all []*sent) {
	for _, m := range out {
		if m.ZLB() {
			continue
		}
		i := slices.IndexFunc(all, func(s *sent) bool { return s.first().Ns == m.Ns && s.kind == m.Type() })
		if i < 0 {
			all = append(all, &sent{kind: m.Type()})
			i = len(all) - 1
		}
		all[i].times = append(all[i].times, m)
	}
	return all
}

// resultOf is the Result Code AVP of a message, RFC 2661 §4.4.2.
func resultOf(m message) (result, code uint16) {
	v, _ := m.Find(l2tp.AVPResultCode)
	if len(v) >= 2 {
		result = binary.BigEndian.Uint16(v)
	}
	if len(v) >= 4 {
		code = binary.BigEndian.Uint16(v[2:])
	}
	return result, code
}
