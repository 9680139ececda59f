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
	"xl2tpd-keepalive/internal/ppp"
	"xl2tpd-keepalive/internal/procfs"
	"xl2tpd-keepalive/internal/wake"
	"xl2tpd-keepalive/internal/xl2tpd"
	"xl2tpd-keepalive/probe"
	"xl2tpd-keepalive/vici"
)

// patience is how long the brain waits at the start for the configuration,
// which may say that a link is to be left alone.
const patience = 500 * time.Millisecond

// Brain knows the tunnels and decides. It is not safe for concurrent use.
type Brain struct {
	jitter func() float64

	tunnels map[Key]*tunnel
	due     wake.Queue[*tunnel] // the watched ones that wait for nothing, and those that wait for their sessions
	atlas   atlas
	book    *book // of tunnels by their places; nil: one of those has changed
	config  *config.Config

	eyes    map[string]bool  // which have reported at all
	failing map[string]error // tasks by name
	faults  map[string]string
	unknown []string // what is wrong with the configuration's sections
	closes  closes

	lacs    map[string]*lac  // by name in lower case
	climbs  wake.Queue[*lac] // when recovery has to look at them again, though nothing happens
	touched []*lac           // it has to look at them in the step under way,
	changed bool             // or at all of them
	waiting map[*lac]bool    // for their turn to take a step
	turns   int              // that are taken

	guardAt  time.Time // since when the Hello guard sees what xl2tpd sends; zero: it does not
	secured  bool      // a tunnel has had an SA
	listedAt time.Time // when charon has listed its SAs last

	daemons map[string]procfs.ID // of the instances, by id
	learnt  bool                 // something that the next brain is to be told
	linked  bool                 // has seen the links
	began   time.Time
	open    bool // links may be acted on
	ready   bool

	count   [states]int // tunnels in each state
	actions []Action    // of the step under way
}

// New returns a brain that knows nothing but a configuration, which holds until
// another comes. jitter returns numbers in [0, 1).
func New(c *config.Config, jitter func() float64) *Brain {
	return &Brain{
		config:  c,
		jitter:  jitter,
		tunnels: make(map[Key]*tunnel),
		eyes:    make(map[string]bool),
		failing: make(map[string]error),
		waiting: make(map[*lac]bool),
		faults:  make(map[string]string),
		daemons: make(map[string]procfs.ID),
		closes:  closes{died: make(map[string]time.Time)},
	}
}

// Step takes in one event and returns what is to be done now. The slice is the
// caller's.
func (b *Brain) Step(ev Event, now time.Time) []Action {
	b.actions, b.changed = nil, false
	if b.began.IsZero() {
		b.began = now
	}
	switch ev := ev.(type) {
	case ppp.Snapshot:
		b.seen(EyePPP)
		b.links(ev.Links, now)
		b.linked = true
		b.takeLost(ev.Lost)
		b.fault("D-Bus", !ev.Sources.DBus, "D-Bus does not answer: links are seen by rtnetlink alone")
		b.fault("rtnetlink", !ev.Sources.Rtnetlink, "rtnetlink does not work: links are seen by D-Bus alone")
	case xl2tpd.Snapshot:
		b.takeDaemons(ev, now)
		b.seen(EyeXl2tpd)
		b.atlas.chart(ev)
		b.checkSections()
		b.replace(now)
		b.changed = true
	case vici.Snapshot:
		b.seen(EyeVICI)
		b.listedAt = now
		if b.atlas.secure(ev, now) {
			b.replace(now)
		}
		b.changed = true
	case *config.Config:
		b.seen(EyeConfig)
		b.config = ev
		b.checkSections()
		b.replace(now)
		b.changed = true
	case Counter:
		b.counter(ev, now)
	case probe.Result:
		b.result(ev, now)
	case TaskWorks:
		b.seen(ev.Task)
	case TaskFailed:
		b.taskFailed(ev)
	case Ending:
		if ev.Tunnel.Owner == (procfs.ID{}) && len(b.atlas.byPid) > 1 {
			ev.Tunnel.Owner = nobody
		}
		for _, c := range b.closes.hear(ev, now) {
			b.ascribe(c)
			b.touch(c.place)
		}
		if ev.Operator {
			b.hungUp(ev.Tunnel)
		}
	case Dials:
		b.dials(ev.Daemon, ev.Peer, now)
	case Recovered:
		b.recovered(ev, now)
	case Fault:
		b.fault(ev.What, ev.Text != "", ev.Text)
	case Tick:
	default:
		panic(fmt.Sprintf("supervisor: no such event: %T", ev))
	}
	b.watchGuard(now)
	b.start(now)
	b.recover(now)
	for _, t := range b.due.Take(now) {
		b.look(t, now)
	}
	return b.actions
}

// NextWake is when the next Step is needed at the latest; ok is false when
// nothing is due until something happens.
func (b *Brain) NextWake() (at time.Time, ok bool) {
	if !b.open && !b.began.IsZero() {
		return b.began.Add(patience), true
	}
	at = earlier(b.due.Next(), b.climbs.Next())
	return at, !at.IsZero()
}

// earlier is the earlier of two times; zero: there is none.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

func (b *Brain) do(a Action) { b.actions = append(b.actions, a) }

func (b *Brain) note(level slog.Level, text string, attrs ...slog.Attr) {
	b.do(Note{Level: level, Text: text, Attrs: attrs})
}

// start opens the gate once the configuration is known, or patience has ended,
// and says Ready once every eye has had a look.
func (b *Brain) start(now time.Time) {
	if !b.open && (b.eyes[EyeXl2tpd] && b.eyes[EyeConfig] || !now.Before(b.began.Add(patience))) {
		b.open = true
		for _, t := range b.inOrder() {
			b.settle(t, now)
		}
	}
	if !b.ready && b.eyes[EyePPP] && b.eyes[EyeXl2tpd] && b.eyes[EyeVICI] && b.eyes[EyeConfig] {
		b.ready, b.changed = true, true
		b.do(Ready{})
	}
}

// seen notes that an eye has delivered.
func (b *Brain) seen(eye string) {
	b.eyes[eye] = true
	if _, ok := b.failing[eye]; ok {
		delete(b.failing, eye)
		b.note(slog.LevelInfo, eye+" works again")
	}
}

func (b *Brain) taskFailed(ev TaskFailed) {
	b.eyes[ev.Task] = true
	if _, ok := b.failing[ev.Task]; !ok {
		b.note(slog.LevelWarn, ev.Task+" does not work, trying again", slog.String("reason", ev.Err.Error()))
	}
	b.failing[ev.Task] = ev.Err
}

// fault keeps what an eye that works complains of; it logs that itself.
func (b *Brain) fault(what string, bad bool, text string) {
	if bad {
		b.faults[what] = text
	} else {
		delete(b.faults, what)
	}
}

// links takes in the links there are now.
func (b *Brain) links(links []ppp.Link, now time.Time) {
	here := make(map[Key]bool, len(links))
	for _, l := range links {
		k := key(l.Name, l.Index)
		here[k] = true
		t, known := b.tunnels[k]
		if !known {
			t = &tunnel{key: k, since: now, found: l.Up && !b.linked}
			b.tunnels[k] = t
			b.count[Down]++
		}
		if known && !t.gone && t.link == l {
			continue
		}
		p := b.find(l)
		if known && !t.gone && t.link.Pid == l.Pid {
			p = p.since(t.place)
		}
		t.gone, t.link, t.place = false, l, p
		b.book = nil
		b.touch(p) // it may be a call
		b.settle(t, now)
	}
	for _, t := range b.inOrder() {
		if !here[t.key] && !t.gone {
			t.gone = true
			b.book = nil
			b.touch(t.place)
			b.settle(t, now)
			b.forget(t)
		}
	}
}

// find tells where a link belongs. Of several addresses of its LNS it is the one that
// xl2tpd has dialled.
func (b *Brain) find(l ppp.Link) place {
	p := b.atlas.find(l)
	if n, ok := p.lac(); ok && !p.outer.IsValid() {
		p.outer = b.lac(n).called
		p.sa = b.atlas.sas[p.outer]
	}
	return p
}

// replace finds the place and the settings of every tunnel anew.
func (b *Brain) replace(now time.Time) {
	for _, t := range b.inOrder() {
		if t.gone {
			continue
		}
		p := b.find(t.link).since(t.place)
		fresh := p.sa.Established && p.sa.Child && p.sa != t.place.sa
		if !p.equal(t.place) {
			t.place = p
			b.book = nil
		}
		b.settle(t, now)
		if fresh && t.state == Silent { // a new SA may have mended it
			b.cancel(t)
			b.hurry(t, now)
			b.renewed(t, now)
		}
	}
}

// inOrder are the tunnels in the order of their links, so that the same events always have the same outcome.
func (b *Brain) inOrder() []*tunnel {
	return slices.SortedFunc(maps.Values(b.tunnels), func(x, y *tunnel) int {
		return cmp.Or(cmp.Compare(x.key.Index, y.key.Index), strings.Compare(x.key.Name, y.key.Name))
	})
}

// forget drops a tunnel that is gone, once nothing is in flight for it.
func (b *Brain) forget(t *tunnel) {
	if t.gone && t.inFlight == none {
		b.unqueue(t)
		delete(b.tunnels, t.key)
		b.count[t.state]--
	}
}
