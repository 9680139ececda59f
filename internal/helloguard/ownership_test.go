package helloguard

import (
	"encoding/json"
	"log/slog"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"xl2tpd-keepalive/internal/helloguard/translator"
	"xl2tpd-keepalive/internal/l2tp"
	"xl2tpd-keepalive/internal/procfs"
)

// none ends every xl2tpd without a word.
func (f *fakeHost) none() { f.daemons, f.sockets = nil, nil }

func toPeers(acts []string) int {
	n := 0
	for _, a := range acts {
		if a == "to peer" {
			n++
		}
	}
	return n
}

// Connections of other programs pass, and nothing of them is kept, whoever dials.
func TestForeignConnections(t *testing.T) {
	for name, set := range map[string]func(f *fakeHost){
		"no xl2tpd runs": func(f *fakeHost) { f.none() },
		"another program on its port, xl2tpd on another": func(f *fakeHost) {
			f.daemons[0].Listens = netip.AddrPortFrom(everywhere.Addr(), 1801)
			f.sockets = []socket{{local: everywhere, cgroup: 9}, {local: f.daemons[0].Listens, cgroup: 7}}
		},
		"another user's socket": func(f *fakeHost) { f.sockets[0].uid = 65534 },
		"another program's connected socket": func(f *fakeHost) {
			f.sockets = []socket{{local: here, peer: there, cgroup: 9}}
		},
	} {
		b := newFixture(t, t.TempDir())
		set(b.world)
		b.handlesRaw(false, assigning(false, l2tp.TypeSCCRQ, 0, 7, 0, 0), translator.Pass)
		b.handlesRaw(true, assigning(true, l2tp.TypeSCCRP, 7, 9, 0, 1), translator.Pass)
		b.handlesRaw(false, assigning(false, l2tp.TypeSCCRP, 9, 8, 0, 1), translator.Pass)
		for ns := uint16(1); ns < 5; ns++ {
			b.handles(false, l2tp.Message{Type: l2tp.TypeHello, Tunnel: 9, Ns: ns, Nr: 2}, translator.Pass)
			b.handles(true, l2tp.Message{Tunnel: 7, Ns: 1, Nr: ns + 1}, translator.Pass)
		}
		b.update(Host{Daemons: []procfs.ID{office}}, b.now)
		b.handleTimers(b.now)
		if len(b.table.list)+b.table.awaited.order.Len()+b.table.callers.order.Len()+len(b.unpaired.paths) != 0 || len(b.listened)+len(b.acts)+len(b.dialled)+len(b.ends) != 0 {
			t.Errorf("%s: kept %d channels; listening to %v, %q, dialled %v", name, len(b.table.list), b.listened, b.acts, b.dialled)
		}
		if files, _ := os.ReadDir(string(b.exec.store)); len(files) != 0 {
			t.Errorf("%s: %d files", name, len(files))
		}
	}
}

// Of two xl2tpds on one port it is unknown who sends. Their Hellos may be held. But no StopCCN
// goes out in their name, and no message of their peers is dropped. An attempt to dial is reported
// without an owner.
func TestTwoDaemonsOnOnePort(t *testing.T) {
	b := newFixture(t, t.TempDir())
	b.world.start(office, 8)
	b.connect()
	b.handles(false, ourHello(2), translator.Drop)
	if !slices.Equal(b.dialledBy, []procfs.ID{{}}) {
		t.Errorf("dialled by %v", b.dialledBy)
	}
	b.acts = nil
	b.world.end(watched)
	b.update(Host{}, b.now)
	b.handleTimers(b.now)
	b.age(1)
	if b.handleTimers(b.now); toPeers(b.acts) != 0 {
		t.Errorf("%q in the name of nobody knows whom", b.acts)
	}
	b.handles(true, l2tp.Message{Type: l2tp.TypeHello, Tunnel: 7, Ns: 1, Nr: 2}, translator.Rewrite)

	// The one that is left sends on: now it is known whose tunnel it is.
	b.handles(false, l2tp.Message{Tunnel: 9, Ns: 3, Nr: 2}, translator.Rewrite)
	if c := b.table.list[0]; !c.owner.is(office) {
		t.Errorf("owner %+v", c.owner)
	}
}

// Of two xl2tpds on one port the sender's cgroup says which it is, if it says one.
func TestSenderOfTwoDaemons(t *testing.T) {
	for name, tc := range map[string]struct {
		from []uint32
		want owner
	}{
		"the one's":             {[]uint32{5, 7}, owner{ownerKnown, watched}},
		"the other's":           {[]uint32{8}, owner{ownerKnown, office}},
		"both have just sent":   {[]uint32{7, 8}, owner{ownership: ownerUnclear}},
		"a third program's":     {[]uint32{9}, owner{ownership: ownerUnclear}},
		"the kernel can't tell": {nil, owner{ownership: ownerUnclear}},
		"a cgroup is not known": {[]uint32{7}, owner{ownership: ownerUnclear}},
	} {
		b := newFixture(t, t.TempDir())
		b.world.start(office, map[bool]uint32{true: 0, false: 8}[name == "a cgroup is not known"])
		b.update(Host{Daemons: []procfs.ID{watched, office}}, b.now)
		b.from = tc.from
		b.connect()
		if c := b.table.list[0]; c.owner != tc.want {
			t.Errorf("%s: got %+v, want %+v", name, c.owner, tc.want)
		}
		if len(b.dialledBy) != 1 || b.dialledBy[0] != tc.want.process {
			t.Errorf("%s: dialled by %v", name, b.dialledBy)
		}
	}
}

// What is known of the sockets may be older than the sender's, and says then that xl2tpd
// dials. It is asked again before anything can be sent in xl2tpd's name.
func TestSocketNewerThanTheFacts(t *testing.T) {
	b := newFixture(t, t.TempDir())
	b.handlesRaw(false, assigning(false, l2tp.TypeSCCRQ, 0, 7, 0, 0), translator.Pass)
	b.world.sockets = append(b.world.sockets, socket{local: here, peer: there, cgroup: 9})
	b.handlesRaw(true, assigning(true, l2tp.TypeSCCRP, 7, 9, 0, 1), translator.Pass)
	b.handles(false, l2tp.Message{Type: l2tp.TypeSCCCN, Tunnel: 9, Ns: 1, Nr: 1}, translator.Pass)
	b.world.end(watched)
	b.acts = nil
	b.update(Host{}, b.now)
	b.handleTimers(b.now)
	if toPeers(b.acts) != 0 {
		t.Errorf("%q in another program's tunnel", b.acts)
	}
}

// In kernel mode pppd's parent shows whose tunnel it is, whoever else has the port.
func TestSessionsOfTwoDaemons(t *testing.T) {
	b := newFixture(t, t.TempDir())
	b.world.start(office, 8)
	tunnel := func(id uint16) l2tp.Connection {
		return l2tp.Connection{Local: here, Peer: there, LocalID: id, PeerID: id + 100}
	}
	sessions := []KernelSession{{tunnel(1), watched.Pid}, {tunnel(2), office.Pid}, {tunnel(3), 0}}
	b.update(Host{Daemons: []procfs.ID{watched}, Sessions: sessions}, b.now)
	of := map[uint16]owner{}
	for _, c := range b.table.list {
		of[c.translator.Connection().LocalID] = c.owner
	}
	if !of[1].is(watched) || !of[2].is(office) || of[3] != (owner{ownership: ownerUnclear}) {
		t.Fatalf("got %+v, want each tunnel's own xl2tpd", of)
	}
	// Both ends of each have been seen, so a StopCCN would have its numbers.
	for _, s := range sessions {
		b.handle(packet(false, l2tp.Message{Tunnel: s.PeerID, Ns: 2, Nr: 1}), outbound, b.now)
		b.handle(packet(true, l2tp.Message{Tunnel: s.LocalID, Ns: 1, Nr: 2}), inbound, b.now)
	}
	b.world.end(watched)
	b.update(Host{Sessions: sessions}, b.now)
	b.handleTimers(b.now)
	if len(b.sent) != 1 {
		t.Fatalf("%d packets sent", len(b.sent))
	}
	if p, err := l2tp.ParsePacket(b.sent[0].Packet); err != nil || p.Msg.Tunnel != 101 || p.Msg.Type != l2tp.TypeStopCCN {
		t.Errorf("got %+v %v, want a StopCCN in the tunnel 101", p.Msg, err)
	}
}

// A parent that is found later is found all the same.
func TestParentKnownLater(t *testing.T) {
	b := newFixture(t, t.TempDir())
	s := KernelSession{Connection: l2tp.Connection{Local: here, Peer: there, LocalID: 7, PeerID: 9}}
	b.update(Host{Daemons: []procfs.ID{watched}, Sessions: []KernelSession{s}}, b.now)
	if c := b.table.list[0]; c.owner != (owner{ownership: ownerUnclear}) {
		t.Errorf("got %+v, want %+v", c.owner, (owner{ownership: ownerUnclear}))
	}
	s.Xl2tpd = watched.Pid
	b.update(Host{Daemons: []procfs.ID{watched}, Sessions: []KernelSession{s}}, b.now)
	if c := b.table.list[0]; !c.owner.is(watched) {
		t.Errorf("got %+v, want the watched xl2tpd", c.owner)
	}
}

// An xl2tpd that restarts between its SCCRQ and the answer has no tunnel, and its successor
// has not either. If that has drawn the same id, the tunnel is the successor's.
func TestOwnerRestartsWhileDialling(t *testing.T) {
	again := procfs.ID{Pid: 101, Start: 9}
	for name, id := range map[string]uint16{"another id": 8, "the same id": 7} {
		b := newFixture(t, t.TempDir())
		b.handlesRaw(false, assigning(false, l2tp.TypeSCCRQ, 0, 7, 0, 0), translator.Pass)
		b.world.end(watched)
		b.world.start(again, 8)
		b.update(Host{Daemons: []procfs.ID{again}}, b.now)
		if id == 7 {
			b.handlesRaw(false, assigning(false, l2tp.TypeSCCRQ, 0, 7, 0, 0), translator.Pass)
		}
		b.handlesRaw(true, assigning(true, l2tp.TypeSCCRP, 7, 9, 0, 1), translator.Pass)
		if id == 7 {
			b.handles(false, l2tp.Message{Type: l2tp.TypeSCCCN, Tunnel: 9, Ns: 1, Nr: 1}, translator.Pass)
			b.handles(true, l2tp.Message{Tunnel: 7, Ns: 1, Nr: 2}, translator.Pass)
		}
		b.closer.noteOwnerEnds(b.now)
		b.handleTimers(b.now)
		if id == 7 {
			if toPeers(b.acts) != 0 || !b.table.list[0].owner.is(again) {
				t.Errorf("%s: %q, owner %+v", name, b.acts, b.table.list[0].owner)
			}
			continue
		}
		b.age(2 + closedRounds)
		if len(b.table.list) != 0 {
			t.Errorf("%s: %d channels are left", name, len(b.table.list))
		}
	}
}

// An xl2tpd may end, and another get its pid and all else, between two looks of the service:
// the tunnel that the first has opened is not the second's.
func TestPidUsedAgain(t *testing.T) {
	b := newFixture(t, t.TempDir())
	b.connect()
	again := procfs.ID{Pid: watched.Pid, Start: watched.Start + 1}
	b.world.end(watched)
	b.world.start(again, 7)
	b.update(Host{Daemons: []procfs.ID{again}}, b.now)
	b.handleTimers(b.now)
	if toPeers(b.acts) != 1 {
		t.Errorf("%q: the tunnel is not closed for the process that has ended", b.acts)
	}
}

// Who still sends in a tunnel is alive, whatever is believed of its owner: it is not closed
// in that one's name.
func TestSenderWithoutItsXl2tpdLives(t *testing.T) {
	b := newFixture(t, t.TempDir())
	b.connect()
	b.world.start(office, 8)
	b.world.end(watched)
	b.update(Host{Daemons: []procfs.ID{office}}, b.now)
	b.handles(false, l2tp.Message{Tunnel: 9, Ns: 2, Nr: 1}, translator.Pass)
	b.handleTimers(b.now.Add(time.Hour))
	if toPeers(b.acts) != 0 || !b.table.list[0].owner.is(office) {
		t.Errorf("%q, owner %+v", b.acts, b.table.list[0].owner)
	}
	b.handles(true, l2tp.Message{Tunnel: 7, Ns: 1, Nr: 2}, translator.Pass)
}

// What an xl2tpd dials, or its user hangs up, is told of that one. If the owner is unclear, the user may have hung up.
func TestWhoDialsAndHangsUp(t *testing.T) {
	for name, tc := range map[string]struct {
		start []procfs.ID
		want  procfs.ID
	}{
		"one":            {[]procfs.ID{watched}, watched},
		"another":        {[]procfs.ID{office}, office},
		"nobody can say": {[]procfs.ID{watched, office}, procfs.ID{}},
	} {
		b := newFixture(t, t.TempDir())
		b.world.none()
		for i, p := range tc.start {
			b.world.start(p, uint32(7+i))
		}
		b.update(Host{Daemons: tc.start}, b.now)
		b.connect()
		b.handlesRaw(false, closing(false, l2tp.TypeStopCCN, 2, 1, 1, "Goodbye!"), translator.Pass)
		b.handlesRaw(false, assigning(false, l2tp.TypeSCCRQ, 0, 10, 0, 0), translator.Pass)
		b.handlesRaw(false, explained(assigning(false, l2tp.TypeStopCCN, 0, 10, 1, 0), 1, "Goodbye!"), translator.Pass)
		sure := tc.want != procfs.ID{}
		for i, c := range b.endOf {
			if c.Owner != tc.want || b.ends[i].Operator != sure || b.ends[i].MayBeOperator == sure {
				t.Errorf("%s: %+v of %v", name, b.ends[i], c.Owner)
			}
		}
		if !slices.Equal(b.dialledBy, []procfs.ID{tc.want, tc.want}) || len(b.ends) == 0 {
			t.Errorf("%s: dialled by %v, %d ends", name, b.dialledBy, len(b.ends))
		}
	}
}

// An xl2tpd that the caller does not know of yet is worth a look, once a second.
func TestUnlistedXl2tpd(t *testing.T) {
	b := newFixture(t, t.TempDir())
	b.dial(1)
	if b.unlistedCalls != 0 {
		t.Errorf("called %d times for an xl2tpd that is known", b.unlistedCalls)
	}
	b.world.start(office, 8)
	b.dial(2)
	b.dial(3)
	if b.unlistedCalls != 1 {
		t.Errorf("called %d times at one time", b.unlistedCalls)
	}
	b.update(Host{Daemons: []procfs.ID{watched, office}}, b.now)
	b.now = b.now.Add(time.Hour)
	b.dial(4)
	if b.unlistedCalls != 1 {
		t.Errorf("called %d times, though it is known now", b.unlistedCalls)
	}
}

// With `ipsec saref` a packet on lo would change xl2tpd's address of an anycast tunnel: it is
// left alone, and the log says so once.
func TestLeavesSarefOnLoAlone(t *testing.T) {
	for name, tc := range map[string]struct {
		saref    bool
		loopback []netip.Addr
		alone    bool
	}{
		"saref, address of lo":         {true, []netip.Addr{here.Addr()}, true},
		"saref, address of another":    {true, []netip.Addr{there.Addr()}, false},
		"without saref, address of lo": {false, []netip.Addr{here.Addr()}, false},
	} {
		b := newFixture(t, t.TempDir())
		b.world.daemons[0].Saref, b.world.loopback = tc.saref, tc.loopback
		b.handlesRaw(false, assigning(false, l2tp.TypeSCCRQ, 0, 7, 0, 0), translator.Pass)
		b.handlesRaw(true, assigning(true, l2tp.TypeSCCRP, 7, 9, 0, 1), translator.Pass)
		b.handles(false, l2tp.Message{Type: l2tp.TypeSCCCN, Tunnel: 9, Ns: 1, Nr: 1}, translator.Pass)
		b.update(Host{Daemons: []procfs.ID{watched}, Sessions: []KernelSession{{l2tp.Connection{Local: here, Peer: there, LocalID: 7, PeerID: 9}, watched.Pid}}}, b.now)
		for ns := uint16(2); ns < 5; ns++ {
			b.handle(packet(false, ourHello(ns)), outbound, b.now)
		}
		said := strings.Count(b.log.String(), "leaves tunnels alone")
		if alone := len(b.table.list) == 0 && len(b.acts) == 0 && said == 1; alone != tc.alone {
			t.Errorf("%s: %d channels, %q, said %d times", name, len(b.table.list), b.acts, said)
		}
	}
}

// A state file of an earlier version names the watched xl2tpd whoever sent. What the host
// says now is better, and a channel that can't do without the guard goes on in any case.
func TestStateOfAnEarlierVersion(t *testing.T) {
	write := func(b *fixture, held int) l2tp.Connection {
		tunnel := b.connect()
		for i := range held {
			b.handles(false, ourHello(uint16(2+i)), translator.Drop)
		}
		path := b.exec.store.file(tunnel)
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var r map[string]any
		if err := json.Unmarshal(data, &r); err != nil {
			t.Fatal(err)
		}
		delete(r, "proven")
		if r["daemon"] != "100 5" {
			t.Fatalf("daemon: %v", r["daemon"])
		}
		if data, err = json.Marshal(r); err != nil || os.WriteFile(path, data, 0o600) != nil {
			t.Fatal(err)
		}
		return tunnel
	}
	for name, tc := range map[string]struct {
		held    int
		between func(f *fakeHost)
		want    []owner // none: forgotten
	}{
		"its owner runs":        {0, func(*fakeHost) {}, []owner{{ownerKnown, watched}}},
		"its owner, held":       {1, func(*fakeHost) {}, []owner{{ownerKnown, watched}}},
		"another's":             {0, func(f *fakeHost) { f.none(); f.start(office, 8) }, []owner{{ownership: ownerUnclear}}},
		"of two, who knows":     {0, func(f *fakeHost) { f.start(office, 8) }, []owner{{ownership: ownerUnclear}}},
		"no xl2tpd's":           {0, func(f *fakeHost) { f.none() }, nil},
		"no xl2tpd's, held":     {1, func(f *fakeHost) { f.none() }, []owner{{ownership: ownerUnclear}}},
		"its owner has ended":   {0, func(f *fakeHost) { f.end(watched) }, []owner{{ownership: ownerUnclear}}},
		"sockets are not known": {0, func(f *fakeHost) { f.unread = true }, []owner{{ownership: ownerUnclear}}},
	} {
		b := newFixture(t, t.TempDir())
		tunnel := write(b, tc.held)
		tc.between(b.world)
		next := b.again()
		var got []owner
		for _, c := range next.table.list {
			got = append(got, c.owner)
		}
		if !slices.Equal(got, tc.want) || next.kept(tunnel) != (len(tc.want) > 0) {
			t.Errorf("%s: owners %+v, want %+v", name, got, tc.want)
		}
		next.closer.noteOwnerEnds(next.now)
		if next.handleTimers(next.now); toPeers(next.acts) != 0 {
			t.Errorf("%s: got %q, want nothing to the peer", name, next.acts)
		}
	}
}

// What a proven owner's file says outlives the owner: its tunnel is closed in its name.
func TestOwnerEndsWhileAway(t *testing.T) {
	b := newFixture(t, t.TempDir())
	b.connect()
	b.handles(false, ourHello(2), translator.Drop)
	b.world.end(watched)
	next := b.again()
	next.owners.host = Host{}
	next.closer.noteOwnerEnds(next.now)
	if next.handleTimers(next.now); toPeers(next.acts) == 0 {
		t.Errorf("got %q, want a StopCCN to the peer", next.acts)
	}
}

// The process that sends first in a tunnel has opened it. Another process may have asked for the
// tunnel, and ended since without the service's notice.
func TestOwnerIsConfirmed(t *testing.T) {
	again := procfs.ID{Pid: 101, Start: 9}
	b := newFixture(t, t.TempDir())
	b.handlesRaw(false, assigning(false, l2tp.TypeSCCRQ, 0, 7, 0, 0), translator.Pass)
	b.handlesRaw(true, assigning(true, l2tp.TypeSCCRP, 7, 9, 0, 1), translator.Pass)
	b.world.end(watched)
	b.world.start(again, 8)
	b.handles(false, l2tp.Message{Type: l2tp.TypeSCCCN, Tunnel: 9, Ns: 1, Nr: 1}, translator.Pass)
	if c := b.table.list[0]; !c.owner.is(again) {
		t.Errorf("owner %+v", c.owner)
	}
}

// The successor of an ended xl2tpd may draw the id of one of its tunnels for a caller: what
// comes for that id is the successor's.
func TestIDIsDrawnAgainAfterXl2tpdEnded(t *testing.T) {
	again := procfs.ID{Pid: 101, Start: 9}
	b := newFixture(t, t.TempDir())
	b.connect()
	b.world.end(watched)
	b.world.start(again, 8)
	b.update(Host{Daemons: []procfs.ID{again}}, b.now)
	b.handlesRaw(false, assigning(false, l2tp.TypeSCCRP, 10, 7, 0, 1), translator.Pass)
	b.handles(false, l2tp.Message{Tunnel: 10, Ns: 1, Nr: 2}, translator.Pass)
	b.handles(true, l2tp.Message{Type: l2tp.TypeHello, Tunnel: 7, Ns: 2, Nr: 1}, translator.Pass)
	if len(b.table.list) != 1 || !b.table.list[0].owner.is(again) {
		t.Errorf("%d channels", len(b.table.list))
	}
}

// owners works without a handler. It names no process that has ended, although it does not ask about each message.
func TestOwnersNameNoEndedProcess(t *testing.T) {
	world := newFakeHost()
	ow := &owners{log: &packetLog{Logger: slog.New(slog.DiscardHandler), ctx: t.Context()}, facts: world,
		gone: func(p procfs.ID) bool { return world.ended[p] }, sentFrom: nothing{}.sentFrom}
	if o := ow.ownerOf(path{here, there}, true, epoch); o != (owner{ownerKnown, watched}) {
		t.Errorf("got %+v, want %v", o, watched)
	}
	world.ended[watched] = true
	for age, want := range map[time.Duration]ownership{aliveFor - 1: ownerKnown, aliveFor: ownerUnclear} {
		if o := ow.ownerOf(path{here, there}, true, epoch.Add(age)); o.ownership != want {
			t.Errorf("after %v: got %v, want %v", age, o.ownership, want)
		}
	}
}
