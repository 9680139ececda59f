package helloguard

import (
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"xl2tpd-keepalive/internal/helloguard/translator"
	"xl2tpd-keepalive/internal/l2tp"
)

// writes counts how often the file of a tunnel is written: each time it is another one.
type writes struct {
	path   string
	inodes []uint64
}

func (w *writes) look() {
	info, err := os.Stat(w.path)
	if err != nil {
		return
	}
	if id := info.Sys().(*syscall.Stat_t).Ino; len(w.inodes) == 0 || w.inodes[len(w.inodes)-1] != id {
		w.inodes = append(w.inodes, id)
	}
}

// The file of a tunnel that can do without the guard is written once, however much is sent
// in it, and for how long. One that is held changes with each message, and is plain again
// once the peer has shown that it takes Hellos.
func TestWritesOnlyWhatChanges(t *testing.T) {
	b := newFixture(t, memoryDir(t))
	b.links.PassFirst = true
	tunnel := b.connect()
	w := writes{path: b.exec.store.file(tunnel)}
	w.look()
	for ns := uint16(2); ns < 100; ns++ {
		b.handles(false, l2tp.Message{Type: l2tp.TypeICRQ, Tunnel: 9, Ns: ns, Nr: ns - 1}, translator.Pass)
		w.look()
		b.handles(true, l2tp.Message{Type: l2tp.TypeICRQ, Tunnel: 7, Ns: ns - 1, Nr: ns + 1}, translator.Pass)
		w.look()
	}
	if len(w.inodes) != 1 {
		t.Errorf("written %d times", len(w.inodes))
	}
	b.handles(false, l2tp.Message{Type: l2tp.TypeHello, Tunnel: 9, Ns: 100, Nr: 99}, translator.Pass)
	if w.look(); len(w.inodes) != 2 {
		t.Errorf("written %d times with a Hello under way", len(w.inodes))
	}
	b.handles(true, l2tp.Message{Tunnel: 7, Ns: 99, Nr: 101}, translator.Pass)
	w.look()
	// It says now that the peer counts Hellos, and then the same for ever.
	again, err := os.ReadFile(w.path)
	if err != nil || !strings.Contains(string(again), `"counts":true`) || strings.Contains(string(again), `"high_known":true`) {
		t.Errorf("got %s, %v, want what the peer is known to do, and no numbers", again, err)
	}
	for ns := uint16(101); ns < 110; ns++ {
		b.handles(false, l2tp.Message{Type: l2tp.TypeHello, Tunnel: 9, Ns: ns, Nr: 99}, translator.Pass)
		b.handles(true, l2tp.Message{Tunnel: 7, Ns: 99, Nr: ns + 1}, translator.Pass)
	}
	if last, err := os.ReadFile(w.path); err != nil || string(last) != string(again) {
		t.Errorf("got %s, want %s", last, again)
	}
}

// What a file says of a tunnel that can do without the guard is true at any later time.
func TestPlainFileIsTrueLater(t *testing.T) {
	b := newFixture(t, memoryDir(t))
	tunnel := b.connect()
	b.table.list[0].vendor = "router"
	b.handle(packet(true, l2tp.Message{Tunnel: 7, Ns: 1, Nr: 2}), inboundSecured, b.now)
	for ns := uint16(2); ns < 3000; ns++ { // further than a forged packet may be off
		b.handle(packet(false, l2tp.Message{Type: l2tp.TypeICRQ, Tunnel: 9, Ns: ns, Nr: 1}), outbound, b.now)
		b.handle(packet(true, l2tp.Message{Tunnel: 7, Ns: 1, Nr: ns + 1}), inboundSecured, b.now)
	}
	next := b.again()
	c := next.table.list[0]
	if !c.secured || c.vendor != "router" || !c.owner.is(watched) || c.translator.Connection() != tunnel || !next.listened[tunnel] && len(next.listening()) != 1 {
		t.Errorf("got %+v, want the channel as it was saved, and its peer listened to", c)
	}
	for ns := uint16(3000); ns < 3003; ns++ {
		next.handle(packet(false, l2tp.Message{Type: l2tp.TypeICRQ, Tunnel: 9, Ns: ns, Nr: 1}), outbound, next.now)
		action, changed, _ := next.handle(packet(true, l2tp.Message{Tunnel: 7, Ns: 1, Nr: ns + 1}), inboundSecured, next.now)
		if action != translator.Pass {
			t.Fatalf("Ns %d: action %d, %v", ns, action, changed)
		}
	}
	next.now = next.now.Add(time.Minute)
	next.handle(packet(false, l2tp.Message{Type: l2tp.TypeHello, Tunnel: 9, Ns: 3003, Nr: 1}), outbound, next.now)
	if len(next.diverged()) != 1 {
		t.Error("the tunnel is not held after the restart")
	}
}

// A peer that was never heard is not taken for heard after a restart.
func TestNeverHeard(t *testing.T) {
	b := newFixture(t, memoryDir(t))
	b.handlesRaw(false, assigning(false, l2tp.TypeSCCRP, 9, 7, 0, 1), translator.Pass)
	b.handles(false, l2tp.Message{Tunnel: 9, Ns: 1, Nr: 2}, translator.Pass)
	next := b.again()
	for _, c := range next.table.list {
		if !c.heard.IsZero() {
			t.Errorf("heard at %v", c.heard)
		}
	}
	next.links.Alive = false
	if live, _ := next.evidence.liveness(next.table.list[0], next.now); live.Peer {
		t.Error("alive without links and without a message")
	}
}

// No file is larger than a page, whatever a peer calls itself, or says at the end, and however
// the Hellos that were held lie.
func TestFileIsAPage(t *testing.T) {
	b := newFixture(t, memoryDir(t))
	b.handlesRaw(false, assigning(false, l2tp.TypeSCCRQ, 0, 7, 0, 0), translator.Pass)
	b.handlesRaw(true, named(assigning(true, l2tp.TypeSCCRP, 7, 9, 0, 1), strings.Repeat("\x01", 900)), translator.Pass)
	b.handles(false, l2tp.Message{Type: l2tp.TypeSCCCN, Tunnel: 9, Ns: 1, Nr: 1}, translator.Pass)
	b.handles(true, l2tp.Message{Tunnel: 7, Ns: 1, Nr: 2}, translator.Pass)
	tunnel := b.table.list[0].translator.Connection()
	if b.table.list[0].vendor == "" {
		t.Fatal("the peer has no name")
	}
	ns := uint16(2)
	largest := 0
	for range 200 {
		b.now = b.now.Add(time.Minute)
		for range 1 + ns%3 {
			b.handle(packet(false, ourHello(ns)), outbound, b.now)
			ns++
		}
		b.handle(packet(false, l2tp.Message{Type: l2tp.TypeICRQ, Tunnel: 9, Ns: ns, Nr: 1}), outbound, b.now)
		ns++
		if info, err := os.Stat(b.exec.store.file(tunnel)); err == nil {
			largest = max(largest, int(info.Size()))
		}
	}
	b.handlesRaw(true, closing(true, l2tp.TypeStopCCN, 1, 2, 1, strings.Repeat("\x1b", 1000)), translator.Rewrite)
	info, err := os.Stat(b.exec.store.file(tunnel))
	if err != nil {
		t.Fatal(err)
	}
	if largest = max(largest, int(info.Size())); largest > 4096 {
		t.Errorf("%d bytes", largest)
	}
	t.Logf("%d bytes at most", largest)
}

// Every channel is in one file or in none, and the directory has nothing else.
func TestFilesFollowChannels(t *testing.T) {
	b := newFixture(t, memoryDir(t))
	b.dial(50)
	b.hold(25, 2)
	var want []string
	for _, c := range b.table.list {
		want = append(want, b.exec.store.file(c.translator.Connection()))
	}
	var got []string
	for _, e := range fileNames(t, b) {
		got = append(got, string(b.exec.store)+"/"+e.Name())
	}
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("%d files of %d channels", len(got), len(want))
	}
}
