//go:build lab

package helloguard

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"testing"
	"time"

	"github.com/florianl/go-nfqueue/v2"
	"golang.org/x/sys/unix"
)

// A line is between this host and another one, which is a network namespace.
const farName = "far"

var (
	lineHere  = netip.MustParseAddrPort("10.123.0.1:1701")
	lineThere = netip.MustParseAddrPort("10.123.0.2:1701")
)

// shell runs lines of a shell, each of which has to succeed.
func shell(t *testing.T, lines ...string) {
	t.Helper()
	for _, line := range lines {
		if out, err := exec.Command("sh", "-c", line).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", line, err, out)
		}
	}
}

// newLine makes a line, for the time of a test.
func newLine(t *testing.T) {
	t.Helper()
	t.Cleanup(func() {
		exec.Command("ip", "netns", "del", farName).Run()
		exec.Command("ip", "link", "del", "line0").Run()
	})
	shell(t,
		"ip netns add "+farName,
		"ip link add line0 type veth peer name line1 netns "+farName,
		"ip addr add 10.123.0.1/24 dev line0", "ip link set line0 up",
		"ip -n "+farName+" addr add 10.123.0.2/24 dev line1", "ip -n "+farName+" link set line1 up",
	)
}

// inFar calls do on a thread that is in the other host, and waits for it.
func inFar(t *testing.T, do func() error) {
	t.Helper()
	done := make(chan error)
	var elsewhere func()
	elsewhere = func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with its namespace
		if unix.Gettid() == unix.Getpid() {
			// /proc/self is the main thread's, which can't end: let another thread do it.
			defer runtime.UnlockOSThread()
			began := make(chan struct{})
			go func() { close(began); elsewhere() }()
			<-began
			return
		}
		ns, err := os.Open("/run/netns/" + farName)
		if err == nil {
			defer ns.Close()
			err = unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET)
		}
		if err == nil {
			err = do()
		}
		done <- err
	}
	go elsewhere()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// listenNear opens a socket on this host.
func listenNear(t *testing.T, at netip.AddrPort) *net.UDPConn {
	t.Helper()
	conn, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(at))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// listenFar opens a socket on the other host.
func listenFar(t *testing.T, at netip.AddrPort) (conn *net.UDPConn) {
	t.Helper()
	inFar(t, func() (err error) {
		conn, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(at))
		return err
	})
	t.Cleanup(func() { conn.Close() })
	return conn
}

// next is the next datagram with that text that comes to the socket soon; nil: none does.
func next(t *testing.T, conn *net.UDPConn, text []byte) []byte {
	t.Helper()
	buf := make([]byte, 2000)
	conn.SetReadDeadline(time.Now().Add(500 * time.Millisecond))
	for {
		n, err := conn.Read(buf)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return nil
		}
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(buf[:n], text) {
			return buf[:n]
		}
	}
}

// came reports whether one comes.
func came(t *testing.T, conn *net.UDPConn, text []byte) bool {
	t.Helper()
	return next(t, conn, text) != nil
}

// xl2tpdSocket opens a UDP socket as xl2tpd does: for all addresses, with SO_REUSEADDR
// (network.c, init_network), connected if to is valid (connect_pppol2tp).
func xl2tpdSocket(t *testing.T, port int, to netip.AddrPort) *net.UDPConn {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err == nil {
		err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
	}
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrInet4{Port: port})
	}
	if err == nil && to.IsValid() {
		err = unix.Connect(fd, &unix.SockaddrInet4{Addr: to.Addr().As4(), Port: int(to.Port())})
	}
	if err != nil {
		t.Fatal(err)
	}
	file := os.NewFile(uintptr(fd), "")
	defer file.Close()
	conn, err := net.FilePacketConn(file)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn.(*net.UDPConn)
}

// asUser calls do with another user's id for all sockets that it opens.
func asUser(t *testing.T, uid int, do func()) {
	t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if _, err := unix.SetfsuidRetUid(uid); err != nil {
		t.Fatal(err)
	}
	defer unix.SetfsuidRetUid(0)
	do()
}

// takeQueue accepts all packets of a queue for the time of a test, and calls each before every one.
func takeQueue(t *testing.T, num uint16, each func()) {
	t.Helper()
	q, err := nfqueue.Open(&nfqueue.Config{NfQueue: num, AfFamily: unix.AF_INET, Copymode: nfqueue.NfQnlCopyPacket, MaxPacketLen: 0xffff})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(func() {
		cancel() // before Close, which waits for it
		q.Close()
	})
	err = q.RegisterWithErrorFunc(ctx, func(a nfqueue.Attribute) int {
		each()
		q.SetVerdict(*a.PacketID, nfqueue.NfAccept)
		return 0
	}, func(error) int { return 0 })
	if err != nil {
		t.Fatal(err)
	}
}
