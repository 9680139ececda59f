package supervisor

import (
	"net/netip"
	"slices"
	"time"
)

// tunnelView is what the LACs see of the tunnels. They change nothing there.
type tunnelView interface {
	tunnelIndex() *tunnelIndex
	everHadSA() bool      // a tunnel has had an SA
	endOf(t *tunnel) *end // how a link has ended, whose pppd may still be there; nil: not known
}

// lacTable owns the LACs: which of them are wanted, how their latest tunnels ended, and their recovery.
type lacTable struct {
	byKey   map[string]*lac // by name.key
	agenda  agenda
	changed bool // all LACs are to be evaluated in the step under way
	ready   bool // every watcher has reported; until then, what was restored holds
	dirty   bool // the saved state has changed

	jitter   jitter
	topology *topology
	daemons  *daemons
	health   *health
	tunnels  tunnelView
	out      *outbox
}

func newLACTable(jitter jitter, topology *topology, daemons *daemons, health *health, tunnels tunnelView, out *outbox) *lacTable {
	return &lacTable{
		byKey: make(map[string]*lac), agenda: agenda{waiting: make(map[*lac]bool)},
		jitter: jitter, topology: topology, daemons: daemons, health: health, tunnels: tunnels, out: out,
	}
}

// dialledLNS is a dialledFunc.
func (ls *lacTable) dialledLNS(n name) netip.Addr { return ls.ensureLAC(n).dialledLNS }

// takeNews takes what has happened to tunnels.
func (ls *lacTable) takeNews(all []news, now time.Time) {
	for _, one := range all {
		switch {
		case one.end != nil:
			ls.recordEnd(one, now)
		case one.renewed:
			ls.saRenewed(one.names, now)
		case one.came:
			ls.tunnelCame(one)
		default:
			ls.markLACs(one.names)
		}
	}
}

// tunnelCame notes that a tunnel has come up. If the same SA may carry it, the peer of a silent link is asked again before
// that SA is ended: the peer may live by now.
func (ls *lacTable) tunnelCame(one news) {
	ls.markLACs(one.names)
	for _, l := range ls.byKey {
		s := ls.topology.section(l)
		if s != nil && (!one.outer.IsValid() || slices.Contains(s.LNSIPs, one.outer)) && (l.progress.peer == peerSilent || l.progress.busy == StepAsk) {
			l.progress.outdateAnswer()
			ls.agenda.mark(l)
		}
	}
}

// takeEnding takes the reason why a control tunnel is being closed, and the ends of links that it explains.
func (ls *lacTable) takeEnding(e Ending, explained []*end, now time.Time) {
	if e.CallOnly && !e.Operator && len(explained) == 0 {
		ls.callWithoutLinkClosed(e, now)
	}
	for _, c := range explained {
		ls.attributeEnd(c, now)
		ls.markLACs(c.identity.names)
	}
	if e.Operator {
		ls.operatorHungUp(e.OwnedConnection)
	}
}

// start lets recovery begin.
func (ls *lacTable) start() {
	ls.ready = true
	ls.markAll()
}

// markAll makes sure that all LACs are evaluated in the step under way.
func (ls *lacTable) markAll() { ls.changed = true }
