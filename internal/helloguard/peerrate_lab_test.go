//go:build lab

package helloguard

import (
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"xl2tpd-keepalive/internal/l2tp"
)

// A flood comes from the address of an unpaired peer: the queue gets what the rate allows. It gets all messages of a known
// connection. xl2tpd gets all of both.
func TestUnpairedPeerIsPaced(t *testing.T) {
	newLine(t)
	here := netip.AddrPortFrom(lineHere.Addr(), 41701) // an xl2tpd of this host has 1701
	near := listenNear(t, here)
	known, unpaired := lineThere, netip.AddrPortFrom(lineThere.Addr(), 1702)
	r := newRules()
	if r.tryKernel(); !r.paces {
		t.Fatal("this kernel has no nft_limit")
	}
	c := contents{listen: []l2tp.Connection{{Local: here, Peer: known, LocalID: 7}, {Local: here, Peer: unpaired}}}
	if err := r.install([]uint16{l2tpPort}, c, 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		r.remove()
		r.kernel.close()
	})

	var queued atomic.Int32
	takeQueue(t, plainQueue, func() { queued.Add(1) })

	const n = 1000
	message := l2tp.AppendMessage(nil, l2tp.Message{Tunnel: 7})
	flood := func(from *net.UDPConn) (took time.Duration) {
		queued.Store(0)
		began, buf := time.Now(), make([]byte, 100)
		for range n {
			if _, err := from.WriteToUDPAddrPort(message, here); err != nil {
				t.Fatal(err)
			}
			near.SetReadDeadline(time.Now().Add(5 * time.Second))
			if _, err := near.Read(buf); err != nil {
				t.Fatal(err)
			}
		}
		return time.Since(began)
	}
	flood(listenFar(t, known))
	if got := queued.Load(); got != n {
		t.Errorf("%d of a known connection's %d messages came to the queue", got, n)
	}
	took := flood(listenFar(t, unpaired))
	most := peerRate + int32(took.Seconds()*peerRate) + 1
	if got := queued.Load(); got < peerRate || got > most {
		t.Errorf("%d of %d messages from an unpaired peer's address came to the queue in %v, want %d to %d", got, n, took, peerRate, most)
	}
}

// Of what comes in unknown tunnels, xl2tpd gets what the rate allows. It gets all messages of known
// tunnels. A port that is not an xl2tpd's alone gets all.
func TestUnknownTunnelsArePaced(t *testing.T) {
	newLine(t)
	here, shared := netip.AddrPortFrom(lineHere.Addr(), 41701), netip.AddrPortFrom(lineHere.Addr(), 41702)
	far := listenFar(t, lineThere)
	r := newRules()
	if r.tryKernel(); !r.paces {
		t.Fatal("this kernel has no nft_limit")
	}
	known := l2tp.Connection{Local: here, Peer: lineThere, LocalID: 7}
	c := contents{listen: []l2tp.Connection{known}, ofXl2tpds: []uint16{here.Port()}}
	if err := r.install([]uint16{here.Port(), shared.Port()}, c, 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		r.remove()
		r.kernel.close()
	})
	takeQueue(t, plainQueue, func() {})

	const n = 1000
	var dropped uint64
	for _, tc := range []struct {
		what   string
		to     netip.AddrPort
		tunnel uint16
		limit  bool
	}{
		{"messages of a known tunnel", here, 7, false},
		{"messages to a port that others have too", shared, 8, false},
		{"messages of an unknown tunnel", here, 8, true},
	} {
		near := listenNear(t, tc.to)
		message := l2tp.AppendMessage(nil, l2tp.Message{Type: l2tp.TypeHello, Tunnel: tc.tunnel})
		began, got, buf := time.Now(), 0, make([]byte, 100)
		for range n {
			if _, err := far.WriteToUDPAddrPort(message, tc.to); err != nil {
				t.Fatal(err)
			}
			wait := 5 * time.Second
			if tc.limit {
				wait = time.Millisecond
			}
			near.SetReadDeadline(time.Now().Add(wait))
			if _, err := near.Read(buf); err == nil {
				got++
			}
		}
		most := unknownRate + int(time.Since(began).Seconds()*unknownRate) + 1
		if tc.limit && (got < unknownRate || got > most) || !tc.limit && got != n {
			t.Errorf("%d of %d %s came in, want %d to %d if limited", got, n, tc.what, unknownRate, most)
		}
		if tc.limit {
			dropped = uint64(n - got)
		}
		near.Close()
	}
	if ok, err := r.intact(); !ok || err != nil || r.dropped != dropped {
		t.Errorf("intact %v, %v; %d dropped, want %d", ok, err, r.dropped, dropped)
	}
}
