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
