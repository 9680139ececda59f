package doctor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"xl2tpd-keepalive/internal/clamp"
	"xl2tpd-keepalive/internal/helloguard"
	"xl2tpd-keepalive/internal/hook"
	"xl2tpd-keepalive/internal/message"
	"xl2tpd-keepalive/internal/status"
	"xl2tpd-keepalive/internal/xl2tpd"
	"xl2tpd-keepalive/probe"
	"xl2tpd-keepalive/vici"
)

// Host gives the checks access to a host. Tests replace its funcs.
type Host struct {
	Root        string // root directory; "/" except in tests
	Status      func(context.Context) (status.Status, error)
	Connections func(context.Context) ([]vici.Connection, error)
	Xl2tpd      func(context.Context) (xl2tpd.Snapshot, error)
	// Device returns the device by which xl2tpd's packets would leave.
	Device func(to, from netip.Addr) (string, error)
	// Source returns the source address that packets to an address would have.
	Source func(to netip.AddrPort) (netip.Addr, error)
	// Unit returns the state of a systemd unit, such as "active (exited)"; empty: no such unit.
	Unit func(ctx context.Context, name string) (string, error)
	// GivenUp returns the times at which xl2tpd logged "Maximum retries exceeded".
	GivenUp func(context.Context) ([]time.Time, error)
	// Hook returns why the service will not run an executable.
	Hook func(path string) error
	// PathMTU finds the largest packet that passes.
	PathMTU func(context.Context, probe.Path) (probe.PathMTU, error)
	// Clamps returns the firewall rules that clamp forwarded TCP connections which leave by a link.
	Clamps func(ctx context.Context, link string) ([]clamp.Rule, error)
	// Filters returns the chains of this host that may drop the guard's answers on a way.
	Filters func(helloguard.Way) ([]helloguard.Filter, error)
	SAs     func(context.Context) ([]vici.SA, error)
	// Kernel returns the running kernel's release.
	Kernel func() string
	Arch   string // GOARCH
	// Superuser: doctor runs as root, so a failure to read has another reason than permissions.
	Superuser bool
}

// ThisHost returns the Host that this process runs on.
func ThisHost() *Host {
	return &Host{
		Root:        "/",
		Status:      func(ctx context.Context) (status.Status, error) { return status.Read(ctx, status.DefaultSocket) },
		Connections: new(vici.Commander).Connections,
		Xl2tpd:      xl2tpd.Look,
		Device:      probe.Routed,
		Source:      source,
		Unit:        unit,
		GivenUp:     givenUp,
		Hook:        hook.CheckForService,
		PathMTU:     func(ctx context.Context, p probe.Path) (probe.PathMTU, error) { return p.MTU(ctx) },
		Clamps:      clamp.Look,
		Filters:     helloguard.Way.Filters,
		SAs:         new(vici.Commander).SAs,
		Kernel:      kernel,
		Arch:        runtime.GOARCH,
		Superuser:   os.Geteuid() == 0,
	}
}

func (h *Host) path(name string) string { return filepath.Join(h.Root, name) }

// name is path's inverse.
func (h *Host) name(path string) string {
	return "/" + strings.TrimPrefix(strings.TrimPrefix(path, filepath.Clean(h.Root)), "/")
}

func (h *Host) exists(name string) bool {
	_, err := os.Stat(h.path(name))
	return err == nil
}

func (h *Host) read(name string) string {
	b, err := os.ReadFile(h.path(name))
	if err != nil {
		return "" // for the checks a missing file is an empty one
	}
	return string(b)
}

// source asks the kernel by connecting a datagram socket; nothing is sent.
func source(to netip.AddrPort) (netip.Addr, error) {
	c, err := net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(to))
	if err != nil {
		return netip.Addr{}, err
	}
	defer c.Close()
	return c.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap(), nil
}

// output runs a program and returns its output. Its errors contain the program's standard error.
func output(ctx context.Context, name string, args ...string) ([]byte, error) {
	out, err := exec.CommandContext(ctx, name, args...).Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return out, &failed{name, exit.ProcessState, firstLine(exit.Stderr)}
	}
	if err != nil {
		return nil, err // which names the program
	}
	return out, nil
}

// failed is the error of a program that has failed.
type failed struct {
	name string
	how  *os.ProcessState
	said string // its standard error, in one line
}

func (f *failed) Error() string { return f.Text().String() }

// Text returns the text of the error.
func (f *failed) Text() message.Text {
	if f.said == "" {
		return message.Sprintf("%s: %v, without a reason", f.name, f.how)
	}
	return message.Sprintf("%s: %s", f.name, f.said)
}

func firstLine(b []byte) string {
	line, _, _ := strings.Cut(strings.TrimSpace(string(b)), "\n")
	return line
}

func unit(ctx context.Context, name string) (string, error) {
	out, err := output(ctx, "systemctl", "show", "--property=LoadState,ActiveState,SubState", name)
	if err != nil {
		return "", err
	}
	is := map[string]string{}
	for line := range strings.Lines(string(out)) {
		k, v, _ := strings.Cut(strings.TrimSpace(line), "=")
		is[k] = v
	}
	switch is["LoadState"] {
	case "not-found":
		return "", nil
	case "masked":
		return "masked", nil
	}
	return fmt.Sprintf("%s (%s)", is["ActiveState"], is["SubState"]), nil
}

// errNoJournal is the error when there is no journal to read.
var errNoJournal = message.Errorf("this host has no journal (/var/log/journal, /run/log/journal)")

// givenUp searches the last day's journal.
func givenUp(ctx context.Context) ([]time.Time, error) {
	if !hasJournal("/") {
		return nil, errNoJournal
	}
	out, err := output(ctx, "journalctl", "--quiet", "--no-pager", "--since=-1d", "--output=short-unix",
		"--grep=Maximum retries exceeded", "SYSLOG_IDENTIFIER=xl2tpd", "+", "_COMM=xl2tpd") // NetworkManager's has another identifier
	if f, ok := errors.AsType[*failed](err); ok && f.how.ExitCode() == 1 && f.said == "" {
		err = nil // nothing found
	}
	if err != nil {
		return nil, err
	}
	var all []time.Time
	for line := range bytes.Lines(out) {
		var at float64
		if _, err := fmt.Sscan(string(line), &at); err == nil {
			all = append(all, time.UnixMicro(int64(at*1e6)))
		}
	}
	return all, nil
}

func kernel() string {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return ""
	}
	return unix.ByteSliceToString(u.Release[:])
}

// hasJournal reports whether there are files that journalctl can read. Without files journalctl
// prints nothing, just as when it finds nothing.
func hasJournal(root string) bool {
	for _, dir := range []string{"/var/log/journal", "/run/log/journal"} {
		if files, _ := filepath.Glob(filepath.Join(root, dir, "*", "*.journal*")); files != nil {
			return true
		}
	}
	return false
}
