package supervisor

import (
	"fmt"
	"time"

	"xl2tpd-keepalive/internal/config"
	"xl2tpd-keepalive/internal/ppp"
	"xl2tpd-keepalive/internal/procfs"
	"xl2tpd-keepalive/internal/xl2tpd"
	"xl2tpd-keepalive/probe"
	"xl2tpd-keepalive/vici"
)

// startupTimeout is how long the core waits at the start for the configuration. The configuration may say that a link
// is to be left alone.
const startupTimeout = 500 * time.Millisecond

// Core decides what to do about each tunnel. It is not safe for concurrent use.
type Core struct {
	topology *topology
	daemons  *daemons
	health   *health
	tunnels  *tunnelTable

	lacs *lacTable
	out  *outbox
}

// New returns a core that knows only a configuration. The configuration holds until another one comes. jitter returns
// numbers in [0, 1).
func New(c *config.Config, jitter func() float64) *Core {
	out := new(outbox)
	topology, health := &topology{config: c}, newHealth(out)
	daemons := &daemons{processes: make(map[string]procfs.ID), health: health, out: out}
	tunnels := newTunnelTable(jitter, topology, health, out)
	lacs := &lacTable{
		byKey: make(map[string]*lac), agenda: agenda{waiting: make(map[*lac]bool)},
		jitter: jitter, topology: topology, daemons: daemons, health: health, tunnels: tunnels, out: out,
	}
	return &Core{topology, daemons, health, tunnels, lacs, out}
}

// Step takes one event and returns the actions to take now. The slice is the caller's.
func (core *Core) Step(ev Event, now time.Time) []Action {
	if core.tunnels.began.IsZero() {
		core.tunnels.began = now
	}
	switch ev := ev.(type) {
	case ppp.Snapshot:
		core.health.watcherReported(WatcherPPP)
		core.tunnels.takeLinks(ev.Links, core.lacs.dialledLNS, now)
		core.health.takeLost(ev.Lost)
		core.health.fault("D-Bus", !ev.Sources.DBus, "D-Bus does not answer: links are seen by rtnetlink alone")
		core.health.fault("rtnetlink", !ev.Sources.Rtnetlink, "rtnetlink does not work: links are seen by D-Bus alone")
	case xl2tpd.Snapshot:
		first := !core.health.haveReported(WatcherXl2tpd)
		changes := core.daemons.take(ev, first, core.topology)
		core.tunnels.ends.xl2tpdEnded(changes, now)
		core.lacs.takeProcesses(changes, first, now)
		core.health.watcherReported(WatcherXl2tpd)
		core.topology.updateInstances(ev)
		core.checkSections()
		core.tunnels.reidentify(core.lacs.dialledLNS, now)
		core.lacs.changed = true
	case vici.Snapshot:
		core.health.watcherReported(WatcherVICI)
		if core.topology.updateSAs(ev, now) {
			core.tunnels.reidentify(core.lacs.dialledLNS, now)
		}
		core.lacs.changed = true
	case *config.Config:
		core.health.watcherReported(WatcherConfig)
		core.topology.config = ev
		core.checkSections()
		core.tunnels.reidentify(core.lacs.dialledLNS, now)
		core.lacs.changed = true
	case Counter:
		core.tunnels.takeCounter(ev, now)
	case probe.Result:
		core.tunnels.takeResult(ev, now)
	case TaskWorks:
		core.health.watcherReported(ev.Task)
	case TaskFailed:
		core.health.taskFailed(ev)
	case Ending:
		if ev.Tunnel.Owner == (procfs.ID{}) && len(core.topology.byPid) > 1 {
			ev.Tunnel.Owner = unknownOwner
		}
		core.lacs.takeEnding(ev, core.tunnels.ends.record(ev, now))
	case Dials:
		core.lacs.takeDial(ev.Daemon, ev.Peer, now)
	case Recovered:
		core.lacs.takeOutcome(ev, now)
	case Fault:
		core.health.fault(ev.What, ev.Text != "", ev.Text)
	case Tick:
	default:
		panic(fmt.Sprintf("supervisor: no such event: %T", ev))
	}
	if core.health.watchGuard(core.topology.config, now) {
		core.lacs.changed = true
	}
	core.start(now)
	core.lacs.takeNews(core.tunnels.takeNews(), now)
	core.lacs.evaluateLACs(now)
	core.tunnels.checkDue(now)
	core.lacs.takeNews(core.tunnels.takeNews(), now)
	return core.out.take()
}

// NextWake returns when the next Step is needed at the latest. ok is false if nothing is due before the next event.
func (core *Core) NextWake() (at time.Time, ok bool) {
	at = earlier(core.tunnels.nextWake(), core.lacs.agenda.evaluateAt.Next())
	return at, !at.IsZero()
}

// earlier returns the earlier of two times. A zero time means that there is none.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// start lets the core act on links once the configuration is known, or startupTimeout has passed. It emits Ready once
// every watcher has reported.
func (core *Core) start(now time.Time) {
	core.tunnels.start(core.health.haveReported(WatcherXl2tpd, WatcherConfig), now)
	if !core.lacs.ready && core.health.haveReported(WatcherPPP, WatcherXl2tpd, WatcherVICI, WatcherConfig) {
		core.lacs.start()
		core.out.emit(Ready{})
	}
}

// checkSections checks the sections of keepalive.conf once both files are known.
func (core *Core) checkSections() {
	if core.health.haveReported(WatcherXl2tpd, WatcherConfig) {
		core.health.takeUnknown(core.topology.unknownSections())
	}
}
