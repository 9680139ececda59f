package main

import (
	"bytes"
	"context"
	"encoding/json"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"xl2tpd-keepalive/internal/ping"
	"xl2tpd-keepalive/internal/status"
)

func TestPingOptions(t *testing.T) {
	for line, want := range map[string]pingOptions{
		"office":                     {Options: ping.Options{Interval: time.Second, Size: 56}, name: "office"},
		"-c 3 lac office -i 0.2":     {Options: ping.Options{Count: 3, Interval: 200 * time.Millisecond, Size: 56}, name: "lac office"},
		"office -s 24 -M do --json":  {Options: ping.Options{Interval: time.Second, Size: 24, DontFragment: true}, name: "office"},
		"-s 65507 -- -c":             {Options: ping.Options{Interval: time.Second, Size: 65507}, name: "-c"},
		"office --mtu":               {Options: ping.Options{Interval: time.Second, Size: 56}, name: "office", mtu: true},
		"-i 3600 -c 2147483647 ppp0": {Options: ping.Options{Count: 1<<31 - 1, Interval: time.Hour, Size: 56}, name: "ppp0"},
	} {
		o := defaults()
		err := parse(find("ping").flagSet(&o), strings.Fields(line), &o.names)
		if got := o.pinged(); err != nil || got != want {
			t.Errorf("ping %s: got %+v, %v, want %+v", line, got, err, want)
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
			t.Errorf("%s: got %s%s, want one line on standard error with the expected text", line, &out, &errs)
		}
	}
}

// pingBeside runs `xl2tpd-keepalive ping` beside a service that reports these tunnels; nil: none runs. prefix is a command
// that runs it.
func pingBeside(t *testing.T, all []status.Tunnel, prefix string, args ...string) (out, errs string, code int) {
	t.Helper()
	return pingUntil(t, "", all, prefix, args...)
}

// pingUntil is pingBeside, with a Ctrl-C as soon as a text is in the output; empty: without.
func pingUntil(t *testing.T, text string, all []status.Tunnel, prefix string, args ...string) (out, errs string, code int) {
	t.Helper()
	dir := t.TempDir()
	if all != nil {
		ctx, cancel := context.WithCancel(t.Context())
		ready, ended := make(chan struct{}), make(chan error, 1)
		server := &status.Server{Path: dir + "/status", Ready: func() { close(ready) }, Status: func(context.Context) (status.Status, error) {
			return status.Status{Tunnels: all}, nil
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
	c.Stdout, c.Stderr = writer(func(p []byte) (int, error) {
		n, err := stdout.Write(p)
		if text != "" && strings.Contains(stdout.String(), text) {
			text = ""
			err = c.Process.Signal(os.Interrupt)
		}
		return n, err
	}), &stderr
	if err := c.Run(); err != nil && c.ProcessState == nil {
		t.Fatal(err)
	}
	return stdout.String(), stderr.String(), c.ProcessState.ExitCode()
}

type writer func([]byte) (int, error)

func (w writer) Write(p []byte) (int, error) { return w(p) }

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
			out, errs, code := pingBeside(t, tt.all, tt.prefix, strings.Fields(tt.line)...)
			if code != tt.code || !strings.Contains(out, tt.out) || tt.out == "" && out != "" || errs != tt.errs {
				t.Errorf("status %d\n%s%s", code, out, errs)
			}
			if strings.Contains(tt.line, "-json") {
				var r ping.Comparison
				if err := json.Unmarshal([]byte(out), &r); err != nil || r.Inner == nil || r.Outer == nil || r.Outer.Received != 1 {
					t.Errorf("%v: got %s, want both halves, and one reply outside the tunnel", err, out)
				}
			}
		})
	}
}

// Ctrl-C ends it with the summary.
func TestPingInterrupt(t *testing.T) {
	loopback := netip.MustParseAddr("127.0.0.1")
	all := []status.Tunnel{{Name: "lac office", Peer: loopback, Link: &status.Link{Name: "lo", Remote: loopback}}}
	out, errs, code := pingUntil(t, "inner 64 bytes from ", all, "", "office", "-i", "0.2")
	if code != exitOK || errs != "" || !strings.Contains(out, "--- lac office, times in ms ---") {
		t.Errorf("status %d\n%s%s", code, out, errs)
	}
}
