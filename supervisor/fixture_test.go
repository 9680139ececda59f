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
	"xl2tpd-keepalive/internal/l2tp"
	"xl2tpd-keepalive/internal/ppp"
	"xl2tpd-keepalive/internal/procfs"
	"xl2tpd-keepalive/internal/status"
	"xl2tpd-keepalive/internal/xl2tpd"
	"xl2tpd-keepalive/probe"
	"xl2tpd-keepalive/supervisor/recovery/policy"
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
	if left := f.core.lacs.agenda.marked; len(left) > 0 {
		f.t.Errorf("%T leaves %d marked LACs that are evaluated only with the next event", ev, len(left))
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

// dialOf is a request of xl2tpd to an LNS.
func dialOf(lns netip.Addr) Dials {
	return Dials{OwnedConnection: helloguard.OwnedConnection{Connection: l2tp.Connection{Peer: netip.AddrPortFrom(lns, 1701), LocalID: 99}}}
}

// dialBy is a request of that xl2tpd to closer's LNS.
func dialBy(owner procfs.ID) Dials {
	return Dials{OwnedConnection: helloguard.OwnedConnection{Connection: closer.Connection, Owner: owner}}
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

const redials = "[lac office]\nlns = 192.0.2.1\npppoptfile = /etc/ppp/options.l2tpd\nredial = yes\nredial timeout = 30\n"

func secured(id string) vici.Snapshot {
	return vici.Snapshot{SAs: []vici.SA{{
		Name: "tokyo", UniqueID: id, State: "ESTABLISHED", RemoteHost: netip.MustParseAddrPort("192.0.2.1:4500"),
		Children: []vici.Child{{State: "INSTALLED"}},
	}}}
}

// steps plays time and returns the steps of that time. Each step ends immediately with err. No echo is answered.
func (f *fixture) steps(d time.Duration, err error) (all []policy.Step) {
	f.plays(d, probe.Result{Err: lost}, func(r Recover) error {
		if len(all) > 1000 {
			f.t.Fatalf("no pause between steps: %v", all[:10])
		}
		result := err
		switch r.Step {
		case policy.StepAsk:
			result = f.asked
		case policy.StepLook:
		default:
			all = append(all, r.Step)
			if result == policy.ErrNoConnection && r.Step != policy.StepSecure && r.Step != policy.StepRenew {
				result = nil
			}
			if errors.Is(result, policy.ErrHungUp) && r.Step != policy.StepRedial {
				result = nil
			}
			if result == policy.ErrPeerDead && r.Step != policy.StepHangUp {
				result = nil
			}
		}
		return result
	})
	return all
}

// plays plays time. Each echo request ends with echo, and each step with the error of outcome.
func (f *fixture) plays(d time.Duration, echo probe.Result, outcome func(Recover) error) {
	for end := f.now.Add(d); f.now.Before(end); f.after(500 * time.Millisecond) {
		for done := 0; len(f.actions) > 0; done++ {
			if done > 10_000 {
				f.t.Fatalf("no pause between actions: %v", show(f.actions))
			}
			a := f.actions[0]
			f.actions = f.actions[1:]
			switch a := a.(type) {
			case Recover:
				f.step(StepDone{LAC: a.LAC, Step: a.Step, Err: outcome(a)})
			case ReadCounter:
				f.step(Counters{{Link: a.Link}})
			case SendEcho:
				echo.Link, echo.Index = a.Link, a.Index
				f.step(Results{echo})
			}
		}
	}
}

// established returns a fixture with the tunnel of a LAC up. All watchers have reported.
func established(t *testing.T, xl2tpdConf, keepaliveConf string) *fixture {
	n := newFixture(t, xl2tpdConf, "[global]\nrecover = auto\n"+keepaliveConf)
	n.up()
	n.step(secured("1"))
	n.notes = nil
	return n
}

// playsUntilHungUp lets the tunnel fall silent, until recovery hangs it up, and returns when that was. during is called
// before the result of that step.
func (f *fixture) playsUntilHungUp(during func()) (hungUp time.Time) {
	f.t.Helper()
	f.plays(time.Minute, probe.Result{RTT: time.Millisecond}, func(Recover) error { return nil })
	for end := f.now.Add(6 * time.Minute); hungUp.IsZero(); {
		f.plays(500*time.Millisecond, probe.Result{Err: lost}, func(r Recover) error {
			if r.Step == policy.StepHangUp {
				hungUp = f.now
				during()
			}
			return nil
		})
		if f.now.After(end) {
			f.t.Fatal("recovery has not hung up")
		}
	}
	return hungUp
}

const byName = "[lac office]\nlns = vpn.example.net\npppoptfile = /etc/ppp/options.l2tpd\nredial = yes\nautodial = yes\n"

// named returns a fixture with a tunnel up to the second address of a name. The core knows the given addresses and SAs.
func named(t *testing.T, known []string, sas ...vici.SA) *fixture {
	n := newFixture(t, byName, "[global]\nrecover = auto")
	s := n.xl2tpd(byName)
	for _, a := range known {
		s.Home().Conf.Sections[0].LNSIPs = append(s.Home().Conf.Sections[0].LNSIPs, addr(a))
	}
	s.Sessions = []xl2tpd.Session{{Ifindex: 5, Local: closer.Local, Peer: netip.MustParseAddrPort("192.0.2.2:1701"), LocalTunnel: 7}}
	n.step(s)
	n.step(vici.Snapshot{SAs: sas})
	n.links(link("ppp0", 5, true))
	n.step(Counters{{Link: key("ppp0", 5)}})
	n.step(Results{{Link: "ppp0", Index: 5, RTT: time.Millisecond}})
	n.actions = nil
	return n
}

func worksWith(peer string) vici.SA {
	return vici.SA{Name: "tokyo", UniqueID: peer, State: "ESTABLISHED", RemoteHost: netip.AddrPortFrom(addr(peer), 4500),
		Children: []vici.Child{{State: "INSTALLED", Mode: "TRANSPORT"}}}
}

// lives plays time with a tunnel whose echo requests are answered: no step may be taken.
func (f *fixture) lives(d time.Duration) {
	f.t.Helper()
	f.plays(d, probe.Result{RTT: time.Millisecond}, func(r Recover) error {
		f.t.Fatalf("%v of a tunnel that lives", r.Step)
		return nil
	})
}

const full = "[lac default]\nrecover = full\n"

var (
	peerCloses   = why{Reason: "closed by the peer", ByPeer: true, Vague: true}
	operatorEnds = why{Reason: "hung up on this host", Operator: true}
	callCloses   = why{Reason: "closed by xl2tpd", Vague: true, CallOnly: true}
	alive        = probe.Result{RTT: time.Millisecond} // of each echo request while all is well
)

func succeeds(Recover) error { return nil }

// officeAndHome are the links of oneLNS.
func officeAndHome() (office, home ppp.Link) {
	office, home = link("ppp0", 5, true), link("ppp1", 6, true)
	home.OptFile = "/etc/ppp/home"
	return office, home
}

// withoutGuard tells the core that no Hello guard works.
func (f *fixture) withoutGuard() {
	f.step(Fault{What: TaskGuard, Problem: status.Problem{Text: "hello guard unavailable"}})
}

// replaced replaces the xl2tpd of oneLNS, and its links.
func (f *fixture) replaced(more string, pid int) {
	s := f.xl2tpd(twoLACs("192.0.2.1", "192.0.2.1", more))
	s.Home().Conf.Sections[1].PPPOptFile = "/etc/ppp/home"
	s.Home().Process.Pid = pid
	f.step(s)
	f.links()
}

func (f *fixture) ends(id uint16, reason why) {
	f.step(Ending{OwnedConnection: closerOf("192.0.2.1", id), CloseReason: reason})
}
