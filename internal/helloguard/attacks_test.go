package helloguard

import (
	"testing"
	"time"

	"xl2tpd-keepalive/internal/helloguard/translator"
	"xl2tpd-keepalive/internal/l2tp"
)

// run lets time pass, and does what is due.
func (b *fixture) run(d time.Duration) {
	end := b.now.Add(d)
	for b.now.Before(end) {
		b.now = b.now.Add(100 * time.Millisecond)
		b.handleTimers(b.now)
	}
}

// helloCopies sends a Hello of xl2tpd and all its copies.
func (b *fixture) helloCopies(ns uint16) {
	b.handle(packet(false, ourHello(ns)), outbound, b.now)
	for _, s := range []time.Duration{1, 2, 4, 8} {
		b.run(s * time.Second)
		b.handle(packet(false, ourHello(ns)), outbound, b.now)
	}
}

// Nothing is sent in the name of an xl2tpd that is not certainly the tunnel's.
func TestNothingIsAskedForAnUnclearOwner(t *testing.T) {
	b := newFixture(t, t.TempDir())
	b.links.PassFirst = true
	b.world.start(office, 0) // cgroups show nothing
	b.world.daemons[0].Cgroup, b.world.sockets[0].cgroup, b.world.sockets[1].cgroup = 0, 0, 0
	b.connect()
	if o := b.table.list[0].owner; o.ownership != ownerUnclear {
		t.Fatalf("the owner is %v, want an unclear one", o)
	}
	b.acts = nil
	b.helloCopies(2)
	b.run(14 * time.Second)
	if n := toPeers(b.acts); n != 0 {
		t.Errorf("%d packets were sent to the peer, want none", n)
	}
}

// The guard goes on listening to a peer of which an SCCRP was lost after the queue.
func TestSCCRQSentAgainBehindTheSCCRP(t *testing.T) {
	b := newFixture(t, t.TempDir())
	b.handlesRaw(false, assigning(false, l2tp.TypeSCCRQ, 0, 7, 0, 0), translator.Pass)
	b.handlesRaw(true, assigning(true, l2tp.TypeSCCRP, 7, 9, 0, 1), translator.Pass)
	b.handlesRaw(false, assigning(false, l2tp.TypeSCCRQ, 0, 7, 0, 0), translator.Pass) // the SCCRP was lost after the queue
	b.handlesRaw(true, assigning(true, l2tp.TypeSCCRP, 7, 9, 0, 1), translator.Pass)
	b.handles(false, l2tp.Message{Type: l2tp.TypeSCCCN, Tunnel: 9, Ns: 1, Nr: 1}, translator.Pass)
	b.handles(true, l2tp.Message{Tunnel: 7, Ns: 1, Nr: 2}, translator.Pass)
	for i := 0; i < 5; i++ {
		b.age(1)
		b.handle(packet(false, l2tp.Message{Tunnel: 9, Ns: 2, Nr: 1}), outbound, b.now)
	}
	tun := l2tp.Connection{Local: here, Peer: there, LocalID: 7}
	if !b.listened[tun] || !b.table.list[0].listening {
		t.Errorf("listened %v, channel says %v", b.listened, b.table.list[0].listening)
	}
}

// The kernel knows a tunnel by both its ids from before xl2tpd's first message in it, and forgets it with the tunnel. So that
// message is read, however many answers to callers are not.
func TestMessagesOfAKnownTunnelAreRead(t *testing.T) {
	b := newFixture(t, t.TempDir())
	known := func(peerID uint16) bool {
		return b.known[l2tp.Connection{Local: here, Peer: there, LocalID: 7, PeerID: peerID}]
	}
	b.handlesRaw(false, assigning(false, l2tp.TypeSCCRQ, 0, 7, 0, 0), translator.Pass)
	b.handlesRaw(true, assigning(true, l2tp.TypeSCCRP, 7, 8, 0, 1), translator.Pass)
	if !known(8) {
		t.Error("after the SCCRP: not known")
	}
	b.handle(assigning(true, l2tp.TypeSCCRP, 7, 9, 0, 1), inboundSecured, b.now)
	if known(8) || !known(9) {
		t.Errorf("after an SCCRP through IPsec: the kernel knows %v", b.known)
	}
	for len(b.table.list) > 0 {
		b.exec.drop(b.table.list[0])
	}
	if len(b.known) != 0 {
		t.Errorf("without a tunnel: the kernel knows %v", b.known)
	}
}

// An answer of xl2tpd to a caller does not make the guard listen to the caller, who may send a flood.
func TestCallersAreNotListenedTo(t *testing.T) {
	b := newFixture(t, t.TempDir())
	b.links.Certain, b.unpaired.watched = false, epoch.Add(-time.Hour)
	for _, m := range []l2tp.Message{
		{Type: l2tp.TypeSCCRP, Tunnel: 9, Nr: 1}, {Tunnel: 9, Ns: 1, Nr: 2}, {Type: 11, Tunnel: 9, Ns: 1, Nr: 3}, // ICRP
		{Type: l2tp.TypeStopCCN, Tunnel: 9, Ns: 1, Nr: 2}, {Type: l2tp.TypeStopCCN, Tunnel: 10, Nr: 1}, {Tunnel: 10, Ns: 1, Nr: 1},
	} {
		b.handle(packet(false, m), outbound, b.now)
	}
	if len(b.listened) != 0 {
		t.Errorf("the guard listens to %v", b.listened)
	}
	if !b.unpaired.watched.Before(b.now) {
		t.Error("an answer to a caller keeps the guard from asking others")
	}
	b.handle(packet(false, l2tp.Message{Type: l2tp.TypeHello, Tunnel: 9, Ns: 1, Nr: 3}), outbound, b.now)
	if len(b.listened) != 1 {
		t.Errorf("a Hello of a tunnel that is older than the guard: it listens to %v", b.listened)
	}
}

// A tunnel with a Hello acknowledged for the peer is stopped: that Hello was answered.
func TestReasonBehindAHelloAckedForThePeer(t *testing.T) {
	b := newFixture(t, t.TempDir())
	b.links.PassFirst = true
	b.connect()
	b.helloCopies(2)
	b.run(14 * time.Second) // acknowledged for the peer: the links show life
	b.run(31 * time.Second)
	b.handle(packet(false, ourHello(3)), outbound, b.now)
	b.run(10 * time.Second)
	b.acts = nil
	b.handle(closing(false, l2tp.TypeStopCCN, 4, 1, 6, "Server closing"), outbound, b.now)
	if len(b.ends) != 1 || b.ends[0].Unanswered || b.ends[0].StopAcked {
		t.Errorf("got %+v, want one end that is no failure of the peer", b.ends)
	}
}

// A forged answer in the clear pairs two ids that are no pair. The IPsec policy drops it after the
// queue, and the peer's true answer comes through IPsec.
func TestPairForgedInTheClear(t *testing.T) {
	b := newFixture(t, t.TempDir())
	b.links.PassFirst = true
	b.handle(asks(false, 9), outbound, b.now)
	b.handle(answers(true, 666, 6), inbound, b.now) // forged, in the clear
	// healthy peer answers each, through IPsec
	b.handle(answers(true, 7, 6), inboundSecured, b.now)
	b.now = b.now.Add(time.Minute)
	b.handle(packet(false, l2tp.Message{Type: l2tp.TypeHello, Tunnel: 9, Ns: 6}), outbound, b.now)
	b.handle(answers(true, 7, 7), inboundSecured, b.now)
	b.run(time.Minute)
	for ns := uint16(7); ns < 9; ns++ {
		a, _, _ := b.handle(packet(false, l2tp.Message{Type: l2tp.TypeHello, Tunnel: 9, Ns: ns}), outbound, b.now)
		b.handle(answers(true, 7, ns+1), inboundSecured, b.now)
		if a == translator.Drop {
			t.Errorf("Hello %d of a healthy tunnel is dropped, and answered to tunnel %d", ns, b.table.list[0].translator.Connection().LocalID)
		}
		b.run(time.Minute)
	}
}

// Forged messages in the clear come before the first one through IPsec.
func TestNumbersForgedInTheClear(t *testing.T) {
	b := newFixture(t, t.TempDir())
	b.links.PassFirst = true
	b.session(true)
	b.handle(packet(false, ourHello(5)), outbound, b.now) // Nr 1
	for ns := uint16(1); ns < 11; ns++ {
		b.handle(packet(true, l2tp.Message{Type: l2tp.TypeHello, Tunnel: 7, Ns: ns, Nr: 5}), inbound, b.now)
	}
	b.handle(packet(true, l2tp.Message{Tunnel: 7, Ns: 1, Nr: 5}), inboundSecured, b.now) // the true peer
	for _, s := range []time.Duration{1, 2, 4, 8} {
		b.run(s * time.Second)
		b.handle(packet(false, ourHello(5)), outbound, b.now)
	}
	b.sent = nil
	b.run(15 * time.Second)
	good := false
	for _, i := range b.sent {
		p, _ := l2tp.ParsePacket(i.Packet)
		good = good || i.To == translator.ToXl2tpd && p.Msg.Ns == 1
	}
	if !good {
		t.Error("xl2tpd expects 1, and gets no acknowledgement with that")
	}
}
