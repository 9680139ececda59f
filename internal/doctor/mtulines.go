package doctor

import (
	"fmt"
	"strings"

	"xl2tpd-keepalive/internal/ppp/options"
	"xl2tpd-keepalive/internal/status"
	"xl2tpd-keepalive/internal/xl2tpd"
	"xl2tpd-keepalive/internal/xl2tpdconf"
)

// pppMTU returns what to enter, and where, so that both ends of a link send packets of that size at most: `mtu` limits
// this end, and `mru` is what the other end is told.
func (e *checker) pppMTU(t *status.Tunnel, size int) []string {
	i := e.instance(t.Instance)
	kind, section, _ := strings.Cut(t.Name, " ")
	if i != nil && i.NetworkManager() {
		return []string{
			fmt.Sprintf("nmcli connection modify %s +vpn.data mtu=%d,mru=%d", quoted(i.Connection), size, size),
			restart(*i),
		}
	}
	lines := []string{fmt.Sprintf("`mtu %d` and `mru %d` in the pppoptfile%s", size, size, e.pppNow(i, kind, section))}
	if i != nil && kind == "lac" && !strings.Contains(section, ", ") {
		return append(lines, pipeCommand(i.Pipe, "d", section, ", then the same with c"))
	}
	return append(lines, "then close the tunnel, so that it is made anew")
}

// pppNow names the pppoptfile of a section, and the options there that are to be replaced.
func (e *checker) pppNow(i *xl2tpd.Instance, kind, section string) string {
	if i == nil || i.Conf == nil {
		return ""
	}
	for _, s := range i.Conf.Sections {
		if s.Kind != kind || s.Name != section {
			continue
		}
		text := ""
		if s.PPPOptFile != "" {
			text = " " + s.PPPOptFile
		}
		read := func(path string) ([]byte, error) { return xl2tpdconf.Read(e.path(path)) }
		all, _ := options.Of(read, s.PPPOptFile) // with an error, the options before it
		for _, name := range []string{"mtu", "mru"} {
			if o, ok := options.Last(all, name); ok {
				text += fmt.Sprintf(", instead of `%s %s` in %s:%d", o.Name, o.Value, o.Path, o.Line)
			}
		}
		return text
	}
	return ""
}

// clampLine returns a command that clamps what this host forwards. A link's number may change, so it is for all.
func clampLine(m *MTU) string {
	for _, r := range m.Clamps {
		if r.MSS > 0 && !r.Limited {
			return fmt.Sprintf("lower the MSS to %d: forwarded TCP is clamped %v", m.Inner.Passes-40, r)
		}
	}
	return `nft 'table inet l2tp_mss { chain forward { type filter hook forward priority mangle; ` +
		`oifname "ppp*" tcp flags syn tcp option maxseg size set rt mtu; }; }'`
}
