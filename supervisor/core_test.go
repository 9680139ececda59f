package supervisor

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"xl2tpd-keepalive/internal/config"
	"xl2tpd-keepalive/internal/helloguard"
	"xl2tpd-keepalive/internal/hook"
	"xl2tpd-keepalive/internal/ppp"
	"xl2tpd-keepalive/internal/procfs"
	"xl2tpd-keepalive/internal/status"
	"xl2tpd-keepalive/internal/xl2tpd"
	"xl2tpd-keepalive/probe"
	"xl2tpd-keepalive/vici"
)

var (
	epoch = time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)
	lost  = errors.New("no answer")
)

// why is why a tunnel is closed.
type why = helloguard.CloseReason

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

// fixture is a core with a clock, and with the actions that are not answered yet.
type fixture struct {
	t       *testing.T
	core    *Core
	now     time.Time
	actions []Action
	notes   []string     // in the log
	rules   []string     // of recovery, that have decided
	told    []hook.Event // what hooks were called with
	memory  SavedState   // of the cores before
	asked   error        // the result of asking the peer of a silent link
}

// newFixture returns a fixture whose core knows xl2tpd.conf and keepalive.conf.
func newFixture(t *testing.T, xl2tpdConf, keepaliveConf string) *fixture {
	n := &fixture{t: t, core: New(config.Default(""), func() float64 { return 0.5 }), now: epoch}
	n.step(n.xl2tpd(xl2tpdConf))
	n.step(n.config(keepaliveConf))
	n.actions, n.notes = nil, nil
	return n
}

func (f *fixture) xl2tpd(text string) xl2tpd.Snapshot {
	f.t.Helper()
	c, err := xl2tpd.ParseConf("xl2tpd.conf", []byte(text))
	if err != nil {
		f.t.Fatal(err)
	}
	for i, s := range c.Sections {
		for _, host := range s.LNS {
			if ip, err := netip.ParseAddr(host); err == nil {
				c.Sections[i].LNSIPs = []netip.Addr{ip}
			}
		}
	}
	return running(c, 100)
}

// running is a host with one xl2tpd.
func running(c *xl2tpd.Conf, pid int) xl2tpd.Snapshot {
	return xl2tpd.Snapshot{Instances: []xl2tpd.Instance{{Process: procfs.ID{Pid: pid}, Conf: c}}}
}

func (f *fixture) lac(called string) *lac { return f.core.lacs.ensureLAC(name{"lac", called, ""}) }

func (f *fixture) config(text string) *config.Config {
	f.t.Helper()
	c, err := config.Parse("keepalive.conf", []byte(text))
	if err != nil {
		f.t.Fatal(err)
	}
	return c
}

func (f *fixture) step(ev Event) {
	for _, a := range f.core.Step(ev, f.now) {
		switch a := a.(type) {
		case Note:
			f.noted(a)
		case CallHook:
			f.told = append(f.told, a.Event)
		default:
			f.actions = append(f.actions, a)
		}
	}
}

// restarted replaces the core by a new one. The new core gets the saved state, and sees the host as it is now.
func (f *fixture) restarted(s xl2tpd.Snapshot, sas vici.Snapshot, links ...ppp.Link) {
	if m, news := f.core.SavedState(); news {
		f.memory = m
	}
	f.core = New(f.core.topology.config, f.core.lacs.jitter)
	f.core.Restore(f.memory, f.now)
	f.actions = nil
	f.step(s)
	f.step(f.core.topology.config)
	f.step(sas)
	f.links(links...)
}

// noted keeps a line of the log; the debug log has recovery's rules.
func (f *fixture) noted(note Note) {
	if note.Level >= slog.LevelInfo {
		f.notes = append(f.notes, text(note))
	}
	for _, a := range note.Attrs {
		if a.Key == "rule" {
			f.rules = append(f.rules, a.Value.String())
		}
	}
}

func text(note Note) string {
	s := note.Text
	for _, a := range note.Attrs {
		s += " " + a.String()
	}
	return s
}

func (f *fixture) links(links ...ppp.Link) {
	f.step(ppp.Snapshot{Links: links, Sources: ppp.Sources{DBus: true, Rtnetlink: true}})
}

// after lets time pass, with a tick at its end.
func (f *fixture) after(d time.Duration) {
	f.now = f.now.Add(d)
	f.step(Tick{})
}

// want checks the actions since the last call.
func (f *fixture) want(actions ...Action) {
	f.t.Helper()
	if !slices.Equal(f.actions, actions) {
		f.t.Fatalf("at %v:\n got %v\nwant %v", f.now.Sub(epoch), show(f.actions), show(actions))
	}
	f.actions = nil
}

func show(actions []Action) string {
	var s []string
	for _, a := range actions {
		s = append(s, fmt.Sprintf("%T%+v", a, a))
	}
	return strings.Join(s, " ")
}

// wantNote checks that the notes since the last call are these, by their start.
func (f *fixture) wantNotes(starts ...string) {
	f.t.Helper()
	ok := len(f.notes) == len(starts)
	for i := 0; ok && i < len(starts); i++ {
		ok = strings.HasPrefix(f.notes[i], starts[i])
	}
	if !ok {
		f.t.Fatalf("at %v:\n got %q\nwant %q", f.now.Sub(epoch), f.notes, starts)
	}
	f.notes = nil
}

func link(name string, index int, up bool) ppp.Link {
	l := ppp.Link{Name: name, Index: index, OptFile: "/etc/ppp/options.l2tpd", TTY: "/dev/pts/0", Pid: 1000 + index, Xl2tpdPid: 100}
	if up {
		l.Up, l.Local, l.Peer = true, addr("10.0.0.2"), addr("10.0.0.1")
	}
	return l
}

func read(l ppp.Link) Action { return ReadCounter{Link: key(l.Name, l.Index)} }

func echo(l ppp.Link) Action {
	return SendEcho{probe.Request{Link: l.Name, Index: l.Index, Source: l.Local, Target: l.Peer, Timeout: 3 * time.Second}}
}

func cancel(l ppp.Link) Action { return CancelEcho{Link: key(l.Name, l.Index)} }

func (f *fixture) counter(l ppp.Link, packets uint64) {
	f.step(Counters{{Link: key(l.Name, l.Index), Packets: packets}})
}

func (f *fixture) result(l ppp.Link, err error) {
	f.step(Results{{Link: l.Name, Index: l.Index, Target: l.Peer, RTT: 12 * time.Millisecond, Err: err}})
}

func (f *fixture) tunnel(l ppp.Link) *tunnel {
	f.t.Helper()
	t := f.core.tunnels.byKey[key(l.Name, l.Index)]
	if t == nil || t.presence == gone {
		f.t.Fatalf("no tunnel on %s", l.Name)
	}
	return t
}

// wakes checks when the next step is due.
func (f *fixture) wakes(d time.Duration) {
	f.t.Helper()
	at, ok := f.core.NextWake()
	if !ok || at.Sub(f.now) != d {
		f.t.Fatalf("wakes in %v (%v), want %v", at.Sub(f.now), ok, d)
	}
}

// echoIn checks when an echo is due if nothing comes in.
func (f *fixture) echoIn(l ppp.Link, d time.Duration) {
	f.t.Helper()
	if in := f.core.tunnels.byKey[key(l.Name, l.Index)].echoAt.Sub(f.now); in != d {
		f.t.Fatalf("an echo is due in %v, want %v", in, d)
	}
}

const oneLAC = "[lac tokyo]\nlns = 192.0.2.1\npppoptfile = /etc/ppp/options.l2tpd\n"

func TestFirstEchoAtOnce(t *testing.T) {
	n := newFixture(t, oneLAC, "")
	n.links(link("ppp0", 5, false))
	n.want()
	l := link("ppp0", 5, true)
	n.links(l)
	n.want(read(l))
	n.counter(l, 70) // what has come in before is no reason to wait
	n.want(echo(l))
	n.result(l, nil)
	n.want()
	n.wantNotes("tunnel up tunnel=lac tokyo peer=192.0.2.1 link=ppp0 target=10.0.0.1",
		"tunnel alive tunnel=lac tokyo peer=192.0.2.1 link=ppp0 reason=echo reply in 12ms")
	n.wakes(10 * time.Second) // an interval after the start, as all tunnels do
}

// idlePair returns a fixture with the tunnels of two links that came up at different times and have had their first echo.
func idlePair(t *testing.T) (n *fixture, l, other ppp.Link) {
	n, l, other = newFixture(t, oneLAC, ""), link("ppp0", 5, true), link("ppp1", 6, true)
	n.links(l)
	n.counter(l, 70)
	n.result(l, nil)
	n.after(time.Second)
	n.links(l, other)
	n.counter(other, 30)
	n.result(other, nil)
	n.actions = nil
	return n, l, other
}

// While nothing but echo replies comes in, an interval takes one wake-up for all tunnels. In each the counters are read
// once.
func TestIdleTunnelsShareAWakeUp(t *testing.T) {
	n, l, other := idlePair(t)
	n.wakes(9 * time.Second)
	n.after(9 * time.Second)
	for i := range uint64(3) {
		n.want(read(l), read(other))
		n.counter(l, 71+i)
		n.counter(other, 31+i)
		n.want(echo(l), echo(other))
		n.result(l, nil)
		n.result(other, nil)
		n.wakes(10 * time.Second)
		n.after(10 * time.Second)
	}
}

// A wake-up that is a little late, and answers that take their time, make no tunnel lose its slot.
func TestLateWakeUp(t *testing.T) {
	n, l, other := idlePair(t)
	n.after(9*time.Second + 40*time.Millisecond)
	n.now = n.now.Add(5 * time.Millisecond)
	n.counter(l, 71)
	n.counter(other, 31)
	n.now = n.now.Add(300 * time.Millisecond)
	n.result(l, nil)
	n.result(other, nil)
	n.wakes(10*time.Second - 345*time.Millisecond)
}

// The counter does not show when data came. So it is read more often once there was data. An echo request follows the
// last data by the interval and a third at most.
func TestLooksOftenAfterData(t *testing.T) {
	n, l, other := idlePair(t)
	n.after(9 * time.Second)
	n.want(read(l), read(other))
	n.counter(l, 72)
	n.counter(other, 32)
	n.wakes(2500 * time.Millisecond)
	n.after(2500 * time.Millisecond)
	n.want(read(l), read(other)) // together
	n.counter(l, 73)
	n.counter(other, 32)
	left := 10*time.Second*4/3 - 11500*time.Millisecond // its data may have come right after its echo reply, 11.5 s ago
	n.wakes(left)
	n.after(left)
	n.want(echo(other)) // its counter was read a moment ago
	n.result(other, nil)
	const every = 2500 * time.Millisecond
	for range 4 {
		n.after(every - n.now.Sub(epoch)%every)
		n.want(read(l), read(other))
		n.counter(l, 73)
		n.counter(other, 33)
	}
	n.want()
	n.wakes(10 * time.Second / 12) // with the interval and 2.5 s for the reading before, that is a third more
}

func TestEchoOnlyWhenIdle(t *testing.T) {
	n := newFixture(t, oneLAC, "")
	l := link("ppp0", 5, true)
	n.links(l)
	n.counter(l, 70)
	n.result(l, nil)
	n.want(read(l), echo(l))

	n.after(10500 * time.Millisecond)
	n.want(read(l))
	n.counter(l, 72) // the reply and one more
	n.want()
	if e := n.tunnel(l).evidence; e.Data != n.now || e.Reply != epoch {
		t.Errorf("evidence %+v", e)
	}

	n.after(10500 * time.Millisecond)
	n.want(read(l))
	n.counter(l, 72)
	n.want(echo(l))
	n.result(l, nil)

	n.after(14 * time.Second)
	n.want(read(l))
	n.counter(l, 73) // nothing but the reply
	n.want(echo(l))
}

func TestCounterFailsOrFalls(t *testing.T) {
	for name, ev := range map[string]Counter{
		"fails": {Err: lost},
		"falls": {Packets: 3},
	} {
		t.Run(name, func(t *testing.T) {
			n := newFixture(t, oneLAC, "")
			l := link("ppp0", 5, true)
			n.links(l)
			n.counter(l, 70)
			n.result(l, nil)
			n.after(10500 * time.Millisecond)
			n.want(read(l), echo(l), read(l))
			ev.Link = key("ppp0", 5)
			n.step(Counters{ev})
			n.want(echo(l))
		})
	}
}

func TestQuickRetriesThenSilentThenAlive(t *testing.T) {
	n := newFixture(t, oneLAC, "")
	l := link("ppp0", 5, true)
	n.links(l)
	n.counter(l, 70)
	n.result(l, nil)
	n.want(read(l), echo(l))
	n.wantNotes("tunnel up", "tunnel alive")
	for _, wait := range []time.Duration{10 * time.Second, time.Second, 2 * time.Second, 7 * time.Second, 10 * time.Second * 4 / 3} {
		n.echoIn(l, wait)
		n.after(wait)
		n.want(read(l))
		n.counter(l, 71)
		n.want(echo(l))
		n.result(l, lost)
	}
	n.wantNotes("tunnel silent tunnel=lac tokyo peer=192.0.2.1 link=ppp0 reason=3 echo requests unanswered: no answer")
	if got := n.core.Summary(); got != "no tunnel up, 1 silent" {
		t.Errorf("the summary is %q", got)
	}
	n.after(14 * time.Second)
	n.counter(l, 71)
	n.result(l, nil)
	n.wantNotes("tunnel alive again tunnel=lac tokyo peer=192.0.2.1 link=ppp0 reason=echo reply in 12ms silent=34s")
}

// How many lost echo requests make a tunnel silent can be set.
func TestFailures(t *testing.T) {
	n := newFixture(t, oneLAC, "[global]\nfailures = 5\n")
	l := link("ppp0", 5, true)
	n.links(l)
	for lostNow := 1; lostNow <= 5; lostNow++ {
		n.counter(l, 70)
		n.result(l, lost)
		if got, want := n.tunnel(l).state == Silent, lostNow == 5; got != want {
			t.Fatalf("silent after %d: %v", lostNow, got)
		}
		n.after(14 * time.Second)
	}
}

// A tunnel that is only observed gets no echo request. Its data is still seen, and it is never silent.
func TestObserve(t *testing.T) {
	n := newFixture(t, oneLAC, "[global]\nkeepalive = observe\nrecover = full\n")
	l := link("ppp0", 5, true)
	n.links(l)
	n.want(read(l))
	for range 10 {
		n.counter(l, 70)
		n.want()
		n.after(11 * time.Second)
		n.want(read(l))
	}
	if s := n.tunnel(l).state; s != Up {
		t.Errorf("%v without data", s)
	}
	n.counter(l, 71)
	n.wantNotes("tunnel up", "tunnel alive tunnel=lac tokyo peer=192.0.2.1 link=ppp0 reason=data received")
	if r := n.status()[0]; r.Doing != "watches only: keepalive = observe" || !r.Observe {
		t.Errorf("got %+v, want a tunnel that is only observed", r)
	}
	if g := n.tunnel(l).view().Guard; g != config.GuardOff {
		t.Errorf("guard %v", g)
	}

	n.step(n.config("")) // from now on in earnest
	n.after(10500 * time.Millisecond)
	n.want(read(l))
	n.counter(l, 71)
	n.want(echo(l))
}

func TestDataMakesAliveAgain(t *testing.T) {
	n := newFixture(t, oneLAC, "")
	l := link("ppp0", 5, true)
	n.links(l)
	for range 3 {
		n.counter(l, 70)
		n.result(l, lost)
		n.after(3 * time.Second)
	}
	n.wantNotes("tunnel up", "tunnel silent")
	n.after(10500 * time.Millisecond)
	n.counter(l, 71) // also a reply that came too late
	n.wantNotes("tunnel alive again tunnel=lac tokyo peer=192.0.2.1 link=ppp0 reason=data received")

	// Echoes alone say nothing about a far end that has never answered one.
	n.after(10500 * time.Millisecond)
	for range 5 {
		n.counter(l, 71)
		n.result(l, lost)
		n.after(10500 * time.Millisecond)
	}
	n.wantNotes()
	if s := n.tunnel(l).state; s != Alive {
		t.Errorf("the tunnel is %v, want %v", s, Alive)
	}
}

func TestGoneAndBack(t *testing.T) {
	l := link("ppp0", 5, true)
	moved := l
	moved.Peer = addr("10.0.0.9")
	down := link("ppp0", 5, false)
	for name, c := range map[string]struct {
		during  []ppp.Link // between the two, with an echo out
		next    ppp.Link
		actions []Action // of both snapshots
		waits   bool     // for the result of the old echo
	}{
		"another name":              {nil, link("ppp1", 6, true), []Action{cancel(l), ReadCounter{key("ppp1", 6)}}, false},
		"another index":             {nil, link("ppp0", 6, true), []Action{cancel(l), ReadCounter{key("ppp0", 6)}}, false},
		"another name, in one step": {[]ppp.Link{link("ppp1", 6, true)}, link("ppp1", 6, true), []Action{ReadCounter{key("ppp1", 6)}}, false},
		"another address":           {[]ppp.Link{moved}, moved, []Action{cancel(l)}, true},
		"same after down":           {[]ppp.Link{down}, l, []Action{cancel(l)}, true},
		"same after gone":           {nil, l, []Action{cancel(l)}, true},
	} {
		t.Run(name, func(t *testing.T) {
			n := newFixture(t, oneLAC, "")
			n.links(l)
			n.counter(l, 70)
			n.want(read(l), echo(l))
			n.links(c.during...)
			n.links(c.next)
			slices.SortFunc(n.actions, func(a, b Action) int { return strings.Compare(fmt.Sprintf("%T", a), fmt.Sprintf("%T", b)) })
			if name == "another name, in one step" {
				c.actions = append([]Action{cancel(l)}, c.actions...)
			}
			n.want(c.actions...)
			n.result(l, lost)
			if c.waits {
				n.want(read(c.next))
			}
			n.counter(c.next, 0)
			n.want(echo(c.next))
			if got := len(n.core.tunnels.byKey); got != 1 {
				t.Errorf("%d tunnels, want 1", got)
			}
			if n.tunnel(c.next).lostInARow != 0 {
				t.Error("a cancelled echo counts as lost")
			}
		})
	}
}

func TestStops(t *testing.T) {
	l := link("ppp0", 5, true)
	for name, links := range map[string][]ppp.Link{"gone": nil, "down": {link("ppp0", 5, false)}} {
		t.Run(name, func(t *testing.T) {
			n := newFixture(t, oneLAC, "")
			n.links(l)
			n.links(links...) // while the counter is being read
			n.counter(l, 70)
			n.after(time.Hour)
			n.want(read(l))
			n.wantNotes("tunnel up", "tunnel down")
			if _, ok := n.core.NextWake(); ok {
				t.Error("the core still asks for a wake-up after the tunnel has gone")
			}
			n.links()
			if len(n.core.tunnels.byKey) != 0 {
				t.Error("it is still remembered")
			}
		})
	}
}

func TestConfig(t *testing.T) {
	l := link("ppp0", 5, true)
	off := "[lac tokyo]\nkeepalive = no\n"
	up := func(t *testing.T, conf string) *fixture {
		n := newFixture(t, oneLAC, conf)
		n.links(l)
		return n
	}
	alive := func(t *testing.T, conf string) *fixture {
		n := up(t, conf)
		n.counter(l, 70)
		n.result(l, nil)
		n.after(10 * time.Second)
		n.counter(l, 72) // data, of no known time
		n.after(2500 * time.Millisecond)
		n.counter(l, 73) // and some more: now its time is known better
		n.actions, n.notes = nil, nil
		return n
	}
	t.Run("off", func(t *testing.T) {
		n := up(t, off)
		n.after(time.Hour)
		n.want()
		n.wantNotes("tunnel left alone tunnel=lac tokyo peer=192.0.2.1 link=ppp0 reason=keepalive = no")
		if got := n.core.Summary(); got != "no tunnel up, 1 left alone" {
			t.Errorf("the summary is %q", got)
		}
		n.links()
		n.wantNotes()
	})
	t.Run("other section off", func(t *testing.T) {
		up(t, "[lac osaka]\nkeepalive = no\n").want(read(l))
	})
	t.Run("switched off", func(t *testing.T) {
		n := alive(t, "")
		n.step(n.config(off))
		n.after(time.Hour)
		n.want()
	})
	t.Run("switched off and on during an echo", func(t *testing.T) {
		n := up(t, "")
		n.counter(l, 70)
		n.want(read(l), echo(l))
		n.step(n.config(off))
		n.want(cancel(l))
		n.step(n.config(""))
		n.want()
		n.result(l, lost)
		n.want(read(l))
	})
	t.Run("switched on", func(t *testing.T) {
		n := up(t, off)
		n.step(n.config(""))
		n.want(read(l))
	})
	t.Run("target", func(t *testing.T) {
		n := alive(t, "")
		n.step(n.config("[lac tokyo]\ntarget = 172.16.0.1\n"))
		n.want(read(l))
		n.counter(l, 99)
		other := l
		other.Peer = addr("172.16.0.1")
		n.want(echo(other))
	})
	t.Run("shorter interval", func(t *testing.T) {
		n := alive(t, "")
		n.after(4 * time.Second)
		n.counter(l, 73)
		n.actions = nil
		n.step(n.config("[global]\ninterval = 5\n"))
		n.want()
		n.echoIn(l, 10*time.Second+5*time.Second*4/3-16500*time.Millisecond)
	})
	t.Run("much shorter interval", func(t *testing.T) {
		n := alive(t, "")
		n.after(9 * time.Second)
		n.counter(l, 73)
		n.want(read(l))
		n.step(n.config("[global]\ninterval = 5\n"))
		n.want(echo(l))
	})
	t.Run("longer interval", func(t *testing.T) {
		n := alive(t, "")
		n.after(9 * time.Second)
		n.step(n.config("[global]\ninterval = 60\n"))
		n.echoIn(l, 10*time.Second+60*time.Second*4/3-21500*time.Millisecond)
	})
	t.Run("shorter interval during a retry", func(t *testing.T) {
		n := up(t, "")
		n.counter(l, 70)
		n.result(l, lost)
		n.after(time.Second)
		n.counter(l, 70)
		n.result(l, lost)
		n.wakes(2 * time.Second)
		n.step(n.config("[global]\ninterval = 1\ntimeout = 1\n"))
		n.wakes(time.Second)
	})
	t.Run("shorter interval of one of two", func(t *testing.T) {
		n := newFixture(t, bothRoles, "")
		l, other := l, link("ppp1", 6, true)
		l.OuterPeer, other.OuterPeer = addr("192.0.2.1"), addr("192.0.2.2")
		n.links(l, other)
		n.counter(l, 70)
		n.result(l, nil)
		n.after(time.Second)
		n.counter(other, 70)
		n.result(other, nil)
		n.actions = nil
		n.step(n.config("[lac osaka]\ninterval = 3\n"))
		n.echoIn(other, 2*time.Second)
		n.wakes(500 * time.Millisecond) // as those with that interval have it
		n.after(500 * time.Millisecond)
		n.want(read(other))
	})
	t.Run("interval shorter than a retry", func(t *testing.T) {
		n := up(t, "[global]\ninterval = 1\ntimeout = 1\n")
		for range 2 {
			n.counter(l, 70)
			n.result(l, lost)
			n.echoIn(l, time.Second*4/3)
			n.after(time.Second * 4 / 3)
		}
	})
	t.Run("timeout", func(t *testing.T) {
		n := up(t, "[lac tokyo]\ntimeout = 1\n")
		n.counter(l, 70)
		if a := n.actions[1].(SendEcho); a.Timeout != time.Second {
			t.Errorf("the echo request waits for %v, want 1s", a.Timeout)
		}
	})
	t.Run("no change", func(t *testing.T) {
		n := alive(t, "")
		n.step(n.config(""))
		n.step(n.xl2tpd(oneLAC))
		n.links(l)
		n.want()
		n.wantNotes()
	})
}

// A link with other addresses is another link: nothing that was known about it counts.
func TestOtherAddresses(t *testing.T) {
	for name, change := range map[string]func(*ppp.Link){
		"of the far end": func(l *ppp.Link) { l.Peer = addr("10.0.0.77") },
		"of this end":    func(l *ppp.Link) { l.Local = addr("10.0.0.77") },
	} {
		t.Run(name, func(t *testing.T) {
			n := newFixture(t, oneLAC, "")
			l := link("ppp0", 5, true)
			n.links(l)
			n.counter(l, 70)
			n.result(l, nil)
			n.actions, n.notes = nil, nil
			change(&l)
			n.links(l)
			n.want(read(l))
			if e := n.tunnel(l).evidence; e != (Evidence{}) {
				t.Errorf("evidence %+v", e)
			}
			n.counter(l, 70)
			n.want(echo(l))
			n.result(l, lost)
			n.after(time.Second)
			n.counter(l, 71) // a first sign of life, though no reply
			for range 4 {
				n.after(10500 * time.Millisecond)
				n.counter(l, 71)
				n.result(l, lost)
			}
			n.wantNotes("tunnel up tunnel=lac tokyo peer=192.0.2.1 link=ppp0 target="+l.Peer.String()+" reason=the address has changed",
				"tunnel alive")
		})
	}
}

// The order of the first events must not matter, and nothing may wait for long.
func TestStart(t *testing.T) {
	l := link("ppp0", 5, true)
	t.Run("waits for both configurations", func(t *testing.T) {
		n := &fixture{t: t, core: New(config.Default(""), func() float64 { return 0 }), now: epoch}
		n.links(l)
		n.step(n.xl2tpd(oneLAC))
		n.want()
		n.step(n.config(""))
		n.want(read(l))

		n = &fixture{t: t, core: New(config.Default(""), func() float64 { return 0 }), now: epoch}
		n.links(l)
		n.step(n.config("[lac tokyo]\nkeepalive = no\n"))
		n.want() // the section of the link is not known yet
		n.step(n.xl2tpd(oneLAC))
		n.want()
	})
	t.Run("but not for long", func(t *testing.T) {
		n := &fixture{t: t, core: New(config.Default(""), func() float64 { return 0 }), now: epoch}
		n.links(l)
		n.wakes(startupTimeout)
		n.after(startupTimeout)
		n.want(read(l))
	})
	t.Run("a failed watcher is not waited for", func(t *testing.T) {
		n := &fixture{t: t, core: New(config.Default(""), func() float64 { return 0 }), now: epoch}
		n.links(l)
		n.step(n.config(""))
		n.step(TaskFailed{WatcherXl2tpd, lost})
		n.want(read(l))
		n.step(TaskFailed{WatcherVICI, lost})
		n.want(Ready{})
		n.step(vici.Snapshot{})
		n.want()
	})
}

// Libreswan has no VICI. That is as it should be there.
func TestLibreswan(t *testing.T) {
	n := newFixture(t, oneLAC, "")
	for range 2 {
		n.step(TaskFailed{WatcherVICI, vici.ErrLibreswan})
	}
	n.wantNotes("SAs are not watched reason=Libreswan does IPsec here, and has no VICI")
	if got := n.core.Summary(); got != "no tunnel up" || !n.core.Overview(n.now).Libreswan {
		t.Errorf("the summary is %q, or Libreswan is not in the overview", got)
	}
	n.step(TaskFailed{WatcherVICI, errors.New("connection refused")})
	if got := n.core.Summary(); got != "no tunnel up; strongSwan (VICI) does not answer: the state of its SAs is not known" || n.core.Overview(n.now).Libreswan {
		t.Errorf("the summary is %q, or Libreswan is in the overview", got)
	}
}

func TestFailuresAreToldOnce(t *testing.T) {
	n := newFixture(t, oneLAC, "")
	for range 3 {
		n.step(TaskFailed{WatcherVICI, errors.New("connection refused")})
	}
	n.wantNotes("VICI does not work, trying again reason=connection refused")
	n.links(link("ppp0", 5, true))
	if got := n.core.Summary(); got != "1 tunnel up; strongSwan (VICI) does not answer: the state of its SAs is not known" {
		t.Errorf("the summary is %q", got)
	}
	n.notes = nil
	n.step(vici.Snapshot{})
	n.step(vici.Snapshot{})
	n.wantNotes("VICI works again")

	s := n.xl2tpd(oneLAC)
	s.Home().Process.Pid = 0
	s.Home().ConfErr = errors.New("/etc/xl2tpd/xl2tpd.conf:3: what is this?")
	n.step(s)
	n.step(s)
	n.wantNotes("xl2tpd is not running")
	n.step(ppp.Snapshot{Links: []ppp.Link{link("ppp0", 5, true)}})
	if got := n.core.Summary(); got != "1 tunnel up; D-Bus does not answer: links are seen by rtnetlink alone; rtnetlink does not work: links are seen by D-Bus alone; xl2tpd not running; /etc/xl2tpd/xl2tpd.conf:3: what is this?" {
		t.Errorf("the summary is %q", got)
	}
	n.step(n.xl2tpd(oneLAC))
	n.step(ppp.Snapshot{Links: []ppp.Link{link("ppp0", 5, true)}, Sources: ppp.Sources{Rtnetlink: true, NoSystemd: true}})
	if got := n.core.Summary(); got != "1 tunnel up" {
		t.Errorf("without systemd: %s", got)
	}
	n.links(link("ppp0", 5, true))
	n.wantNotes("xl2tpd is running pid=100")
	n.step(Fault{What: "hello guard", Problem: status.Problem{Text: "hello guard unavailable: no such kernel"}})
	if got := n.core.Summary(); got != "1 tunnel up; hello guard unavailable: no such kernel" {
		t.Errorf("the summary is %q", got)
	}
	n.step(Fault{What: "hello guard"})
	if got := n.core.Summary(); got != "1 tunnel up" {
		t.Errorf("the summary is %q", got)
	}
}

func TestNewSAIsAReasonToAskAgain(t *testing.T) {
	n := newFixture(t, oneLAC, "")
	l := link("ppp0", 5, true)
	n.links(l)
	n.counter(l, 70)
	n.result(l, nil)
	n.actions = nil
	n.step(vici.Snapshot{SAs: []vici.SA{{Name: "old", UniqueID: "6", State: "ESTABLISHED", RemoteHost: netip.MustParseAddrPort("192.0.2.1:500")}}})
	n.want(Ready{}) // a tunnel that is alive needs no other question
	n.after(10500 * time.Millisecond)
	for range 3 {
		n.counter(l, 71)
		n.result(l, lost)
		n.after(3 * time.Second)
	}
	n.counter(l, 71)
	n.actions = nil
	sa := vici.SA{Name: "tokyo", UniqueID: "7", State: "CONNECTING", RemoteHost: netip.MustParseAddrPort("192.0.2.1:500")}
	n.step(vici.Snapshot{SAs: []vici.SA{sa}})
	n.want()
	sa.State = "ESTABLISHED"
	n.step(vici.Snapshot{SAs: []vici.SA{sa}})
	n.want() // nothing could go out yet
	sa.Children = []vici.Child{{State: "INSTALLED"}}
	n.step(vici.Snapshot{SAs: []vici.SA{sa}})
	n.want(read(l))
	n.counter(l, 71)
	n.want(echo(l))
	sa.UniqueID = "8" // that echo went through the one before
	n.step(vici.Snapshot{SAs: []vici.SA{sa}})
	n.want(cancel(l))
	n.result(l, lost)
	n.want(read(l))
	if got := n.tunnel(l).identity.sa.Name; got != "tokyo" {
		t.Errorf("the tunnel's SA is %q, want tokyo", got)
	}
}

// In userspace mode nobody knows with whom the tunnel of a caller is. Any new SA is a reason to ask again.
func TestNewSAOfAnUnknownPeer(t *testing.T) {
	n := newFixture(t, "[lns default]\nip range = 10.0.0.1-10.0.255.254\npppoptfile = /etc/ppp/options.l2tpd\n", "")
	l := inUserspace(link("ppp0", 5, true))[0]
	n.links(l)
	n.counter(l, 70)
	n.result(l, nil)
	n.step(secured("6"))
	n.after(10500 * time.Millisecond)
	for range 3 {
		n.counter(l, 71)
		n.result(l, lost)
		n.after(3 * time.Second)
	}
	n.counter(l, 71)
	n.actions = nil
	n.step(secured("6"))
	n.want() // that one is known
	n.step(secured("7"))
	n.want(read(l))
}

// A problem has its reason. A reason that names the task is not prefixed by the task again.
func TestFailuresHaveTheirReason(t *testing.T) {
	n := newFixture(t, oneLAC, "")
	n.step(TaskFailed{"metrics", errors.New("metrics: listen tcp 127.0.0.1:9174: bind: address already in use")})
	n.step(TaskFailed{"ICMP socket", errors.New("operation not permitted")})
	if got := n.core.Summary(); got != "no tunnel up; ICMP socket: operation not permitted; metrics: listen tcp 127.0.0.1:9174: bind: address already in use" {
		t.Errorf("the summary is %q", got)
	}
}

// The end of a tunnel is worth a warning, unless it was hung up on this host.
func TestLevelOfEnds(t *testing.T) {
	for _, tc := range []struct {
		ending Ending
		want   slog.Level
	}{
		{Ending{OwnedConnection: closer, CloseReason: why{Reason: "closed by the peer"}}, slog.LevelWarn},
		{Ending{OwnedConnection: closer, CloseReason: why{Reason: "hung up", Operator: true}}, slog.LevelInfo},
	} {
		n := established(t, oneLAC, "")
		n.core.Step(tc.ending, n.now)
		actions := n.core.Step(ppp.Snapshot{}, n.now)
		i := slices.IndexFunc(actions, func(a Action) bool { note, ok := a.(Note); return ok && note.Text == "tunnel down" })
		if i < 0 {
			t.Fatalf("no note in %v", show(actions))
		}
		if got := actions[i].(Note).Level; got != tc.want {
			t.Errorf("%s: %v, want %v", tc.ending.Reason, got, tc.want)
		}
	}
}
