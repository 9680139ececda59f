package ppp

import (
	"fmt"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"
	"time"

	"xl2tpd-keepalive/internal/procfs"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// host is a fake root directory.
type host struct{ fstest.MapFS }

func newHost() host {
	return host{fstest.MapFS{
		"proc/stat": {Data: []byte("cpu  1 2 3\nbtime 1700000000\nprocesses 7\n")},
	}}
}

func (h host) pidFile(path, content string) {
	h.MapFS[path] = &fstest.MapFile{Data: []byte(content)}
}

func (h host) process(pid, parent int, name, state string, ticks int, args ...string) {
	dir := fmt.Sprintf("proc/%d/", pid)
	h.MapFS[dir+"stat"] = &fstest.MapFile{Data: fmt.Appendf(nil,
		"%d (%s) %s %d 1 1 0 -1 4194560 399 393 12 0 14 25 23 24 20 0 1 0 %d 13504512 1296 0\n", pid, name, state, parent, ticks)}
	h.MapFS[dir+"comm"] = &fstest.MapFile{Data: []byte(name + "\n")}
	h.MapFS[dir+"cmdline"] = &fstest.MapFile{Data: []byte(strings.Join(args, "\x00") + "\x00")}
}

// net puts a process, or "self", into a network namespace.
func (h host) net(process string, namespace uint64) {
	h.MapFS["proc/"+process+"/net/dev"] = &fstest.MapFile{Sys: &syscall.Stat_t{Dev: 4, Ino: namespace}}
}

// A pid file of another network namespace does not name the pppd of a device of the same name here.
func TestOwnerIsInThisNetwork(t *testing.T) {
	for _, tc := range []struct {
		name string
		host func(host)
		pid  int
	}{
		{"this one", func(h host) { h.net("406", 1) }, 406},
		{"another one", func(h host) { h.net("406", 2) }, 0},
		{"another one, and a second pid file", func(h host) {
			h.net("406", 2)
			h.pidFile("run/pppd/ppp0.pid", "407\n")
			h.process(407, 400, "pppd", "S", 300, kernelArgs...)
			h.net("407", 1)
		}, 407},
		{"not known", func(host) {}, 0},
		{"nothing is known", func(h host) { delete(h.MapFS, "proc/self/net/dev") }, 406},
	} {
		h := newHost()
		h.net("self", 1)
		h.process(400, 1, "xl2tpd", "S", 100, "/usr/sbin/xl2tpd")
		h.pidFile("run/ppp0.pid", "406\n")
		h.process(406, 400, "pppd", "S", 250, kernelArgs...)
		tc.host(h)
		o := pppdFinder{root: h}
		if p := o.find([]device{{index: 5, name: "ppp0"}})[5]; p.Pid != tc.pid {
			t.Errorf("%s: %+v, want pid %d", tc.name, p, tc.pid)
		}
	}
}

var (
	kernelArgs = []string{"/usr/sbin/pppd", "plugin", "pppol2tp.so", "pppol2tp", "7", "passive", "nodetach", ":",
		"file", "/etc/ppp/options.l2tpd", "ipparam", "192.0.2.1"}
	userspaceArgs = []string{"/usr/sbin/pppd", "/dev/pts/3", "passive", "nodetach", ":", "name", "file",
		"file", "/etc/ppp/options.l2tpd"}
)

func TestParseArguments(t *testing.T) {
	for _, tc := range []struct {
		name string
		args []string
		want arguments
	}{
		{"kernel mode, pass peer", kernelArgs,
			arguments{optFile: "/etc/ppp/options.l2tpd", ipparam: netip.MustParseAddr("192.0.2.1")}},
		{"userspace mode, a user named file", userspaceArgs,
			arguments{optFile: "/etc/ppp/options.l2tpd", tty: "/dev/pts/3"}},
		{"as LNS", []string{"/usr/sbin/pppd", "plugin", "pppol2tp.so", "pppol2tp", "8", "pppol2tp_lns_mode",
			"pppol2tp_tunnel_id", "4242", "pppol2tp_session_id", "77", "passive", "nodetach",
			"10.0.0.1:10.0.0.2", "auth", "name", "/dev/pts/9", "debug", "file", "/x y"},
			arguments{optFile: "/x y"}},
		{"password plugin", []string{"pppd", "plugin", "pppol2tp.so", "pppol2tp", "7",
			"plugin", "passwordfd.so", "passwordfd", "9", "file", "f"}, arguments{optFile: "f"}},
		{"ipparam is no address", []string{"pppd", "ipparam", "office"}, arguments{}},
		{"value missing", []string{"pppd", "/dev/pts/1", "file"}, arguments{tty: "/dev/pts/1"}},
		{"name only", []string{"pppd"}, arguments{}},
		{"empty argument", []string{"pppd", "", "file", "f"}, arguments{optFile: "f"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := parseArguments([]byte(strings.Join(tc.args, "\x00") + "\x00")); got != tc.want {
				t.Errorf("got %+v, want %+v", got, tc.want)
			}
		})
	}
	if got := parseArguments(nil); got != (arguments{}) {
		t.Errorf("no command line: got %+v", got)
	}
}

func FuzzArguments(f *testing.F) {
	f.Add([]byte(strings.Join(kernelArgs, "\x00")))
	f.Fuzz(func(t *testing.T, b []byte) { parseArguments(b) })
}

func TestOwner(t *testing.T) {
	d := device{index: 5, name: "ppp0"}
	boot := time.Unix(1700000000, 0)
	mine := pppd{
		ID: procfs.ID{Pid: 406, Start: 250}, parent: 400, parentName: "xl2tpd", started: boot.Add(2500 * time.Millisecond),
		args: arguments{optFile: "/etc/ppp/options.l2tpd", ipparam: netip.MustParseAddr("192.0.2.1")},
	}
	reparented := mine
	reparented.parent, reparented.parentName = 1, ""
	xl2tpd := func(h host) { h.process(400, 1, "xl2tpd", "S", 100, "/usr/sbin/xl2tpd") }

	for _, tc := range []struct {
		name  string
		known map[int]pppd
		host  func(host)
		want  pppd
		ok    bool
	}{
		{"child of xl2tpd", nil, func(h host) {
			xl2tpd(h)
			h.pidFile("run/ppp0.pid", "406\n")
			h.process(406, 400, "pppd", "S", 250, kernelArgs...)
		}, mine, true},
		{"pid file in /run/pppd", nil, func(h host) {
			xl2tpd(h)
			h.pidFile("run/pppd/ppp0.pid", "406\n")
			h.process(406, 400, "pppd", "S", 250, kernelArgs...)
		}, mine, true},
		{"pid file in /var/run", nil, func(h host) {
			xl2tpd(h)
			h.pidFile("var/run/ppp0.pid", "406\n")
			h.process(406, 400, "pppd", "S", 250, kernelArgs...)
		}, mine, true},
		{"stale pid file in /run", nil, func(h host) {
			xl2tpd(h)
			h.pidFile("run/ppp0.pid", "333\n")
			h.pidFile("var/run/ppp0.pid", "406\n")
			h.process(406, 400, "pppd", "S", 250, kernelArgs...)
		}, mine, true},
		{"someone else's pppd", nil, func(h host) {
			h.process(399, 1, "pon", "S", 100, "pon")
			h.pidFile("run/ppp0.pid", "406\n")
			h.process(406, 399, "pppd", "S", 250, "pppd")
		}, pppd{ID: procfs.ID{Pid: 406, Start: 250}, parent: 399, parentName: "pon", started: mine.started}, true},
		{"no parent", nil, func(h host) {
			h.pidFile("run/ppp0.pid", "406\n")
			h.process(406, 1, "pppd", "S", 250, "pppd")
		}, pppd{ID: procfs.ID{Pid: 406, Start: 250}, parent: 1, started: mine.started}, true},
		{"no pid file", nil, func(h host) { xl2tpd(h) }, pppd{}, false},
		{"empty pid file", nil, func(h host) { h.pidFile("run/ppp0.pid", "") }, pppd{}, false},
		{"dead pppd", nil, func(h host) { h.pidFile("run/ppp0.pid", "406\n") }, pppd{}, false},
		{"zombie", nil, func(h host) {
			xl2tpd(h)
			h.pidFile("run/ppp0.pid", "406\n")
			h.process(406, 400, "pppd", "Z", 250)
		}, pppd{}, false},
		{"number taken by another program", nil, func(h host) {
			xl2tpd(h)
			h.pidFile("run/ppp0.pid", "406\n")
			h.process(406, 400, "sh", "S", 250, "sh")
		}, pppd{}, false},
		{"renamed device", map[int]pppd{5: mine}, func(h host) {
			xl2tpd(h)
			h.pidFile("run/ppp7.pid", "406\n")
			h.process(406, 400, "pppd", "S", 250, kernelArgs...)
		}, mine, true},
		{"known, but replaced", map[int]pppd{5: mine}, func(h host) {
			xl2tpd(h)
			h.process(406, 400, "pppd", "S", 9999, kernelArgs...)
		}, pppd{}, false},
		{"known, and reparented since", map[int]pppd{5: mine}, func(h host) {
			h.pidFile("run/ppp0.pid", "406\n")
			h.process(406, 1, "pppd", "S", 250, kernelArgs...)
			h.pidFile("proc/stat", "btime 1800000000\n")
		}, reparented, true},
		{"clock set since", map[int]pppd{5: mine}, func(h host) {
			xl2tpd(h)
			h.pidFile("run/ppp0.pid", "406\n")
			h.process(406, 400, "pppd", "S", 250, kernelArgs...)
			h.pidFile("proc/stat", "btime 1800000000\n")
		}, mine, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h := newHost()
			tc.host(h)
			o := pppdFinder{root: h, known: tc.known}
			got, ok := o.find([]device{d})[d.index]
			if ok != tc.ok {
				t.Fatalf("ok = %v, want %v (%+v)", ok, tc.ok, got)
			}
			if ok && got != tc.want {
				t.Errorf("got  %+v\nwant %+v", got, tc.want)
			}
		})
	}
}

func TestJoin(t *testing.T) {
	ip := netip.MustParseAddr
	devices := []device{
		{index: 9, name: "ppp3", up: true},
		{index: 5, name: "ppp0", up: true},
		{index: 6, name: "ppp1", up: true},
		{index: 7, name: "ppp2", up: true},
		{index: 8, name: "ppp4", up: false},
	}
	addresses := []address{
		{5, ip("10.0.0.2"), ip("10.0.0.1")},
		{5, ip("10.9.9.2"), ip("10.9.9.1")}, // added by hand
		{6, ip("10.1.0.2"), ip("10.1.0.1")},
		{7, ip("10.2.0.2"), ip("10.2.0.1")},
		{8, ip("10.3.0.2"), ip("10.3.0.1")},
	}
	start := time.Unix(1700000000, 0)
	pppds := map[int]pppd{
		5: {ID: procfs.ID{Pid: 105}, parent: 100, parentName: "xl2tpd", started: start,
			args: arguments{optFile: "f", ipparam: ip("192.0.2.1")}},
		6: {ID: procfs.ID{Pid: 106}, parent: 1, parentName: "systemd"},
		8: {ID: procfs.ID{Pid: 108}, parent: 100, parentName: "xl2tpd"},
		9: {ID: procfs.ID{Pid: 109}, parent: 100, parentName: "xl2tpd", args: arguments{tty: "/dev/pts/0"}},
	}
	want := state{
		links: []Link{
			{Name: "ppp0", Index: 5, Raised: true, Up: true, Local: ip("10.0.0.2"), Peer: ip("10.0.0.1"),
				Pid: 105, Xl2tpdPid: 100, Started: start, OptFile: "f", OuterPeer: ip("192.0.2.1")},
			{Name: "ppp4", Index: 8, Local: ip("10.3.0.2"), Peer: ip("10.3.0.1"), Pid: 108, Xl2tpdPid: 100},
			{Name: "ppp3", Index: 9, Raised: true, Pid: 109, Xl2tpdPid: 100, TTY: "/dev/pts/0"},
		},
		unowned: []int{7},
	}
	got := combine(devices, addresses, pppds)
	if d := cmp.Diff(want, got, cmp.AllowUnexported(state{}), cmpopts.EquateComparable(netip.Addr{})); d != "" {
		t.Errorf("mismatch (-want +got):\n%s", d)
	}
}
