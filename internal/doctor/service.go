package doctor

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"

	"xl2tpd-keepalive/internal/message"
	"xl2tpd-keepalive/internal/procfs"
	"xl2tpd-keepalive/internal/status"
	"xl2tpd-keepalive/internal/xl2tpd"
)

// service checks whether the service runs, and has the rights that it needs.
func (c *checker) service() []Finding {
	const check = "xl2tpd-keepalive"
	switch {
	case errors.Is(c.statusErr, status.ErrNotRunning) && c.allElsewhere():
		return []Finding{note(check, "", "not running; the xl2tpd of this host runs in a container", inContainer)}
	case errors.Is(c.statusErr, status.ErrNotRunning) && !c.booted(): // the error's text names systemctl
		return []Finding{bad(check, "", "not running", c.startService()...)}
	case c.statusErr != nil:
		return []Finding{bad(check, "", message.TextOf(c.statusErr), c.startService()...)}
	}
	var all []Finding
	for _, p := range c.status.Problems {
		switch {
		case p.Code == status.CodeContainer:
			all = append(all, bad(check, "", p.Text, c.moveToContainer()...))
		case !c.checkedElsewhere(p):
			all = append(all, bad(check, "", p.Text, c.serviceLog()))
		}
	}
	if !able(c.process()) {
		all = append(all, bad(check, "", "lacks CAP_NET_ADMIN or CAP_NET_RAW: no Hello guard and no echo request without, whatever net.ipv4.ping_group_range says",
			"take what forbids them out of `systemctl cat xl2tpd-keepalive`, or give them to the container"))
	}
	if all == nil {
		all = append(all, good(check, "", "running, version %s, with the rights it needs", c.status.Version))
	}
	return all
}

// booted reports whether systemd has started this host, as sd_booted(3). In most containers it has not.
func (c *checker) booted() bool { return c.exists("/run/systemd/system") }

const inContainer message.Text = "run xl2tpd-keepalive in the container that has this xl2tpd"

// moveToContainer returns how to look after an xl2tpd in a container with the network of this host. Two services in one
// network would get in each other's way.
func (c *checker) moveToContainer() []message.Text {
	if !c.allElsewhere() || !c.booted() {
		return []message.Text{inContainer}
	}
	return []message.Text{command("systemctl disable --now xl2tpd-keepalive"), inContainer}
}

// elsewhere reports whether an xl2tpd runs, and its files can't be seen from here.
func elsewhere(i xl2tpd.Instance) bool { return i.Runs() && errors.Is(i.ConfErr, xl2tpd.ErrElsewhere) }

// allElsewhere reports whether there are such xl2tpds, and no others that run or should.
func (c *checker) allElsewhere() bool {
	return slices.ContainsFunc(c.seen.Instances, elsewhere) && !slices.ContainsFunc(c.seen.Instances, func(i xl2tpd.Instance) bool {
		return !elsewhere(i) && (i.Runs() || i.Conf != nil && i.Needed())
	})
}

// serviceLog returns where the service says more.
func (c *checker) serviceLog() message.Text {
	if c.booted() {
		return command("journalctl -u xl2tpd-keepalive")
	}
	return "what `xl2tpd-keepalive run` prints says more"
}

// startService returns how to start the service.
func (c *checker) startService() []message.Text {
	if c.booted() {
		return []message.Text{command("systemctl enable --now xl2tpd-keepalive"), command("journalctl -u xl2tpd-keepalive")}
	}
	return []message.Text{"xl2tpd-keepalive run  # as root, by what starts xl2tpd here: there is no systemd"}
}

// process returns /proc/PID/status of the service's process; empty: it does not run.
func (c *checker) process() string { return c.read(fmt.Sprintf("/proc/%d/status", c.status.Pid)) }

// checkedElsewhere reports whether a separate check also finds this problem of the service, and knows more about it.
// Where there may be several such problems, their texts have to be the same.
func (c *checker) checkedElsewhere(p status.Problem) bool {
	same := func(t message.Text) bool { return t.String() == p.Text.String() }
	switch p.Code {
	case status.CodeVICI:
		return c.viciErr != nil
	case status.CodeConfig:
		return c.confErr != nil && !errors.Is(c.confErr, fs.ErrPermission)
	case status.CodeSection:
		return slices.ContainsFunc(c.unknownSections(), same)
	case status.CodeXl2tpd:
		return slices.ContainsFunc(c.seen.Instances, func(i xl2tpd.Instance) bool { return !i.Runs() })
	case status.CodeXl2tpdConf:
		return slices.ContainsFunc(c.seen.Instances, func(i xl2tpd.Instance) bool {
			return i.ConfErr != nil && same(message.TextOf(i.ConfErr))
		})
	}
	return p.Code.Guard()
}

// Capabilities that the service needs, by bit number (linux/capability.h).
const netAdmin, netRaw = 12, 13

// able reports whether a process has the capabilities that the service needs; status
// is its /proc/PID/status.
func able(status string) bool {
	caps, err := strconv.ParseUint(procfs.Field(status, "CapEff"), 16, 64)
	return err == nil && caps>>netAdmin&1 == 1 && caps>>netRaw&1 == 1
}
