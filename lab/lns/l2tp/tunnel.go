package l2tp

import (
	"errors"
	"slices"
	"time"
)

// cycle is a full retransmission cycle: how long to wait for a next step of
// the peer, and how long to acknowledge its repeated StopCCN (§5.7).
const cycle = 31 * time.Second

type state int

const (
	opening     state = iota // SCCRP sent, waiting for SCCCN
	established              // SCCCN received
	closing                  // StopCCN sent, waiting for its acknowledgement
	lingering                // StopCCN received, its repetitions are acknowledged
	gone
)

type session struct {
	local, peer uint16
	up          bool // ICCN received
}

// Tunnel is one control connection, seen from the LNS. Every method takes the
// present time and returns what is to be done, in order. Not safe for
// concurrent use.
type Tunnel struct {
	b           Behaviour
	local, peer uint16 // tunnel ids
	nextSession uint16
	sessions    []*session
	state       state
	deadline    time.Time // of opening and of lingering

	expected uint16 // the Ns due from the peer; the LNS's Nr
	nrSent   uint16 // the last Nr sent: when it differs, an acknowledgement is owed
	ns       uint16 // the Ns of the LNS's next message
	window   int    // messages the peer takes at one time
	queue    []*outgoing

	wedged    bool              // by an early message
	early     map[uint16]Packet // kept until it is their turn
	ackDue    time.Time         // of an acknowledgement that waits; zero: none
	ackOf     Packet            // what it acknowledges
	delaying  bool              // a call was up: AnswerDelay applies
	leaving   []delayed         // on the way out
	helloDue  time.Time
	upSince   time.Time
	lastData  time.Time
	packets   uint64 // data packets counted so far
	collected []Output
}

// Accept answers an SCCRQ. local is the id for this end of the tunnel,
// firstSession the id of its first session, both not 0. With a refusal, a
// reason to refuse, StopCCN is all that happens. An error means that the
// message names no tunnel to answer to.
func Accept(now time.Time, b Behaviour, local, firstSession uint16, sccrq Packet, refusal string) (*Tunnel, []Output, error) {
	peer, ok := sccrq.Find16(AVPAssignedTunnel)
	if sccrq.Type() != SCCRQ || !ok || peer == 0 {
		return nil, nil, errors.New("not an SCCRQ with an Assigned Tunnel ID")
	}
	t := &Tunnel{
		b: b, local: local, peer: peer, nextSession: firstSession,
		deadline: now.Add(cycle),
		expected: sccrq.Ns + 1,
		window:   4, // §4.4.3: the value when the AVP is absent
	}
	if w, ok := sccrq.Find16(AVPReceiveWindow); ok && w > 0 {
		t.window = int(w)
	}
	if _, ok := sccrq.Find(AVPChallenge); ok && refusal == "" {
		refusal = ReasonChallenged
	}
	if refusal != "" {
		t.close(now, refusal, "")
		return t, t.take(), nil
	}
	t.send(now, 0, SCCRP.avp(),
		mandatory(AVPProtocolVersion, []byte{1, 0}),
		mandatory32(AVPFramingCaps, 3),
		mandatory32(AVPBearerCaps, 0),
		mandatory(AVPHostName, []byte(b.HostName)),
		AVP{Type: AVPVendorName, Value: []byte(b.Vendor)},
		mandatory16(AVPAssignedTunnel, local),
		mandatory16(AVPReceiveWindow, b.ReceiveWindow))
	return t, t.take(), nil
}

// Asked reports whether the SCCRQ is one of this tunnel, sent again.
func (t *Tunnel) Asked(sccrq Packet) bool {
	id, ok := sccrq.Find16(AVPAssignedTunnel)
	return ok && id == t.peer
}

// Active reports whether the tunnel is up or on its way up.
func (t *Tunnel) Active() bool { return t.state == opening || t.state == established }

// Pending reports whether the peer still has to acknowledge the LNS's StopCCN.
func (t *Tunnel) Pending() bool { return t.state == closing }

// Gone reports whether nothing more can come of the tunnel.
func (t *Tunnel) Gone() bool { return t.state == gone && len(t.leaving) == 0 }

func (t *Tunnel) handle(now time.Time, p Packet, seq *Seq) {
	switch p.Type() {
	case SCCCN:
		if t.state == opening {
			t.establish(now)
			return
		}
	case StopCCN:
		t.stopped(now, p)
		return
	case Hello:
		t.event(Event{Name: EventHelloReceived, Message: Hello.String(), Seq: seq, Answer: t.b.Hello})
		return
	case ICRQ:
		if t.state == established && t.incomingCall(now, p) {
			return
		}
	case ICCN:
		if s := t.find(p.Session); s != nil && !s.up {
			s.up = true
			t.delaying = t.b.AnswerDelay > 0
			t.event(Event{Name: EventSessionUp, Session: s.local})
			t.output(OpenSession{Local: s.local, Peer: s.peer})
			return
		}
	case CDN:
		if s := t.findCDN(p); s != nil {
			t.endSession(s, ReasonCDNFromPeer, result(p))
			return
		}
	}
	t.event(Event{Name: EventUnexpected, Message: p.Type().String(), Session: p.Session, Seq: seq})
	if t.Active() && (t.b.CloseOn == CloseOnUnexpected || t.b.CloseOn == CloseOnUnknown && !p.Type().known()) {
		t.close(now, ReasonUnexpected, p.Type().String())
	}
}

func (t *Tunnel) establish(now time.Time) {
	t.state = established
	t.upSince, t.lastData = now, now
	t.helloDue = now.Add(time.Duration(t.b.KeepaliveInterval))
	t.event(Event{Name: EventTunnelUp})
	t.output(OpenTunnel{Local: t.local, Peer: t.peer})
}

func (t *Tunnel) incomingCall(now time.Time, p Packet) bool {
	peer, ok := p.Find16(AVPAssignedSession)
	if !ok || peer == 0 {
		return false
	}
	for t.nextSession == 0 || t.find(t.nextSession) != nil {
		t.nextSession++
	}
	s := &session{local: t.nextSession, peer: peer}
	t.nextSession++
	t.sessions = append(t.sessions, s)
	t.send(now, s.peer, ICRP.avp(), mandatory16(AVPAssignedSession, s.local))
	return true
}

// stopped takes the peer's StopCCN. When the LNS's is under way too, they have
// crossed and both ends are done.
func (t *Tunnel) stopped(now time.Time, p Packet) {
	if t.Active() {
		t.end(ReasonStopCCNFromPeer, result(p))
	}
	t.queue = nil
	t.state = lingering
	t.deadline = now.Add(cycle)
}

// Close ends the tunnel for one of the Reason… constants. Closing twice is
// harmless.
func (t *Tunnel) Close(now time.Time, reason, detail string) []Output {
	if t.Active() {
		t.close(now, reason, detail)
	}
	return t.take()
}

func (t *Tunnel) close(now time.Time, reason, detail string) {
	t.state = closing
	res, code := uint16(1), uint16(0) // general request to clear the connection
	switch reason {
	case ReasonShutdown:
		res = 6 // the requester is being shut down
	case ReasonChallenged:
		res = 4 // not authorized
	case ReasonUnexpected:
		res = 7 // finite state machine error
	case ReasonMaxClients, ReasonDataPlane:
		res, code = 2, 4 // general error: insufficient resources
	}
	t.sendNow(now, 0, StopCCN.avp(), mandatory16(AVPAssignedTunnel, t.local), resultCode(res, code, reason))
	t.end(reason, detail)
}

// end reports the close of the tunnel and of every session in it.
func (t *Tunnel) end(reason, detail string) {
	for len(t.sessions) > 0 {
		t.endSession(t.sessions[0], reason, "")
	}
	t.event(Event{Name: EventClose, Reason: reason, Detail: detail})
	t.output(CloseTunnel{})
}

// SessionEnded reports the end of PPP on a session, for one of the Reason…
// constants: the peer gets a CDN. An unknown session is no error, it has been
// closed already.
func (t *Tunnel) SessionEnded(now time.Time, local uint16, reason, detail string) []Output {
	if s := t.find(local); s != nil && t.state == established {
		t.send(now, s.peer, CDN.avp(), mandatory16(AVPAssignedSession, s.local), resultCode(1, 0, reason))
		t.endSession(s, reason, detail)
	}
	return t.take()
}

func (t *Tunnel) endSession(s *session, reason, detail string) {
	t.sessions = slices.DeleteFunc(t.sessions, func(x *session) bool { return x == s })
	t.event(Event{Name: EventSessionClose, Session: s.local, Reason: reason, Detail: detail})
	t.output(CloseSession{Local: s.local})
}

func (t *Tunnel) find(local uint16) *session {
	for _, s := range t.sessions {
		if s.local == local {
			return s
		}
	}
	return nil
}

// findCDN finds the session of a CDN. Its header may carry 0 when the peer
// had not yet learned the LNS's id; the AVP always has the peer's own (§4.4.4).
func (t *Tunnel) findCDN(p Packet) *session {
	if s := t.find(p.Session); s != nil {
		return s
	}
	peer, _ := p.Find16(AVPAssignedSession)
	for _, s := range t.sessions {
		if s.peer == peer {
			return s
		}
	}
	return nil
}

// Data reports how many data packets, of both directions, the tunnel has
// carried since it came up. The idle timer knows of data only from here.
func (t *Tunnel) Data(now time.Time, packets uint64) {
	if packets != t.packets {
		t.packets, t.lastData = packets, now
	}
}

// Tick does what is due at this time; early and repeated calls are harmless.
func (t *Tunnel) Tick(now time.Time) []Output {
	switch t.state {
	case opening:
		if !now.Before(t.deadline) {
			t.close(now, ReasonSetupTimeout, "no SCCCN")
		}
	case lingering:
		if !now.Before(t.deadline) {
			t.state = gone
		}
	case established:
		if idle := time.Duration(t.b.Idle); idle > 0 && now.Sub(t.lastData) >= idle {
			t.close(now, ReasonIdle, "no data packet for "+idle.String())
		} else {
			t.keepalive(now)
		}
	}
	t.retransmit(now)
	if !t.ackDue.IsZero() && !now.Before(t.ackDue) {
		t.ackDue = time.Time{}
		t.sendZLB(now, t.ackOf)
	}
	t.leave(now)
	return t.take()
}

// Wake is when Tick is due next; the zero time means never.
func (t *Tunnel) Wake() time.Time {
	var wake time.Time
	earlier := func(at time.Time) {
		if wake.IsZero() || at.Before(wake) {
			wake = at
		}
	}
	switch t.state {
	case opening, lingering:
		earlier(t.deadline)
	case established:
		if t.b.Idle > 0 {
			earlier(t.lastData.Add(time.Duration(t.b.Idle)))
		}
		if t.b.KeepaliveInterval > 0 && !t.helloQueued() {
			earlier(t.helloDue)
		}
	}
	for _, m := range t.queue {
		if m.sends > 0 {
			earlier(m.due)
		}
	}
	if !t.ackDue.IsZero() {
		earlier(t.ackDue)
	}
	if len(t.leaving) > 0 {
		earlier(t.leaving[0].at)
	}
	return wake
}

func (t *Tunnel) seq(p Packet) *Seq { return &Seq{Ns: p.Ns, Nr: p.Nr, Expected: t.expected} }

func (t *Tunnel) event(e Event) { t.output(e) }

func (t *Tunnel) output(o Output) { t.collected = append(t.collected, o) }

func (t *Tunnel) take() []Output {
	out := t.collected
	t.collected = nil
	return out
}
