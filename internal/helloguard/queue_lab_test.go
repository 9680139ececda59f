//go:build lab

package helloguard

import (
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"xl2tpd-keepalive/internal/helloguard/translator"
	"xl2tpd-keepalive/internal/l2tp"
	"xl2tpd-keepalive/proc"
)

// What the way through the queue adds to a control packet, and how many take it in
// a second.
func TestWayThroughTheQueue(t *testing.T) {
	const ns = "queue-test"
	ours, theirs := netip.MustParseAddrPort("10.123.0.1:41701"), netip.MustParseAddrPort("10.123.0.2:1701")
	for _, line := range []string{
		"ip netns add " + ns, "ip link add queue0 type veth peer name far0 netns " + ns,
		"ip addr add 10.123.0.1/24 dev queue0", "ip link set queue0 up",
		"ip -n " + ns + " addr add 10.123.0.2/24 dev far0", "ip -n " + ns + " link set far0 up",
	} {
		f := strings.Fields(line)
		if out, err := exec.Command(f[0], f[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", line, err, out)
		}
	}
	t.Cleanup(func() { exec.Command("ip", "netns", "del", ns).Run() })
	near, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(ours))
	if err != nil {
		t.Fatal(err)
	}
	defer near.Close()
	far := listenIn(t, ns, theirs)
	defer far.Close()

	g := &Guard{
		Dir: t.TempDir(), Log: slog.New(slog.DiscardHandler),
		Signs: func(context.Context, translator.Tunnel, int) Signs {
			return Signs{Wanted: true, Alive: true, Offer: true}
		},
		Daemons: func() []Daemon { return []Daemon{{ID: proc.ID{Pid: 1, Start: 1}}} },
		Ended:   func(translator.Tunnel, CloseReason) {},
		Dials:   func(netip.Addr) {},
		Report:  func(err error) {},
	}
	g.Tell(Host{Sessions: []Session{{Tunnel: translator.Tunnel{Local: ours, Peer: theirs, LocalID: 7, PeerID: 9}}}})
	const n = 4000
	through := func() (latencies []time.Duration, rate float64) {
		latencies = send(t, near, far, theirs, n, 1)
		began := time.Now()
		send(t, near, far, theirs, n, 32)
		slices.Sort(latencies)
		return latencies, n / time.Since(began).Seconds()
	}
	report := func(what string, l []time.Duration, rate float64) {
		t.Logf("%s: p50 %v, p99.9 %v; %.0f packets a second", what, l[n/2], l[n-1-n/1000], rate)
	}
	l, rate := through()
	report("without a queue", l, rate)
	bare := l[n/2]

	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- g.Run(ctx) }()
	g.Configure(true, true)
	for queues := ""; !strings.Contains(queues, fmt.Sprint(plainQueue)); time.Sleep(50 * time.Millisecond) {
		out, _ := exec.Command("nft", "list", "table", "ip", tableName).Output()
		queues = string(out)
	}
	l, rate = through()
	report("through the queue", l, rate)
	t.Logf("added at p50: %v", l[n/2]-bare)
	if l[n/2] > 20*time.Millisecond {
		t.Errorf("p50 is %v", l[n/2])
	}
	cancel()
	<-ended
}

// listenIn opens a socket in a network namespace.
func listenIn(t *testing.T, ns string, at netip.AddrPort) *net.UDPConn {
	t.Helper()
	type result struct {
		conn *net.UDPConn
		err  error
	}
	done := make(chan result)
	go func() {
		runtime.LockOSThread() // for good: the thread ends with its namespace
		fd, err := unix.Open("/run/netns/"+ns, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err == nil {
			err = unix.Setns(fd, unix.CLONE_NEWNET)
		}
		if err != nil {
			done <- result{nil, err}
			return
		}
		conn, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(at))
		done <- result{conn, err}
	}()
	r := <-done
	if r.err != nil {
		t.Fatal(r.err)
	}
	return r.conn
}

// send sends ZLBs, as many as that at a time, and returns how long each was under way.
func send(t *testing.T, near, far *net.UDPConn, to netip.AddrPort, n, atATime int) (took []time.Duration) {
	t.Helper()
	zlb := l2tp.AppendMessage(nil, l2tp.Message{Tunnel: 9})
	buf := make([]byte, 100)
	at := make([]time.Time, n)
	for sent := 0; len(took) < n; {
		for ; sent < n && sent-len(took) < atATime; sent++ {
			binary.BigEndian.PutUint16(zlb[10:], uint16(sent)) // Nr, which a ZLB may repeat
			at[sent] = time.Now()
			if _, err := near.WriteToUDPAddrPort(zlb, to); err != nil {
				t.Fatal(err)
			}
		}
		far.SetReadDeadline(time.Now().Add(5 * time.Second))
		_, _, err := far.ReadFromUDPAddrPort(buf)
		if err != nil {
			t.Fatalf("%d of %d have come: %v", len(took), n, err)
		}
		took = append(took, time.Since(at[len(took)]))
	}
	return took
}
