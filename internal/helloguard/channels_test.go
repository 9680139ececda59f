package helloguard

import (
	"encoding/binary"
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
	return assigned(packet(in, l2tp.Message{Type: kind, Tunnel: to, Ns: ns, Nr: nr}), own)
}

// assigned is a packet with an Assigned Tunnel ID more.
func assigned(b []byte, own uint16) []byte {
	return withAVP(b, 9, binary.BigEndian.AppendUint16(nil, own))
}

// named is a packet with a Vendor Name more.
func named(b []byte, vendor string) []byte { return withAVP(b, 8, []byte(vendor)) }

// withAVP is a packet with one AVP more.
func withAVP(b []byte, kind uint16, value []byte) []byte {
	for _, w := range []uint16{0x8000 | uint16(6+len(value)), 0, kind} {
		b = binary.BigEndian.AppendUint16(b, w)
	}
	b = append(b, value...)
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

// asks makes the message with Ns 5, answers the ZLB with Nr nr. The Ns of xl2tpd's ZLB is none of a caller's first answers.
func asks(in bool, to uint16) []byte {
	return packet(in, l2tp.Message{Type: l2tp.TypeHello, Tunnel: to, Ns: 5})
}
func answers(in bool, to, nr uint16) []byte {
	if in {
		return packet(in, l2tp.Message{Tunnel: to, Nr: nr})
	}
	return packet(in, l2tp.Message{Tunnel: to, Ns: answerMessages, Nr: nr})
}

func TestFind(t *testing.T) {
	for name, c := range map[string]struct {
		sessions []KernelSession
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
			{raw: assigning(false, l2tp.TypeSCCRP, 9, 7, 0, 1)},
			{in: true, raw: zlb(true, 7)},
			{raw: answers(false, 9, 1)}, // to another copy of the SCCRQ
			{raw: answers(false, 9, 2), local: 7, peer: 9},
			{in: true, raw: zlb(true, 7), local: 7, peer: 9},
		}},
		"answered, and given up": {steps: []step{
			{raw: assigning(false, l2tp.TypeSCCRP, 9, 7, 0, 1)},
			{raw: assigning(false, l2tp.TypeStopCCN, 9, 7, 1, 1)},
			{raw: answers(false, 9, 2)},
			{in: true, raw: zlb(true, 7)},
		}},
		"xl2tpd's answer to a StopCCN": {steps: []step{
			{raw: packet(false, l2tp.Message{Type: l2tp.TypeHello, Tunnel: 8, Ns: 5})}, // has the path watched
			{in: true, raw: packet(true, l2tp.Message{Type: l2tp.TypeStopCCN, Tunnel: 7, Ns: 5}), pause: time.Minute},
			{raw: answers(false, 9, 6)},
		}},
		"the answer to a StopCCN": {steps: []step{
			{raw: packet(false, l2tp.Message{Type: l2tp.TypeHello, Tunnel: 8, Ns: 5})}, // has the path watched
			{raw: packet(false, l2tp.Message{Type: l2tp.TypeStopCCN, Tunnel: 9, Ns: 5}), pause: time.Minute},
			{in: true, raw: answers(true, 7, 6)},
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
			sessions: []KernelSession{{Connection: l2tp.Connection{Local: here, LocalID: 6, PeerID: 8}}, {Connection: l2tp.Connection{Local: here, Peer: there, LocalID: 7, PeerID: 9}}},
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
			{in: true, raw: asks(true, 7)},
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
		b := newFixture(t, t.TempDir())
		b.table.setSessions(c.sessions)
		for i, s := range c.steps {
			p, err := l2tp.ParsePacket(s.raw)
			if err != nil {
				t.Fatal(err)
			}
			var got l2tp.Connection
			b.now = b.now.Add(s.pause)
			find := b.opener.channelOfOutgoing
			if s.in {
				find = func(p *l2tp.Packet, now time.Time) *channel { return b.opener.channelOfIncoming(p, false, now) }
			}
			if c := find(&p, b.now); c != nil {
				got = c.translator.Connection()
			}
			if got.LocalID != s.local || got.PeerID != s.peer {
				t.Errorf("%s, packet %d: %d/%d, want %d/%d", name, i, got.LocalID, got.PeerID, s.local, s.peer)
			}
		}
	}
}

// Tunnels of the kernel's table are met once, and not without an address.
func TestMeet(t *testing.T) {
	b := newFixture(t, t.TempDir())
	s := KernelSession{Connection: l2tp.Connection{Local: here, Peer: there, LocalID: 7, PeerID: 9}, Xl2tpd: watched.Pid}
	for range 2 {
		b.opener.takeSessions([]KernelSession{s, {Connection: l2tp.Connection{Local: here, LocalID: 6, PeerID: 8}}}, epoch)
	}
	if all := b.table.list; len(all) != 1 || all[0].translator.Connection() != s.Connection || !all[0].owner.is(watched) {
		t.Errorf("%d channels", len(all))
	}
}

// A tunnel may be known before the rules are in place. What xl2tpd sends meanwhile goes unseen.
func TestRulesComeLater(t *testing.T) {
	for later, want := range map[time.Duration]translator.Action{0: translator.Drop, time.Second: translator.Pass} {
		b := newFixture(t, t.TempDir())
		b.opener.takeSessions([]KernelSession{{Connection: l2tp.Connection{Local: here, Peer: there, LocalID: 7, PeerID: 9}, Xl2tpd: watched.Pid}}, b.now)
		b.watch(b.now.Add(later))
		b.now = b.now.Add(2 * time.Second)
		b.handles(false, ourHello(5), translator.Pass)
		b.handles(true, l2tp.Message{Tunnel: 7, Ns: 1, Nr: 6}, translator.Pass)
		b.now = b.now.Add(14500 * time.Millisecond)
		b.handles(false, ourHello(6), want)
		if b.unpaired.watched != epoch.Add(later) {
			t.Errorf("unpaired tunnels watched since %v, want %v later than the start", b.unpaired.watched, later)
		}
	}
}
