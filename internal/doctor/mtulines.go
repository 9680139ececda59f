package doctor

import (
	"fmt"
	"strings"

	"xl2tpd-keepalive/internal/clamp"
	"xl2tpd-keepalive/internal/message"
	"xl2tpd-keepalive/internal/ppp/options"
	"xl2tpd-keepalive/internal/status"
	"xl2tpd-keepalive/internal/xl2tpd"
)

// pppMTU returns what to enter, and where, so that both ends of a link send packets of that size at most: `mtu` limits
// this end, and `mru` is what the other end is told.
func (c mtuChecks) pppMTU(t *status.Tunnel, size int) []message.Text {
	i := c.instance(t.Instance)
	kind, section, _ := strings.Cut(t.Name, " ")
	if i != nil && i.NetworkManager() {
		return []message.Text{
			command(fmt.Sprintf("nmcli connection modify %s +vpn.data mtu=%d,mru=%d", quoted(i.Connection), size, size)),
			c.restart(*i),
		}
	}
	lines := []message.Text{c.pppLine(i, kind, section, size)}
	if i != nil && kind == "lac" && !strings.Contains(section, ", ") {
		return append(lines, pipeCommand(i.Pipe, "d", section, "%s, then the same with c"))
	}
	return append(lines, "then close the tunnel, so that it is made anew")
}

// pppLine returns the options to enter. It names the pppoptfile of the section, and the options there that are to be
// replaced.
func (c mtuChecks) pppLine(i *xl2tpd.Instance, kind, section string, size int) message.Text {
	text := message.Sprintf("`mtu %d` and `mru %d` in the pppoptfile", size, size)
	if i == nil || i.Conf == nil {
		return text
	}
	for _, s := range i.Conf.Sections {
		if s.Kind != kind || s.Name != section {
			continue
		}
		if s.PPPOptFile != "" {
			text = message.Sprintf("`mtu %d` and `mru %d` in the pppoptfile %s", size, size, s.PPPOptFile)
		}
		for _, name := range []string{"mtu", "mru"} {
			if o, ok := options.Last(c.pppOptions(s), name); ok {
				text = message.Sprintf("%s, instead of `%s %s` in %s:%d", text, o.Name, o.Value, o.Path, o.Line)
			}
		}
		break
	}
	return text
}

// clampLine returns a command that clamps what this host forwards. A link's number may change, so it is for all.
func clampLine(m *MTU) message.Text {
	for _, r := range m.Clamps {
		if r.MSS > 0 && !r.Limited {
			return message.Sprintf("lower the MSS to %d: forwarded TCP is clamped %v", clamp.MSS(m.Inner.Passes), r)
		}
	}
	return command(`nft 'table inet l2tp_mss { chain forward { type filter hook forward priority mangle; ` +
		`oifname "ppp*" tcp flags syn tcp option maxseg size set rt mtu; }; }'`)
}
