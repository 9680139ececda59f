//go:build lab

package helloguard

import (
	"context"
	"net/netip"
	"testing"
	"time"

	"github.com/google/nftables"

	"xl2tpd-keepalive/internal/helloguard/translator"
)

// The kernel takes thousands of tunnels that must not pass without us, and one
// more, in one piece.
func TestOwedByThousands(t *testing.T) {
	const n = 8000
	var all []translator.Tunnel
	for i := range n + 1 {
		peer := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}), l2tpPort)
		all = append(all, translator.Tunnel{Local: here, Peer: peer, LocalID: uint16(1 + i), PeerID: 9})
	}
	r := newRules()
	if err := r.install(0, all[:n], 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.remove() })
	if err := r.owe(all[n], true); err != nil {
		t.Fatal(err)
	}
	c, err := nftables.New()
	if err != nil {
		t.Fatal(err)
	}
	got, err := c.GetSetElements(r.owed)
	if err != nil || len(got) != 2*len(all) {
		t.Errorf("%d flows, want %d: %v", len(got), 2*len(all), err)
	}
	if ok, err := r.intact(); !ok || err != nil {
		t.Errorf("not intact: %v", err)
	}
}

// Tunnels that we leave behind are forgotten in time.
func TestLeftBehind(t *testing.T) {
	r := newRules()
	const while = time.Second
	if err := r.install(0, []translator.Tunnel{{Local: here, Peer: there, LocalID: 7, PeerID: 9}}, while); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.remove() })
	for _, want := range []int{2, 0} {
		c, err := nftables.New()
		if err != nil {
			t.Fatal(err)
		}
		got, err := c.GetSetElements(r.owed)
		if err != nil || len(got) != want {
			t.Errorf("%d flows, want %d: %v", len(got), want, err)
		}
		time.Sleep(while + while/2)
	}
}

// What happens to a set's elements, as it does for each Hello, is no reason to look
// whether the chains are all there; what happens to the chains is.
func TestWatchesChainsAlone(t *testing.T) {
	r := newRules()
	if err := r.install(0, nil, 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.remove() })
	ctx, cancel := context.WithCancel(t.Context())
	told, ended := make(chan struct{}, 100), make(chan error)
	go func() { ended <- watchTables(ctx, func() { told <- struct{}{} }) }()
	<-told // at once
	time.Sleep(2 * settle)
	tunnel := translator.Tunnel{Local: here, Peer: there, LocalID: 1, PeerID: 2}
	for range 5 {
		for _, add := range []bool{true, false} {
			if err := r.owe(tunnel, add); err != nil {
				t.Fatal(err)
			}
		}
	}
	select {
	case <-told:
		t.Error("told of elements")
	case <-time.After(2 * settle):
	}
	if err := r.remove(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-told:
	case <-time.After(2 * settle):
		t.Error("not told that the table has gone")
	}
	cancel()
	<-ended
}
