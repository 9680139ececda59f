package supervisor

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"xl2tpd-keepalive/internal/config"
	"xl2tpd-keepalive/internal/ppp"
	"xl2tpd-keepalive/internal/status"
	"xl2tpd-keepalive/vici"
)

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
