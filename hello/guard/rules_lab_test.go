//go:build lab

package guard

import (
	"net/netip"
	"testing"

	"github.com/google/nftables"

	"xl2tpd-keepalive/hello"
)

// The kernel takes thousands of tunnels that must not pass without us, and one
// more, in one piece.
func TestOwedByThousands(t *testing.T) {
	const n = 8000
	var all []hello.Tunnel
	for i := range n + 1 {
		peer := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}), l2tpPort)
		all = append(all, hello.Tunnel{Local: here, Peer: peer, LocalID: uint16(1 + i), PeerID: 9})
	}
	r := newRules()
	if err := r.install(0, all[:n]); err != nil {
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
