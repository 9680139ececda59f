package supervisor

import (
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"time"

	"xl2tpd-keepalive/internal/procfs"
	"xl2tpd-keepalive/internal/xl2tpd"
)

// tunnelView is what the LACs see of the tunnels. They change nothing there.
type tunnelView interface {
	tunnelIndex() *tunnelIndex
	everHadSA() bool      // a tunnel has had an SA
	endOf(t *tunnel) *end // how a link has ended, whose pppd may still be there; nil: not known
}

// lacSet holds the LACs, and finds those that a name or an address may mean. All parts of a lacTable share one.
type lacSet struct {
	byKey  map[string]*lac // by name.key
	agenda agenda

	topology *topology
	daemons  *daemons
	health   *health
	tunnels  tunnelView
	out      *outbox
}

// ensureLAC returns what is known of a LAC. If nothing is, it makes a record of it.
func (ls *lacSet) ensureLAC(n name) *lac {
	key := n.key()
	if ls.byKey[key] == nil {
		ls.byKey[key] = &lac{instance: n.instance, name: n.name, key: key}
	}
	return ls.byKey[key]
}

// lacsOf returns the LACs of an xl2tpd with that LNS. If the xl2tpd is not known (zero), it returns the LACs of every
// xl2tpd that runs, or of the first instance if none runs.
func (ls *lacSet) lacsOf(daemon procfs.ID, lns netip.Addr) (all []*lac) {
	for _, in := range ls.topology.instances {
		unknown := daemon == (procfs.ID{}) && (in.Runs() || in.id == "" && len(ls.topology.byPid) == 0)
		if !unknown && (daemon == (procfs.ID{}) || in.Process != daemon) {
			continue
		}
		for _, s := range in.byOuter[lns] {
			all = append(all, ls.ensureLAC(in.name(s)))
		}
	}
	return all
}

// lacsNamed returns the LACs among these sections.
func (ls *lacSet) lacsNamed(names []name) (all []*lac) {
	for _, n := range names {
		if n.kind == "lac" {
			all = append(all, ls.ensureLAC(n))
		}
	}
	return all
}

// unresolvedLACs returns the LACs of an xl2tpd, or of any if it is not known (zero), whose LNS has no known address.
func (ls *lacSet) unresolvedLACs(daemon procfs.ID) (all []*lac) {
	for _, in := range ls.topology.instances {
		if daemon != (procfs.ID{}) && in.Process != daemon {
			continue
		}
		for _, s := range in.lacs {
			if len(s.LNSIPs) == 0 && len(s.LNS) > 0 {
				all = append(all, ls.ensureLAC(in.name(s)))
			}
		}
	}
	slices.SortFunc(all, func(x, y *lac) int { return strings.Compare(x.key, y.key) })
	return all
}

// neighbours returns the other LACs with the LNS of this one.
func (ls *lacSet) neighbours(l *lac, s *xl2tpd.Section) (all []*lac) {
	for _, ip := range s.LNSIPs {
		for _, other := range ls.lacsOf(procfs.ID{}, ip) {
			if other != l {
				all = append(all, other)
			}
		}
	}
	return all
}

// alone reports whether each of these LACs but this one has a link that is certainly its own.
func (ls *lacSet) alone(l *lac, lacs []*lac, now time.Time) bool {
	return !slices.ContainsFunc(lacs, func(other *lac) bool { return other != l && !ls.surelyUp(other, now) })
}

// surelyUp reports whether a LAC has a link that is certainly its own. The link of one that recovery has hung up stays for a
// moment: pppd waits for the peer, and xl2tpd can dial the LAC meanwhile.
func (ls *lacSet) surelyUp(l *lac, now time.Time) bool {
	return ls.candidates(l).hasExact(ls.daemons.of(l).Pid) && !l.progress.IsHangingUp(now)
}

func (ls *lacSet) candidates(l *lac) *candidates {
	if c := ls.tunnels.tunnelIndex().lacs[l.key]; c != nil {
		return c
	}
	return &candidates{}
}

// isHangingUp reports whether recovery hangs up a LAC, or has just done so.
func (ls *lacSet) isHangingUp(n name, now time.Time) bool {
	return n.kind == "lac" && ls.ensureLAC(n).progress.IsHangingUp(now)
}

// dialledLNS is a dialledFunc.
func (ls *lacSet) dialledLNS(n name) netip.Addr { return ls.ensureLAC(n).dialledLNS }

// target returns the xl2tpd that gets commands about a LAC.
func (ls *lacSet) target(l *lac) xl2tpd.Target {
	t := xl2tpd.Target{Process: ls.daemons.of(l)}
	if in := ls.topology.byID[l.instance]; in != nil {
		t.Pipe = in.Pipe
	}
	return t
}

// markLACs marks the LACs of these sections: they will be evaluated in the step under way.
func (ls *lacSet) markLACs(names []name) {
	for _, n := range names {
		if n.kind == "lac" {
			ls.agenda.mark(ls.ensureLAC(n))
		}
	}
}

// logLAC emits a log line about a LAC.
func (ls *lacSet) logLAC(l *lac, level slog.Level, text string, more ...slog.Attr) {
	attrs := []slog.Attr{slog.String("tunnel", "lac "+l.name)}
	if called := ls.topology.displayNames[l.instance]; called != "" {
		attrs = append(attrs, slog.String("instance", called))
	}
	if a := ls.topology.lns(l); a.IsValid() {
		attrs = append(attrs, slog.String("peer", a.String()))
	}
	ls.out.log(level, text, append(attrs, more...)...)
}
