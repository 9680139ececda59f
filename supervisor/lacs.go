package supervisor

import (
	"slices"
	"time"
)

// lacTable owns the LACs: which of them are wanted, how their latest tunnels ended, and their recovery.
type lacTable struct {
	*lacSet
	dials      dials
	hangUps    hangUps
	situations situations

	jitter  jitter
	changed bool // all LACs are to be evaluated in the step under way
	ready   bool // every watcher has reported; until then, what was restored holds
	dirty   bool // the saved state has changed
}

func newLACTable(jitter jitter, topology *topology, daemons *daemons, health *health, tunnels tunnelView, out *outbox) *lacTable {
	all := &lacSet{
		byKey: make(map[string]*lac), agenda: agenda{waiting: make(map[*lac]bool)},
		topology: topology, daemons: daemons, health: health, tunnels: tunnels, out: out,
	}
	return &lacTable{lacSet: all, situations: situations{all}, hangUps: hangUps{all}, dials: dials{all}, jitter: jitter}
}

// takeNews takes what has happened to tunnels.
func (ls *lacTable) takeNews(all []news, now time.Time) {
	for _, one := range all {
		switch {
		case one.end != nil:
			ls.hangUps.recordEnd(one, now)
		case one.renewed:
			ls.saRenewed(one.names, now)
		case one.came:
			ls.tunnelCame(one)
		default:
			ls.markLACs(one.names)
		}
	}
}

// tunnelCame notes that a tunnel has come up. The peers of silent links that the same SA may carry are asked again before
// recovery ends that SA: they may live by now.
func (ls *lacTable) tunnelCame(one news) {
	ls.markLACs(one.names)
	for _, l := range ls.byKey {
		s := ls.topology.section(l)
		if s != nil && (!one.outer.IsValid() || slices.Contains(s.LNSIPs, one.outer)) && l.progress.PeerMayBeSilent() {
			l.progress.OutdateAnswer()
			ls.agenda.mark(l)
		}
	}
}

// takeEnding takes the reason why a control tunnel is being closed, and the ends of links that it explains.
func (ls *lacTable) takeEnding(e Ending, explained []*end, now time.Time) {
	ls.dials.takeEnding(e, now)
	if e.CallOnly && !e.Operator && len(explained) == 0 {
		ls.hangUps.callWithoutLinkClosed(e, now)
	}
	for _, c := range explained {
		ls.hangUps.attributeEnd(c, now)
		ls.markLACs(c.identity.names)
	}
	if e.Operator {
		ls.hangUps.operatorHungUp(e.OwnedConnection)
	}
}

// start lets recovery begin.
func (ls *lacTable) start() {
	ls.ready = true
	ls.markAll()
}

// markAll makes sure that all LACs are evaluated in the step under way.
func (ls *lacTable) markAll() { ls.changed = true }
