//go:build lab

package helloguard

import (
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"xl2tpd-keepalive/internal/l2tp"
)

// toPeer is a Hello to the other host, and its payload.
func toPeer(ns uint16) (packet, payload []byte) {
	packet = l2tp.AppendPacket(nil, lineHere, lineThere, l2tp.Message{Type: l2tp.TypeHello, Tunnel: 9, Ns: ns})
	return packet, packet[ipHeaderLen+udpHeaderLen:]
}

// Packets of root's sockets are queued, and no others: nobody listens to the queue here, so what
// is queued of a fail-closed tunnel is lost. What the guard sends is not queued again.
func TestOnlyRootsPacketsAreQueued(t *testing.T) {
	newLine(t)
	far := listenFar(t, lineThere)
	putRules(t, contents{failClosed: []l2tp.Connection{{Local: lineHere, Peer: lineThere, LocalID: 7, PeerID: 9}}}, 0)
	for uid, want := range map[int]bool{0: false, 1000: true, nobody: true} {
		asUser(t, uid, func() {
			near := xl2tpdSocket(t, l2tpPort, netip.AddrPort{})
			_, payload := toPeer(uint16(uid))
			if _, err := near.WriteToUDPAddrPort(payload, lineThere); err != nil {
				t.Fatal(err)
			}
			if got := came(t, far, payload); got != want {
				t.Errorf("uid %d: passes: %v, want %v", uid, got, want)
			}
		})
	}
	packet, payload := toPeer(1)
	if err := sendToPeer(packet); err != nil || !came(t, far, payload) {
		t.Errorf("the guard's own packet is queued: %v", err)
	}
}

// While the guard sends, xl2tpd loses none of its packets, on neither kind of its sockets, and
// can open others.
func TestXl2tpdLosesNoPackets(t *testing.T) {
	newLine(t)
	far := listenFar(t, lineThere)
	for name, peer := range map[string]netip.AddrPort{"userspace mode": {}, "kernel mode": lineThere} {
		near := xl2tpdSocket(t, l2tpPort, peer)
		stop, done := make(chan struct{}), make(chan int)
		go func() {
			sent := 0
			for packet, _ := toPeer(1); ; sent++ {
				select {
				case <-stop:
					done <- sent
					return
				default:
					if err := sendToPeer(packet); err != nil {
						t.Error(err)
					}
				}
			}
		}()
		const n = 3000
		for i := range n {
			text := fmt.Appendf(nil, "%d.", i)
			if _, err := far.WriteToUDPAddrPort(text, lineHere); err != nil {
				t.Fatal(err)
			}
			if i%100 == 0 && !came(t, near, text) {
				t.Errorf("%s: packet %d did not come", name, i)
			}
		}
		if !came(t, near, fmt.Appendf(nil, "%d.", n-1)) {
			t.Errorf("%s: the last packet did not come", name)
		}
		close(stop)
		t.Logf("%s: %d packets sent meanwhile", name, <-done)
		near.Close()
	}

	fd, err := deafSocket(lineHere.Addr().As4(), l2tpPort)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	restarted := xl2tpdSocket(t, l2tpPort, netip.AddrPort{})
	for i := range 20 {
		text := fmt.Appendf(nil, "restarted %d.", i)
		far.WriteToUDPAddrPort(text, lineHere)
		if !came(t, restarted, text) {
			t.Errorf("an xl2tpd that has just started: packet %d did not come", i)
		}
	}
	if n, _, err := unix.Recvfrom(fd, make([]byte, 100), unix.MSG_DONTWAIT); !errors.Is(err, unix.EAGAIN) {
		t.Errorf("the guard's socket has received %d bytes, %v", n, err)
	}
}

// receivedFar counts what has come to the other host, by kind.
func receivedFar(t *testing.T, kind string) (packets int) {
	t.Helper()
	out, err := exec.Command("ip", "netns", "exec", farName, "nft", "list", "counter", "ip", "seen", kind).Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(string(out), "\n") {
		fmt.Sscanf(strings.TrimSpace(line), "packets %d", &packets)
	}
	return packets
}

// What the guard sends to a peer takes the way of xl2tpd's own packets: IPsec policies by port
// protect it, nothing leaves in the clear before there is an SA, and filters apply to it. So it
// is with the guard's table and without.
func TestToPeerGoesAsXl2tpdsOwn(t *testing.T) {
	newLine(t)
	listenFar(t, lineThere)
	shell(t, "ip netns exec "+farName+` nft 'table ip seen {
		counter in_clear { }
		counter by_esp { }
		chain seen {
			type filter hook prerouting priority -500;
			udp dport 1701 counter name in_clear
			meta l4proto esp counter name by_esp
		}
	}'`)
	t.Cleanup(func() {
		exec.Command("sh", "-c", "ip xfrm policy flush; ip xfrm state flush; nft delete table ip host").Run()
	})
	packet, payload := toPeer(1)
	inject := func() error { return sendToPeer(packet) }
	own := func() error { // as xl2tpd does
		near := xl2tpdSocket(t, l2tpPort, netip.AddrPort{})
		defer near.Close()
		_, err := near.WriteToUDPAddrPort(payload, lineThere)
		return err
	}
	const policy = "ip xfrm policy add dir out src 10.123.0.1 dst 10.123.0.2 proto udp sport 1701 dport 1701 tmpl proto esp mode transport reqid 1"
	const sa = "ip xfrm state add src 10.123.0.1 dst 10.123.0.2 proto esp spi 0x100 reqid 1 mode transport " +
		"enc 'cbc(aes)' 0x000102030405060708090a0b0c0d0e0f auth 'hmac(sha1)' 0x000102030405060708090a0b0c0d0e0f10111213"
	const noClear = `nft 'table ip host { chain output { type filter hook output priority 0; udp dport 1701 rt ipsec missing drop; }; }'`
	steps := []struct {
		name       string
		line       string
		clear, esp int
		refused    bool
	}{
		{"no IPsec", "true", 1, 0, false},
		{"a policy, no SA", policy, 0, 0, false},
		{"no L2TP in the clear, a policy, no SA", noClear, 0, 0, true},
		{"the same with an SA", sa, 0, 1, false},
		{"no L2TP in the clear, no policy", "ip xfrm policy flush; ip xfrm state flush", 0, 0, true},
	}
	for _, table := range []bool{false, true} {
		if table {
			shell(t, "nft delete table ip host")
			putRules(t, contents{}, 0)
		}
		for _, step := range steps {
			shell(t, step.line)
			for who, send := range map[string]func() error{"the guard": inject, "xl2tpd": own} {
				clear, esp := receivedFar(t, "in_clear"), receivedFar(t, "by_esp")
				err := send()
				clear, esp = receivedFar(t, "in_clear")-clear, receivedFar(t, "by_esp")-esp
				if clear != step.clear || esp != step.esp || errors.Is(err, unix.EPERM) != step.refused {
					t.Errorf("table %v, %s: %s: %d in the clear, %d by ESP, %v", table, step.name, who, clear, esp, err)
				}
			}
		}
	}
}

// A packet to an address that this host no longer has goes nowhere.
func TestToLocalStaysHere(t *testing.T) {
	newLine(t)
	shell(t, "ip route add default via 10.123.0.2", "ip -n "+farName+" addr add 192.0.2.9/32 dev line1")
	far := listenFar(t, netip.MustParseAddrPort("192.0.2.9:1701"))
	in, err := newInjector()
	if err != nil {
		t.Fatal(err)
	}
	defer in.close()
	gone := netip.MustParseAddrPort("192.0.2.9:1701")
	packet := l2tp.AppendPacket(nil, lineThere, gone, l2tp.Message{Tunnel: 7})
	if err := in.sendToLocal(packet); !errors.Is(err, unix.ENETUNREACH) {
		t.Errorf("%v, want %v", err, unix.ENETUNREACH)
	}
	if came(t, far, packet[ipHeaderLen+udpHeaderLen:]) {
		t.Error("the packet has left this host")
	}
	packet = l2tp.AppendPacket(nil, lineThere, lineHere, l2tp.Message{Tunnel: 7})
	near := xl2tpdSocket(t, l2tpPort, netip.AddrPort{})
	if err := in.sendToLocal(packet); err != nil {
		t.Error(err)
	}
	if !came(t, near, []byte{0xc8, 2}) {
		t.Error("a packet to xl2tpd did not come")
	}
}
