package main

import (
	"bufio"
	"encoding/json"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"

	"go.uber.org/goleak"

	"xl2tpd-keepalive/lab/lns/l2tp"
)

func TestWrongFlags(t *testing.T) {
	for args, want := range map[string]string{
		"-personality nvr9000":            `no personality "nvr9000"`,
		"-set hello=loud":                 `hello: "loud"`,
		"-listen nowhere":                 "-listen",
		"-listen [::1]:1701":              "-listen",
		"-local x":                        "-local",
		"-pool x":                         "pool",
		"-auth magic":                     "-auth",
		"-pppd /nowhere/pppd":             "/nowhere/pppd",
		"more":                            `unexpected argument "more"`,
		"-no-such-flag":                   "no-such-flag",
		"-listen 192.0.2.1:1701 -pppd sh": "192.0.2.1",
	} {
		if err := run(strings.Fields(args), io.Discard, io.Discard); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want one with %q", args, err, want)
		}
	}
	if err := run([]string{"-h"}, io.Discard, io.Discard); err != nil {
		t.Errorf("-h: %v", err)
	}
}

// From the first packet on a real socket to SIGTERM; only the kernel's tunnel
// is left out, since no SCCCN comes.
func TestRun(t *testing.T) {
	defer goleak.VerifyNone(t)
	out, stdout := io.Pipe()
	result := make(chan error, 1)
	go func() {
		result <- run([]string{"-personality", "nvr510", "-peer", "north", "-listen", "127.0.0.1:0", "-pppd", "sh", "-grace", "10ms"}, stdout, io.Discard)
		stdout.Close()
	}()
	lines := bufio.NewScanner(out)
	event := func(name string) record {
		t.Helper()
		for lines.Scan() {
			var r record
			if err := json.Unmarshal(lines.Bytes(), &r); err != nil || r.Peer != "north" {
				t.Fatalf("%s: %v", lines.Text(), err)
			}
			if r.Event == name {
				return r
			}
		}
		t.Fatalf("no event %q", name)
		panic("unreachable")
	}
	client, err := net.Dial("udp4", event("listening").Local)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	request := l2tp.Packet{AVPs: []l2tp.AVP{avp16(l2tp.AVPMessageType, uint16(l2tp.SCCRQ)), avp16(l2tp.AVPAssignedTunnel, 5)}}
	if _, err := client.Write(request.Marshal()); err != nil {
		t.Fatal(err)
	}
	buffer := make([]byte, 1500)
	n, err := client.Read(buffer)
	if err != nil {
		t.Fatal(err)
	}
	if p, err := l2tp.Parse(buffer[:n]); err != nil || p.Type() != l2tp.SCCRP || p.Tunnel != 5 {
		t.Fatalf("answered by %+v, %v", p, err)
	}
	if err := syscall.Kill(syscall.Getpid(), syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if r := event(l2tp.EventClose); r.Reason != l2tp.ReasonShutdown || r.Remote != client.LocalAddr().String() {
		t.Errorf("close: %+v", r)
	}
	event("stopped")
	if err := <-result; err != nil {
		t.Error(err)
	}
}

// Each of many servers answers by itself.
func TestManyServers(t *testing.T) {
	defer goleak.VerifyNone(t)
	// Addresses of this process only, so that no other run takes its packets, and no ephemeral port.
	pid := os.Getpid()
	first := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, byte(64 + pid>>14&63), byte(pid >> 7), byte(pid<<1 | 1)}), 21701)
	out, stdout := io.Pipe()
	result := make(chan error, 1)
	go func() {
		result <- run([]string{"-count", "2", "-listen", first.String(), "-pppd", "sh", "-grace", "10ms"}, stdout, io.Discard)
		stdout.Close()
	}()
	lines := bufio.NewScanner(out)
	lines.Scan()
	go io.Copy(io.Discard, out)
	for _, address := range []netip.AddrPort{first, netip.AddrPortFrom(first.Addr().Next(), first.Port())} {
		client, err := net.Dial("udp4", address.String())
		if err != nil {
			t.Fatal(err)
		}
		request := l2tp.Packet{AVPs: []l2tp.AVP{avp16(l2tp.AVPMessageType, uint16(l2tp.SCCRQ)), avp16(l2tp.AVPAssignedTunnel, 5)}}
		if _, err := client.Write(request.Marshal()); err != nil {
			t.Fatal(err)
		}
		buffer := make([]byte, 1500)
		if n, err := client.Read(buffer); err != nil || n < 12 {
			t.Errorf("%s: %d bytes, %v", address, n, err)
		}
		client.Close()
	}
	if err := syscall.Kill(syscall.Getpid(), syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := <-result; err != nil {
		t.Error(err)
	}
}
