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

// A flood makes xl2tpd answer one address: the queue gets what the rate allows. It gets all that xl2tpd sends in a known
// tunnel, and in one that is older than the guard. It also gets xl2tpd's own requests, and its answers to another peer. All go
// out.
func TestAnswersToCallersArePaced(t *testing.T) {
	newLine(t)
	here := netip.AddrPortFrom(lineHere.Addr(), 41701) // an xl2tpd of this host has 1701
	near, far := listenNear(t, here), listenFar(t, lineThere)
	r := newRules()
	if r.tryKernel(); !r.paces {
		t.Fatal("this kernel has no nft_limit")
	}
	known := l2tp.Connection{Local: here, Peer: lineThere, LocalID: 7, PeerID: 9}
	if err := r.install([]uint16{here.Port()}, contents{listen: []l2tp.Connection{known}}, 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		r.remove()
		r.kernel.close()
	})
	var queued atomic.Int32
	takeQueue(t, securedQueue, func() { queued.Add(1) })

	const n = 1000
	say := func(m l2tp.Message) (got int32, took time.Duration) {
		queued.Store(0)
		began, buf := time.Now(), make([]byte, 100)
		for range n {
			if _, err := near.WriteToUDPAddrPort(l2tp.AppendMessage(nil, m), lineThere); err != nil {
				t.Fatal(err)
			}
			far.SetReadDeadline(time.Now().Add(5 * time.Second))
			if _, err := far.Read(buf); err != nil {
				t.Fatal(err)
			}
		}
		return queued.Load(), time.Since(began)
	}
	var answered time.Duration
	for what, m := range map[string]l2tp.Message{
		"refusals": {Type: l2tp.TypeStopCCN, Tunnel: 8, Nr: 1},
		"accepts":  {Type: l2tp.TypeSCCRP, Tunnel: 8, Nr: 1},
		"ZLBs":     {Tunnel: 8, Ns: 1, Nr: 1},
	} {
		got, took := say(m)
		answered += took
		if most := peerRate + int32(answered.Seconds()*answerRate) + 1; got > most {
			t.Errorf("%d of %d %s to a caller came to the queue in %v, want %d at most", got, n, what, took, most)
		}
	}
	for what, m := range map[string]l2tp.Message{
		"messages of a known tunnel":           {Type: l2tp.TypeSCCCN, Tunnel: 9, Ns: 1, Nr: 1},
		"Hellos of a tunnel that is not known": {Type: l2tp.TypeHello, Tunnel: 8, Ns: 2, Nr: 1},
		"requests":                             {Type: l2tp.TypeSCCRQ},
	} {
		if got, _ := say(m); got != n {
			t.Errorf("%d of %d %s came to the queue", got, n, what)
		}
	}
	queued.Store(0)
	if _, err := near.WriteToUDPAddrPort(l2tp.AppendMessage(nil, l2tp.Message{Type: l2tp.TypeStopCCN, Tunnel: 8}), netip.AddrPortFrom(lineHere.Addr().Next().Next(), l2tpPort)); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(5 * time.Second); queued.Load() == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the answer to another peer did not come to the queue")
		}
	}
}
