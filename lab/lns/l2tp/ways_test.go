package l2tp

import (
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

const second = Duration(time.Second)

// inCall is a peer with a call that is up, and nothing unacknowledged.
func inCall(t *testing.T, change func(*Behaviour)) *peer {
	t.Helper()
	b := Defaults()
	change(&b)
	p := newPeer(t, b)
	p.establish()
	p.call()
	p.run(40*time.Second, nil)
	p.zlb()
	p.sent, p.events = nil, nil
	return p
}

// hello is the client's next Hello.
func (p *peer) hello() Packet { return p.message(0, Hello.avp()) }

// keepalive makes the tunnel send a Hello every minute.
func keepalive(b *Behaviour) { b.KeepaliveInterval, b.KeepaliveTries = 60*second, 0 }

// sentNr lists the Nr of all that was sent.
func (p *peer) sentNr() (list []uint16) {
	for _, s := range p.sent {
		list = append(list, s.Nr)
	}
	return list
}

// §5.8: a duplicate is acknowledged again, also by a peer that is deaf to
// Hellos if the duplicate is none.
func TestDuplicateIsAcknowledged(t *testing.T) {
	for _, mode := range []HelloMode{HelloAck, HelloDeaf, HelloCountOnly} {
		p := inCall(t, func(b *Behaviour) { b.Hello = mode })
		for i, typ := range []MessageType{SCCCN, ICRQ, ICCN} {
			p.again(Packet{Tunnel: ourTunnel, Ns: uint16(1 + i), Nr: 1, AVPs: []AVP{typ.avp()}})
			if len(p.sent) != i+1 || !p.last().ZLB() || p.last().Nr != p.ns {
				t.Errorf("%s: a repeated %s is answered by %+v", mode, typ, p.sent)
			}
		}
	}
}

func TestDuplicateIsNotAcknowledged(t *testing.T) {
	p := inCall(t, func(b *Behaviour) { b.AckDuplicates = false })
	hello := p.hello()
	p.again(hello)
	if len(p.sent) != 1 || p.count(EventDuplicate) != 1 {
		t.Fatalf("sent %+v", p.sent)
	}
}

// Everything leaves so much later, in order, with the numbers of when it was
// written.
func TestAnswerDelay(t *testing.T) {
	p := inCall(t, func(b *Behaviour) { b.AnswerDelay = 6 * second; keepalive(b) })
	began := p.now
	p.now = p.now.Add(19 * time.Second) // the own Hello is due at 20 s
	p.hello()
	p.run(6*time.Second-1, nil)
	if len(p.sent) != 0 {
		t.Fatalf("sent %+v after %v", p.sent, p.now.Sub(began))
	}
	p.run(1, nil)
	if len(p.sent) != 1 || !p.last().ZLB() {
		t.Fatalf("sent %+v, want the acknowledgement", p.sent)
	}
	p.hello()
	p.run(time.Second, nil)
	if own := p.last(); len(p.sent) != 2 || own.Type() != Hello || own.Nr != p.ns-1 {
		t.Fatalf("sent %+v, want a Hello with the Nr of 6 s ago", p.sent)
	}
}

func TestAnswerDelayBeginsWithTheCall(t *testing.T) {
	b := Defaults()
	b.AnswerDelay = 30 * second
	p := newPeer(t, b)
	p.establish()
	p.call()
	if p.count(EventSessionUp) != 1 {
		t.Fatalf("events %+v", p.events)
	}
}

// What is on its way out when the tunnel ends still leaves.
func TestAnswerDelayOutlivesTheTunnel(t *testing.T) {
	p := inCall(t, func(b *Behaviour) { b.AnswerDelay = 40 * second })
	p.message(0, StopCCN.avp(), mandatory16(AVPAssignedTunnel, peerTunnel), resultCode(1, 0, ""))
	p.run(cycle, nil)
	if p.tunnel.Gone() {
		t.Fatal("gone with its acknowledgement")
	}
	p.run(9*time.Second, nil)
	if len(p.sent) != 1 || !p.tunnel.Gone() {
		t.Fatalf("sent %+v, gone %v", p.sent, p.tunnel.Gone())
	}
}

func TestAckDelay(t *testing.T) {
	p := inCall(t, func(b *Behaviour) { b.AckDelay = 2 * second })
	p.hello()
	p.run(time.Second, nil)
	p.hello()
	p.hello()
	p.run(time.Second, nil)
	if len(p.sent) != 1 {
		t.Fatalf("%d acknowledgements after 2 s", len(p.sent))
	}
	p.run(time.Minute, nil)
	if want := []uint16{p.ns}; !reflect.DeepEqual(p.sentNr(), want) {
		t.Fatalf("acknowledged %v, want %v", p.sentNr(), want)
	}
}

func TestAckDelayEndsWithAMessage(t *testing.T) {
	p := inCall(t, func(b *Behaviour) { b.AckDelay = 60 * second; keepalive(b) })
	p.run(10*time.Second, nil)
	p.hello()
	p.run(10*time.Second, nil)
	if p.last().Type() != Hello || p.last().Nr != p.ns {
		t.Fatalf("sent %+v", p.sent)
	}
	p.zlb()
	p.run(51*time.Second, nil)
	for _, s := range p.sent {
		if s.ZLB() {
			t.Fatal("a ZLB repeats what the Hello has acknowledged")
		}
	}
}

func TestZLBModes(t *testing.T) {
	for _, c := range []struct {
		mode     ZLBMode
		alone    int         // answers to a Hello while nothing is in flight
		inFlight MessageType // what answers one while the own Hello is
		at       int         // how many answers arrive together then
	}{
		{ZLBAlways, 1, 0, 1},
		{ZLBHeld, 1, Hello, 0},
		{ZLBResend, 1, Hello, 1},
		{ZLBNever, 0, Hello, 0},
	} {
		p := inCall(t, func(b *Behaviour) { b.ZLB = c.mode; keepalive(b) })
		p.hello()
		if len(p.sent) != c.alone {
			t.Errorf("%s: %d answers", c.mode, len(p.sent))
		}
		p.run(20*time.Second, nil) // the own Hello leaves
		p.sent = nil
		p.take(p.tunnel.Receive(p.now, Packet{Tunnel: ourTunnel, Ns: p.ns, Nr: p.nr - 1, AVPs: []AVP{Hello.avp()}}))
		p.ns++
		if len(p.sent) != c.at {
			t.Errorf("%s: answered at once by %+v", c.mode, p.sent)
		}
		p.run(time.Second, nil)
		i := slices.IndexFunc(p.sent, func(s Packet) bool { return s.Nr == p.ns })
		if i < 0 || p.sent[i].Type() != c.inFlight {
			t.Errorf("%s: acknowledged by %+v", c.mode, p.sent)
		}
	}
}

func TestEarlyModes(t *testing.T) {
	for _, c := range []struct {
		early    EarlyMode
		ack      AckEarlyMode
		answers  int    // to the early message
		expected uint16 // after it, and after the missing one, from the first one's Ns on
		then     uint16
	}{
		{EarlyDrop, AckEarlyNone, 0, 0, 1},
		{EarlyDrop, AckEarlyMessages, 1, 0, 1},
		{EarlyQueue, AckEarlyNone, 0, 0, 2},
		{EarlyQueue, AckEarlyAll, 1, 0, 2},
		{EarlySkip, AckEarlyNone, 1, 2, 2},
		{EarlyWedge, AckEarlyMessages, 1, 0, 0},
	} {
		p := inCall(t, func(b *Behaviour) { b.Early, b.AckEarly, b.StrictNs = c.early, c.ack, false })
		missing := Packet{Tunnel: ourTunnel, Ns: p.ns, Nr: p.nr, AVPs: []AVP{Hello.avp()}}
		first := p.ns
		p.ns++
		p.hello()
		if len(p.sent) != c.answers || p.tunnel.expected != first+c.expected {
			t.Errorf("%s, %s: %d answers, expects %d", c.early, c.ack, len(p.sent), p.tunnel.expected-first)
		}
		p.again(missing)
		if p.tunnel.expected != first+c.then || p.last().Nr != first+c.then {
			t.Errorf("%s, %s: expects %d after the missing one, says %d", c.early, c.ack, p.tunnel.expected-first, p.last().Nr-first)
		}
	}
}

// The Nr of an early message counts, or is dropped with it.
func TestNrOfEarlyMessage(t *testing.T) {
	for _, strict := range []bool{true, false} {
		p := inCall(t, func(b *Behaviour) { keepalive(b); b.StrictNs = strict })
		p.run(20*time.Second, nil) // the own Hello leaves
		p.ns++
		p.hello()
		if acked := p.count(EventHelloAcked) == 1; acked == strict {
			t.Errorf("strict %v: acknowledged %v", strict, acked)
		}
	}
}

// Nothing is kept past the window that was offered.
func TestQueueEndsWithTheWindow(t *testing.T) {
	p := inCall(t, func(b *Behaviour) { b.Early, b.ReceiveWindow = EarlyQueue, 1 })
	missing := Packet{Tunnel: ourTunnel, Ns: p.ns, Nr: p.nr, AVPs: []AVP{Hello.avp()}}
	p.ns++
	p.hello()
	p.again(missing)
	if p.last().Nr != missing.Ns+1 {
		t.Fatalf("acknowledged %d, only %d came in its turn", p.last().Nr, missing.Ns)
	}
}

// A ZLB that is ahead: its Nr counts or not, it is answered or not, and a
// wedged peer takes nothing after it.
func TestEarlyZLB(t *testing.T) {
	early := func(change func(*Behaviour)) *peer {
		p := inCall(t, func(b *Behaviour) { keepalive(b); change(b) })
		p.run(20*time.Second, nil)
		p.sent = nil
		p.take(p.tunnel.Receive(p.now, Packet{Tunnel: ourTunnel, Ns: p.ns + 1, Nr: p.nr}))
		return p
	}
	if p := early(func(b *Behaviour) {}); p.count(EventHelloAcked) != 0 || p.count(EventIgnoredZLB) != 1 || len(p.sent) != 0 {
		t.Errorf("strict: events %+v, sent %+v", p.events, p.sent)
	}
	if p := early(func(b *Behaviour) { b.StrictNs, b.AckEarly = false, AckEarlyAll }); p.count(EventHelloAcked) != 1 || len(p.sent) != 1 {
		t.Errorf("lax: events %+v, sent %+v", p.events, p.sent)
	}
	p := early(func(b *Behaviour) { b.StrictNs, b.Early = false, EarlyWedge })
	if p.hello(); p.count(EventHelloReceived) != 0 || p.count(EventWedged) != 1 || p.last().Nr != p.ns-1 {
		t.Errorf("wedged: events %+v, sent %+v", p.events, p.sent)
	}
}

func TestNrFollows(t *testing.T) {
	p := inCall(t, func(b *Behaviour) { b.NrFollows, b.Early = true, EarlySkip })
	hello := p.hello()
	p.hello()
	p.again(hello)
	if want := []uint16{hello.Ns + 1, hello.Ns + 2, hello.Ns + 1}; !reflect.DeepEqual(p.sentNr(), want) {
		t.Fatalf("acknowledged %v, want %v", p.sentNr(), want)
	}
}

func TestDeafForAWhile(t *testing.T) {
	p := inCall(t, func(b *Behaviour) { b.DeafFrom, b.DeafUntil = 60*second, 120*second })
	var heard []bool
	for range 4 {
		hello := p.hello()
		if heard = append(heard, len(p.sent) > 0); len(p.sent) == 0 {
			p.ns = hello.Ns // it is sent again
		}
		p.sent = nil
		p.run(30*time.Second, nil)
	}
	if want := []bool{true, false, false, true}; !reflect.DeepEqual(heard, want) {
		t.Fatalf("heard %v, want %v", heard, want)
	}
}

// Without tries of its own the Hello is sent again as any other message.
func TestKeepaliveAsOtherMessages(t *testing.T) {
	p := inCall(t, func(b *Behaviour) {
		keepalive(b)
		b.RetransmitFirst, b.RetransmitCap, b.RetransmitTries = 2*second, 2*second, 15
	})
	p.run(20*time.Second, nil)
	at := p.now
	p.run(time.Hour, func() {
		if p.closed() != "" && p.now.Sub(at) < 30*time.Second {
			t.Fatalf("closed %v after the Hello", p.now.Sub(at))
		}
	})
	if p.count(EventHelloSent) != 15 || p.closed() != ReasonKeepaliveTimeout {
		t.Fatalf("%d Hellos, closed for %q", p.count(EventHelloSent), p.closed())
	}
}

func TestKeepaliveQuiet(t *testing.T) {
	p := inCall(t, func(b *Behaviour) { keepalive(b); b.KeepaliveQuiet = true })
	for range 10 {
		p.run(59*time.Second, nil)
		p.hello()
	}
	if p.count(EventHelloSent) != 0 {
		t.Fatalf("%d Hellos into a busy channel", p.count(EventHelloSent))
	}
	p.run(60*time.Second, nil)
	if p.count(EventHelloSent) != 1 {
		t.Fatalf("%d Hellos after a minute", p.count(EventHelloSent))
	}
	p.now = p.now.Add(time.Second / 2)
	p.zlb() // the interval begins with what came last, not with the Hello
	if p.run(60*time.Second-1, nil); p.count(EventHelloSent) != 1 {
		t.Fatalf("%d Hellos, the acknowledgement came a minute ago", p.count(EventHelloSent))
	}
}

func TestRetransmitOldNr(t *testing.T) {
	for _, old := range []bool{true, false} {
		p := inCall(t, func(b *Behaviour) { keepalive(b); b.RetransmitOldNr = old })
		p.run(20*time.Second, nil)
		first := p.last()
		p.take(p.tunnel.Receive(p.now, Packet{Tunnel: ourTunnel, Ns: p.ns, Nr: p.nr - 1, AVPs: []AVP{Hello.avp()}}))
		p.run(time.Second, nil)
		if again := p.last(); again.Ns != first.Ns || (again.Nr == first.Nr) != old {
			t.Errorf("old Nr %v: sent %+v, and again %+v", old, first, again)
		}
	}
}

func TestCloseOn(t *testing.T) {
	for _, c := range []struct {
		mode    CloseOnMode
		unknown string // reason of the close on a type that RFC 2661 does not have
		known   string // on an SCCCN long after the set-up
	}{
		{CloseOnNothing, "", ""},
		{CloseOnUnknown, ReasonUnexpected, ""},
		{CloseOnUnexpected, ReasonUnexpected, ReasonUnexpected},
	} {
		p := inCall(t, func(b *Behaviour) { b.CloseOn = c.mode })
		p.message(0, SCCCN.avp())
		if p.closed() != c.known {
			t.Errorf("%s: SCCCN: closed for %q", c.mode, p.closed())
		}
		p = inCall(t, func(b *Behaviour) { b.CloseOn = c.mode })
		p.message(0, MessageType(99).avp())
		if p.closed() != c.unknown {
			t.Errorf("%s: message 99: closed for %q", c.mode, p.closed())
		}
		if stop := p.last(); c.unknown != "" && (stop.Type() != StopCCN || !strings.HasPrefix(result(stop), "result 7 ")) {
			t.Errorf("%s: sent %s, %s", c.mode, stop.Type(), result(stop))
		}
	}
}
