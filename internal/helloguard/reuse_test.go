package helloguard

import (
	"testing"
	"time"

	"xl2tpd-keepalive/internal/helloguard/translator"
	"xl2tpd-keepalive/internal/l2tp"
	"xl2tpd-keepalive/internal/procfs"
)

// While the guard was away the tunnel has ended, and the peer has given its id to the next.
func TestPeerIDGivenAgainWhileAway(t *testing.T) {
	for _, held := range []int{0, 3} {
		b := newFixture(t, t.TempDir())
		old := b.connect()
		for i := range held {
			b.handles(false, ourHello(uint16(2+i)), translator.Drop)
		}
		next := b.again()
		tunnel := l2tp.Connection{Local: here, Peer: there, LocalID: 8, PeerID: 9}
		next.update(Host{Daemons: []procfs.ID{watched}, Sessions: []KernelSession{{tunnel, watched.Pid}}}, next.now)
		for ns := uint16(4); ns < 8; ns++ {
			action, _, c := next.handle(packet(false, l2tp.Message{Type: 10, Tunnel: 9, Ns: ns, Nr: 3}), outbound, next.now)
			if got := c.translator.Connection(); action != translator.Pass || got != tunnel {
				t.Errorf("held %d: Ns %d of the new tunnel: action %d, judged as tunnel %d/%d", held, ns, action, got.LocalID, got.PeerID)
			}
		}
		if next.kept(old) {
			t.Errorf("held %d: the old tunnel is kept", held)
		}
	}
}

// A tunnel may have exchanged more messages without the guard than can be distinguished from forged ones.
func TestAwayForLong(t *testing.T) {
	b := newFixture(t, t.TempDir())
	b.connect()
	b.handles(false, l2tp.Message{Tunnel: 9, Ns: 2, Nr: 1}, translator.Pass)
	next := b.again()
	held := 0
	for ns := uint16(1200); ns < 1210; ns++ {
		next.now = next.now.Add(time.Minute)
		next.handle(packet(true, l2tp.Message{Tunnel: 7, Ns: 1200, Nr: 1200}), inbound, next.now)
		if action, _, _ := next.handle(packet(false, l2tp.Message{Type: l2tp.TypeHello, Tunnel: 9, Ns: ns, Nr: 1200}), outbound, next.now); action == translator.Drop {
			held++
		}
		next.tidy(next.now)
	}
	if held < 8 {
		t.Errorf("%d of 10 Hellos held", held)
	}
}

// The IPsec policy drops what is forged in the clear only after the guard.
func TestForgedSCCRPInTheClear(t *testing.T) {
	b := newFixture(t, t.TempDir())
	secured := func(raw []byte) {
		t.Helper()
		if action, _, _ := b.handle(raw, inboundSecured, b.now); action != translator.Pass {
			t.Errorf("the peer's: action %d", action)
		}
	}
	b.handlesRaw(false, assigning(false, l2tp.TypeSCCRQ, 0, 7, 0, 0), translator.Pass)
	b.handlesRaw(true, assigning(true, l2tp.TypeSCCRP, 7, 666, 0, 500), translator.Pass) // forged
	secured(assigning(true, l2tp.TypeSCCRP, 7, 9, 0, 1))
	opened := b.table.list[0]
	secured(assigning(true, l2tp.TypeSCCRP, 7, 9, 0, 1))
	if b.table.list[0] != opened {
		t.Error("forgotten when it comes again")
	}
	b.handles(false, l2tp.Message{Type: l2tp.TypeSCCCN, Tunnel: 9, Ns: 1, Nr: 1}, translator.Pass)
	b.handlesRaw(true, assigning(true, l2tp.TypeSCCRP, 7, 667, 0, 700), translator.Pass) // forged, too late
	secured(packet(true, l2tp.Message{Tunnel: 7, Ns: 1, Nr: 2}))
	b.handles(false, l2tp.Message{Tunnel: 9, Ns: 2, Nr: 1}, translator.Pass)
	b.now = b.now.Add(time.Minute)
	b.handles(false, ourHello(2), translator.Drop)
	if all := b.table.list; len(all) != 1 || all[0].translator.Connection().PeerID != 9 {
		t.Errorf("%d channels", len(all))
	}
}

// A peer that has restarted gives the id of a tunnel that xl2tpd has not given up yet.
func TestStopOfAnotherTunnel(t *testing.T) {
	b := newFixture(t, t.TempDir())
	b.connect() // 7/9
	b.handles(false, l2tp.Message{Tunnel: 9, Ns: 2, Nr: 1}, translator.Pass)
	b.handlesRaw(false, assigning(false, l2tp.TypeSCCRQ, 0, 8, 0, 0), translator.Pass)
	b.handlesRaw(true, assigning(true, l2tp.TypeSCCRP, 8, 9, 0, 1), translator.Pass)
	b.handles(false, l2tp.Message{Type: l2tp.TypeSCCCN, Tunnel: 9, Ns: 1, Nr: 1}, translator.Pass)
	b.handles(true, l2tp.Message{Tunnel: 8, Ns: 1, Nr: 2}, translator.Pass)
	b.handle(l2tp.AppendPacket(nil, here, there, l2tp.Message{Type: l2tp.TypeStopCCN, Assigned: 7, Tunnel: 9, Ns: 5, Nr: 4}), outbound, b.now)
	if b.table.list[0].translator.Closing() || len(b.ends) > 0 {
		t.Errorf("the new tunnel is taken for closed: %+v", b.ends)
	}
	b.now = b.now.Add(time.Minute)
	b.handles(false, ourHello(2), translator.Drop)
}

// The kernel's table may be older than a tunnel that is being set up.
func TestNewerThanTheTable(t *testing.T) {
	b := newFixture(t, t.TempDir())
	b.connect()
	b.update(Host{Daemons: []procfs.ID{watched}, Sessions: []KernelSession{{Connection: l2tp.Connection{Local: here, Peer: there, LocalID: 6, PeerID: 9}}}}, b.now)
	if all := b.table.list; len(all) != 1 || all[0].translator.Connection().LocalID != 7 {
		t.Errorf("%d channels", len(all))
	}
	if b.stand() != 1 {
		t.Errorf("%d tunnels", b.stand())
	}
	b.handlesRaw(false, assigning(false, l2tp.TypeSCCRQ, 0, 8, 0, 0), translator.Pass)
	b.handlesRaw(true, assigning(true, l2tp.TypeSCCRP, 8, 10, 0, 1), translator.Pass)
	if b.stand() != 1 {
		t.Errorf("%d tunnels, with one that is half open", b.stand())
	}
	b.handles(false, l2tp.Message{Type: l2tp.TypeSCCCN, Tunnel: 10, Ns: 1, Nr: 1}, translator.Pass)
	if b.stand() != 2 {
		t.Errorf("%d tunnels", b.stand())
	}
}

// A held tunnel's numbers are not given up for a packet that can't be its own.
func TestFarNumberOfAHeldTunnel(t *testing.T) {
	b := newFixture(t, t.TempDir())
	b.connect()
	b.handles(false, ourHello(2), translator.Drop)
	b.handles(false, l2tp.Message{Type: 10, Tunnel: 9, Ns: 5000, Nr: 1}, translator.Pass)
	if !b.table.list[0].translator.Diverged() {
		t.Error("the channel no longer knows that the two ends count differently")
	}
}
