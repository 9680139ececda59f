package helloguard

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"xl2tpd-keepalive/internal/helloguard/translator"
	"xl2tpd-keepalive/internal/l2tp"
)

// memoryDir is a directory in memory, as the guard's is, for thousands of files.
func memoryDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "helloguard")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func peerNumber(n int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(n >> 16), byte(n >> 8), byte(n)}), l2tpPort)
}

// between makes a packet of any two addresses. own, if not 0, is its Assigned Tunnel ID.
func between(src, dst netip.AddrPort, m l2tp.Message, own uint16) []byte {
	b := l2tp.AppendPacket(nil, src, dst, m)
	if own != 0 {
		b = assigned(b, own)
	}
	return b
}

// dial sets n tunnels up, each with a peer of its own, and holds a Hello in each.
func (b *fixture) dial(n int) {
	b.t.Helper()
	for i := range n {
		b.handle(between(here, peerNumber(i), l2tp.Message{Type: l2tp.TypeSCCRQ}, uint16(1+i)), outbound, b.now)
	}
	for i := range n {
		b.handle(between(peerNumber(i), here, l2tp.Message{Type: l2tp.TypeSCCRP, Tunnel: uint16(1 + i), Nr: 1}, uint16(20000+i)), inbound, b.now)
	}
	for i := range n {
		id := uint16(20000 + i)
		b.handle(between(here, peerNumber(i), l2tp.Message{Type: l2tp.TypeSCCCN, Tunnel: id, Ns: 1, Nr: 1}, 0), outbound, b.now)
		b.handle(between(peerNumber(i), here, l2tp.Message{Tunnel: uint16(1 + i), Ns: 1, Nr: 2}, 0), inbound, b.now)
	}
}

// hold sends a Hello in each of the tunnels that dial has set up, and reports how many of
// them are held.
func (b *fixture) hold(n int, ns uint16) (held int) {
	for i := range n {
		action, _, _ := b.handle(between(here, peerNumber(i), l2tp.Message{Type: l2tp.TypeHello, Tunnel: uint16(20000 + i), Ns: ns, Nr: 1}, 0), outbound, b.now)
		if action == translator.Drop {
			held++
		}
	}
	return held
}

// within checks that no table is above its bound.
func (b *fixture) within() {
	b.t.Helper()
	shares := 0
	for _, l := range b.table.callers.shares {
		shares = max(shares, l.Len())
	}
	files, err := os.ReadDir(string(b.exec.store))
	if err != nil {
		b.t.Fatal(err)
	}
	if len(b.table.list) > maxChannels || b.table.awaited.order.Len() > maxAwaited || b.table.callers.order.Len() > maxHalfOpen ||
		shares > maxHalfOpenOfPeer || len(b.unpaired.paths) > maxUnpaired || len(files) > maxChannels {
		b.t.Fatalf("%d channels, %d awaited, %d half open, %d of one peer, %d unpaired, %d files",
			len(b.table.list), b.table.awaited.order.Len(), b.table.callers.order.Len(), shares, len(b.unpaired.paths), len(files))
	}
	if most := maxChannels + maxAwaited + maxUnpaired; len(b.listened) > most {
		b.t.Fatalf("listening to %d", len(b.listened))
	}
	if want := len(b.listening()); len(b.listened) != want {
		b.t.Fatalf("listening to %d, says %d", len(b.listened), want)
	}
}

// A flood of made-up messages leaves nothing but what is bounded, and the log does not
// grow with it. Tunnels that are up do not notice.
func TestFloods(t *testing.T) {
	const real, flood = 4000, 70_000
	types := map[string]l2tp.MessageType{"SCCRQ": l2tp.TypeSCCRQ, "SCCRP": l2tp.TypeSCCRP, "StopCCN": l2tp.TypeStopCCN,
		"Hello": l2tp.TypeHello, "ZLB": l2tp.TypeNone, "SCCCN": l2tp.TypeSCCCN, "CDN": l2tp.TypeCDN}
	b := newFixture(t, memoryDir(t))
	b.dial(real)
	b.now = b.now.Add(time.Minute)
	if held := b.hold(real, 2); held != real {
		t.Fatalf("%d of %d held", held, real)
	}
	before := len(b.table.list)
	var heap [2]runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&heap[0])
	random := rand.New(rand.NewPCG(1, 2))
	for name, typ := range types {
		for _, many := range []bool{false, true} {
			log, files, sent := b.log.Len(), len(fileNames(t, b)), len(b.sent)
			for range flood / len(types) {
				peer := peerNumber(1 << 20)
				if many {
					peer = netip.AddrPortFrom(peerNumber(1<<20+random.IntN(1<<19)).Addr(), uint16(random.Uint32()))
				}
				m := l2tp.Message{Type: typ, Tunnel: uint16(random.Uint32()), Ns: uint16(random.Uint32()), Nr: uint16(random.Uint32())}
				own := uint16(0)
				if typ == l2tp.TypeSCCRQ || typ == l2tp.TypeSCCRP || typ == l2tp.TypeStopCCN {
					own = uint16(random.Uint32())
				}
				if typ == l2tp.TypeSCCRQ {
					m.Tunnel = 0
				}
				b.handle(between(peer, here, m, own), inbound, b.now)
				if typ == l2tp.TypeSCCRQ { // and xl2tpd answers
					m.Type, m.Tunnel, m.Ns, m.Nr = l2tp.TypeSCCRP, own, 0, 1
					b.handle(between(here, peer, m, uint16(1+real+random.IntN(50_000))), outbound, b.now) // no real tunnel's id
				}
				b.now = b.now.Add(10 * time.Microsecond)
			}
			b.within()
			if len(b.log.String()[log:]) > 1000 || len(fileNames(t, b)) != files || len(b.sent) != sent || len(b.table.list) != before {
				t.Errorf("%s, many peers %v: %d bytes of log, %d files more, %d packets sent, %d channels more", name, many,
					b.log.Len()-log, len(fileNames(t, b))-files, len(b.sent)-sent, len(b.table.list)-before)
			}
		}
	}
	runtime.GC()
	runtime.ReadMemStats(&heap[1])
	if grown := int64(heap[1].HeapAlloc) - int64(heap[0].HeapAlloc); grown > 2<<20 {
		t.Errorf("the heap has grown by %d kB", grown>>10)
	}
	t.Logf("%d tunnels that are held: %d kB of heap, and %d kB after the flood", real, heap[0].HeapAlloc>>10, heap[1].HeapAlloc>>10)
	if held := b.hold(real, 3); held != real || len(b.diverged()) != real {
		t.Errorf("%d of %d held after the flood", held, real)
	}
	b.age(2 + int(openTTL/tidyEvery))
	if b.table.callers.order.Len()+b.table.awaited.order.Len()+len(b.unpaired.paths) != 0 {
		t.Errorf("%d half open, %d awaited, %d unpaired are left", b.table.callers.order.Len(), b.table.awaited.order.Len(), len(b.unpaired.paths))
	}
}

func fileNames(t *testing.T, b *fixture) []os.DirEntry {
	files, err := os.ReadDir(string(b.exec.store))
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// xl2tpd itself may be made to send: what it sends to ever new peers is bounded as well, for
// each type of message.
func TestFloodsThroughXl2tpd(t *testing.T) {
	const real = 100
	for name, typ := range map[string]l2tp.MessageType{"SCCRQ": l2tp.TypeSCCRQ, "SCCRP": l2tp.TypeSCCRP, "StopCCN": l2tp.TypeStopCCN,
		"Hello": l2tp.TypeHello, "ZLB": l2tp.TypeNone} {
		b := newFixture(t, memoryDir(t))
		b.dial(real)
		for i := range 3 * maxAwaited {
			m := l2tp.Message{Type: typ, Tunnel: uint16(1 + i%60000), Nr: uint16(i)}
			if typ == l2tp.TypeSCCRQ {
				m.Tunnel = 0
			}
			own := uint16(0)
			if typ == l2tp.TypeSCCRQ || typ == l2tp.TypeSCCRP {
				own = uint16(1 + i%60000)
			}
			b.handle(between(here, peerNumber(1<<20+i/3), m, own), outbound, b.now)
		}
		b.within()
		if len(b.table.list) != real || len(fileNames(t, b)) != real {
			t.Errorf("%s: %d channels, %d files, want %d", name, len(b.table.list), len(fileNames(t, b)), real)
		}
	}
}

// The peers can fill the table with real tunnels. Those that are up stay; one that has been
// silent for long, or is closing, makes room.
func TestFullTable(t *testing.T) {
	b := newFixture(t, memoryDir(t))
	b.dial(maxChannels)
	if len(b.table.list) != maxChannels {
		t.Fatalf("%d channels", len(b.table.list))
	}
	more := func(i int) bool {
		b.dialOne(i)
		return b.table.find(path{here, peerNumber(i)}, uint16(20000+i), true) != nil
	}
	for i := range 100 {
		if more(maxChannels + i) {
			t.Fatal("a tunnel that is up has made room")
		}
	}
	b.within()
	if n := strings.Count(b.log.String(), "too many tunnels"); n != 1 {
		t.Errorf("the log says %d times that the table is full", n)
	}
	b.handle(between(here, peerNumber(5), l2tp.Message{Type: l2tp.TypeStopCCN, Assigned: 6, Tunnel: 20005, Ns: 2, Nr: 1}, 0), outbound, b.now)
	if !more(maxChannels) || b.table.find(path{here, peerNumber(5)}, 20005, true) != nil {
		t.Error("the tunnel that is closing has made no room")
	}
	b.within()
}

func (b *fixture) dialOne(i int) {
	b.handle(between(here, peerNumber(i), l2tp.Message{Type: l2tp.TypeSCCRQ}, uint16(1+i)), outbound, b.now)
	b.handle(between(peerNumber(i), here, l2tp.Message{Type: l2tp.TypeSCCRP, Tunnel: uint16(1 + i), Nr: 1}, uint16(20000+i)), inbound, b.now)
	b.handle(between(here, peerNumber(i), l2tp.Message{Type: l2tp.TypeSCCCN, Tunnel: uint16(20000 + i), Ns: 1, Nr: 1}, 0), outbound, b.now)
}

// A caller whose SCCRQ comes in the middle of a flood gets its tunnel; so does one after the
// address that floods.
func TestCallsInAFlood(t *testing.T) {
	for name, attacker := range map[string]func(i int) netip.AddrPort{
		"from one address":    func(int) netip.AddrPort { return peerNumber(1 << 20) },
		"from many addresses": func(i int) netip.AddrPort { return peerNumber(1<<20 + i) },
	} {
		b := newFixture(t, memoryDir(t))
		for i := range 10 * maxHalfOpen {
			b.handle(between(here, attacker(i), l2tp.Message{Type: l2tp.TypeSCCRP, Tunnel: uint16(1 + i), Nr: 1}, uint16(1+i)), outbound, b.now)
			if i%100 == 0 { // 50 ms later the peer has answered
				caller := peerNumber(i)
				b.handle(between(here, caller, l2tp.Message{Type: l2tp.TypeSCCRP, Tunnel: 9, Nr: 1}, uint16(20000+i)), outbound, b.now)
			}
			if i%100 == 50 {
				b.handle(between(here, peerNumber(i-50), l2tp.Message{Tunnel: 9, Ns: 1, Nr: 2}, 0), outbound, b.now)
			}
		}
		if want := (10*maxHalfOpen + 49) / 100; len(b.table.list) != want {
			t.Errorf("%s: %d tunnels, want %d", name, len(b.table.list), want)
		}
		b.within()
	}
}

// One address that floods pushes out nobody but itself.
func TestOneAddressHasItsShare(t *testing.T) {
	b := newFixture(t, memoryDir(t))
	for i := range maxHalfOpen - maxHalfOpenOfPeer {
		b.handle(between(here, peerNumber(i), l2tp.Message{Type: l2tp.TypeSCCRP, Tunnel: 9, Nr: 1}, 7), outbound, b.now)
	}
	for i := range 2 * maxHalfOpen {
		b.handle(between(here, peerNumber(1<<20), l2tp.Message{Type: l2tp.TypeSCCRP, Tunnel: uint16(1 + i), Nr: 1}, uint16(1+i)), outbound, b.now)
	}
	b.within()
	for i := range maxHalfOpen - maxHalfOpenOfPeer {
		b.handle(between(here, peerNumber(i), l2tp.Message{Tunnel: 9, Ns: 1, Nr: 2}, 0), outbound, b.now)
	}
	if want := maxHalfOpen - maxHalfOpenOfPeer; len(b.table.list) != want {
		t.Errorf("%d tunnels, want %d", len(b.table.list), want)
	}
}

// What a half-open connection costs is memory alone: the peer's messages are queued once it
// has answered, and nothing is written before.
func TestHalfOpen(t *testing.T) {
	b := newFixture(t, memoryDir(t))
	tunnel := l2tp.Connection{Local: here, Peer: there, LocalID: 7, PeerID: 9}
	b.handlesRaw(false, assigning(false, l2tp.TypeSCCRP, 9, 7, 0, 1), translator.Pass)
	b.handlesRaw(false, assigning(false, l2tp.TypeSCCRP, 9, 7, 0, 1), translator.Pass)
	if len(b.listened) != 0 || len(b.table.list) != 0 || b.kept(tunnel) || b.stand() != 0 {
		t.Fatalf("listening to %v, %d channels", b.listened, len(b.table.list))
	}
	b.handles(false, l2tp.Message{Tunnel: 9, Ns: 1, Nr: 2}, translator.Pass)
	if !b.listened[l2tp.Connection{Local: here, Peer: there, LocalID: 7}] || !b.kept(tunnel) || b.stand() != 1 || !b.table.list[0].owner.is(watched) {
		t.Errorf("listening to %v, %d tunnels", b.listened, b.stand())
	}

	// An SCCRP that comes again, late, opens nothing: the channel stays as it is.
	c := b.table.list[0]
	b.handlesRaw(false, assigning(false, l2tp.TypeSCCRP, 9, 7, 0, 1), translator.Pass)
	b.handles(false, l2tp.Message{Type: l2tp.TypeICRQ, Tunnel: 9, Ns: 1, Nr: 3}, translator.Pass)
	if len(b.table.list) != 1 || b.table.list[0] != c || b.table.callers.order.Len() != 0 {
		t.Errorf("%d channels, %d half open", len(b.table.list), b.table.callers.order.Len())
	}

	// As LAC there is a channel from the SCCRP on, but no file, and it does not count.
	b = newFixture(t, memoryDir(t))
	b.handlesRaw(false, assigning(false, l2tp.TypeSCCRQ, 0, 7, 0, 0), translator.Pass)
	b.handlesRaw(true, assigning(true, l2tp.TypeSCCRP, 7, 9, 0, 1), translator.Pass)
	if len(b.table.list) != 1 || b.kept(tunnel) || b.stand() != 0 {
		t.Errorf("%d channels, %d tunnels", len(b.table.list), b.stand())
	}
}

// The messages of a peer are queued from the question on, and no longer than the tunnel is
// there, however it ends.
func TestStopsListening(t *testing.T) {
	for name, end := range map[string]func(b *fixture){
		"no answer": func(b *fixture) {
			b.handlesRaw(false, assigning(false, l2tp.TypeSCCRQ, 0, 7, 0, 0), translator.Pass)
			if len(b.listened) != 1 {
				t.Errorf("listening to %v", b.listened)
			}
			b.age(1 + int(openTTL/tidyEvery))
		},
		"given up": func(b *fixture) {
			b.handlesRaw(false, assigning(false, l2tp.TypeSCCRQ, 0, 7, 0, 0), translator.Pass)
			b.handlesRaw(false, assigning(false, l2tp.TypeStopCCN, 0, 7, 1, 0), translator.Pass)
		},
		"not accepted": func(b *fixture) {
			b.handlesRaw(false, assigning(false, l2tp.TypeSCCRQ, 0, 7, 0, 0), translator.Pass)
			b.handlesRaw(true, assigning(true, l2tp.TypeSCCRP, 7, 9, 0, 1), translator.Pass)
			b.age(2 + closedRounds)
		},
		"closed": func(b *fixture) {
			b.connect()
			b.handlesRaw(false, closing(false, l2tp.TypeStopCCN, 2, 1, 1, "Goodbye!"), translator.Pass)
			b.age(2 + closedRounds)
		},
		"not wanted": func(b *fixture) {
			b.connect()
			b.links.Wanted = false
			b.handles(false, ourHello(2), translator.Pass)
		},
		"its xl2tpd has ended": func(b *fixture) {
			b.connect()
			b.world.end(watched)
			b.update(Host{}, b.now)
			for range maxStops {
				b.now = b.now.Add(20 * time.Second)
				b.handleTimers(b.now)
			}
			b.age(2 + closedRounds)
		},
	} {
		b := newFixture(t, memoryDir(t))
		if end(b); len(b.listened)+len(b.listening()) != 0 || len(b.table.list) != 0 || len(fileNames(t, b)) != 0 {
			t.Errorf("%s: listening to %v, %d channels", name, b.listened, len(b.table.list))
		}
	}
}

func TestLRU(t *testing.T) {
	var gone []string
	l := newLRU(4, 2, func(k string) netip.Addr { return netip.MustParseAddr(k[:7]) }, func(k string, _ int) { gone = append(gone, k) })
	for i, k := range []string{"1.1.1.1a", "1.1.1.2a", "1.1.1.1b", "1.1.1.2b", "1.1.1.2a", "1.1.1.2c", "1.1.1.3a", "1.1.1.3b"} {
		l.put(k, i)
	}
	if want := "[1.1.1.2b 1.1.1.1a 1.1.1.1b]"; fmt.Sprint(gone) != want {
		t.Errorf("gone %v, want %v", gone, want)
	}
	if v, ok := l.get("1.1.1.2a"); !ok || v != 4 || len(l.items) != 4 {
		t.Errorf("%d %v of %d", v, ok, len(l.items))
	}
	l.expire(func(v int) bool { return v < 6 })
	var left []string
	l.all(func(k string, _ int) bool { left = append(left, k); return true })
	if want := "[1.1.1.3a 1.1.1.3b]"; fmt.Sprint(left) != want || len(l.shares) != 1 {
		t.Errorf("left %v, want %v; %d peers", left, want, len(l.shares))
	}
	if l.delete("1.1.1.3a"); len(l.items) != 1 {
		t.Errorf("%d entries", len(l.items))
	}
}
