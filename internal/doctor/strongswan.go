package doctor

import (
	"errors"
	"io/fs"
	"slices"
	"strings"
	"syscall"

	"xl2tpd-keepalive/internal/message"
	"xl2tpd-keepalive/vici"
)

// all checks whether strongSwan answers, and notices a peer that is gone.
func (c strongSwanChecks) all() []Finding {
	if c.viciErr != nil {
		if f, is := c.libreswan(); is {
			return []Finding{f}
		}
		if !c.booted() {
			return []Finding{bad("VICI", "", message.TextOf(c.viciErr), "give the container the socket /run/charon.vici of the strongSwan that does its IPsec")}
		}
		remedy := []message.Text{command("apt install strongswan-swanctl"), c.restartStrongSwan()}
		switch {
		case errors.Is(c.viciErr, fs.ErrPermission):
			return []Finding{unknown("VICI", "", message.TextOf(c.viciErr), asRoot)}
		case errors.Is(c.viciErr, syscall.ECONNREFUSED), c.hasVICI():
			remedy = remedy[1:] // it is installed
		}
		return []Finding{bad("VICI", "", message.TextOf(c.viciErr), remedy...)}
	}
	all := []Finding{good("VICI", "", "strongSwan answers, %s", count(len(c.conns), "%d connection", "%d connections"))}
	var without []string
	for _, conn := range c.conns {
		if conn.DPDDelay == 0 && !conn.Shunt() && !c.networkManagers(conn.Name) {
			without = append(without, conn.Name)
		}
	}
	switch {
	case len(c.conns) == 0:
		return all
	case without != nil:
		slices.Sort(without)
		return append(all, bad("DPD", "", message.Sprintf("off for %s: the SA of a peer that is gone stays, and keeps a new one away", strings.Join(without, ", ")),
			"`dpd_delay = 30s` in the connection of swanctl.conf, or `dpddelay=30s` and `dpdaction=restart` in ipsec.conf", c.loadConnections()))
	}
	return append(all, good("DPD", "", "on"))
}

// Debian has two units for charon. A host may have both, and uses one of them.
const (
	charonUnit  = "strongswan.service"         // with swanctl.conf
	starterUnit = "strongswan-starter.service" // with ipsec.conf
)

func (c strongSwanChecks) active(unit string) bool {
	state, err := c.Unit(c.ctx, unit)
	return err == nil && strings.HasPrefix(state, "active")
}

func (c strongSwanChecks) restartStrongSwan() message.Text {
	state, err := c.Unit(c.ctx, charonUnit)
	there := err == nil && state != "" && state != "masked"
	if there && (c.active(charonUnit) || !c.active(starterUnit)) {
		return command("systemctl restart strongswan")
	}
	return command("systemctl restart strongswan-starter")
}

// loadConnections returns how a changed configuration takes effect, by who has started charon.
func (c strongSwanChecks) loadConnections() message.Text {
	if c.active(charonUnit) {
		return command("swanctl --load-conns")
	}
	return "ipsec update  # swanctl --load-conns, if the connection is in swanctl.conf"
}

// libreswan returns the finding for a host whose IPsec is Libreswan. It has no VICI, and conflicts with strongSwan.
func (c strongSwanChecks) libreswan() (f Finding, is bool) {
	const check = "VICI"
	switch {
	case c.exists(vici.PlutoSocket):
		return unknown(check, "", "Libreswan does IPsec here: whether a tunnel's L2TP is in the clear is not checked",
			"ipsec trafficstatus  # lists its SAs: each tunnel's peer should have one"), true
	case c.exists("/usr/libexec/ipsec/pluto") && !c.hasVICI():
		return bad(check, "", "Libreswan is here, and is not running", command("systemctl restart ipsec")), true
	}
	return Finding{}, false
}

// hasVICI reports whether the plugin is installed that serves VICI. Debian has it in strongswan-swanctl.
func (c strongSwanChecks) hasVICI() bool {
	return c.glob("/usr/lib/ipsec/plugins/libstrongswan-vici.so") != nil || c.glob("/usr/lib/*/ipsec/plugins/libstrongswan-vici.so") != nil
}
