//go:build lab

package helloguard

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"time"

	"xl2tpd-keepalive/internal/l2tp"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"
)

// size is how many elements the kernel has in a set.
func size(t *testing.T, s *nftables.Set) int {
	t.Helper()
	c, err := nftables.New()
	if err != nil {
		t.Fatal(err)
	}
	got, err := c.GetSetElements(s)
	if err != nil {
		t.Fatal(err)
	}
	return len(got)
}

// putRules puts rules into the kernel for a test.
func putRules(t *testing.T, c contents, timeout time.Duration) *rules {
	t.Helper()
	r := newRules()
	if err := r.install([]uint16{l2tpPort}, c, timeout); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		r.remove()
		r.kernel.close()
	})
	return r
}

// tunnelTo is the nth of many tunnels.
func tunnelTo(n int) l2tp.Connection {
	peer := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 1, byte(n >> 8), byte(n)}), l2tpPort)
	return l2tp.Connection{Local: here, Peer: peer, LocalID: uint16(1 + n), PeerID: 9}
}

// The kernel takes thousands of tunnels in one piece, and one more. Of peers with unknown ids it
// takes no more than it has room for.
func TestThousandsOfTunnels(t *testing.T) {
	const n = 8000
	var all contents
	for i := range n {
		tunnel := tunnelTo(i)
		all.failClosed = append(all.failClosed, tunnel)
		all.listen = append(all.listen, tunnel)
		tunnel.LocalID = 0
		all.listen = append(all.listen, tunnel)
	}
	r := putRules(t, all, 0)
	one := tunnelTo(n)
	if err := r.setFailClosed(one, true); err != nil {
		t.Error(err)
	}
	if err := r.setListen(one, true); err != nil {
		t.Error(err)
	}
	one.LocalID = 0
	if err := r.setListen(one, true); !errors.Is(err, unix.ENFILE) {
		t.Errorf("one peer more than there is room for: %v", err)
	}
	known := tunnelTo(0)
	known.LocalID = 0
	if err := r.setListen(known, true); err != nil {
		t.Errorf("a peer that is in the set, once more: %v", err)
	}
	for set, want := range map[*nftables.Set]int{r.failClosed: 2 * (n + 1), r.connections: 2 * (n + 1), r.peers: maxUnpaired} {
		if got := size(t, set); got != want {
			t.Errorf("%s: %d flows, want %d", set.Name, got, want)
		}
	}
	if ok, err := r.intact(); !ok || err != nil {
		t.Errorf("not intact: %v", err)
	}
}

// Whatever is in a set already, an element is in it or not as was said last.
func TestSetsAreChangedTwice(t *testing.T) {
	r := putRules(t, contents{}, 0)
	tunnel := tunnelTo(1)
	peer := tunnel
	peer.LocalID = 0
	for _, on := range []bool{false, true, true, false, false, true} {
		want := map[bool]int{true: 1}[on]
		if err := r.setFailClosed(tunnel, on); err != nil || size(t, r.failClosed) != 2*want {
			t.Errorf("fail-closed %v: %v", on, err)
		}
		if err := r.setListen(tunnel, on); err != nil || size(t, r.connections) != 2*want {
			t.Errorf("connection %v: %v", on, err)
		}
		if err := r.setListen(peer, on); err != nil || size(t, r.peers) != want {
			t.Errorf("peer %v: %v", on, err)
		}
	}
}

// A peer is listened to for a while from when that was last said.
func TestPeersTimeIsRenewed(t *testing.T) {
	const while = 3 * time.Second
	r := newRules()
	r.peers.Timeout = while
	if err := r.install([]uint16{l2tpPort}, contents{}, 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		r.remove()
		r.kernel.close()
	})
	peer := tunnelTo(1)
	peer.LocalID = 0
	for range 3 {
		if err := r.setListen(peer, true); err != nil || size(t, r.peers) != 1 {
			t.Errorf("not there: %v", err)
		}
		time.Sleep(while * 2 / 3)
	}
	if size(t, r.peers) != 1 {
		t.Error("the time was not renewed")
	}
	time.Sleep(while / 2)
	if size(t, r.peers) != 0 {
		t.Error("the peer stays for longer than its time")
	}
}

// Tunnels that the guard leaves behind are forgotten in time.
func TestLeftBehind(t *testing.T) {
	const while = time.Second
	r := putRules(t, contents{failClosed: []l2tp.Connection{tunnelTo(1)}}, while)
	for _, want := range []int{2, 0} {
		if got := size(t, r.failClosed); got != want {
			t.Errorf("%d flows, want %d", got, want)
		}
		time.Sleep(while + while/2)
	}
}

// What happens to a set's elements, as it does for each Hello, is no reason to look
// whether the chains are all there; what happens to the chains is.
func TestWatchesChainsAlone(t *testing.T) {
	r := putRules(t, contents{}, 0)
	ctx, cancel := context.WithCancel(t.Context())
	told, ended := make(chan struct{}, 100), make(chan error)
	go func() { ended <- watchTables(ctx, func() { told <- struct{}{} }) }()
	<-told // at once
	time.Sleep(2 * restoreEvery)
	tunnel := l2tp.Connection{Local: here, Peer: there, LocalID: 1, PeerID: 2}
	for range 5 {
		for _, add := range []bool{true, false} {
			if err := r.setFailClosed(tunnel, add); err != nil {
				t.Fatal(err)
			}
		}
	}
	select {
	case <-told:
		t.Error("a change of a set's elements counts as a change of the rules")
	case <-time.After(2 * restoreEvery):
	}
	if err := r.remove(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-told:
	case <-time.After(2 * restoreEvery):
		t.Error("not told that the table has gone")
	}
	cancel()
	<-ended
}

// A copy of the table in its place is not intact, even if all its rules are the same. nft(8) can make such a copy: it has
// no cookie.
func TestCopyIsNotIntact(t *testing.T) {
	r := putRules(t, contents{}, 0)
	if ok, err := r.intact(); !ok || err != nil {
		t.Fatalf("got intact %v, %v before there is a copy", ok, err)
	}
	saved := newRules()
	saved.check, saved.cookie = r.check, nil
	t.Cleanup(saved.kernel.close)
	if err := saved.install([]uint16{l2tpPort}, contents{}, 0); err != nil {
		t.Fatal(err)
	}
	if ok, err := r.intact(); ok || err != nil {
		t.Errorf("got intact %v, %v for a copy", ok, err)
	}
}

// A change of a set does not wait until the kernel has freed what was taken out, as closing the connection does.
func TestChangesDoNotWait(t *testing.T) {
	r := putRules(t, contents{}, 0)
	tunnel := tunnelTo(1)
	changes := func(after func()) time.Duration {
		began := time.Now()
		for i := range 50 {
			if err := r.setFailClosed(tunnel, i%2 == 0); err != nil {
				t.Fatal(err)
			}
			after()
		}
		return time.Since(began)
	}
	open, closed := changes(func() {}), changes(r.kernel.close)
	t.Logf("50 changes take %v, and %v with a connection for each", open, closed)
	limit := closed / 2
	if onDebian11() {
		limit = closed * 3 / 4 // 0.62 of it
	}
	if open > limit {
		t.Errorf("got %v for 50 changes, want at most %v", open, limit)
	}
}

// Where the kernel has refused something, the connection stays, and what comes next works. Where answers are left, it
// does not: the next use would take them for its own.
func TestErrorsOfNftables(t *testing.T) {
	r := putRules(t, contents{}, 0)
	first := r.kernel.conn
	if err := r.remove(); err != nil {
		t.Fatal(err)
	}
	if err := r.setFailClosed(tunnelTo(1), true); !errors.Is(err, unix.ENOENT) {
		t.Errorf("got %v without the table, want %v", err, unix.ENOENT)
	}
	if whole, _ := r.intact(); whole {
		t.Error("intact without the table")
	}
	if r.kernel.conn != first {
		t.Error("a refusal has cost the connection")
	}
	install := func() {
		t.Helper()
		if err := r.install([]uint16{l2tpPort}, contents{}, 0); err != nil {
			t.Fatal(err)
		}
		if whole, err := r.intact(); !whole || err != nil {
			t.Errorf("got intact %v, %v after an error", whole, err)
		}
	}
	install()
	err := r.kernel.do(func(c *nftables.Conn) error {
		c.DelTable(r.table) // is not sent, and must not go out with the next batch
		return unix.ENOBUFS
	})
	if !errors.Is(err, unix.ENOBUFS) || r.kernel.conn != nil {
		t.Errorf("got %v, and the connection is kept: %v", err, r.kernel.conn != nil)
	}
	install()
}

// RemoveTable reports whether there was a table.
func TestRemoveTable(t *testing.T) {
	for _, left := range []bool{false, true, false} {
		if left {
			r := newRules()
			if err := r.kernel.change(func(c *nftables.Conn) error { c.AddTable(r.table); return nil }); err != nil {
				t.Fatal(err)
			}
			r.kernel.close()
		}
		if got, err := RemoveTable(); got != left || err != nil {
			t.Errorf("got %v, %v, want %v", got, err, left)
		}
	}
}
