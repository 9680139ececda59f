package l2tp

import (
	"reflect"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestSetUp(t *testing.T) {
	p := newPeer(t, Defaults())
	reply := p.last()
	if id, _ := reply.Find16(AVPAssignedTunnel); reply.Type() != SCCRP || reply.Tunnel != peerTunnel || reply.Nr != 1 || id != ourTunnel {
		t.Fatalf("SCCRQ answered by %+v", reply)
	}
	p.establish()
	if z := p.last(); !z.ZLB() || z.Ns != 1 || z.Nr != 2 {
		t.Fatalf("SCCCN answered by %+v", z)
	}
	p.message(0, ICRQ.avp(), mandatory16(AVPAssignedSession, peerSession))
	reply = p.last()
	if id, _ := reply.Find16(AVPAssignedSession); reply.Type() != ICRP || reply.Session != peerSession || id != ourSession || reply.Nr != 3 {
		t.Fatalf("ICRQ answered by %+v", reply)
	}
	p.message(ourSession, ICCN.avp())
	want := []Output{OpenTunnel{ourTunnel, peerTunnel}, OpenSession{ourSession, peerSession}}
	if !reflect.DeepEqual(p.orders, want) {
		t.Fatalf("orders %+v, want %+v", p.orders, want)
	}
	if p.count(EventTunnelUp) != 1 || p.count(EventSessionUp) != 1 || !p.tunnel.Active() {
		t.Fatalf("events %+v", p.events)
	}
}

func TestSeveralSessions(t *testing.T) {
	p := newPeer(t, Defaults())
	p.establish()
	for i := range uint16(3) {
		p.message(0, ICRQ.avp(), mandatory16(AVPAssignedSession, peerSession+i))
		p.message(ourSession+i, ICCN.avp())
	}
	// One by the header's session, one by the AVP alone, the last with the tunnel.
	p.message(ourSession+1, CDN.avp(), resultCode(3, 0, "bye"), mandatory16(AVPAssignedSession, peerSession+1))
	p.message(0, CDN.avp(), resultCode(3, 0, ""), mandatory16(AVPAssignedSession, peerSession+2))
	p.message(0, StopCCN.avp(), mandatory16(AVPAssignedTunnel, peerTunnel), resultCode(1, 0, "done"))
	var closes []Event
	for _, e := range p.events {
		if e.Reason != "" {
			closes = append(closes, e)
		}
	}
	want := []Event{
		{Name: EventSessionClose, Session: ourSession + 1, Reason: ReasonCDNFromPeer, Detail: `result 3 error 0 "bye"`},
		{Name: EventSessionClose, Session: ourSession + 2, Reason: ReasonCDNFromPeer, Detail: "result 3 error 0"},
		{Name: EventSessionClose, Session: ourSession, Reason: ReasonStopCCNFromPeer},
		{Name: EventClose, Reason: ReasonStopCCNFromPeer, Detail: `result 1 error 0 "done"`},
	}
	if !reflect.DeepEqual(closes, want) {
		t.Fatalf("closes %+v, want %+v", closes, want)
	}
	if want := []Output{CloseSession{ourSession + 1}, CloseSession{ourSession + 2}, CloseSession{ourSession}, CloseTunnel{}}; !reflect.DeepEqual(p.orders[4:], want) {
		t.Fatalf("orders %+v, want %+v", p.orders[4:], want)
	}
}

func TestSessionEnded(t *testing.T) {
	p := newPeer(t, Defaults())
	p.establish()
	p.call()
	p.take(p.tunnel.SessionEnded(p.now, ourSession, ReasonPPPExit, "pppd: exit status 16"))
	if cdn := p.last(); cdn.Type() != CDN || cdn.Session != peerSession {
		t.Fatalf("sent %+v, want CDN", cdn)
	}
	if e := p.events[len(p.events)-1]; e.Name != EventSessionClose || e.Reason != ReasonPPPExit {
		t.Fatalf("event %+v", e)
	}
	p.take(p.tunnel.SessionEnded(p.now, ourSession, ReasonPPPExit, ""))
	if n := p.count(EventSessionClose); n != 1 || p.closed() != "" {
		t.Fatalf("%d session closes, tunnel close %q", n, p.closed())
	}
}

func TestRefusals(t *testing.T) {
	for name, c := range map[string]struct {
		request Packet
		refusal string
		reason  string
	}{
		"full":       {sccrq(), ReasonMaxClients, ReasonMaxClients},
		"challenged": {sccrq(mandatory(AVPChallenge, []byte{1})), "", ReasonChallenged},
	} {
		tunnel, out, err := Accept(start, Defaults(), ourTunnel, ourSession, c.request, c.refusal)
		if err != nil {
			t.Fatal(err)
		}
		p := &peer{t: t, tunnel: tunnel, now: start, ns: 1}
		p.take(out)
		if p.closed() != c.reason || p.last().Type() != StopCCN || p.last().Tunnel != peerTunnel || tunnel.Active() {
			t.Errorf("%s: reason %q, sent %+v", name, p.closed(), p.last())
		}
		p.zlb()
		if !tunnel.Gone() {
			t.Errorf("%s: not gone after the acknowledgement", name)
		}
	}
	for name, request := range map[string]Packet{
		"no tunnel id": {AVPs: []AVP{SCCRQ.avp()}},
		"not an SCCRQ": {AVPs: []AVP{Hello.avp(), mandatory16(AVPAssignedTunnel, 1)}},
		"a ZLB":        {},
		"hidden":       {AVPs: []AVP{SCCRQ.avp(), {Hidden: true, Type: AVPAssignedTunnel, Value: []byte{0, 1}}}},
	} {
		if _, _, err := Accept(start, Defaults(), ourTunnel, ourSession, request, ""); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// An SCCRQ sent again is acknowledged, and is no second tunnel.
func TestRepeatedSCCRQ(t *testing.T) {
	p := newPeer(t, Defaults())
	if !p.tunnel.Asked(sccrq()) || p.tunnel.Asked(Packet{AVPs: []AVP{SCCRQ.avp(), mandatory16(AVPAssignedTunnel, 10)}}) {
		t.Fatal("the tunnel does not know its SCCRQ")
	}
	p.again(sccrq())
	if !p.last().ZLB() || p.last().Nr != 1 || p.count(EventDuplicate) != 1 {
		t.Fatalf("answered by %+v, events %+v", p.last(), p.events)
	}
}

// The pauses are those of xl2tpd: 1, 2, 4, 8, 16 s, then the end after 31 s.
func TestRetransmission(t *testing.T) {
	p := newPeer(t, Defaults())
	var at []time.Duration
	p.run(time.Hour, func() {
		if p.last().Type() == SCCRP {
			at = append(at, p.elapsed())
		}
	})
	seconds := func(s ...time.Duration) []time.Duration {
		for i := range s {
			s[i] *= time.Second
		}
		return s
	}
	if want := seconds(1, 3, 7, 15); !reflect.DeepEqual(at, want) {
		t.Errorf("SCCRP repeated at %v, want %v", at, want)
	}
	// The setup's time is up as the retries are; either reason is right.
	if r := p.closed(); r != ReasonRetransmitTimeout && r != ReasonSetupTimeout {
		t.Errorf("closed for %q", r)
	}
	if !p.tunnel.Gone() {
		t.Error("not gone, with nobody there")
	}
}

func TestRetransmissionIsCapped(t *testing.T) {
	b := Defaults()
	b.RetransmitCap = Duration(2 * time.Second)
	b.RetransmitTries = 4
	p := newPeer(t, b)
	p.establish()
	p.take(p.tunnel.Receive(p.now, Packet{Tunnel: ourTunnel, Ns: p.ns, Nr: p.nr, AVPs: []AVP{ICRQ.avp(), mandatory16(AVPAssignedSession, 1)}}))
	p.run(7*time.Second-1, nil)
	if p.closed() != "" {
		t.Fatalf("closed after %v", p.elapsed())
	}
	p.run(1, nil)
	if p.closed() != ReasonRetransmitTimeout {
		t.Fatalf("closed for %q after 1+2+2+2 s", p.closed())
	}
}

func TestSetupTimeout(t *testing.T) {
	p := newPeer(t, Defaults())
	p.zlb() // SCCRP arrived, SCCCN never comes
	p.run(cycle, nil)
	if p.closed() != ReasonSetupTimeout {
		t.Fatalf("closed for %q", p.closed())
	}
}

// No more is on its way than the peer has room for, and the rest follows.
func TestPeerWindow(t *testing.T) {
	p := newPeer(t, Defaults())
	p.establish()
	before := len(p.sent)
	nr := p.nr
	for i := range uint16(6) {
		// Nr as it was: nothing is acknowledged.
		p.take(p.tunnel.Receive(p.now, Packet{Tunnel: ourTunnel, Ns: p.ns, Nr: nr, AVPs: []AVP{ICRQ.avp(), mandatory16(AVPAssignedSession, 100+i)}}))
		p.ns++
	}
	var replies []uint16
	for _, s := range p.sent[before:] {
		if s.Type() == ICRP {
			replies = append(replies, s.Ns)
		} else if s.Ns != 5 {
			t.Errorf("ZLB with Ns %d, the first unsent message has 5", s.Ns)
		}
	}
	if want := []uint16{1, 2, 3, 4}; !reflect.DeepEqual(replies, want) {
		t.Fatalf("ICRPs sent: %v, want %v", replies, want)
	}
	// An Nr beyond what has been sent says nothing.
	p.take(p.tunnel.Receive(p.now, Packet{Tunnel: ourTunnel, Ns: p.ns, Nr: 7}))
	if p.last().Ns == 6 {
		t.Fatal("an Nr out of range was taken")
	}
	p.nr = 3
	p.zlb()
	if p.last().Type() != ICRP || p.last().Ns != 6 {
		t.Fatalf("after the acknowledgement: %+v", p.last())
	}
}

func TestOutOfOrderAndDuplicate(t *testing.T) {
	for _, strict := range []bool{true, false} {
		b := Defaults()
		if b.StrictNs = strict; !strict {
			b.Early = EarlySkip
		}
		p := newPeer(t, b)
		p.establish()
		p.ns++ // one is lost
		p.message(0, Hello.avp())
		if p.count(EventOutOfOrder) != 1 {
			t.Errorf("strict=%v: events %+v", strict, p.events)
		}
		if accepted := p.count(EventHelloReceived) == 1; accepted == strict {
			t.Errorf("strict=%v: Hello accepted %v", strict, accepted)
		}
		sent := len(p.sent)
		p.again(Packet{Tunnel: ourTunnel, Ns: 1, Nr: p.nr, AVPs: []AVP{SCCCN.avp()}})
		if p.count(EventDuplicate) != 1 || len(p.sent) != sent+1 || !p.last().ZLB() || p.last().Nr != p.tunnel.expected {
			t.Errorf("strict=%v: duplicate answered by %+v", strict, p.last())
		}
	}
}

// Both numbers pass 65535 and go on; nothing is taken for old or new.
func TestWrap(t *testing.T) {
	p := newPeer(t, Defaults())
	p.establish()
	p.zlb()
	p.tunnel.expected, p.ns = 0xfffe, 0xfffe
	p.tunnel.ns, p.nr = 0xfffe, 0xfffe
	for i := range uint16(4) {
		p.message(0, ICRQ.avp(), mandatory16(AVPAssignedSession, 100+i))
	}
	p.zlb()
	if len(p.tunnel.queue) != 0 || p.tunnel.expected != 2 || p.tunnel.ns != 2 {
		t.Fatalf("queue %d, expected %d, ns %d", len(p.tunnel.queue), p.tunnel.expected, p.tunnel.ns)
	}
	if p.count(EventOutOfOrder)+p.count(EventDuplicate) != 0 {
		t.Fatalf("events %+v", p.events)
	}
}

// A StopCCN sent again, its acknowledgement lost, is acknowledged again for a
// whole cycle.
func TestLingering(t *testing.T) {
	p := newPeer(t, Defaults())
	p.establish()
	stop := p.message(0, StopCCN.avp(), mandatory16(AVPAssignedTunnel, peerTunnel), resultCode(1, 0, ""))
	sent := len(p.sent)
	p.run(cycle-1, nil)
	p.again(stop)
	if len(p.sent) != sent+1 || !p.last().ZLB() || p.tunnel.Pending() || p.tunnel.Gone() {
		t.Fatalf("answered by %+v", p.last())
	}
	p.run(1, nil)
	if !p.tunnel.Gone() || p.closed() != ReasonStopCCNFromPeer {
		t.Fatalf("gone %v, reason %q", p.tunnel.Gone(), p.closed())
	}
}

func TestCrossingStopCCN(t *testing.T) {
	p := newPeer(t, Defaults())
	p.establish()
	nr := p.nr
	p.take(p.tunnel.Close(p.now, ReasonShutdown, ""))
	p.take(p.tunnel.Close(p.now, ReasonIdle, ""))
	p.take(p.tunnel.Receive(p.now, Packet{Tunnel: ourTunnel, Ns: p.ns, Nr: nr, AVPs: []AVP{StopCCN.avp()}}))
	if p.closed() != ReasonShutdown || p.tunnel.Pending() || !p.last().ZLB() {
		t.Fatalf("reason %q, pending %v, last %+v", p.closed(), p.tunnel.Pending(), p.last())
	}
}

// Whatever comes in and however time passes: one close at most, nothing is
// sent past the window, and a tunnel without a peer is gone in the end.
func TestRandomPeer(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		b := Defaults()
		b.Hello = rapid.SampledFrom([]HelloMode{HelloAck, HelloDeaf, HelloCountOnly}).Draw(r, "hello")
		b.StrictNs = rapid.Bool().Draw(r, "strict")
		b.Early = rapid.SampledFrom([]EarlyMode{EarlyDrop, EarlyQueue, EarlySkip, EarlyWedge}).Draw(r, "early")
		b.AckEarly = rapid.SampledFrom([]AckEarlyMode{AckEarlyNone, AckEarlyMessages, AckEarlyAll}).Draw(r, "ack early")
		b.ZLB = rapid.SampledFrom([]ZLBMode{ZLBAlways, ZLBHeld, ZLBResend, ZLBNever}).Draw(r, "zlb")
		b.AckDelay = rapid.SampledFrom([]Duration{0, Duration(time.Second)}).Draw(r, "ack delay")
		b.AnswerDelay = rapid.SampledFrom([]Duration{0, Duration(6 * time.Second)}).Draw(r, "answer delay")
		b.RetransmitOldNr = rapid.Bool().Draw(r, "old nr")
		b.KeepaliveInterval = rapid.SampledFrom([]Duration{0, Duration(10 * time.Second)}).Draw(r, "keepalive")
		b.KeepaliveTries = 3
		b.Idle = rapid.SampledFrom([]Duration{0, Duration(60 * time.Second)}).Draw(r, "idle")
		p := newPeer(t, b)
		for range rapid.IntRange(0, 60).Draw(r, "steps") {
			switch rapid.IntRange(0, 4).Draw(r, "step") {
			case 0:
				packet := anyPacket(r)
				packet.Ns = p.tunnel.expected + uint16(rapid.IntRange(-3, 3).Draw(r, "near"))
				p.again(packet)
			case 1:
				typ := rapid.SampledFrom([]MessageType{SCCCN, Hello, ICRQ, ICCN, CDN, StopCCN}).Draw(r, "type")
				p.ns = p.tunnel.expected
				p.message(ourSession, typ.avp(), mandatory16(AVPAssignedSession, 5))
			case 2:
				p.ns = p.tunnel.expected
				p.zlb()
			case 3:
				p.run(time.Duration(rapid.IntRange(0, 20).Draw(r, "seconds"))*time.Second, nil)
			case 4:
				p.tunnel.Data(p.now, rapid.Uint64().Draw(r, "packets"))
			}
			flying := 0
			for _, m := range p.tunnel.queue {
				if m.sends > 0 && !m.is(StopCCN) {
					flying++
				}
			}
			if flying > p.tunnel.window {
				r.Fatalf("%d messages on their way, the window is %d", flying, p.tunnel.window)
			}
			p.closed() // fails when there are two
		}
		p.take(p.tunnel.Close(p.now, ReasonShutdown, ""))
		p.run(2*time.Minute, nil)
		if !p.tunnel.Gone() || p.closed() == "" {
			r.Fatalf("gone %v, reason %q", p.tunnel.Gone(), p.closed())
		}
	})
}
