package supervisor

import (
	"slices"
	"time"

	"xl2tpd-keepalive/internal/xl2tpd"
)

// inClearTime is how long a tunnel must have lived while charon listed no SA for it, to count as one in the clear. The kernel
// may still have an SA of an earlier charon, until its lifetime is over.
const inClearTime = 24 * time.Hour

// noteConnection notes strongSwan's connection for a LAC's LNS, so that the LAC is not dialled in the clear while charon has
// not loaded that connection. An SA that is not listed is no reason to forget it: a restarted charon knows nothing of an SA
// that the kernel still has. well says that the LAC has a link of its own, and that the link is alive.
func (ls *lacTable) noteConnection(l *lac, s *xl2tpd.Section, c *candidates, well bool, now time.Time) {
	sa, host := ls.topology.lnsSA(c, s), lnsHost(s)
	ofLast := l.ikeTo != "" && l.ikeTo != host && !slices.Contains(s.LNSIPs, sa.Peer) // xl2tpd.conf has another LNS since
	if sa.L2TP && !ofLast {
		l.ike, l.ikeTo, l.inClearSince = sa.Name, host, time.Time{}
		return
	}
	if !l.inClearSince.IsZero() && now.Sub(l.inClearSince) >= inClearTime {
		l.ike, l.ikeTo = "", ""
	}
	switch {
	case !well || ls.health.failing[WatcherVICI] != nil:
		l.inClearSince = time.Time{}
	case l.inClearSince.IsZero():
		l.inClearSince = now
	}
}
