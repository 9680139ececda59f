package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"xl2tpd-keepalive/internal/status"
	"xl2tpd-keepalive/probe"
)

var update = flag.Bool("update", false, "write testdata anew")

// pingTunnels are some of a host with two xl2tpds.
func pingTunnels() []status.Tunnel {
	addr := netip.MustParseAddr
	link := func(name string) *status.Link {
		return &status.Link{Name: name, Local: addr("10.0.0.2"), Remote: addr("10.0.0.1"), Target: addr("10.0.0.1")}
	}
	return []status.Tunnel{
		{Name: "lac office", Link: link("ppp0"), Peer: addr("192.0.2.1"), Local: addr("198.51.100.7")},
		{Name: "lac l2tp", Instance: "a.service", Link: link("ppp1")},
		{Name: "lac l2tp", Instance: "/run/b/xl2tpd.conf", Link: link("ppp2")},
		{Name: "lns callers", Link: link("ppp3")},
		{Name: "lns callers", Link: link("ppp4")},
		{Name: "lac branch", Doing: "xl2tpd redials"},
		{Name: "lac slow\x1b", Link: &status.Link{Name: "ppp5"}, Doing: "waits for the link's addresses"},
		{Link: link("ppp6")},
	}
}

func TestFindTunnel(t *testing.T) {
	all := pingTunnels()
	for name, want := range map[string]string{
		"office": "ppp0", "lac office": "ppp0", "ppp0": "ppp0",
		"l2tp (a.service)": "", "lac l2tp (a.service)": "ppp1", "a.service l2tp": "ppp1", "lac a.service l2tp": "ppp1",
		"lac /run/b/xl2tpd.conf l2tp": "ppp2", "ppp2": "ppp2",
		"l2tp": "", "callers": "", "ppp4": "ppp4", "ppp6": "ppp6", "": "", "lac": "", "Office": "", "branch": "",
	} {
		found, err := findTunnel(all, name)
		switch {
		case want == "" && err == nil:
			t.Errorf("%q is %s", name, found.Link.Name)
		case want != "" && err != nil:
			t.Errorf("%q: %v", name, err)
		case want != "" && found.Link.Name != want:
			t.Errorf("%q is %s, want %s", name, found.Link.Name, want)
		}
	}
}

// Each error is one line that says which tunnels there are, or what to do.
func TestFindTunnelErrors(t *testing.T) {
	for _, tt := range []struct {
		name string
		all  []status.Tunnel
		want string
	}{
		{"office", nil, "there is no tunnel (xl2tpd-keepalive doctor looks for the reason)"},
		{"ofice\x1b", pingTunnels()[:2], `there is no tunnel "ofice?": name one of lac office, ppp0; lac l2tp (a.service), ppp1`},
		{"l2tp", pingTunnels(), `"l2tp" is not one tunnel alone: name one of lac l2tp (a.service), ppp1; lac l2tp (/run/b/xl2tpd.conf), ppp2 by its pppN`},
		{"branch", pingTunnels(), "lac branch has no link now, so there is nothing to ping: xl2tpd redials (xl2tpd-keepalive status)"},
		{"ppp5", pingTunnels(), "lac slow? has no link now, so there is nothing to ping: waits for the link's addresses (xl2tpd-keepalive status)"},
		{"ppp9", pingTunnels()[5:], `there is no tunnel "ppp9": name one of lac branch, no link; lac slow?, ppp5; (unknown section), ppp6`},
	} {
		if _, err := findTunnel(tt.all, tt.name); err == nil || err.Error() != tt.want {
			t.Errorf("%q: %v\nwant %s", tt.name, err, tt.want)
		}
	}
}

func TestPingOptions(t *testing.T) {
	for line, want := range map[string]pingOptions{
		"office":                     {name: "office", interval: time.Second, size: 56},
		"-c 3 lac office -i 0.2":     {name: "lac office", count: 3, interval: 200 * time.Millisecond, size: 56},
		"office -s 24 -M do --json":  {name: "office", interval: time.Second, size: 24, dontFragment: true, json: true},
		"-s 65507 -- -c":             {name: "-c", interval: time.Second, size: 65507},
		"office --mtu":               {name: "office", interval: time.Second, size: 56, mtu: true},
		"-i 3600 -c 2147483647 ppp0": {name: "ppp0", count: 1<<31 - 1, interval: time.Hour, size: 56},
	} {
		o := defaults()
		err := parse(find("ping").flagSet(&o), strings.Fields(line), &o.names)
		if got := o.pinged(); err != nil || got != want {
			t.Errorf("%s: %+v, %v", line, got, err)
		}
	}
}

// Wrong values are usage errors, with the right ones in the message.
func TestPingUsage(t *testing.T) {
	for line, want := range map[string]string{
		"":              "ping: needs the name of a tunnel",
		"-c 0 x":        "a whole number from 1 to 2147483647",
		"x -c many":     "a whole number from 1 to",
		"-i 0.1 x":      "a number of seconds from 0.2 to 3600",
		"-i NaN x":      "a number of seconds from 0.2 to 3600",
		"-i 1s x":       "a number of seconds from 0.2 to 3600",
		"-s 23 x":       "a whole number from 24 to 65507",
		"-s 65508":      "a whole number from 24 to 65507",
		"-M want x":     `should be "do"`,
		"-f x":          "there is no flag -f",
		"--mtu":         "ping: needs the name of a tunnel",
		"--mtu -c 3 x":  "--mtu chooses number, pace and size itself",
		"x -M do --mtu": "--mtu chooses number, pace and size itself",
	} {
		var out, errs bytes.Buffer
		if code := run(append([]string{"ping"}, strings.Fields(line)...), &out, &errs); code != exitUsage {
			t.Errorf("%s: status %d", line, code)
		}
		if !strings.Contains(errs.String(), want) || strings.Count(errs.String(), "\n") != 1 || out.Len() > 0 {
			t.Errorf("%s: %s%s", line, &out, &errs)
		}
	}
}

// figures are those of a number of lost requests, and of replies.
func figures(lost int, trips ...time.Duration) *probe.Stats {
	var s probe.Stats
	for range lost {
		s.Lose()
	}
	for _, rtt := range trips {
		s.Reply(rtt)
	}
	return &s
}

// around are n round trips a little apart from each other.
func around(rtt time.Duration, n int) (trips []time.Duration) {
	for i := range n {
		trips = append(trips, rtt+time.Duration(i%5-2)*rtt/50)
	}
	return trips
}

func TestFinding(t *testing.T) {
	const ms = time.Millisecond
	for _, tt := range []struct {
		name         string
		inner, outer *probe.Stats
		want         string // its beginning
	}{
		{"nothing sent", figures(0), figures(0), ""},
		{"too few", figures(2), figures(0, ms, ms, ms), ""},
		{"both healthy", figures(0, around(9*ms, 20)...), figures(0, around(8*ms, 20)...), ""},
		{"both silent", figures(3), figures(3), "Neither half answers"},
		{"inner silent", figures(3), figures(0, ms, ms, ms), "The inner half loses everything"},
		{"outer silent", figures(0, ms, ms, ms), figures(3), "The LNS answers no echo requests"},
		{"one lost by chance", figures(1, around(9*ms, 19)...), figures(0, around(8*ms, 20)...), ""},
		{"inner loses", figures(20, around(9*ms, 80)...), figures(0, around(8*ms, 100)...), "The inner half loses packets (20.0 %, outer 0.0 %)"},
		{"outer loses", figures(1, around(9*ms, 99)...), figures(30, around(8*ms, 70)...), "The outer half loses more (30.0 %, inner 1.0 %)"},
		{"both lose", figures(9, around(9*ms, 91)...), figures(7, around(8*ms, 93)...), "Both halves lose packets equally (inner 9.0 %, outer 7.0 %)"},
		{"hardly any lost", figures(4, around(9*ms, 996)...), figures(4, around(9*ms, 996)...), ""},
		{"inner slow", figures(0, around(40*ms, 20)...), figures(0, around(8*ms, 20)...), "The inner half is slow: it takes 40.00 ms, the path to the LNS only 8.00 ms"},
		{"inner loses, and is slow", figures(20, around(40*ms, 80)...), figures(0, around(8*ms, 100)...), "The inner half loses"},
		{"inner slow, but in the noise", figures(0, ms, ms, 50*ms), figures(0, ms, ms, ms), ""},
		{"slow by too little", figures(0, around(3*ms, 20)...), figures(0, around(ms, 20)...), ""},
		{"outer slow", figures(0, around(250*ms, 20)...), figures(0, around(240*ms, 20)...), "The outer half is slow: the path to the LNS alone takes 240.00 ms"},
		{"the LNS is slow to answer", figures(0, around(9*ms, 20)...), figures(0, around(240*ms, 20)...), ""},
		{"one reply each", figures(2, 300*ms), figures(2, ms), ""},
	} {
		got := finding(tt.inner, tt.outer).String()
		if !strings.HasPrefix(got, tt.want) || tt.want == "" && got != "" {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
		for _, s := range sentences(got) {
			if words(s) > 25 {
				t.Errorf("%s: %d words: %s", tt.name, words(s), s)
			}
		}
	}
}

// Where both halves do the same there is no word against the inner one, whatever chance does.
func TestFindingBlamesNobody(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		lost := rapid.IntRange(0, 50).Draw(t, "lost")
		trips := rapid.SliceOfN(rapid.Int64Range(0, int64(time.Second)), 0, 50).Draw(t, "trips")
		var rtts []time.Duration
		for _, rtt := range trips {
			rtts = append(rtts, time.Duration(rtt))
		}
		if says := finding(figures(lost, rtts...), figures(lost, rtts...)); strings.HasPrefix(says.String(), "The inner") {
			t.Error(says)
		}
	})
}

// The output as it is; -update writes it anew.
func TestPingText(t *testing.T) {
	const ms = time.Millisecond
	lost := fmt.Errorf("%w within %v", probe.ErrTimeout, replyTime)
	p := newPair(&pingTunnels()[0], pingOptions{size: 56})
	alone := newPair(&pingTunnels()[1], pingOptions{size: 1400})
	var b bytes.Buffer
	p.head(&b, nil)
	p.inner.line(&b, probe.Pong{Seq: 1, Size: 64, RTT: 40123 * time.Microsecond})
	p.outer.line(&b, probe.Pong{Seq: 1, Size: 64, RTT: 8 * ms})
	p.inner.line(&b, probe.Pong{Seq: 2, Err: lost})
	p.inner.line(&b, probe.Pong{Seq: 3, Err: probe.ErrGone})
	p.inner.figures, p.outer.figures = figures(2, around(40*ms, 20)...), figures(0, around(8*ms, 22)...)
	for _, p := range []*pair{p, alone} {
		if p == alone {
			b.WriteString("\n")
			p.head(&b, nil)
			p.inner.figures = figures(3)
		}
		if err := p.summary(&b, nil); err != nil {
			t.Fatal(err)
		}
		b.WriteString("\n")
		if err := p.json(&b); err != nil {
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
	p := newPair(&tunnel, pingOptions{count: 3, interval: 10 * time.Millisecond, size: 56})
	var b bytes.Buffer
	if err := p.ping(t.Context(), &b, nil); err != nil {
		t.Fatal(err)
	}
	goleak.VerifyNone(t, before)
	for _, h := range p.halves() {
		if h.figures.Sent != 3 || h.figures.Received != 3 || strings.Count(b.String(), h.name+" 64 bytes from 127.0.0.1: icmp_seq=") != 3 {
			t.Errorf("%s: %d sent, %d received\n%s", h.name, h.figures.Sent, h.figures.Received, &b)
		}
	}
}

// pingCommand runs `xl2tpd-keepalive ping` beside a service that reports these tunnels; nil: none runs. prefix is a command
// that runs it.
func pingCommand(t *testing.T, all []status.Tunnel, prefix string, args ...string) (out, errs string, code int) {
	t.Helper()
	dir := t.TempDir()
	if all != nil {
		ctx, cancel := context.WithCancel(t.Context())
		ready, ended := make(chan struct{}), make(chan error, 1)
		server := &status.Server{Path: dir + "/status", Ready: func() { close(ready) }, Report: func(context.Context) (status.Report, error) {
			return status.Report{Tunnels: all}, nil
		}}
		go func() { ended <- server.Run(ctx) }()
		<-ready
		defer func() {
			cancel()
			<-ended
		}()
	}
	script := `mount -t tmpfs tmpfs /run && mkdir /run/xl2tpd-keepalive && mount --bind "$0" /run/xl2tpd-keepalive && exec ` + prefix + ` xl2tpd-keepalive ping "$@"`
	c := exec.Command("unshare", append([]string{"--mount", "sh", "-c", script, dir}, args...)...)
	var stdout, stderr bytes.Buffer
	c.Stdout, c.Stderr = &stdout, &stderr
	if err := c.Run(); err != nil && c.ProcessState == nil {
		t.Fatal(err)
	}
	return stdout.String(), stderr.String(), c.ProcessState.ExitCode()
}

// The command from its start to its exit status.
func TestPingCommand(t *testing.T) {
	loopback := netip.MustParseAddr("127.0.0.1")
	all := []status.Tunnel{
		{Name: "lac office", Peer: loopback, Local: loopback, Link: &status.Link{Name: "lo", Local: loopback, Remote: loopback}},
		{Name: "lac gone", Peer: loopback, Link: &status.Link{Name: "ppp99", Remote: netip.MustParseAddr("10.64.0.2")}},
	}
	for _, tt := range []struct {
		name         string
		all          []status.Tunnel
		prefix, line string
		code         int
		out, errs    string // parts; empty: nothing
	}{
		{"reply", all, "", "lac office -c 2 -i 0.2", 0, "inner      2        2   0.0 %", ""},
		{"JSON", all, "", "office -c 1 -json", 0, `{"name":"lac office","link":"lo","inner":{"target":"127.0.0.1","source":"127.0.0.1","sent":1,"received":1,"lost":0,`, ""},
		{"no reply", all, "", "gone -c 3 -i 0.2", 1, "The inner half loses everything", ""},
		{"no reply, JSON", all, "", "gone -c 1 -json", 1, `"sent":1,"received":0,"lost":1,"min":null,"avg":null,"max":null,"mdev":null,"p99":null,"unsent":"interface is gone"}`, ""},
		{"unknown", all, "", "ofice", 1, "", "xl2tpd-keepalive: there is no tunnel \"ofice\": name one of lac office, lo; lac gone, ppp99\n"},
		{"no service", nil, "", "office", 1, "", "xl2tpd-keepalive: /run/xl2tpd-keepalive/status: xl2tpd-keepalive is not running (systemctl start xl2tpd-keepalive)\n"},
		{"no right", all, "setpriv --bounding-set -net_raw", "office", 1, "", "xl2tpd-keepalive: raw ICMP socket not permitted: needs CAP_NET_RAW (sudo xl2tpd-keepalive ping office)\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			out, errs, code := pingCommand(t, tt.all, tt.prefix, strings.Fields(tt.line)...)
			if code != tt.code || !strings.Contains(out, tt.out) || tt.out == "" && out != "" || errs != tt.errs {
				t.Errorf("status %d\n%s%s", code, out, errs)
			}
			if strings.Contains(tt.line, "-json") {
				var r pingResult
				if err := json.Unmarshal([]byte(out), &r); err != nil || r.Inner == nil || r.Outer == nil || r.Outer.Received != 1 {
					t.Errorf("%v: %s", err, out)
				}
			}
		})
	}
}

// Ctrl-C ends it with the summary.
func TestPingInterrupt(t *testing.T) {
	loopback := netip.MustParseAddr("127.0.0.1")
	all := []status.Tunnel{{Name: "lac office", Peer: loopback, Link: &status.Link{Name: "lo", Remote: loopback}}}
	out, errs, code := pingCommand(t, all, "timeout --signal=INT --preserve-status 1", "office", "-i", "0.2")
	if code != exitOK || errs != "" || !strings.Contains(out, "--- lac office, times in ms ---") {
		t.Errorf("status %d\n%s%s", code, out, errs)
	}
}
