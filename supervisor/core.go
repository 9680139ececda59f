package supervisor

import (
	"fmt"
	"time"

	"xl2tpd-keepalive/internal/config"
	"xl2tpd-keepalive/internal/ppp"
	"xl2tpd-keepalive/internal/procfs"
	"xl2tpd-keepalive/internal/status"
	"xl2tpd-keepalive/internal/wake"
	"xl2tpd-keepalive/internal/xl2tpd"
	"xl2tpd-keepalive/vici"
)

// startupTimeout is how long the core waits at the start for the configuration. The configuration may say that a link
// is to be left alone.
const startupTimeout = 500 * time.Millisecond

// Core decides what to do about each tunnel. It is not safe for concurrent use.
//
// Core passes each event on to the owners of what the event changes, and collects their actions. An owner reads from
// the owners above it, and from no other: Core passes on what the tunnels have for the LACs, and the other way round.
type Core struct {
	out      *outbox
	health   *health
	topology *topology
	daemons  *daemons
	tunnels  *tunnelTable
	lacs     *lacTable
}

// New returns a core that knows only a configuration. The configuration holds until another one comes. jitter returns
// numbers in [0, 1).
func New(c *config.Config, jitter func() float64) *Core {
	out := new(outbox)
	health, topology := newHealth(out), &topology{config: c}
	daemons := &daemons{processes: make(map[string]procfs.ID), health: health, out: out}
	tunnels := newTunnelTable(jitter, topology, health, out)
	lacs := newLACTable(jitter, topology, daemons, health, tunnels, out)
	return &Core{out, health, topology, daemons, tunnels, lacs}
}

// Step takes one event and returns the actions to take now. The slice is the caller's.
func (core *Core) Step(ev Event, now time.Time) []Action {
	core.tunnels.begin(now)
	core.dispatch(ev, now)
	if core.health.watchGuard(core.topology.config, now) {
		core.lacs.markAll()
	}
	core.start(now)
	core.tunnels.checkDue(now)
	core.lacs.takeNews(core.tunnels.takeNews(), now)
	core.lacs.evaluateLACs(now)
	return core.out.take()
}

// dispatch passes an event on to its owners.
func (core *Core) dispatch(ev Event, now time.Time) {
	switch ev := ev.(type) {
	case ppp.Snapshot:
		core.takeLinks(ev, now)
	case xl2tpd.Snapshot:
		core.takeDaemons(ev, now)
	case vici.Snapshot:
		core.takeSAs(ev, now)
	case *config.Config:
		core.takeConfig(ev, now)
	case Counters:
		for _, c := range ev {
			core.tunnels.takeCounter(c, now)
		}
	case Results:
		for _, r := range ev {
			core.tunnels.takeResult(r, now)
		}
	case TaskWorks:
		core.health.watcherReported(ev.Task)
	case TaskFailed:
		core.health.taskFailed(ev)
	case Ending:
		core.takeEnding(ev, now)
	case AttemptFailed:
		core.lacs.dials.takeEnding(core.owned(Ending(ev)), now)
	case Dials:
		core.tunnels.ends.takeDial(ev, now)
		core.lacs.dials.takeDial(ev, now)
	case Calls:
		core.tunnels.ends.takeCall(ev, now)
		core.lacs.dials.takeCall(ev, now)
	case StepDone:
		core.lacs.takeOutcome(ev, now)
	case Fault:
		core.health.fault(ev.What, ev.Text != "", ev.Problem)
	case Tick:
	default:
		panic(fmt.Sprintf("supervisor: no such event: %T", ev))
	}
}

func (core *Core) takeLinks(s ppp.Snapshot, now time.Time) {
	core.health.watcherReported(WatcherPPP)
	core.tunnels.takeLinks(s.Links, core.lacs.dialledLNS, now)
	core.health.takePPPDsWithoutLink(s.Lost)
	core.health.fault("D-Bus", !s.Sources.DBus && !s.Sources.NoSystemd, status.Problem{Text: "D-Bus does not answer: links are seen by rtnetlink alone"})
	core.health.fault("rtnetlink", !s.Sources.Rtnetlink, status.Problem{Text: "rtnetlink does not work: links are seen by D-Bus alone"})
}

// takeDaemons takes a snapshot of every xl2tpd. The topology still holds the one before when the processes are compared.
func (core *Core) takeDaemons(s xl2tpd.Snapshot, now time.Time) {
	first := !core.health.haveReported(WatcherXl2tpd)
	changes := core.daemons.take(s, first, core.topology)
	core.tunnels.ends.xl2tpdEnded(changes, now)
	core.lacs.takeProcesses(changes, first, now)
	core.health.watcherReported(WatcherXl2tpd)
	core.topology.updateInstances(s)
	core.checkSections()
	core.tunnels.reidentify(core.lacs.dialledLNS, now)
	core.lacs.markAll()
}

func (core *Core) takeSAs(s vici.Snapshot, now time.Time) {
	core.health.watcherReported(WatcherVICI)
	changed, made := core.topology.updateSAs(s, now)
	if changed {
		core.tunnels.reidentify(core.lacs.dialledLNS, now)
	}
	if made {
		core.tunnels.askOfUnknownPeers(now)
	}
	core.lacs.markAll()
}

func (core *Core) takeConfig(c *config.Config, now time.Time) {
	core.health.watcherReported(WatcherConfig)
	core.topology.config = c
	core.checkSections()
	core.tunnels.reidentify(core.lacs.dialledLNS, now)
	core.lacs.markAll()
}

func (core *Core) takeEnding(e Ending, now time.Time) {
	e = core.owned(e)
	core.lacs.takeEnding(e, core.tunnels.ends.record(e, now), now)
}

// owned returns an Ending with unknownOwner if several xl2tpds could be its owner.
func (core *Core) owned(e Ending) Ending {
	if e.Owner == (procfs.ID{}) && len(core.topology.byPid) > 1 {
		e.Owner = unknownOwner
	}
	return e
}

// NextWake returns when the next Step is needed at the latest. ok is false if nothing is due before the next event.
func (core *Core) NextWake() (at time.Time, ok bool) {
	at = wake.Earlier(core.tunnels.nextWake(), core.lacs.agenda.nextWake())
	return at, !at.IsZero()
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
