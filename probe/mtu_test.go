package probe

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"time"
)

// A link that takes less than it claims, and says nothing about it.
func TestMTUBlackHole(t *testing.T) {
	if !alone(t, "--net") {
		return
	}
	pid, prefix := neighbour(t)
	connect(t, pid, prefix, "ppp0", own.String(), far.String())
	p := Path{Link: "ppp0", Source: own, Target: far}
	if m, err := p.MTU(t.Context()); err != nil || m != (PathMTU{Claimed: 1500, Passes: 1500, Sent: 2, Certain: true}) {
		t.Fatalf("got %+v, %v, want 1500 bytes, certain", m, err)
	}
	run(t, prefix+" ip", "link set ppp0 mtu 1370") // a veth accepts four bytes more, for a VLAN tag
	asked := 0
	p.Likely = func(context.Context) []int { asked++; return []int{1374} }
	m, err := p.MTU(t.Context())
	if err != nil || m.Passes != 1374 || m.Told || !m.Certain || m.Sent != 11 || asked != 1 {
		t.Errorf("%+v, %v, asked %d times, want 1374", m, err, asked)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := p.MTU(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a context that ends: %v", err)
	}
	run(t, "ip", "link set ppp0 mtu 1300")
	if m, err := p.MTU(t.Context()); err != nil || m.Claimed != 1300 || m.Passes != 1300 {
		t.Errorf("%+v, %v, want 1300", m, err)
	}
	run(t, "ip", "link del ppp0")
	if _, err := p.MTU(t.Context()); !errors.Is(err, ErrGone) {
		t.Errorf("link gone: %v", err)
	}
}

// A router reports that a packet is too long; the kernel then refuses the next ones.
func TestMTUFragmentationNeeded(t *testing.T) {
	if !alone(t, "--net") {
		return
	}
	router, inRouter := neighbour(t)
	target, inTarget := neighbour(t)
	connect(t, router, inRouter, "up0", own.String(), far.String())
	beyond := netip.MustParseAddr("10.64.0.9")
	run(t, inRouter+" ip", `link add down0 mtu 1454 type veth peer name down0 netns `+target+`
		addr add 10.64.0.8/31 dev down0
		link set down0 up`)
	run(t, inRouter, "sysctl -q net.ipv4.ip_forward=1")
	run(t, inTarget+" ip", "link set down0 mtu 1454\n addr add 10.64.0.9/31 dev down0\n link set down0 up\n route add default via 10.64.0.8")
	run(t, "ip", "route add 10.64.0.8/31 via "+far.String())
	m, err := Path{Target: beyond}.MTU(t.Context())
	if err != nil || m != (PathMTU{Claimed: 1500, Passes: 1454, Told: true, Sent: 5, Certain: true}) {
		t.Errorf("%+v, %v, want 1454", m, err)
	}
	if _, err := (Path{Target: netip.MustParseAddr("203.0.113.1")}).MTU(t.Context()); !errors.Is(err, ErrNoRoute) {
		t.Errorf("no route: %v", err)
	}
}
