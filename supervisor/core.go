package supervisor

import (
	"cmp"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"xl2tpd-keepalive/internal/config"
	"xl2tpd-keepalive/internal/message"
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
	jitter func() float64

	tunnels  map[Key]*tunnel
	due      wake.Queue[*tunnel] // watched tunnels with nothing in flight, and tunnels that wait for their sessions
	topology topology
	index    *tunnelIndex // of the tunnels by their identities; nil: an identity has changed
	config   *config.Config

	reported map[string]bool         // watchers, and other tasks, that have reported, by name
	failing  map[string]error        // tasks by name
	faults   map[string]message.Text // their texts, by what is faulty
	unsent   map[Key]message.Text    // why echo requests can't be sent, by link
	unknown  []message.Text          // what is wrong with the sections of keepalive.conf
	ends     ends

	lacs       map[string]*lac  // by name in lower case
	evaluateAt wake.Queue[*lac] // when to evaluate them again, even if nothing happens
	marked     []*lac           // to be evaluated in the step under way
	changed    bool             // all LACs are to be evaluated in the step under way
	waiting    map[*lac]bool    // for a slot
	slotsTaken int              // of maxSlots

	guardAt  time.Time // since when the Hello guard sees what xl2tpd sends; zero: it does not
	secured  bool      // a tunnel has had an SA
	listedAt time.Time // when charon last listed its SAs

	processes map[string]procfs.ID // of the instances, by id
	dirty     bool                 // the saved state has changed
	linked    bool                 // the watcher of links has reported
	began     time.Time
	started   bool // links may be acted on
	ready     bool

	count   [states]int // tunnels in each state
	actions []Action    // of the step under way
}

// New returns a core that knows only a configuration. The configuration holds until another one comes. jitter returns
// numbers in [0, 1).
func New(c *config.Config, jitter func() float64) *Core {
	return &Core{
		config:    c,
		jitter:    jitter,
		tunnels:   make(map[Key]*tunnel),
		reported:  make(map[string]bool),
		failing:   make(map[string]error),
		waiting:   make(map[*lac]bool),
		faults:    make(map[string]message.Text),
		unsent:    make(map[Key]message.Text),
		processes: make(map[string]procfs.ID),
		ends:      ends{died: make(map[string]time.Time)},
	}
}

// Step takes one event and returns the actions to take now. The slice is the caller's.
func (core *Core) Step(ev Event, now time.Time) []Action {
	core.actions, core.changed = nil, false
	if core.began.IsZero() {
		core.began = now
	}
	switch ev := ev.(type) {
	case ppp.Snapshot:
		core.watcherReported(WatcherPPP)
		core.takeLinks(ev.Links, now)
		core.linked = true
		core.takeLost(ev.Lost)
		core.fault("D-Bus", !ev.Sources.DBus, "D-Bus does not answer: links are seen by rtnetlink alone")
		core.fault("rtnetlink", !ev.Sources.Rtnetlink, "rtnetlink does not work: links are seen by D-Bus alone")
	case xl2tpd.Snapshot:
		core.takeDaemons(ev, now)
		core.watcherReported(WatcherXl2tpd)
		core.topology.updateInstances(ev)
		core.checkSections()
		core.reidentify(now)
		core.changed = true
	case vici.Snapshot:
		core.watcherReported(WatcherVICI)
		core.listedAt = now
		if core.topology.updateSAs(ev, now) {
			core.reidentify(now)
		}
		core.changed = true
	case *config.Config:
		core.watcherReported(WatcherConfig)
		core.config = ev
		core.checkSections()
		core.reidentify(now)
		core.changed = true
	case Counter:
		core.takeCounter(ev, now)
	case probe.Result:
		core.takeResult(ev, now)
	case TaskWorks:
		core.watcherReported(ev.Task)
	case TaskFailed:
		core.taskFailed(ev)
	case Ending:
		if ev.Tunnel.Owner == (procfs.ID{}) && len(core.topology.byPid) > 1 {
			ev.Tunnel.Owner = unknownOwner
		}
		for _, c := range core.ends.record(ev, now) {
			core.attributeEnd(c)
			core.markLACs(c.identity)
		}
		if ev.Operator {
			core.operatorHungUp(ev.Tunnel)
		}
	case Dials:
		core.takeDial(ev.Daemon, ev.Peer, now)
	case Recovered:
		core.takeOutcome(ev, now)
	case Fault:
		core.fault(ev.What, ev.Text != "", ev.Text)
	case Tick:
	default:
		panic(fmt.Sprintf("supervisor: no such event: %T", ev))
	}
	core.watchGuard(now)
	core.start(now)
	core.evaluateLACs(now)
	for _, t := range core.due.Take(now) {
		core.check(t, now)
	}
	return core.actions
}

// NextWake returns when the next Step is needed at the latest. ok is false if nothing is due before the next event.
func (core *Core) NextWake() (at time.Time, ok bool) {
	if !core.started && !core.began.IsZero() {
		return core.began.Add(startupTimeout), true
	}
	at = earlier(core.due.Next(), core.evaluateAt.Next())
	return at, !at.IsZero()
}

// earlier returns the earlier of two times. A zero time means that there is none.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

func (core *Core) emit(a Action) { core.actions = append(core.actions, a) }

func (core *Core) log(level slog.Level, text string, attrs ...slog.Attr) {
	core.emit(Note{Level: level, Text: text, Attrs: attrs})
}

// start lets the core act on links once the configuration is known, or startupTimeout has passed. It emits Ready once
// every watcher has reported.
func (core *Core) start(now time.Time) {
	if !core.started && (core.reported[WatcherXl2tpd] && core.reported[WatcherConfig] || !now.Before(core.began.Add(startupTimeout))) {
		core.started = true
		for _, t := range core.inOrder() {
			core.refresh(t, now)
		}
	}
	if !core.ready && core.reported[WatcherPPP] && core.reported[WatcherXl2tpd] && core.reported[WatcherVICI] && core.reported[WatcherConfig] {
		core.ready, core.changed = true, true
		core.emit(Ready{})
	}
}

// watcherReported notes that a watcher has reported.
func (core *Core) watcherReported(watcher string) {
	core.reported[watcher] = true
	if _, ok := core.failing[watcher]; ok {
		delete(core.failing, watcher)
		core.log(slog.LevelInfo, watcher+" works again")
	}
}

func (core *Core) taskFailed(ev TaskFailed) {
	core.reported[ev.Task] = true
	if _, ok := core.failing[ev.Task]; !ok {
		core.log(slog.LevelWarn, ev.Task+" does not work, trying again", slog.String("reason", ev.Err.Error()))
	}
	core.failing[ev.Task] = ev.Err
}

// fault records a fault that a working watcher reports, or removes it if bad is false. The watcher logs the fault
// itself.
func (core *Core) fault(what string, bad bool, text message.Text) {
	if bad {
		core.faults[what] = text
	} else {
		delete(core.faults, what)
	}
}

// takeLinks takes the links that exist now.
func (core *Core) takeLinks(links []ppp.Link, now time.Time) {
	here := make(map[Key]bool, len(links))
	for _, l := range links {
		k := key(l.Name, l.Index)
		here[k] = true
		t, known := core.tunnels[k]
		if !known {
			t = &tunnel{key: k, since: now, found: l.Up && !core.linked}
			core.tunnels[k] = t
			core.count[Down]++
		}
		if known && !t.gone && t.link == l {
			continue
		}
		p := core.identify(l)
		if known && !t.gone && t.link.Pid == l.Pid {
			p = p.keepKnown(t.identity)
		}
		t.gone, t.link, t.identity = false, l, p
		core.index = nil
		core.markLACs(p) // the link may be a call without addresses
		core.refresh(t, now)
	}
	for _, t := range core.inOrder() {
		if here[t.key] || t.gone {
			continue
		}
		t.gone = true
		core.index = nil
		core.markLACs(t.identity)
		core.refresh(t, now)
		core.forget(t)
	}
}

// identify returns the identity of a link. If its LNS has several addresses, the outer address is the one that xl2tpd
// has dialled.
func (core *Core) identify(l ppp.Link) identity {
	p := core.topology.identify(l)
	if n, ok := p.lac(); ok && !p.outer.IsValid() {
		p.outer = core.lac(n).dialledLNS
		p.sa = core.topology.sas[p.outer]
	}
	return p
}

// reidentify finds the identity and the settings of every tunnel again.
func (core *Core) reidentify(now time.Time) {
	for _, t := range core.inOrder() {
		if t.gone {
			continue
		}
		p := core.identify(t.link).keepKnown(t.identity)
		fresh := p.sa.works() && (!t.identity.sa.works() || p.sa.UniqueID != t.identity.sa.UniqueID)
		if !p.equal(t.identity) {
			t.identity = p
			core.index = nil
		}
		core.refresh(t, now)
		if fresh && t.state == Silent { // a new SA may have repaired the tunnel
			core.cancel(t)
			core.hurry(t, now)
			core.saRenewed(t, now)
		}
	}
}

// inOrder returns the tunnels in the order of their links. So the same events always have the same outcome.
func (core *Core) inOrder() []*tunnel {
	return slices.SortedFunc(maps.Values(core.tunnels), func(x, y *tunnel) int {
		return cmp.Or(cmp.Compare(x.key.Index, y.key.Index), strings.Compare(x.key.Name, y.key.Name))
	})
}

// forget drops a tunnel whose link is gone, unless something is still in flight for it.
func (core *Core) forget(t *tunnel) {
	if t.gone && t.inFlight == none {
		core.unqueue(t)
		delete(core.tunnels, t.key)
		core.forgetUnsent(t.key)
		core.count[t.state]--
	}
}
