package foreign

import (
	"errors"
	"math/rand/v2"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"xl2tpd-keepalive/lab/lns/l2tp"
)

// Each message is one that a peer can read.
func TestMessages(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	for _, m := range messages {
		p, err := l2tp.Parse(m.packet(rng, 0))
		if err != nil {
			t.Errorf("%s: %v", m.name, err)
			continue
		}
		if p.Type().String() != m.name || p.Ns != m.ns || p.Nr != m.nr || (p.Tunnel == 0) != (m.name == "SCCRQ") {
			t.Errorf("%s: reads as %s, %+v", m.name, p.Type(), p)
		}
		if p, err := l2tp.Parse(m.packet(rng, 4711)); err != nil || p.Tunnel != 4711 && m.name != "SCCRQ" {
			t.Errorf("%s: got tunnel %d, %v, want 4711", m.name, p.Tunnel, err)
		}
	}
}

func TestChoose(t *testing.T) {
	if all, err := choose(""); err != nil || len(all) != len(messages) {
		t.Errorf("%d messages, %v", len(all), err)
	}
	if two, err := choose("Hello,ZLB"); err != nil || len(two) != 2 || two[1].name != "ZLB" {
		t.Errorf("%v, %v", two, err)
	}
	if _, err := choose("Hello,"); err == nil {
		t.Error("an empty name: accepted")
	}
}

func TestDatagram(t *testing.T) {
	b := datagram(netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2"), []byte("abc"))
	if len(b) != 31 || b[3] != 31 || b[25] != 11 || net.IP(b[12:16]).String() != "192.0.2.1" || net.IP(b[16:20]).String() != "192.0.2.2" || string(b[28:]) != "abc" {
		t.Errorf("% x", b)
	}
}

// A socket on a port that another one has sends from there, and receives nothing.
func TestSharedPort(t *testing.T) {
	config := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) (err error) {
		return errors.Join(raw.Control(func(fd uintptr) {
			err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
		}), err)
	}}
	other, err := config.ListenPacket(t.Context(), "udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	at := other.LocalAddr().(*net.UDPAddr).AddrPort()
	send, err := open(netip.MustParseAddr("127.0.0.1"), "", at.Port())
	if err != nil {
		t.Fatal(err)
	}
	if err := send([]byte("abc")); err != nil {
		t.Logf("nobody listens at port 1701: %v", err)
	}
	sender, err := net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(at))
	if err != nil {
		t.Fatal(err)
	}
	defer sender.Close()
	if _, err := sender.Write([]byte("for the other")); err != nil {
		t.Fatal(err)
	}
	other.SetReadDeadline(time.Now().Add(5 * time.Second))
	if _, _, err := other.ReadFrom(make([]byte, 20)); err != nil {
		t.Fatalf("a packet was taken away: %v", err)
	}
}
