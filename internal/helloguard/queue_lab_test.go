//go:build lab

package helloguard

import (
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"xl2tpd-keepalive/internal/l2tp"
	"xl2tpd-keepalive/internal/procfs"
)

// What the way through the queue adds to a control packet, and how many take it in
// a second.
func TestWayThroughTheQueue(t *testing.T) {
	newLine(t)
	ours, theirs := netip.AddrPortFrom(lineHere.Addr(), 41701), lineThere
	near := listenNear(t, ours)
	far := listenFar(t, theirs)

	reports := make(chan error, 10)
	g := &Guard{
		Dir: t.TempDir(), Log: slog.New(slog.DiscardHandler),
		Links: func(context.Context, OwnedConnection) Links {
			return Links{Certain: true, Wanted: true, Alive: true, PassFirst: true}
		},
		Daemons:       func() []Daemon { return []Daemon{{ID: procfs.ID{Pid: 1, Start: 1}}} },
		Ended:         func(OwnedConnection, CloseReason) {},
		AttemptFailed: func(OwnedConnection, CloseReason) {},
		Dials:         func(OwnedConnection, bool) {},
		Calls:         func(OwnedConnection) {},
		Report:        func(err error) { reports <- err },
	}
	g.SetHost(Host{Sessions: []KernelSession{{Connection: l2tp.Connection{Local: ours, Peer: theirs, LocalID: 7, PeerID: 9}}}})
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
	if err := <-reports; err != nil {
		t.Fatal(err)
	}
	l, rate = through()
	report("through the queue", l, rate)
	t.Logf("added at p50: %v", l[n/2]-bare)
	t.Attr("queue.packets_per_s", fmt.Sprint(rate))
	t.Attr("queue.added_median_ms", fmt.Sprint(1000*(l[n/2]-bare).Seconds()))
	t.Attr("queue.p99.9_ms", fmt.Sprint(1000*l[n-1-n/1000].Seconds()))
	if l[n/2] > 20*time.Millisecond {
		t.Errorf("p50 is %v", l[n/2])
	}
	cancel()
	<-ended
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
