package supervisor

import (
	"fmt"
	"time"

	"xl2tpd-keepalive/internal/config"
	"xl2tpd-keepalive/internal/ppp"
	"xl2tpd-keepalive/internal/procfs"
	"xl2tpd-keepalive/internal/wake"
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

	lacs       map[string]*lac  // by name in lower case
	evaluateAt wake.Queue[*lac] // when to evaluate them again, even if nothing happens
	marked     []*lac           // to be evaluated in the step under way
	changed    bool             // all LACs are to be evaluated in the step under way
	waiting    map[*lac]bool    // for a slot
	slotsTaken int              // of maxSlots

	dirty  bool // the saved state has changed
	ready  bool
	jitter jitter

	out *outbox
}

// New returns a core that knows only a configuration. The configuration holds until another one comes. jitter returns
// numbers in [0, 1).
func New(c *config.Config, jitter func() float64) *Core {
	out := new(outbox)
	health := newHealth(out)
	topology := &topology{config: c}
	return &Core{
		topology: topology,
		tunnels:  newTunnelTable(jitter, topology, health, out),
		jitter:   jitter,
		health:   health,
		daemons:  &daemons{processes: make(map[string]procfs.ID), health: health, out: out},
		out:      out,
		waiting:  make(map[*lac]bool),
	}
}

// Step takes one event and returns the actions to take now. The slice is the caller's.
func (core *Core) Step(ev Event, now time.Time) []Action {
	core.changed = false
	if core.tunnels.began.IsZero() {
		core.tunnels.began = now
	}
	switch ev := ev.(type) {
	case ppp.Snapshot:
		core.health.watcherReported(WatcherPPP)
		core.tunnels.takeLinks(ev.Links, core.dialledLNS, now)
		core.health.takeLost(ev.Lost)
		core.health.fault("D-Bus", !ev.Sources.DBus, "D-Bus does not answer: links are seen by rtnetlink alone")
		core.health.fault("rtnetlink", !ev.Sources.Rtnetlink, "rtnetlink does not work: links are seen by D-Bus alone")
	case xl2tpd.Snapshot:
		first := !core.health.haveReported(WatcherXl2tpd)
		changes := core.daemons.take(ev, first, core.topology)
		core.tunnels.ends.xl2tpdEnded(changes, now)
		core.takeProcesses(changes, first, now)
		core.health.watcherReported(WatcherXl2tpd)
		core.topology.updateInstances(ev)
		core.checkSections()
		core.tunnels.reidentify(core.dialledLNS, now)
		core.changed = true
	case vici.Snapshot:
		core.health.watcherReported(WatcherVICI)
		if core.topology.updateSAs(ev, now) {
			core.tunnels.reidentify(core.dialledLNS, now)
		}
		core.changed = true
	case *config.Config:
		core.health.watcherReported(WatcherConfig)
		core.topology.config = ev
		core.checkSections()
		core.tunnels.reidentify(core.dialledLNS, now)
		core.changed = true
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
		for _, c := range core.tunnels.ends.record(ev, now) {
			core.attributeEnd(c)
			core.markLACs(c.identity.names)
		}
		if ev.Operator {
			core.operatorHungUp(ev.Tunnel)
		}
	case Dials:
		core.takeDial(ev.Daemon, ev.Peer, now)
	case Recovered:
		core.takeOutcome(ev, now)
	case Fault:
		core.health.fault(ev.What, ev.Text != "", ev.Text)
	case Tick:
	default:
		panic(fmt.Sprintf("supervisor: no such event: %T", ev))
	}
	core.changed = core.health.watchGuard(core.topology.config, now) || core.changed
	core.start(now)
	core.takeNews(core.tunnels.takeNews(), now)
	core.evaluateLACs(now)
	core.tunnels.checkDue(now)
	core.takeNews(core.tunnels.takeNews(), now)
	return core.out.take()
}

// NextWake returns when the next Step is needed at the latest. ok is false if nothing is due before the next event.
func (core *Core) NextWake() (at time.Time, ok bool) {
	at = earlier(core.tunnels.nextWake(), core.evaluateAt.Next())
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
	if !core.ready && core.health.haveReported(WatcherPPP, WatcherXl2tpd, WatcherVICI, WatcherConfig) {
		core.ready, core.changed = true, true
		core.out.emit(Ready{})
	}
}

// checkSections checks the sections of keepalive.conf once both files are known.
func (core *Core) checkSections() {
	if core.health.haveReported(WatcherXl2tpd, WatcherConfig) {
		core.health.takeUnknown(core.topology.unknownSections())
	}
}
