package l2tp

import (
	"encoding/json"
	"reflect"
	"testing"
	"time"
)

func withHello(m HelloMode) Behaviour {
	b := Defaults()
	b.Hello = m
	return b
}

func TestHelloModes(t *testing.T) {
	for _, c := range []struct {
		mode                  HelloMode
		answers, afterRepeats int  // ZLBs
		stopHeard             bool // a StopCCN that follows the Hello is in order
	}{
		{HelloAck, 1, 2, true},
		{HelloDeaf, 0, 0, false},
		{HelloCountOnly, 0, 0, true},
	} {
		p := newPeer(t, withHello(c.mode))
		p.establish()
		sent := len(p.sent)
		hello := p.message(0, Hello.avp())
		if n := len(p.sent) - sent; n != c.answers {
			t.Errorf("%s: %d answers to the Hello, want %d", c.mode, n, c.answers)
		}
		p.again(hello)
		if n := len(p.sent) - sent; n != c.afterRepeats {
			t.Errorf("%s: %d answers after its repetition, want %d", c.mode, n, c.afterRepeats)
		}
		p.message(0, StopCCN.avp(), mandatory16(AVPAssignedTunnel, peerTunnel), resultCode(1, 0, ""))
		if heard := p.closed() == ReasonStopCCNFromPeer; heard != c.stopHeard {
			t.Errorf("%s: StopCCN heard %v, want %v", c.mode, heard, c.stopHeard)
		}
	}
}

// The Nr of the own keepalive acknowledges a Hello that was only counted.
func TestCountedHelloIsAcknowledgedLater(t *testing.T) {
	b := withHello(HelloCountOnly)
	b.KeepaliveInterval, b.KeepaliveTries = Duration(10*time.Second), 6
	p := newPeer(t, b)
	p.establish()
	p.zlb()
	hello := p.message(0, Hello.avp())
	p.run(10*time.Second, nil)
	if own := p.last(); own.Type() != Hello || own.Nr != hello.Ns+1 {
		t.Fatalf("sent %+v, want a Hello with Nr %d", own, hello.Ns+1)
	}
}

func TestKeepalive(t *testing.T) {
	b := Defaults()
	b.KeepaliveInterval, b.KeepaliveTries = Duration(10*time.Second), 6
	p := newPeer(t, b)
	p.establish()
	p.run(65*time.Second, func() {
		p.now = p.now.Add(time.Millisecond)
		p.zlb()
	})
	if p.count(EventHelloSent) != 6 || p.count(EventHelloAcked) != 6 || p.closed() != "" {
		t.Fatalf("%d sent, %d acknowledged, closed for %q", p.count(EventHelloSent), p.count(EventHelloAcked), p.closed())
	}
	// The peer falls silent: six sends of the Hello due at 70 s, and 10 s more.
	p.run(time.Hour, func() {
		if p.closed() != "" && p.elapsed() != 130*time.Second {
			t.Fatalf("closed after %v", p.elapsed())
		}
		if p.closed() != "" {
			p.zlb()
		}
	})
	if p.closed() != ReasonKeepaliveTimeout || p.count(EventHelloSent) != 12 {
		t.Fatalf("%d sent, closed for %q", p.count(EventHelloSent), p.closed())
	}
	var tries []int
	for _, e := range p.events {
		if e.Name == EventHelloSent {
			tries = append(tries, e.Try)
		}
	}
	if want := []int{1, 1, 1, 1, 1, 1, 1, 2, 3, 4, 5, 6}; !reflect.DeepEqual(tries, want) {
		t.Fatalf("tries %v, want %v", tries, want)
	}
}

// A deaf and strict peer locks itself out: once a Hello has come, the ZLBs of
// the other end are a number ahead for it, and its own Hellos stay
// unacknowledged.
func TestDeafnessBreaksTheOwnKeepalive(t *testing.T) {
	b := withHello(HelloDeaf)
	b.KeepaliveInterval, b.KeepaliveTries = Duration(10*time.Second), 3
	p := newPeer(t, b)
	p.establish()
	p.run(15*time.Second, p.zlb)
	if p.count(EventHelloAcked) != 1 {
		t.Fatalf("%d acknowledged", p.count(EventHelloAcked))
	}
	p.message(0, Hello.avp())
	p.run(36*time.Second, p.zlb)
	if p.closed() != ReasonKeepaliveTimeout || p.count(EventOutOfOrder) != 0 || p.count(EventIgnoredZLB) < 3 || p.count(EventHelloAcked) != 1 {
		t.Fatalf("closed for %q, events %+v", p.closed(), p.events)
	}
}

func TestIdle(t *testing.T) {
	b := Defaults()
	b.Idle = Duration(60 * time.Second)
	b.KeepaliveInterval, b.KeepaliveTries = Duration(10*time.Second), 6
	p := newPeer(t, b)
	p.establish()
	p.call()
	for i := range 10 {
		p.run(30*time.Second, p.zlb)
		p.tunnel.Data(p.now, uint64(i+1))
	}
	if p.closed() != "" {
		t.Fatalf("closed for %q with data flowing", p.closed())
	}
	// Control messages are not data; nor is a counter that stands still.
	p.run(59*time.Second, func() {
		p.zlb()
		p.message(0, Hello.avp())
		p.tunnel.Data(p.now, 10)
	})
	if p.closed() != "" {
		t.Fatal("closed early")
	}
	p.run(2*time.Second, nil)
	if p.closed() != ReasonIdle || p.elapsed() != 361*time.Second {
		t.Fatalf("closed for %q after %v", p.closed(), p.elapsed())
	}
	if want := (CloseSession{ourSession}); !reflect.DeepEqual(p.orders[2], want) || p.orders[3] != (CloseTunnel{}) {
		t.Fatalf("orders %+v", p.orders)
	}
	p.zlb()
	if !p.tunnel.Gone() {
		t.Fatal("not gone after the acknowledgement")
	}
}

func TestOddZLB(t *testing.T) {
	for _, all := range []bool{false, true} {
		b := Defaults()
		b.ZLBNsOffset, b.ZLBNsOffsetAll = 1, all
		p := newPeer(t, b)
		p.establish()
		if odd := p.last().Ns == 2; odd != all {
			t.Errorf("all=%v: SCCCN acknowledged with Ns %d", all, p.last().Ns)
		}
		p.message(0, Hello.avp())
		if p.last().Ns != 2 || p.last().Nr != p.ns {
			t.Errorf("all=%v: Hello acknowledged by %+v", all, p.last())
		}
	}
}

func TestCheck(t *testing.T) {
	if err := Defaults().Check(); err != nil {
		t.Error(err)
	}
	for name, change := range map[string]func(*Behaviour){
		"no name":            func(b *Behaviour) { b.HostName = "" },
		"long vendor":        func(b *Behaviour) { b.Vendor = string(make([]byte, 256)) },
		"negative idle":      func(b *Behaviour) { b.Idle = -1 },
		"less than no tries": func(b *Behaviour) { b.KeepaliveTries = -1 },
		"deaf backwards":     func(b *Behaviour) { b.DeafFrom, b.DeafUntil = 2, 1 },
		"answers too soon":   func(b *Behaviour) { b.AnswerDelay = -1 },
		"acks too soon":      func(b *Behaviour) { b.AckDelay = -1 },
		"no window":          func(b *Behaviour) { b.ReceiveWindow = 0 },
		"cap below first":    func(b *Behaviour) { b.RetransmitCap = 1 },
		"no retransmissions": func(b *Behaviour) { b.RetransmitTries = 0 },
		"unknown hello":      func(b *Behaviour) { b.Hello = "loud" },
		"unknown early":      func(b *Behaviour) { b.Early = "" },
		"unknown ack_early":  func(b *Behaviour) { b.AckEarly = "some" },
		"unknown zlb":        func(b *Behaviour) { b.ZLB = "often" },
		"unknown close_on":   func(b *Behaviour) { b.CloseOn = "monday" },
	} {
		b := Defaults()
		change(&b)
		if b.Check() == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestDuration(t *testing.T) {
	for text, want := range map[string]time.Duration{
		`60`: time.Minute, `"1m30s"`: 90 * time.Second, `0.5`: 500 * time.Millisecond, `"off"`: 0, `0`: 0,
	} {
		d := Duration(1)
		if err := json.Unmarshal([]byte(text), &d); err != nil || time.Duration(d) != want {
			t.Errorf("%s: %v, %v", text, time.Duration(d), err)
		}
	}
	for _, text := range []string{`true`, `"soon"`, `[]`} {
		var d Duration
		if json.Unmarshal([]byte(text), &d) == nil {
			t.Errorf("%s: accepted", text)
		}
	}
}
