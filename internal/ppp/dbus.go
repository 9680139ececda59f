package ppp

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/godbus/dbus/v5"

	"xl2tpd-keepalive/internal/systembus"
)

const (
	busTime = 5 * time.Second // for the bus, or systemd, to answer

	// A bus that is stuck closes no connection: ping systemd this often.
	busCheck = 30 * time.Second

	busName = "org.freedesktop.DBus"
)

// errSystemdLeft is returned when systemd leaves the bus, as it does when it
// re-executes itself: its list of subscribers may go with it.
var errSystemdLeft = errors.New("systemd has left the bus")

// errNoSystemd is returned where there is no systemd to ask.
var errNoSystemd = errors.New("systemd has not started this host")

// streamDBus hints whenever systemd says that the device unit of a network
// device has come, changed or gone.
//
// streamDBus uses its own match rules on one connection, not go-systemd's
// subscription. The subscription misses the first sign of a device (a UnitNew
// without a change of properties), receives each change of each unit of the
// host, and does not report the end of the bus.
func streamDBus(ctx context.Context, ready, hint func()) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	// Without this limit, logging in to a bus that is stuck would never return.
	slow := time.AfterFunc(busTime, func() { cancel(errors.New("no answer from the bus")) })
	defer slow.Stop()

	var owner atomic.Pointer[string] // systemd's own name on the bus
	conn, err := systembus.Connect(ctx, dbus.WithSignalHandler(signals(func(name string, s *dbus.Signal) {
		switch {
		case systemdLeft(name, s):
			cancel(errSystemdLeft)
		case isSystemds(s, owner.Load()) && isNetDevice(s):
			hint()
		}
	})))
	if err != nil && ctx.Err() == nil && !booted() {
		return errNoSystemd
	}
	if err != nil {
		return reason(ctx, err)
	}
	defer conn.Close()

	// After a restart of the bus this connection may be up before systemd's: don't
	// let the bus try to start systemd.
	manager := conn.Object(systembus.Systemd, systembus.SystemdPath)
	if err := manager.CallWithContext(ctx, systembus.Systemd+".Manager.Subscribe", dbus.FlagNoAutoStart).Err; err != nil {
		return reason(ctx, fmt.Errorf("D-Bus: subscribe to systemd: %w", err))
	}
	var is string
	if err := conn.BusObject().CallWithContext(ctx, busName+".GetNameOwner", 0, systembus.Systemd).Store(&is); err != nil {
		return reason(ctx, fmt.Errorf("D-Bus: systemd's name: %w", err))
	}
	owner.Store(&is)
	for _, rule := range matchRules {
		if err := conn.BusObject().CallWithContext(ctx, busName+".AddMatch", 0, rule).Err; err != nil {
			return reason(ctx, fmt.Errorf("D-Bus: match rule: %w", err))
		}
	}
	slow.Stop()
	ready()
	return checkSystemd(ctx, conn, manager)
}

// matchRules select the signals that say that a link may have come or gone, or that systemd has left the bus.
var matchRules = []string{
	"type='signal',sender='" + busName + "',member='NameOwnerChanged',arg0='" + systembus.Systemd + "'",
	"type='signal',sender='" + systembus.Systemd + "',interface='" + systembus.Systemd + ".Manager',member='UnitNew'",
	"type='signal',sender='" + systembus.Systemd + "',interface='" + systembus.Systemd + ".Manager',member='UnitRemoved'",
	"type='signal',sender='" + systembus.Systemd + "',interface='" + busName + ".Properties',member='PropertiesChanged',arg0='" + systembus.Systemd + ".Device'",
}

// checkSystemd returns once the connection is lost, or systemd does not answer.
func checkSystemd(ctx context.Context, conn *dbus.Conn, manager dbus.BusObject) error {
	check := time.NewTicker(busCheck)
	defer check.Stop()
	for {
		select {
		case <-conn.Context().Done():
			return reason(ctx, errors.New("D-Bus: connection lost"))
		case <-check.C:
			pctx, done := context.WithTimeout(ctx, busTime)
			err := manager.CallWithContext(pctx, busName+".Peer.Ping", dbus.FlagNoAutoStart).Err
			done()
			if err != nil {
				return reason(ctx, fmt.Errorf("D-Bus: ping systemd: %w", err))
			}
		}
	}
}

// booted reports whether systemd has started this host, as sd_booted(3).
func booted() bool {
	_, err := os.Lstat("/run/systemd/system")
	return err == nil
}

// reason returns the cause of ctx's end if it has ended, else err.
func reason(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return fmt.Errorf("D-Bus: %w", cause)
	}
	return err
}

// signals is called for each signal, in the connection's own goroutine. A
// channel would need one more goroutine, or drop signals.
type signals func(name string, s *dbus.Signal)

func (f signals) DeliverSignal(_, name string, s *dbus.Signal) { f(name, s) }

// Anybody may send a signal to this connection directly: match rules filter broadcasts only. The
// bus itself names the sender of each signal.

// systemdLeft reports whether a signal means that systemd's name has another owner, or none.
func systemdLeft(member string, s *dbus.Signal) bool {
	return s.Sender == busName && member == "NameOwnerChanged"
}

// isSystemds reports whether systemd has sent a signal. owner is systemd's unique name on the bus;
// nil: not known yet.
func isSystemds(s *dbus.Signal, owner *string) bool { return owner != nil && s.Sender == *owner }

// isNetDevice reports whether a signal is about a unit
// sys-subsystem-net-devices-NAME.device. pppd's `ifname` option allows any
// NAME.
func isNetDevice(s *dbus.Signal) bool {
	const unit = "sys-subsystem-net-devices-"
	const object = systembus.SystemdPath + "/unit/sys_2dsubsystem_2dnet_2ddevices_2d"
	if strings.HasPrefix(string(s.Path), object) {
		return true
	}
	if len(s.Body) == 0 {
		return false
	}
	id, _ := s.Body[0].(string) // of UnitNew and UnitRemoved
	return strings.HasPrefix(id, unit)
}
