package helloguard

import (
	"encoding/binary"
	"maps"
	"net/netip"
	"testing"
	"time"

	"xl2tpd-keepalive/internal/helloguard/translator"
	"xl2tpd-keepalive/internal/l2tp"
)

var (
	here  = netip.MustParseAddrPort("192.0.2.100:1701")
	there = netip.MustParseAddrPort("192.0.2.1:1701")
	epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
)

// packet makes a control packet of the host or, with in, of the peer.
func packet(in bool, m l2tp.Message) []byte {
	src, dst := here, there
	if in {
		src, dst = there, here
	}
	return l2tp.AppendPacket(nil, src, dst, m)
}

// assigning makes an SCCRQ or SCCRP that names its sender's tunnel id.
func assigning(in bool, kind l2tp.MessageType, to, own uint16, ns, nr uint16) []byte {
	b := packet(in, l2tp.Message{Type: kind, Tunnel: to, Ns: ns, Nr: nr})
	for _, w := range []uint16{0x8008, 0, 9, own} {
		b = binary.BigEndian.AppendUint16(b, w)
	}
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
	binary.BigEndian.PutUint16(b[24:], uint16(len(b)-20))
	binary.BigEndian.PutUint16(b[30:], uint16(len(b)-28))
	l2tp.TrustChecksum(b)
	return b
}

// step is one packet that an exchange is asked about.
type step struct {
	in  bool
	raw []byte
	// pause is what went before.
	pause time.Duration
	// want is the pair of ids that it belongs to; zero: to no known tunnel
	local, peer uint16
}

func zlb(in bool, to uint16) []byte { return packet(in, l2tp.Message{Tunnel: to}) }

// asks makes the message with Ns 5, answers the ZLB with Nr nr.
func asks(in bool, to uint16) []byte {
	return packet(in, l2tp.Message{Type: l2tp.TypeHello, Tunnel: to, Ns: 5})
}
func answers(in bool, to, nr uint16) []byte { return packet(in, l2tp.Message{Tunnel: to, Nr: nr}) }

func TestFind(t *testing.T) {
	for name, c := range map[string]struct {
		sessions []translator.Tunnel
		steps    []step
	}{
		"dialled": {steps: []step{
			{raw: assigning(false, l2tp.TypeSCCRQ, 0, 7, 0, 0)},
			{in: true, raw: assigning(true, l2tp.TypeSCCRP, 7, 9, 0, 1), local: 7, peer: 9},
			{raw: zlb(false, 9), local: 7, peer: 9},
			{in: true, raw: zlb(true, 7), local: 7, peer: 9},
			{in: true, raw: assigning(true, l2tp.TypeSCCRP, 7, 10, 0, 1), local: 7, peer: 9}, // forged
			{in: true, raw: zlb(true, 8)},
		}},
		"answered": {steps: []step{
			{in: true, raw: assigning(true, l2tp.TypeSCCRQ, 0, 9, 0, 0)},
			{raw: assigning(false, l2tp.TypeSCCRP, 9, 7, 0, 1), local: 7, peer: 9},
			{in: true, raw: zlb(true, 7), local: 7, peer: 9},
		}},
		"not asked for": {steps: []step{
			{in: true, raw: assigning(true, l2tp.TypeSCCRP, 7, 9, 0, 1)},
			{in: true, raw: zlb(true, 7)},
		}},
		"asked for by a forged packet": {steps: []step{
			{in: true, raw: assigning(true, l2tp.TypeSCCRQ, 0, 7, 0, 0)},
			{in: true, raw: assigning(true, l2tp.TypeSCCRP, 7, 9, 0, 1)},
			{in: true, raw: zlb(true, 7)},
		}},
		"session": {
			sessions: []translator.Tunnel{{Local: here, LocalID: 6, PeerID: 8}, {Local: here, Peer: there, LocalID: 7, PeerID: 9}},
			steps: []step{
				{in: true, raw: zlb(true, 7), local: 7, peer: 9},
				{raw: zlb(false, 8), local: 6, peer: 8},
			}},
		"answers": {steps: []step{
			{in: true, raw: asks(true, 7)}, // alone it opens nothing
			{raw: answers(false, 9, 6)},
			{in: true, raw: asks(true, 7)},
			{raw: answers(false, 9, 7)},
			{raw: answers(false, 9, 6), local: 7, peer: 9},
			{in: true, raw: zlb(true, 7), local: 7, peer: 9},
		}},
		"is answered": {steps: []step{
			{raw: asks(false, 9)},
			{in: true, raw: answers(true, 7, 5)},
			{in: true, raw: answers(true, 7, 6), local: 7, peer: 9},
		}},
		"two behind one address": {steps: []step{
			{raw: asks(false, 9)}, // not answered
			{in: true, raw: asks(true, 8), pause: time.Minute},
			{raw: answers(false, 10, 6), local: 8, peer: 10},
			{in: true, raw: asks(true, 7)}, // opens nothing
			{raw: answers(false, 9, 6)},
			{in: true, raw: asks(true, 7), pause: time.Minute},
			{raw: answers(false, 9, 6), local: 7, peer: 9},
		}},
		"two that ask at once": {steps: []step{
			{raw: zlb(false, 9)},
			{in: true, raw: asks(true, 7)},
			{in: true, raw: asks(true, 8)},
			{in: true, raw: asks(true, 8)},
			{raw: answers(false, 9, 6)},
			{raw: answers(false, 10, 6)},
			{in: true, raw: asks(true, 8), pause: time.Second},
			{raw: answers(false, 10, 6), local: 8, peer: 10},
		}},
		"a late answer": {steps: []step{
			{raw: asks(false, 9)},
			{in: true, raw: answers(true, 7, 6), pause: time.Second},
		}},
	} {
		x := newExchange()
		x.sessions = c.sessions
		now := epoch
		for i, s := range c.steps {
			p, err := l2tp.ParsePacket(s.raw)
			if err != nil {
				t.Fatal(err)
			}
			var got translator.Tunnel
			now = now.Add(s.pause)
			if c, _ := x.find(&p, !s.in, now); c != nil {
				got = c.translator.Tunnel()
			}
			if got.LocalID != s.local || got.PeerID != s.peer {
				t.Errorf("%s, packet %d: %d/%d, want %d/%d", name, i, got.LocalID, got.PeerID, s.local, s.peer)
			}
		}
	}
}

// Tunnels of the kernel's table are met once, and not without an address.
func TestMeet(t *testing.T) {
	x := newExchange()
	s := translator.Tunnel{Local: here, Peer: there, LocalID: 7, PeerID: 9}
	for range 2 {
		x.meet([]translator.Tunnel{s, {Local: here, LocalID: 6, PeerID: 8}}, epoch)
	}
	if all := x.all(); len(all) != 1 || all[0].translator.Tunnel() != s {
		t.Errorf("%d channels", len(all))
	}
}

// Nothing is kept of tunnels that are no more, and a closed one goes sooner. One that
// the kernel has a session of is still there.
func TestOld(t *testing.T) {
	x := newExchange()
	open := &channel{translator: translator.New(translator.Tunnel{Local: here, Peer: there, LocalID: 1, PeerID: 2}, translator.DefaultTiming(), epoch), seen: epoch}
	closing := &channel{translator: translator.New(translator.Tunnel{Local: here, Peer: there, LocalID: 3, PeerID: 4}, translator.DefaultTiming(), epoch), seen: epoch}
	closing.translator.Out(packet(false, l2tp.Message{Type: l2tp.TypeStopCCN, Tunnel: 4, Ns: 2, Nr: 1}), epoch, translator.Life{})
	frozen := &channel{translator: translator.New(translator.Tunnel{Local: here, Peer: there, LocalID: 5, PeerID: 6}, translator.DefaultTiming(), epoch), seen: epoch}
	x.add(open)
	x.add(closing)
	x.add(frozen)
	for _, raw := range [][]byte{assigning(false, l2tp.TypeSCCRQ, 0, 7, 0, 0), zlb(false, 9)} {
		p, err := l2tp.ParsePacket(raw)
		if err != nil {
			t.Fatal(err)
		}
		x.find(&p, true, epoch)
	}
	x.sessions = []translator.Tunnel{{Local: here, LocalID: 5, PeerID: 6}}
	now, gone := epoch, map[*channel]int{}
	for round := 1; round <= 2*forgetAfter; round++ {
		now = now.Add(tidyEvery)
		for _, c := range x.old(now) {
			gone[c] = round
		}
	}
	if want := map[*channel]int{closing: closedAfter + 1, open: forgetAfter + 1}; !maps.Equal(gone, want) {
		t.Errorf("gone in rounds %v, want %v", gone, want)
	}
	x.sessions = nil
	if gone := x.old(now); len(gone) != 1 || gone[0] != frozen {
		t.Errorf("gone: %v", gone)
	}
	if len(x.channels)+len(x.asked)+len(x.strangers) != 0 {
		t.Errorf("%+v", x)
	}
}
