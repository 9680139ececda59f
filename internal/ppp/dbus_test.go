package ppp

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"path/filepath"
	"testing"
	"time"
	"xl2tpd-keepalive/internal/systembus"

	"github.com/godbus/dbus/v5"
)

func TestIsNetDevice(t *testing.T) {
	const manager = dbus.ObjectPath(systembus.SystemdPath)
	for _, tc := range []struct {
		name string
		s    dbus.Signal
		want bool
	}{
		{"new", dbus.Signal{Path: manager, Body: []any{"sys-subsystem-net-devices-ppp0.device", dbus.ObjectPath("/x")}}, true},
		{"changed", dbus.Signal{Path: systembus.SystemdPath + "/unit/sys_2dsubsystem_2dnet_2ddevices_2dppp0_2edevice",
			Body: []any{systembus.Systemd + ".Device"}}, true},
		{"another unit", dbus.Signal{Path: manager, Body: []any{"cron.service", dbus.ObjectPath("/x")}}, false},
		{"another device", dbus.Signal{Path: systembus.SystemdPath + "/unit/dev_2dvda_2edevice", Body: []any{systembus.Systemd + ".Device"}}, false},
		{"no body", dbus.Signal{Path: manager}, false},
		{"odd body", dbus.Signal{Path: manager, Body: []any{7}}, false},
	} {
		if got := isNetDevice(&tc.s); got != tc.want {
			t.Errorf("%s: got %v, want %v", tc.name, got, tc.want)
		}
	}
}

// A signal counts only if its real sender has sent it.
func TestForgedSignals(t *testing.T) {
	systemds := ":1.2"
	device := []any{"sys-subsystem-net-devices-ppp0.device", dbus.ObjectPath("/x")}
	for _, tc := range []struct {
		name, member, sender string
		owner                *string
		left, device         bool
	}{
		{"the bus", "NameOwnerChanged", busName, &systemds, true, false},
		{"some user", "NameOwnerChanged", ":1.77", &systemds, false, false},
		{"systemd itself", "NameOwnerChanged", systemds, &systemds, false, true},
		{"another signal of the bus", "NameAcquired", busName, &systemds, false, false},
		{"a new device", "UnitNew", systemds, &systemds, false, true},
		{"a new device, some user says", "UnitNew", ":1.77", &systemds, false, false},
		{"a new device, before systemd is known", "UnitNew", systemds, nil, false, false},
	} {
		s := &dbus.Signal{Sender: tc.sender, Path: systembus.SystemdPath, Body: device}
		if got := systemdLeft(tc.member, s); got != tc.left {
			t.Errorf("%s: systemd has left: %v", tc.name, got)
		}
		if got := isSystemds(s, tc.owner) && isNetDevice(s); got != tc.device {
			t.Errorf("%s: hint: %v", tc.name, got)
		}
	}
}

// listen makes a system bus for the test.
func listen(t *testing.T, serve func(net.Conn)) {
	path := filepath.Join(t.TempDir(), "bus")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path="+path)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			serve(c)
			c.Close()
		}
	}()
	t.Cleanup(func() { l.Close(); <-done })
}

func TestNoBus(t *testing.T) {
	t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path="+filepath.Join(t.TempDir(), "none"))
	if err := streamDBus(t.Context(), nil, nil); err == nil {
		t.Error("got no error without a bus")
	}
}

// A bus that accepts and then says nothing must not hold up the end of Run.
func TestMuteBus(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	listen(t, func(c net.Conn) {
		cancel()
		var b [64]byte
		for {
			if _, err := c.Read(b[:]); err != nil {
				return
			}
		}
	})
	if err := streamDBus(ctx, nil, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context canceled", err)
	}
}

func TestRudeBus(t *testing.T) {
	listen(t, func(c net.Conn) { c.Write([]byte("GO AWAY\r\n")) })
	if err := streamDBus(t.Context(), nil, nil); err == nil {
		t.Error("got no error from a bus that refuses the login")
	}
}

// Run, for real, on a machine that has no bus: rtnetlink alone is enough.
func TestRunWithoutBus(t *testing.T) {
	t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path="+filepath.Join(t.TempDir(), "none"))
	var logged bytes.Buffer
	got := make(chan Snapshot, 100)
	w := &Watcher{
		Log:     slog.New(slog.NewTextHandler(&logged, nil)),
		Deliver: func(s Snapshot) { got <- s },
		root:    newHost(),
	}
	before := 0
	for round := range 4 {
		if round == 1 { // the first one opens Go's own poller
			before = openFiles(t)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		done := make(chan error, 1)
		go func() { done <- w.Run(ctx) }()
		for s := range got {
			if !s.Sources.DBus && s.Sources.Rtnetlink {
				break
			}
		}
		if c := w.Received([]int{1})[0]; c.Err != nil {
			t.Error(c.Err)
		}
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Run returned %v", err)
		}
		if c := w.Received([]int{1})[0]; c.Err != nil {
			t.Errorf("after Run: %v", c.Err)
		}
	}
	if after := openFiles(t); after != before {
		t.Errorf("%d open files before, %d after", before, after)
	}
	if !bytes.Contains(logged.Bytes(), []byte("can't watch PPP links")) {
		t.Errorf("nothing logged of the missing bus: %s", logged.String())
	}
}
