//go:build lab

package main

import (
	"bytes"
	"log/slog"
	"net"
	"net/netip"
	"os/exec"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// end is one side of a tunnel with PPP on it.
type end struct {
	tunnel  dataTunnel
	session dataSession
	control chan datagram
	news    chan pppNews
}

func openEnd(t *testing.T, listen, remote string, local, peer uint16, ours, assigned string) *end {
	t.Helper()
	e := &end{control: make(chan datagram, 4), news: make(chan pppNews, 4)}
	k := kernel{listen: netip.MustParseAddrPort(listen), pppd: pppd{
		path: "pppd", local: netip.MustParseAddr(ours), mtu: 1258, auth: "none", log: slog.New(slog.DiscardHandler),
	}}
	var err error
	e.tunnel, err = k.tunnel(netip.MustParseAddrPort(remote), local, peer, func(d datagram) { e.control <- d })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.tunnel.close)
	// The sessions' ids are the tunnels' with a thousand more.
	e.session, err = e.tunnel.session(local+1000, peer+1000, netip.MustParseAddr(assigned), func(n pppNews) { e.news <- n })
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// Two tunnels leave one address and port, each to a peer of its own, all on
// this machine: PPP comes up on both, control packets find the right one of
// the sockets that share the port, counters count data only, and the end of
// one tunnel leaves the other alone.
func TestKernel(t *testing.T) {
	// As root, in a kernel with PPPoL2TP.
	if out, err := exec.Command("modprobe", "l2tp_ppp").CombinedOutput(); err != nil {
		t.Fatalf("modprobe l2tp_ppp: %v %s", err, out)
	}
	leaks := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, leaks) })

	const hub = "127.0.0.1:17010"
	config := net.ListenConfig{Control: reuseAddress}
	listening, err := config.ListenPacket(t.Context(), "udp4", hub)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listening.Close() })

	type pair struct {
		near, far *end
		remote    string
	}
	var pairs []pair
	for i, remote := range []string{"127.0.0.2:17010", "127.0.0.3:17010"} {
		n := uint16(10 * (i + 1))
		a, b := []string{"10.77.1.1", "10.77.2.1"}[i], []string{"10.77.1.2", "10.77.2.2"}[i]
		pairs = append(pairs, pair{
			near: openEnd(t, hub, remote, n+1, n+2, a, b),
			far:  openEnd(t, remote, hub, n+2, n+1, b, a), remote: remote,
		})
	}
	for _, p := range pairs {
		for _, e := range []*end{p.near, p.far} {
			if n := next(t, e.news); n.ended || n.iface == "" || n.local == "" || n.assigned == "" {
				t.Fatalf("PPP to %s: %+v", p.remote, n)
			}
		}
	}

	for _, p := range pairs {
		// The T bit makes it a control packet: the kernel passes it on, uncounted.
		before, err := p.near.tunnel.packets()
		if err != nil || before < 4 {
			t.Fatalf("%d data packets after LCP and IPCP, %v", before, err)
		}
		hello := []byte{0xc8, 2, 0, 12, 0, 9, 0, 0, 0, 1, 0, 1}
		if _, err := p.far.tunnel.(*kernelTunnel).conn.Write(hello); err != nil {
			t.Fatal(err)
		}
		select {
		case d := <-p.near.control:
			if d.from.String() != p.remote || !bytes.Equal(d.data, hello) {
				t.Errorf("received % x from %v, want it from %s", d.data, d.from, p.remote)
			}
		case <-time.After(10 * time.Second):
			t.Errorf("no control packet from %s", p.remote)
		}
		if after, err := p.near.tunnel.packets(); err != nil || after != before {
			t.Errorf("%d data packets before a control packet, %d after, %v", before, after, err)
		}
	}

	one, other := pairs[0], pairs[1]
	one.near.session.stop()
	one.near.tunnel.close()
	if n := next(t, one.near.news); !n.ended {
		t.Errorf("news %+v, want the end", n)
	}
	one.far.session.stop()
	if n := next(t, one.far.news); !n.ended {
		t.Errorf("news %+v, want the end", n)
	}
	one.far.tunnel.close()
	if _, err := one.near.tunnel.packets(); err == nil {
		t.Error("a closed tunnel still has counters")
	}
	if _, err := other.near.tunnel.packets(); err != nil {
		t.Errorf("the other tunnel: %v", err)
	}
	for _, e := range []*end{other.near, other.far} {
		select {
		case n := <-e.news:
			t.Errorf("the other tunnel: %+v", n)
		default:
		}
		e.session.stop()
		if n := next(t, e.news); !n.ended {
			t.Errorf("news %+v, want the end", n)
		}
	}
}

// A tunnel that is over leaves nothing behind: its ids are free again. The
// kernel takes its time for that.
func TestKernelForgets(t *testing.T) {
	if out, err := exec.Command("modprobe", "l2tp_ppp").CombinedOutput(); err != nil {
		t.Fatalf("modprobe l2tp_ppp: %v %s", err, out)
	}
	e := openEnd(t, "127.0.0.1:17020", "127.0.0.2:17020", 51, 52, "10.77.3.1", "10.77.3.2")
	e.tunnel.close()
	e.session.stop()
	if n := next(t, e.news); !n.ended {
		t.Errorf("news %+v, want the end", n)
	}
	k := kernel{listen: netip.MustParseAddrPort("127.0.0.1:17020")}
	retry := time.NewTicker(50 * time.Millisecond)
	defer retry.Stop()
	for range 200 {
		again, err := k.tunnel(netip.MustParseAddrPort("127.0.0.2:17020"), 51, 52, func(datagram) {})
		if err == nil {
			again.close()
			return
		}
		<-retry.C
	}
	t.Error("after 10 s the kernel still knows the tunnel")
}
