package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"xl2tpd-keepalive/internal/config"
	"xl2tpd-keepalive/internal/message"
	"xl2tpd-keepalive/internal/procfs"
	"xl2tpd-keepalive/internal/status"
	"xl2tpd-keepalive/internal/xl2tpd"
	"xl2tpd-keepalive/vici"
)

// Examine makes every check.
func Examine(ctx context.Context, h *Host) []Finding {
	e := &checker{Host: h, ctx: ctx}
	e.sas = sync.OnceValues(func() ([]vici.SA, error) { return h.SAs(ctx) })
	e.report, e.reportErr = h.Report(ctx)
	if errors.Is(e.reportErr, fs.ErrPermission) {
		return []Finding{bad("xl2tpd-keepalive", "", message.TextOf(e.reportErr), asRoot)}
	}
	e.seen, e.seenErr = h.Xl2tpd(ctx)
	e.names = e.seen.Names()
	e.conns, e.viciErr = h.Connections(ctx)
	e.givenUp, e.journalErr = h.GivenUp(ctx)
	e.conf, e.confErr = config.Load(h.path(config.DefaultPath))
	return slices.Concat(
		e.service(), e.keepaliveConf(), e.guard(), e.strongSwan(), e.xl2tpds(), e.recovery(), e.modules(),
		e.redialOwners(), e.hellos(), e.tunnels(), e.mtus(),
	)
}

// checker is one round of checks, with the data that several checks need.
type checker struct {
	*Host
	ctx context.Context

	report     status.Report
	reportErr  error
	seen       xl2tpd.Snapshot
	seenErr    error
	names      []string // names of the instances
	conns      []vici.Connection
	viciErr    error
	sas        func() ([]vici.SA, error) // charon's SAs, asked for once
	givenUp    []time.Time
	journalErr error
	conf       *config.Config
	confErr    error
}

func (e *checker) service() []Finding {
	const check = "xl2tpd-keepalive"
	switch {
	case errors.Is(e.reportErr, status.ErrNotRunning) && !e.booted(): // the error's text names systemctl
		return []Finding{bad(check, "", "not running", e.startService()...)}
	case e.reportErr != nil:
		return []Finding{bad(check, "", message.TextOf(e.reportErr), e.startService()...)}
	}
	var all []Finding
	for _, p := range e.report.Problems {
		if !e.checkedElsewhere(p) {
			all = append(all, bad(check, "", p.Text, e.serviceLog()))
		}
	}
	if !able(e.process()) {
		all = append(all, bad(check, "", "lacks CAP_NET_ADMIN or CAP_NET_RAW: no Hello guard and no echo request without, whatever net.ipv4.ping_group_range says",
			"take what forbids them out of `systemctl cat xl2tpd-keepalive`, or give them to the container"))
	}
	if all == nil {
		all = append(all, good(check, "", "running, version %s, with the rights it needs", e.report.Version))
	}
	return all
}

// booted reports whether systemd has started this host, as sd_booted(3). In most containers it has not.
func (e *checker) booted() bool { return e.exists("/run/systemd/system") }

// serviceLog returns where the service says more.
func (e *checker) serviceLog() message.Text {
	if e.booted() {
		return command("journalctl -u xl2tpd-keepalive")
	}
	return "what `xl2tpd-keepalive run` prints says more"
}

// startService returns how to start the service.
func (e *checker) startService() []message.Text {
	if e.booted() {
		return []message.Text{command("systemctl enable --now xl2tpd-keepalive"), command("journalctl -u xl2tpd-keepalive")}
	}
	return []message.Text{"xl2tpd-keepalive run  # as root, by what starts xl2tpd here: there is no systemd"}
}

// process returns /proc/PID/status of the service's process; empty: it does not run.
func (e *checker) process() string { return e.read(fmt.Sprintf("/proc/%d/status", e.report.Pid)) }

// checkedElsewhere reports whether a separate check also finds this problem of the service, and knows more about it.
// Where there may be several such problems, their texts have to be the same.
func (e *checker) checkedElsewhere(p status.Problem) bool {
	same := func(t message.Text) bool { return t.String() == p.Text.String() }
	switch p.Code {
	case status.CodeVICI:
		return e.viciErr != nil
	case status.CodeConfig:
		return e.confErr != nil && !errors.Is(e.confErr, fs.ErrPermission)
	case status.CodeSection:
		return slices.ContainsFunc(e.unknown(), same)
	case status.CodeXl2tpd:
		return slices.ContainsFunc(e.seen.Instances, func(i xl2tpd.Instance) bool { return !i.Runs() })
	case status.CodeXl2tpdConf:
		return slices.ContainsFunc(e.seen.Instances, func(i xl2tpd.Instance) bool {
			return i.ConfErr != nil && same(message.TextOf(i.ConfErr))
		})
	}
	return p.Code.Guard()
}

func (e *checker) strongSwan() []Finding {
	if e.viciErr != nil {
		if f, is := e.libreswan(); is {
			return []Finding{f}
		}
		if !e.booted() {
			return []Finding{bad("VICI", "", message.TextOf(e.viciErr), "give the container the socket /run/charon.vici of the strongSwan that does its IPsec")}
		}
		remedy := []message.Text{command("apt install strongswan-swanctl"), e.restartStrongSwan()}
		switch {
		case errors.Is(e.viciErr, fs.ErrPermission):
			return []Finding{unknown("VICI", "", message.TextOf(e.viciErr), asRoot)}
		case errors.Is(e.viciErr, syscall.ECONNREFUSED), e.hasVICI():
			remedy = remedy[1:] // it is installed
		}
		return []Finding{bad("VICI", "", message.TextOf(e.viciErr), remedy...)}
	}
	all := []Finding{good("VICI", "", "strongSwan answers, %s", count(len(e.conns), "%d connection", "%d connections"))}
	var without []string
	for _, c := range e.conns {
		if c.DPDDelay == 0 && !c.Shunt() && !e.networkManagers(c.Name) {
			without = append(without, c.Name)
		}
	}
	switch {
	case len(e.conns) == 0:
		return all
	case without != nil:
		slices.Sort(without)
		return append(all, bad("DPD", "", message.Sprintf("off for %s: the SA of a peer that is gone stays, and keeps a new one away", strings.Join(without, ", ")),
			"`dpd_delay = 30s` in the connection of swanctl.conf, or `dpddelay=30s` and `dpdaction=restart` in ipsec.conf", e.loadConnections()))
	}
	return append(all, good("DPD", "", "on"))
}

// Debian has two units for charon. A host may have both, and uses one of them.
const (
	charonUnit  = "strongswan.service"         // with swanctl.conf
	starterUnit = "strongswan-starter.service" // with ipsec.conf
)

func (e *checker) active(unit string) bool {
	state, err := e.Unit(e.ctx, unit)
	return err == nil && strings.HasPrefix(state, "active")
}

func (e *checker) restartStrongSwan() message.Text {
	state, err := e.Unit(e.ctx, charonUnit)
	there := err == nil && state != "" && state != "masked"
	if there && (e.active(charonUnit) || !e.active(starterUnit)) {
		return command("systemctl restart strongswan")
	}
	return command("systemctl restart strongswan-starter")
}

// loadConnections returns how a changed configuration takes effect, by who has started charon.
func (e *checker) loadConnections() message.Text {
	if e.active(charonUnit) {
		return command("swanctl --load-conns")
	}
	return "ipsec update  # swanctl --load-conns, if the connection is in swanctl.conf"
}

// libreswan returns the finding for a host whose IPsec is Libreswan. It has no VICI, and conflicts with strongSwan.
func (e *checker) libreswan() (f Finding, is bool) {
	const check = "VICI"
	switch {
	case e.exists("/run/pluto/pluto.ctl"):
		return unknown(check, "", "Libreswan does IPsec here: whether a tunnel's L2TP is in the clear is not checked",
			"ipsec trafficstatus  # lists its SAs: each tunnel's peer should have one"), true
	case e.exists("/usr/libexec/ipsec/pluto") && !e.hasVICI():
		return bad(check, "", "Libreswan is here, and is not running", command("systemctl restart ipsec")), true
	}
	return Finding{}, false
}

// hasVICI reports whether the plugin is installed that serves VICI. Debian has it in strongswan-swanctl.
func (e *checker) hasVICI() bool {
	return e.glob("/usr/lib/ipsec/plugins/libstrongswan-vici.so") != nil || e.glob("/usr/lib/*/ipsec/plugins/libstrongswan-vici.so") != nil
}

// modules are the kernel modules that the tunnels need, and what for.
var modules = []struct {
	name string
	use  message.Text
}{
	{"ppp_generic", "PPP"},
	{"l2tp_ppp", "L2TP in the kernel (without it data goes through xl2tpd)"},
	{"esp4", "IPsec"},
	{"nft_queue", "the Hello guard"},
	{"nfnetlink_queue", "the Hello guard"},
}

func (e *checker) modules() []Finding {
	const check = "kernel modules"
	missing, uses := e.missingModules()
	if missing != nil && !e.booted() && !e.exists("/lib/modules/"+e.Kernel()) { // its host may load them when they are asked for
		return []Finding{unknown(check, "", message.Sprintf("not loaded: %s; only the host of this container knows whether it has them", strings.Join(missing, ", ")),
			message.Sprintf("on the host: modprobe -a %s", strings.Join(missing, " ")))}
	}
	if missing != nil {
		return []Finding{bad(check, "", message.Sprintf("there is no %s", message.Join(uses, "%s, no %s")), e.getModules(missing)...)}
	}
	return []Finding{good(check, "", "PPP, L2TP, ESP and nft_queue are there")}
}

// missingModules returns the modules that this kernel has not loaded and can't load, and each with its use.
func (e *checker) missingModules() (missing []string, uses []message.Text) {
	dir := "/lib/modules/" + e.Kernel()
	loaded := e.read("/proc/modules")
	available := e.read(dir+"/modules.builtin") + e.read(dir+"/modules.dep")
	for _, m := range modules {
		switch {
		case e.exists("/sys/module/" + m.name), strings.Contains("\n"+loaded, "\n"+m.name+" "):
		case strings.Contains(available, "/"+m.name+".ko"):
		default:
			missing = append(missing, m.name)
			uses = append(uses, message.Sprintf("%s for %s", m.name, m.use))
		}
	}
	return missing, uses
}

// misses reports whether one of these modules is neither loaded nor there to be loaded.
func (e *checker) misses(names ...string) bool {
	missing, _ := e.missingModules()
	return slices.ContainsFunc(missing, func(m string) bool { return slices.Contains(names, m) })
}

// hellos finds out from the journal whether unanswered Hellos close tunnels.
func (e *checker) hellos() []Finding {
	const check = "unanswered Hellos"
	if e.journalErr != nil {
		f := unknown(check, "", message.TextOf(e.journalErr))
		if !e.Superuser {
			f.Remedy = []message.Text{asRoot}
		}
		return []Finding{f}
	}
	n := len(e.givenUp)
	if n == 0 {
		return []Finding{good(check, "", "none closed a tunnel in the last 24 h")}
	}
	text := message.Sprintf("%s closed in the last 24 h (Maximum retries exceeded), the last at %s", count(n, "%d tunnel", "%d tunnels"), e.givenUp[n-1].Format(time.TimeOnly))
	if p := period(e.givenUp); p > 0 {
		text = message.Sprintf("%s, one every %v", text, p.Round(time.Second))
	}
	if e.reportErr == nil && e.givenUp[n-1].Before(e.report.Time.Add(-10*time.Minute)) {
		return []Finding{good(check, "", "%s; none in the last 10 min", text)}
	}
	return []Finding{bad(check, "", text, "let the Hello guard work: no `hello guard = off` in /etc/xl2tpd/keepalive.conf",
		"if the peer was really away, nothing: that is xl2tpd's way to notice")}
}

// period returns the median interval between the times, or 0 for fewer than three.
func period(at []time.Time) time.Duration {
	if len(at) < 3 {
		return 0
	}
	var between []time.Duration
	for i := range at[1:] {
		between = append(between, at[i+1].Sub(at[i]))
	}
	slices.Sort(between)
	return between[len(between)/2]
}

// Capabilities that the service needs, by bit number (linux/capability.h).
const netAdmin, netRaw = 12, 13

// able reports whether a process has the capabilities that the service needs; status
// is its /proc/PID/status.
func able(status string) bool {
	caps, err := strconv.ParseUint(procfs.Field(status, "CapEff"), 16, 64)
	return err == nil && caps>>netAdmin&1 == 1 && caps>>netRaw&1 == 1
}

// asRoot is the remedy for a lack of permission.
var asRoot = command("sudo xl2tpd-keepalive doctor")

// count formats a number of things.
func count(n int, one, many message.Format) message.Text {
	if n == 1 {
		return message.Sprintf(one, n)
	}
	return message.Sprintf(many, n)
}
