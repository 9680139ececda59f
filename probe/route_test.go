package probe

import (
	"errors"
	"net"
	"net/netip"
	"runtime"
	"syscall"
	"testing"
)

func TestRouted(t *testing.T) {
	if !alone(t, "--net") {
		return
	}
	to := netip.MustParseAddr
	if dev, err := Routed(to("192.0.2.1"), netip.Addr{}); !errors.Is(err, ErrNoRoute) {
		t.Errorf("nothing up: %q %v", dev, err)
	}
	run(t, "ip", `link set lo up
		link add wan0 type veth peer name wan1
		link set wan0 up
		link set wan1 up
		addr add 198.51.100.2/24 dev wan0
		route add 192.0.2.0/24 via 198.51.100.1
		route add 203.0.113.1/32 dev wan1
		route add unreachable 203.0.113.2
		route add prohibit 203.0.113.3
		route add blackhole 203.0.113.4`)
	for addr, want := range map[string]string{
		"198.51.100.9": "wan0", "192.0.2.1": "wan0", "::ffff:192.0.2.1": "wan0", "203.0.113.1": "wan1",
		"127.0.0.1": "lo", "198.51.100.2": "lo",
		"203.0.113.2": "", "203.0.113.3": "", "203.0.113.4": "", "8.8.8.8": "",
	} {
		dev, err := Routed(to(addr), netip.Addr{})
		if dev != want || (err == nil) != (want != "") || err != nil && !errors.Is(err, ErrNoRoute) {
			t.Errorf("the route to %s is by %q, want %q; error: %v", addr, dev, want, err)
		}
		if err := Route(to(addr), netip.Addr{}); (err == nil) != (want != "") || err != nil && !errors.Is(err, ErrNoRoute) {
			t.Errorf("route to %s: %v", addr, err)
		}
	}
	if dev, err := Routed(to("2001:db8::1"), netip.Addr{}); err == nil || errors.Is(err, ErrNoRoute) {
		t.Errorf("IPv6: %q %v", dev, err)
	}
	// A rule by the source address, on a host with two uplinks.
	run(t, "ip", `addr add 198.51.100.77/32 dev wan1
		rule add from 198.51.100.77 lookup 100
		route add 100.64.0.1/32 dev wan1 table 100`)
	for _, tc := range []struct {
		from netip.Addr
		want error
	}{{netip.Addr{}, ErrNoRoute}, {to("198.51.100.2"), ErrNoRoute}, {to("198.51.100.77"), nil}, {to("198.51.100.99"), ErrNoRoute}} {
		if err := Route(to("100.64.0.1"), tc.from); !errors.Is(err, tc.want) {
			t.Errorf("from %v: %v, want %v", tc.from, err, tc.want)
		}
	}
	// A rule by a mark that a packet of no mark does not have, as xl2tpd's and charon's: for those there is no route either.
	run(t, "ip", `rule add fwmark 7 lookup 101
		route add 100.64.0.2/32 dev wan1 table 101
		rule add not fwmark 8 lookup 102
		route add 100.64.0.3/32 dev wan1 table 102`)
	for addr, want := range map[string]error{"100.64.0.2": ErrNoRoute, "100.64.0.3": nil, "100.64.0.4": ErrNoRoute} {
		err := Route(to(addr), netip.Addr{})
		_, dialled := net.Dial("udp4", addr+":1701")
		if !errors.Is(err, want) || (err == nil) != (dialled == nil) {
			t.Errorf("%s, by mark: %v, want %v; an xl2tpd gets %v", addr, err, want, dialled)
		}
	}
	// Rules by what only xl2tpd's packets have, or only others have: ports, protocol and user.
	run(t, "ip", `rule add ipproto udp dport 1701 lookup 103
		route add 100.64.0.5/32 dev wan1 table 103
		route add unreachable 100.64.0.6/32 table 103
		route add 100.64.0.6/32 dev wan1
		rule add ipproto udp sport 1701 lookup 104
		route add 100.64.0.7/32 dev wan1 table 104
		rule add ipproto tcp dport 1701 lookup 105
		route add 100.64.0.8/32 dev wan1 table 105
		rule add ipproto udp dport 9 lookup 106
		route add 100.64.0.9/32 dev wan1 table 106
		rule add uidrange 0-0 lookup 107
		route add 100.64.0.10/32 dev wan1 table 107`)
	asNobody(t, func() {
		for addr, want := range map[string]error{
			"100.64.0.5": nil, "100.64.0.6": ErrNoRoute, "100.64.0.7": nil, "100.64.0.8": ErrNoRoute, "100.64.0.9": ErrNoRoute, "100.64.0.10": nil,
		} {
			if err := Route(to(addr), netip.Addr{}); !errors.Is(err, want) {
				t.Errorf("%s, by what xl2tpd sends: %v, want %v", addr, err, want)
			}
		}
	})
	// Rules that lead xl2tpd's packets and echo requests elsewhere: to another device, or to another router.
	run(t, "ip", `route add 100.64.1.0/24 via 198.51.100.1
		route add 100.64.1.1/32 dev wan1 table 103
		route add 100.64.1.2/32 via 198.51.100.3 table 103
		rule add ipproto icmp lookup 108
		route add 100.64.1.3/32 dev wan1 table 108
		rule add from 198.51.100.77 ipproto udp lookup 109
		route add 100.64.1.5/32 dev wan1 table 109`)
	for _, tc := range []struct {
		to   string
		from netip.Addr
		l2tp string
		echo error
	}{
		{"100.64.1.1", netip.Addr{}, "wan1", ErrOtherWay},
		{"100.64.1.2", netip.Addr{}, "wan0", ErrOtherWay},
		{"100.64.1.3", netip.Addr{}, "wan0", ErrOtherWay},
		{"100.64.1.4", netip.Addr{}, "wan0", nil},
		{"100.64.1.5", netip.Addr{}, "wan0", nil},
		{"100.64.1.5", to("198.51.100.77"), "wan1", ErrOtherWay},
	} {
		dev, err := Routed(to(tc.to), tc.from)
		_, echo := Path{Target: to(tc.to), Source: tc.from}.link()
		if dev != tc.l2tp || err != nil || !errors.Is(echo, tc.echo) {
			t.Errorf("to %s from %v: got L2TP by %q, %v, and echo requests %v, want %q and %v", tc.to, tc.from, dev, err, echo, tc.l2tp, tc.echo)
		}
	}
	// Through the tunnel into which it should not go.
	run(t, "ip", "link add ppp0 type veth peer name ppp1\n link set ppp0 up\n route add default dev ppp0")
	if dev, err := Routed(to("8.8.8.8"), netip.Addr{}); dev != "ppp0" || err != nil {
		t.Errorf("by default: %q %v", dev, err)
	}
}

// asNobody calls a func in a thread of its own, which is not root's.
func asNobody(t *testing.T, call func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // it ends with the goroutine
		const nobody = 65534
		if _, _, err := syscall.RawSyscall(syscall.SYS_SETRESUID, nobody, nobody, nobody); err != 0 {
			t.Error(err)
		}
		call()
	}()
	<-done
}
