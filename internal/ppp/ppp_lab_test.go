//go:build lab

package ppp

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// seen is a snapshot with the time it was delivered.
type seen struct {
	Snapshot
	at time.Time
}

// watch is a Watcher that runs.
type watch struct {
	*Watcher
	t     *testing.T
	got   chan seen
	last  seen
	stop  func()
	looks *atomic.Int64
}

// off is a source of hints that is switched off.
func off(context.Context, func(), func()) error { return errors.New("switched off") }

// counter counts the looks at pid files.
type counter struct {
	fs.FS
	n *atomic.Int64
}

func (c counter) Open(name string) (fs.File, error) {
	if strings.HasPrefix(name, "run/") {
		c.n.Add(1)
	}
	return c.FS.Open(name)
}

func startWatch(t *testing.T, dbus, rtnetlink bool) *watch {
	t.Helper()
	w := &watch{t: t, got: make(chan seen, 1000), looks: new(atomic.Int64)}
	w.Watcher = &Watcher{
		Log:     slog.New(slog.NewTextHandler(t.Output(), nil)),
		Deliver: func(s Snapshot) { w.got <- seen{s, time.Now()} },
		root:    counter{os.DirFS("/"), w.looks},
	}
	if !dbus {
		w.streamDBus = off
	}
	if !rtnetlink {
		w.streamRtnetlink = off
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	stopped := false
	w.stop = func() {
		if !stopped {
			stopped = true
			cancel()
			if err := <-done; !errors.Is(err, context.Canceled) {
				t.Errorf("Run: %v", err)
			}
		}
	}
	t.Cleanup(w.stop)
	w.until("the sources to work", 10*time.Second, func(s Snapshot) bool {
		return s.Sources == Sources{DBus: dbus, Rtnetlink: rtnetlink}
	})
	return w
}

// until waits for a snapshot, this one or a later one.
func (w *watch) until(what string, within time.Duration, ok func(Snapshot) bool) seen {
	w.t.Helper()
	timeout := time.After(within)
	for w.last.at.IsZero() || !ok(w.last.Snapshot) {
		select {
		case w.last = <-w.got:
		case <-timeout:
			w.t.Fatalf("waited %v without result for %s; last snapshot %+v", within, what, w.last)
		}
	}
	return w.last
}

func up(s Snapshot) bool     { return len(s.Links) == 1 && s.Links[0].Up }
func noLink(s Snapshot) bool { return len(s.Links) == 0 }

// event is an independent observer's: a PPP device has become usable, with
// an address and up, or has gone.
type event struct {
	gone  bool
	index int
	at    time.Time
}

func observe(t *testing.T) <-chan event {
	conn, err := netlink.Dial(unix.NETLINK_ROUTE, &netlink.Config{Groups: unix.RTMGRP_LINK | unix.RTMGRP_IPV4_IFADDR})
	if err != nil {
		t.Fatal(err)
	}
	events := make(chan event, 1000)
	done := make(chan struct{})
	go func() {
		defer close(done)
		addressed, isUp := make(map[int]bool), make(map[int]bool)
		for {
			msgs, err := conn.Receive()
			at := time.Now()
			if err != nil {
				return
			}
			for _, m := range msgs {
				a, ptp, _ := decodeAddress(m.Data)
				d, ppp, _ := decodeDevice(m.Data)
				switch kind := m.Header.Type; {
				case kind == unix.RTM_NEWADDR && ptp && !addressed[a.index]:
					addressed[a.index] = true
					if isUp[a.index] {
						events <- event{index: a.index, at: at}
					}
				case kind == unix.RTM_NEWLINK && ppp && d.up && !isUp[d.index]:
					isUp[d.index] = true
					if addressed[d.index] {
						events <- event{index: d.index, at: at}
					}
				case kind == unix.RTM_DELLINK && ppp:
					events <- event{gone: true, index: d.index, at: at}
				}
			}
		}
	}()
	t.Cleanup(func() { conn.Close(); <-done })
	return events
}

// usable dials and waits until a device can be used. A call made while the
// last tunnel is still being torn down is lost: then it dials again.
func usable(p *pair, events <-chan event) event {
	p.t.Helper()
	p.dial()
	again := time.NewTicker(5 * time.Second)
	defer again.Stop()
	return expect(p.t, events, "a usable device", again.C, p.dial, func(e event) bool { return !e.gone })
}

// removed waits until a device is gone.
func removed(t *testing.T, events <-chan event, index int) event {
	t.Helper()
	return expect(t, events, "the end of the device", nil, nil, func(e event) bool { return e.gone && e.index == index })
}

func expect(t *testing.T, events <-chan event, what string, tick <-chan time.Time, do func(), ok func(event) bool) event {
	t.Helper()
	timeout := time.After(40 * time.Second)
	for {
		select {
		case e := <-events:
			if ok(e) {
				return e
			}
		case <-tick:
			do()
		case <-timeout:
			t.Fatal("the kernel has not reported ", what)
		}
	}
}

func TestLabUpAndDown(t *testing.T) {
	for _, mode := range []string{"kernel", "userspace"} {
		t.Run(mode, func(t *testing.T) {
			p := newPair(t, mode == "userspace")
			for _, tc := range []struct {
				name            string
				dbus, rtnetlink bool
				limit           time.Duration
			}{
				{"both", true, true, 200 * time.Millisecond},
				{"rtnetlink alone", false, true, 200 * time.Millisecond},
				{"dbus alone", true, false, time.Second},
			} {
				t.Run(tc.name, func(t *testing.T) {
					w := startWatch(t, tc.dbus, tc.rtnetlink)
					// The better of two: the machine under the VM may be busy.
					best := min(upAndDown(t, p, w), upAndDown(t, p, w))
					if best > tc.limit {
						t.Errorf("up %v after the device is usable, want within %v", best, tc.limit)
					}
				})
			}
		})
	}
}

// upAndDown returns how late the link was seen up.
func upAndDown(t *testing.T, p *pair, w *watch) time.Duration {
	t.Helper()
	w.until("no link", 20*time.Second, noLink)
	events := observe(t)
	came := usable(p, events)
	s := w.until("the link up", 20*time.Second, up)
	upLate := s.at.Sub(came.at)
	t.Logf("up %v after the device is usable", upLate.Round(100*time.Microsecond))
	checkLink(t, p, w, s.Links[0])

	p.hangUp()
	gone := removed(t, events, came.index)
	s = w.until("no link", 10*time.Second, noLink)
	late := s.at.Sub(gone.at)
	t.Logf("gone %v after the device", late.Round(100*time.Microsecond))
	if late > time.Second {
		t.Errorf("gone %v after the device, want within a second", late)
	}
	return upLate
}

func checkLink(t *testing.T, p *pair, w *watch, l Link) {
	t.Helper()
	dev, err := net.InterfaceByName(l.Name)
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile("/run/" + l.Name + ".pid")
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		t.Fatal(err)
	}
	if age := time.Since(l.Started); age < 0 || age > time.Minute {
		t.Errorf("pppd was started %v ago", age)
	}
	if p.userspace != strings.HasPrefix(l.TTY, "/dev/pts/") {
		t.Errorf("userspace mode is %v, TTY %q", p.userspace, l.TTY)
	}
	want := Link{Name: l.Name, Index: dev.Index, Raised: true, Up: true,
		Local: netip.MustParseAddr("10.98.0.10"), Peer: netip.MustParseAddr(innerLNS),
		Pid: pid, Xl2tpdPid: p.lac.Process.Pid, Started: l.Started,
		OptFile: p.file("lac.options"), OuterPeer: netip.MustParseAddr(outerLNS), TTY: l.TTY}
	if l != want {
		t.Errorf("got  %+v\nwant %+v", l, want)
	}

	// A datagram to a closed port brings an ICMP error back.
	one := w.Received([]int{l.Index})[0]
	if one.Err != nil {
		t.Fatal(one.Err)
	}
	conn, err := net.Dial("udp", innerLNS+":9")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	p.wait("the packet counter to grow", func() bool {
		// The far end may be up only a moment later; refused is an answer.
		conn.Write([]byte("x"))
		two := w.Received([]int{l.Index})[0]
		return two.Err == nil && two.Packets > one.Packets
	})
}

func TestLabReplaced(t *testing.T) {
	p := newPair(t, false)
	w := startWatch(t, true, true)
	p.dial()
	s := w.until("the link up", 20*time.Second, up)
	first := s.Links[0]
	p.hangUp()
	w.until("no link", 20*time.Second, noLink)

	// Its name is taken, and the LNS gives another address.
	run(t, "ip", "link", "add", first.Name, "type", "dummy")
	t.Cleanup(func() { run(t, "ip", "link", "del", first.Name) })
	p.startLNS("10.98.0.77")
	events := observe(t)
	came := usable(p, events)
	s = w.until("the link up", 20*time.Second, up)
	second := s.Links[0]
	if second.Name == first.Name || second.Local != netip.MustParseAddr("10.98.0.77") || second.Index == first.Index {
		t.Errorf("first %+v, then %+v", first, second)
	}
	t.Logf("%s %v, then %s %v: up %v after the device is usable", first.Name, first.Local, second.Name, second.Local, s.at.Sub(came.at))

	// The same device by another name; pppd's pid file keeps the old one.
	run(t, "ip", "link", "set", second.Name, "down")
	w.until("the link down", time.Second, func(s Snapshot) bool { return len(s.Links) == 1 && !s.Links[0].Up })
	run(t, "ip", "link", "set", second.Name, "name", "office0")
	run(t, "ip", "link", "set", "office0", "up")
	s = w.until("the renamed link up", time.Second, func(s Snapshot) bool { return up(s) && s.Links[0].Name == "office0" })
	second.Name = "office0"
	if s.Links[0] != second {
		t.Errorf("got  %+v\nwant %+v", s.Links[0], second)
	}
}

func TestLabPidFileIsLate(t *testing.T) {
	p := newPair(t, false)
	w := startWatch(t, true, true)
	p.dial()
	l := w.until("the link up", 20*time.Second, up).Links[0]
	w.stop()

	pidFile := "/run/" + l.Name + ".pid"
	away := filepath.Join(t.TempDir(), "pid")
	b, err := os.ReadFile(pidFile)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(pidFile); err != nil {
		t.Fatal(err)
	}
	w = startWatch(t, true, true)
	w.until("no link", time.Second, noLink)
	select {
	case s := <-w.got:
		t.Fatalf("without a pid file: %+v", s)
	case <-time.After(time.Second):
	}
	if err := os.WriteFile(away, b, 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, "mv", away, pidFile)
	written := time.Now()
	s := w.until("the link up", 2*time.Second, up)
	t.Logf("pid file a second late: up after %v", s.at.Sub(written))
}

// Two pppds that no xl2tpd has started, joined by a pipe.
func TestLabForeignPppd(t *testing.T) {
	w := startWatch(t, true, true)
	events := observe(t)
	cmd := exec.Command("pppd", "pty", "pppd notty nodetach noauth local nodefaultroute 10.97.0.1:10.97.0.2",
		"nodetach", "noauth", "local", "nodefaultroute", "10.97.0.2:10.97.0.1")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(cmd) })
	anyDevice := func(e event) bool { return !e.gone }
	one := expect(t, events, "one end", nil, nil, anyDevice)
	two := expect(t, events, "the other end", nil, nil, anyDevice)
	if one.index == two.index {
		t.Fatalf("one device: %+v, %+v", one, two)
	}
	quiet := func(what string, most int64) {
		t.Helper()
		before := w.looks.Load()
		select {
		case s := <-w.got:
			if len(s.Links) != 0 {
				t.Errorf("%s: got %+v, want no link", what, s)
			}
		case <-time.After(12 * time.Second):
		}
		n := w.looks.Load() - before
		t.Logf("%s: %d pid files read in 12 s", what, n)
		if n > most {
			t.Errorf("%s: %d pid files read in 12 s, want at most %d", what, n, most)
		}
	}
	quiet("someone else's pppds, first", 150)
	quiet("someone else's pppds, then", 4)

	// The worst case: the pppds of the devices are not known.
	for _, e := range []event{one, two} {
		dev, err := net.InterfaceByIndex(e.index)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Remove("/run/" + dev.Name + ".pid"); err != nil {
			t.Fatal(err)
		}
	}
	w.stop()
	w = startWatch(t, true, true)
	quiet("pppds without pid files, first", 150)
	quiet("pppds without pid files, then", 4)
}

// restartBus also gets past systemd's limit of starts.
func restartBus(t *testing.T) {
	t.Helper()
	run(t, "systemctl", "reset-failed", "dbus.service", "dbus.socket")
	run(t, "systemctl", "restart", "dbus")
}

func TestLabBusIsKilled(t *testing.T) {
	p := newPair(t, false)
	w := startWatch(t, true, false)
	busUp := func(s Snapshot) bool { return s.Sources.DBus }
	for _, how := range []struct {
		name string
		do   func()
	}{
		{"bus killed", func() {
			run(t, "systemctl", "kill", "-s", "KILL", "dbus")
			s := w.until("the bus to be missed", 5*time.Second, func(s Snapshot) bool { return !s.Sources.DBus })
			t.Logf("missed at %v", s.at.Format("05.000"))
			restartBus(t)
		}},
		{"systemd re-executed", func() { run(t, "systemctl", "daemon-reexec") }},
		{"bus killed again", func() {
			run(t, "systemctl", "kill", "-s", "KILL", "dbus")
			restartBus(t)
		}},
	} {
		t.Run(how.name, func(t *testing.T) {
			how.do()
			start := time.Now()
			s := w.until("the bus to be back", 5*time.Second, busUp)
			t.Logf("back %v after its return", max(0, s.at.Sub(start)))
			events := observe(t)
			came := usable(p, events)
			s = w.until("the link up", 5*time.Second, up)
			t.Logf("link up %v after the device is usable", s.at.Sub(came.at))
			p.hangUp()
			gone := removed(t, events, came.index)
			s = w.until("no link", 5*time.Second, noLink)
			t.Logf("link gone %v after the device", s.at.Sub(gone.at))
			w.until("the bus to work", 5*time.Second, busUp)
		})
	}
}

func TestLabDaemonsAreKilled(t *testing.T) {
	p := newPair(t, false)
	w := startWatch(t, true, true)
	p.dial()
	l := w.until("the link up", 20*time.Second, up).Links[0]

	run(t, "kill", "-KILL", strconv.Itoa(l.Pid))
	start := time.Now()
	s := w.until("no link", 5*time.Second, noLink)
	t.Logf("pppd killed: gone after %v", s.at.Sub(start))
	if c := w.Received([]int{l.Index})[0]; !errors.Is(c.Err, unix.ENODEV) {
		t.Errorf("Received of a device that is gone: %v, want ENODEV", c.Err)
	}

	// Its pid file is still there, and wrong.
	p.startLAC()
	p.startLNS("10.98.0.10")
	p.dial()
	l = w.until("the link up", 20*time.Second, up).Links[0]
	checkLink(t, p, w, l)

	p.lac.Process.Kill()
	p.lac.Wait()
	start = time.Now()
	s = w.until("no link", 2*time.Second, noLink)
	t.Logf("xl2tpd killed: gone after %v", s.at.Sub(start))
}

func TestLabNothingLeaks(t *testing.T) {
	p := newPair(t, false)
	var files, routines int
	p.dial()
	for round := range 10 {
		w := startWatch(t, true, true)
		l := w.until("the link up", 20*time.Second, up).Links[0]
		if c := w.Received([]int{l.Index})[0]; c.Err != nil {
			t.Error(c.Err)
		}
		run(t, "systemctl", "kill", "-s", "KILL", "dbus")
		w.until("the bus to be missed", 5*time.Second, func(s Snapshot) bool { return !s.Sources.DBus })
		restartBus(t)
		w.until("the bus to be back", 5*time.Second, func(s Snapshot) bool { return s.Sources.DBus })
		run(t, "ip", "link", "set", l.Name, "down")
		w.until("the link down", time.Second, func(s Snapshot) bool { return !up(s) })
		run(t, "ip", "link", "set", l.Name, "up")
		w.until("the link up", time.Second, up)
		w.stop()
		if c := w.Received([]int{1})[0]; c.Err != nil {
			t.Error(c.Err)
		}
		var why string
		p.wait("what has ended to be gone", func() bool {
			f, r := openFiles(t), runtime.NumGoroutine()
			if round == 0 {
				files, routines = f, r
			}
			why = fmt.Sprintf("%d files, %d goroutines", f, r)
			return f <= files && r <= routines
		})
		t.Logf("after round %d: %s", round+1, why)
	}
}
