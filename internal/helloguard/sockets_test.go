package helloguard

import (
	"net"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"

	"xl2tpd-keepalive/internal/procfs"
)

// listenUDP opens a socket for the time of the test.
func listenUDP(t *testing.T, network, address string) netip.AddrPort {
	t.Helper()
	c, err := net.ListenPacket(network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c.LocalAddr().(*net.UDPAddr).AddrPort()
}

// The kernel lists every socket that can send IPv4 from a port, with its user.
func TestReadSockets(t *testing.T) {
	free := listenUDP(t, "udp4", "127.0.0.1:0")
	peer := listenUDP(t, "udp4", "127.0.0.1:0")
	c, err := net.Dial("udp4", peer.String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	local := c.LocalAddr().(*net.UDPAddr).AddrPort()
	both := listenUDP(t, "udp", ":0")
	only6 := listenUDP(t, "udp6", "[::1]:0")
	for name, tc := range map[string]struct {
		port uint16
		want []socket
	}{
		"free":       {free.Port(), []socket{{local: free}}},
		"connected":  {local.Port(), []socket{{local: local, peer: peer}}},
		"IPv6, both": {both.Port(), []socket{{local: netip.AddrPortFrom(netip.IPv4Unspecified(), both.Port())}}},
		"IPv6 alone": {only6.Port(), nil},
	} {
		got, err := readSockets(tc.port)
		if err != nil {
			t.Fatal(err)
		}
		for i := range got {
			if got[i].uid != uint32(os.Getuid()) || got[i].cgroup == 0 {
				t.Errorf("%s: %+v: user or cgroup not known", name, got[i])
			}
			got[i].uid, got[i].cgroup = 0, 0
		}
		if !slices.Equal(got, tc.want) {
			t.Errorf("%s: %+v, want %+v", name, got, tc.want)
		}
	}
}

// What the kernel sends in pieces, or wrongly, is no socket.
func TestParseSocketOfAnyLength(t *testing.T) {
	for n := range 120 {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(n * i)
		}
		parseSocket(b)
	}
}

// Facts are asked for once a second, and not for more ports than xl2tpds can have.
func TestFactReader(t *testing.T) {
	asked := 0
	daemons := []Daemon{{ID: watched}}
	r := &factReader{daemons: func() []Daemon { asked++; return daemons }}
	at := listenUDP(t, "udp4", "127.0.0.1:0")
	now := time.Now()
	for range 100 {
		if f := r.of(at.Port(), now); len(f.sockets) != 1 || len(f.daemons) != 1 {
			t.Fatalf("got %+v, want one socket and one xl2tpd", f)
		}
	}
	if asked != 1 {
		t.Errorf("asked %d times in a moment", asked)
	}
	for port := range uint16(2 * maxPorts) {
		r.of(40000+port, now)
	}
	if f := r.of(50000, now); len(r.ports) != maxPorts || len(f.daemons) != 0 {
		t.Errorf("%d ports, of another: %+v", len(r.ports), f)
	}
	r.of(at.Port(), now.Add(-time.Hour)) // the clock may be set
	r.of(at.Port(), now)
	r.forget()
	r.of(at.Port(), now)
	if asked != 4 {
		t.Errorf("asked %d times, want 4", asked)
	}
	daemons = []Daemon{{ID: procfs.ID{Pid: 1, Start: 1}, Saref: true}}
	if r.forget(); !slices.Contains(r.of(at.Port(), now).loopback, netip.AddrFrom4([4]byte{127, 0, 0, 1})) {
		t.Errorf("%v lacks 127.0.0.1", r.host.loopback)
	}
}
