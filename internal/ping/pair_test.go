package ping

import (
	"bytes"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"xl2tpd-keepalive/internal/status"
	"xl2tpd-keepalive/probe"
)

var update = flag.Bool("update", false, "write testdata anew")

// The output as it is; -update writes it anew.
func TestPingText(t *testing.T) {
	const ms = time.Millisecond
	lost := fmt.Errorf("%w within %v", probe.ErrTimeout, replyTime)
	p := NewPair(&tunnels()[0], Options{Size: 56})
	alone := NewPair(&tunnels()[1], Options{Size: 1400})
	var b bytes.Buffer
	p.head(&b, nil)
	p.inner.line(&b, probe.Pong{Seq: 1, Size: 64, RTT: 40123 * time.Microsecond})
	p.outer.line(&b, probe.Pong{Seq: 1, Size: 64, RTT: 8 * ms})
	p.inner.line(&b, probe.Pong{Seq: 2, Err: lost})
	p.inner.line(&b, probe.Pong{Seq: 3, Err: probe.ErrGone})
	p.inner.figures, p.outer.figures = figures(2, around(40*ms, 20)...), figures(0, around(8*ms, 22)...)
	for _, p := range []*Pair{p, alone} {
		if p == alone {
			b.WriteString("\n")
			p.head(&b, nil)
			p.inner.figures = figures(3)
		}
		if err := p.Summary(&b, nil); err != nil {
			t.Fatal(err)
		}
		b.WriteString("\n")
		if err := p.JSON(&b); err != nil {
			t.Fatal(err)
		}
	}
	const file = "testdata/ping.golden"
	if *update {
		if err := os.WriteFile(file, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if b.String() != string(want) {
		t.Errorf("%s\nwant\n%s", &b, want)
	}
}

// Both halves are pinged, on the loopback interface of this host, and nothing is left behind.
func TestPingBothHalves(t *testing.T) {
	before := goleak.IgnoreCurrent()
	loopback := netip.MustParseAddr("127.0.0.1")
	tunnel := status.Tunnel{Name: "lac office", Peer: loopback, Link: &status.Link{Name: "lo", Local: loopback, Remote: loopback}}
	p := NewPair(&tunnel, Options{Count: 3, Interval: 10 * time.Millisecond, Size: 56})
	var b bytes.Buffer
	if err := p.Run(t.Context(), &b, nil); err != nil {
		t.Fatal(err)
	}
	goleak.VerifyNone(t, before)
	for _, h := range p.halves() {
		if h.figures.Sent != 3 || h.figures.Received != 3 || strings.Count(b.String(), h.name+" 64 bytes from 127.0.0.1: icmp_seq=") != 3 {
			t.Errorf("%s: %d sent, %d received\n%s", h.name, h.figures.Sent, h.figures.Received, &b)
		}
	}
}
