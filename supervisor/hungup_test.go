package supervisor

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"xl2tpd-keepalive/internal/status"
	"xl2tpd-keepalive/internal/xl2tpd"
	"xl2tpd-keepalive/probe"
	"xl2tpd-keepalive/supervisor/recovery/policy"
	"xl2tpd-keepalive/vici"
)

// A LAC that the operator has hung up is left alone until it is up again. That holds for any events in any order, with
// restarts of this service.
func TestHungUpIsLeftDown(t *testing.T) {
	for seed := range uint64(300) {
		rng := rand.New(rand.NewPCG(seed, 0))
		conf, keepalive, name := redials, "", "office"
		if seed%2 == 1 {
			conf, keepalive, name = oneLAC, "[lac default]\nrecover = full", "tokyo"
		}
		n := established(t, conf, keepalive)
		up, off, index, pid, done := true, false, 10, 100, []string{}
		sa, current, last := secured("1"), link("ppp0", 5, true), policy.StepNone
		ends := func(e Ending) {
			e.OwnedConnection = closer
			late := rng.IntN(3) == 0 // it may be heard behind the fact
			if late {
				n.links()
				n.now = n.now.Add(time.Second)
			}
			n.step(e)
			n.links()
			up = false
		}
		for range 30 {
			ambiguous := n.lac(name).progress.UnderWay() != policy.StepNone || last == policy.StepHangUp // recovery may have caused it
			switch what := rng.IntN(10); {
			case what == 0 && !up:
				done = append(done, "up")
				index++
				current = link("ppp0", index, true)
				current.Xl2tpdPid = pid
				n.links(current)
				up, off = true, false
			case what == 1 && up:
				done = append(done, "closed")
				ends(Ending{CloseReason: why{Reason: "closed by the peer"}})
			case what == 2 && up:
				done = append(done, "half")
				ends(Ending{CloseReason: why{Reason: "closed by xl2tpd", CallOnly: true}})
			case what == 3 && up && !ambiguous:
				done = append(done, "hung up")
				ends(Ending{CloseReason: why{Reason: "hung up", Operator: true}})
				off = true
			case what == 4 && !up && !ambiguous:
				done = append(done, "attempt hung up")
				e := Ending{OwnedConnection: closer, CloseReason: why{Reason: "hung up", Operator: true}}
				e.LocalID += uint16(rng.IntN(2))
				n.step(e)
				off = true
			case what == 5:
				done = append(done, "no SA")
				sa = vici.Snapshot{}
				n.step(sa)
			case what == 6:
				done = append(done, "SA")
				sa = secured(fmt.Sprint(rng.Int()))
				n.step(sa)
			case what == 7:
				done = append(done, "xl2tpd")
				s := n.xl2tpd(conf)
				pid++
				s.Home().Process.Pid = pid
				n.step(s)
				n.links()
				up = false
			case what == 8:
				done = append(done, "this service")
				s := n.xl2tpd(conf)
				s.Home().Process.Pid = pid
				if up {
					n.restarted(s, sa, current)
				} else {
					n.restarted(s, sa)
				}
			default:
				wait := time.Duration(rng.IntN(120)) * time.Second
				var err error
				if rng.IntN(3) == 0 {
					err = lost
				}
				got := n.steps(wait, err)
				if done = append(done, fmt.Sprintf("%v: %v", wait, got)); len(got) > 0 {
					last = got[len(got)-1]
				}
				if off && slices.ContainsFunc(got, func(s policy.Step) bool { return s != policy.StepNone }) {
					t.Fatalf("seed %d: %v after %q", seed, got, done)
				}
			}
		}
	}
}

// In userspace mode only the peer's address connects a link and its tunnel. If a tunnel with that peer is hung up,
// another one whose call has ended does not count as hung up.
func TestHungUpBesideAHalfClosedTunnel(t *testing.T) {
	n := ambiguousUp(t, "", "recover = full\n")
	n.step(Ending{OwnedConnection: closerOf("192.0.2.1", 8), CloseReason: why{Reason: "closed by xl2tpd", CallOnly: true}})
	n.links(inUserspace(link("ppp0", 5, true))...)
	n.after(time.Second)
	n.step(Ending{OwnedConnection: closer, CloseReason: why{Reason: "hung up on this host", Operator: true}})
	for _, c := range n.core.tunnels.ends.last {
		if c.Operator {
			t.Errorf("got %+v, want no hang-up by an operator", c)
		}
	}
}

// In userspace mode two tunnels have one peer. One is hung up, and the other one ends soon after, for another reason. If both end
// together, nobody can tell which one was hung up.
func TestEndSoonAfterAHangUp(t *testing.T) {
	for after, want := range map[time.Duration]bool{time.Second: true, 10 * time.Second: false} {
		n := newFixture(t, twoLACs("192.0.2.1", "192.0.2.1", "")+"pppoptfile = /etc/ppp/home\n", "[global]\nrecover = full\n")
		n.step(secured("1"))
		home := link("ppp1", 6, true)
		home.OptFile = "/etc/ppp/home"
		n.links(inUserspace(link("ppp0", 5, true), home)...)
		n.plays(time.Minute, probe.Result{RTT: time.Millisecond}, func(Recover) error { return nil })
		n.step(Ending{OwnedConnection: closerOf("192.0.2.1", 7), CloseReason: why{Reason: "hung up on this host", Operator: true}})
		n.links(inUserspace(link("ppp0", 5, true))...)
		n.after(after)
		n.links()
		home1, office := n.lac("home").lastEnd, n.lac("office").lastEnd
		if home1 == nil || !home1.Operator || office == nil || office.Operator != want {
			t.Errorf("after %v: home %+v, office %+v", after, home1, office)
		}
	}
}

// A call that the operator has hung up leaves its tunnel, which the peer then closes.
func TestHungUpCall(t *testing.T) {
	n := established(t, redials, "")
	n.step(Ending{OwnedConnection: closer, CloseReason: why{Reason: "hung up on this host", Operator: true, CallOnly: true}})
	n.links()
	n.now = n.now.Add(5 * time.Second)
	n.step(Ending{OwnedConnection: closer, CloseReason: why{Reason: "closed by the peer"}})
	if got := n.steps(30*time.Minute, nil); got != nil {
		t.Errorf("got %v, want none", got)
	}
}

// A link outlives its session for a moment. If the name of its LNS could not be looked up, its SA does not count as
// lost then: its end may be a hang-up.
func TestEndOfALinkWithoutItsSession(t *testing.T) {
	conf := strings.Replace(redials, "192.0.2.1", "vpn.example.net", 1)
	n := newFixture(t, conf, "[global]\nrecover = full\n")
	s := n.xl2tpd(conf)
	s.Sessions = []xl2tpd.Session{{Ifindex: 5, Local: closer.Local, Peer: closer.Peer, LocalTunnel: 7}}
	n.step(s)
	n.step(secured("1"))
	n.links(link("ppp0", 5, true))
	n.plays(time.Minute, probe.Result{RTT: time.Millisecond}, func(Recover) error { return nil })
	s.Sessions = nil
	n.step(s)
	n.links()
	if l := n.lac("office"); l.lastEnd == nil || l.lastEnd.failed {
		t.Errorf("got %+v, want an end that may be a hang-up", l.lastEnd)
	}
}

// charon was killed, and the kernel has kept its SAs: the tunnel lives on. If it ends then and nobody says why, the operator
// may have hung it up.
func TestEndOfATunnelThatHasLivedOnWithoutItsSA(t *testing.T) {
	n := established(t, oneLAC, "[lac default]\nrecover = redial\n")
	n.step(vici.Snapshot{})
	n.plays(5*time.Minute, probe.Result{RTT: time.Millisecond}, func(Recover) error { return nil })
	n.links()
	if got := n.steps(30*time.Minute, nil); got != nil {
		t.Errorf("got %v, want no step", got)
	}
}

// Without the Hello guard nobody can say why a tunnel has ended. If xl2tpd may redial, recovery keeps the SA in order, but
// it neither dials nor hangs up. That holds after a restart of this service too.
func TestUnexplainedEndWithoutGuard(t *testing.T) {
	away := Fault{What: TaskGuard, Problem: status.Problem{Text: "hello guard unavailable"}}
	for name, tc := range map[string]struct {
		conf, keepalive string
		guard           Event
		restart, want   bool
	}{
		"xl2tpd redials":              {redials, "", away, false, true},
		"xl2tpd redials, and restart": {redials, "", away, true, true},
		"xl2tpd does not redial":      {oneLAC, "[lac default]\nrecover = full", away, false, false},
		"the guard works":             {redials, "", TaskWorks{Task: TaskGuard}, false, false},
	} {
		n := established(t, tc.conf, tc.keepalive)
		n.step(tc.guard)
		n.plays(time.Minute, probe.Result{RTT: time.Millisecond}, func(Recover) error { return nil })
		n.links()
		n.plays(time.Minute, probe.Result{}, func(Recover) error { return nil })
		if tc.restart {
			n.restarted(n.xl2tpd(tc.conf), vici.Snapshot{})
			n.step(tc.guard)
		}
		n.step(vici.Snapshot{})
		steps := n.steps(time.Hour, nil)
		if slices.Contains(steps, policy.StepSecure) != tc.want || slices.ContainsFunc(steps, func(s policy.Step) bool { return s != policy.StepSecure && s != policy.StepRenew }) {
			t.Errorf("%s: got %v, want the SA initiated: %v", name, steps, tc.want)
		}
		if text := n.status()[0].Doing; tc.want && text != "xl2tpd redials, unless it was hung up" {
			t.Errorf("%s: status says %q", name, text)
		}
	}
}

// An operator hangs up one of two LACs with one LNS while PPP begins. The kernel's session shows which: that one stays down.
func TestHungUpWhilePPPBegins(t *testing.T) {
	n, sessions := oneLNS(t, "redial = yes\n", "")
	n.step(TaskWorks{Task: TaskGuard})
	n.step(Ending{OwnedConnection: closerOf("192.0.2.1", sessions[0].LocalTunnel), CloseReason: why{Reason: "closed by the peer"}})
	home := link("ppp1", 6, true)
	home.OptFile = "/etc/ppp/home"
	n.links(home)
	n.after(time.Minute)
	n.links(link("ppp0", 5, false), home)
	n.step(Ending{OwnedConnection: closerOf("192.0.2.1", sessions[0].LocalTunnel), CloseReason: why{Reason: "hung up", Operator: true}})
	n.links(home)
	if office := n.lac("office").lastEnd; !office.Operator || n.lac("home").mayBeHungUp() {
		t.Errorf("got office hung up: %v, home perhaps: %v", office.Operator, n.lac("home").mayBeHungUp())
	}
	if got := n.steps(time.Hour, nil); slices.Contains(got, policy.StepDial) {
		t.Errorf("got %v, want no dial", got)
	}
}

// In userspace mode only the address of a peer tells whose tunnel was hung up. One whose link went while its xl2tpd still
// ran is no reason for a link that ends with that xl2tpd.
func TestHangUpJustBeforeXl2tpdEnds(t *testing.T) {
	for name, tc := range map[string]struct {
		homeEnds bool // before xl2tpd does
		want     bool // the other one may have been hung up
	}{"the link has gone": {true, false}, "both links end at once": {false, true}} {
		n := newFixture(t, oneLAC, "[lac default]\nrecover = full\n")
		n.replaced("", 100)
		office, home := officeAndHome()
		n.links(inUserspace(office, home)...)
		n.step(Ending{OwnedConnection: closer, CloseReason: why{Reason: "hung up on this host", Operator: true}})
		if tc.homeEnds {
			n.links(inUserspace(office)...)
		}
		n.replaced("", 101)
		if got := n.lac("office").mayBeHungUp(); got != tc.want {
			t.Errorf("%s: perhaps hung up %v, want %v", name, got, tc.want)
		}
	}
}

// The peer of a silent link has not answered. Then a tunnel comes up that the same SA may carry, and the peer is asked again.
func TestATunnelComesAfterASilentAnswer(t *testing.T) {
	for name, tc := range map[string]struct {
		peer  string // of the new link, as xl2tpd knows it
		again bool
	}{"of the same LNS": {"192.0.2.1:1701", true}, "of another peer": {"192.0.2.77:1701", false}} {
		n := established(t, oneLAC+"[lns default]\nip range = 10.9.0.1-10.9.0.9\npppoptfile = /etc/ppp/callers\n", "[lac default]\nrecover = full\n")
		n.plays(time.Minute, probe.Result{RTT: time.Millisecond}, func(Recover) error { return nil })
		p := &n.lac("tokyo").progress
		n.plays(time.Minute, probe.Result{Err: lost}, func(r Recover) error {
			if r.Step == policy.StepAsk {
				return nil
			}
			return lost
		})
		if !p.PeerSilentSince(time.Time{}) {
			t.Fatalf("%s: the peer is not silent", name)
		}
		s := n.xl2tpd(oneLAC + "[lns default]\nip range = 10.9.0.1-10.9.0.9\npppoptfile = /etc/ppp/callers\n")
		s.Sessions = []xl2tpd.Session{{Ifindex: 9, Local: closer.Local, Peer: netip.MustParseAddrPort(tc.peer), LocalTunnel: 9, LNS: true}}
		n.step(s)
		caller := link("ppp4", 9, true)
		caller.OptFile, caller.TTY = "/etc/ppp/callers", ""
		n.links(link("ppp0", 5, true), caller)
		if got := !p.PeerSilentSince(time.Time{}) || p.Takes(policy.StepAsk); got != tc.again {
			t.Errorf("%s: asked again %v, want %v", name, got, tc.again)
		}
	}
}

// A tunnel has ended with its xl2tpd. What the next xl2tpd is made to hang up right after that is another one.
func TestHungUpAfterXl2tpdEnded(t *testing.T) {
	n := newFixture(t, twoLACs("192.0.2.1", "192.0.2.1", ""), "[global]\nrecover = full\n")
	n.replaced("", 100)
	n.step(secured("1"))
	office, home := officeAndHome()
	n.links(inUserspace(office, home)...)
	n.plays(time.Minute, alive, succeeds)
	n.replaced("", 101)
	n.after(time.Second)
	n.ends(9, operatorEnds)
	for _, of := range []string{"office", "home"} {
		if c := n.lac(of).lastEnd; c == nil || c.Operator {
			t.Errorf("%s: got %+v, want no hang-up by an operator", of, c)
		}
	}
}

// Nobody can tell which of two links is whose. One goes while recovery hangs home up, and an operator hangs the other one up.
// The result of recovery's hang-up explains one end, so either LAC may have been hung up by the operator.
func TestTwoEndsWhileOneIsHungUp(t *testing.T) {
	hungUp := Ending{OwnedConnection: closerOf("192.0.2.1", 9), CloseReason: why{Reason: "hung up on this host", Operator: true}}
	for name, second := range map[string]func(n *fixture){
		"the guard sees the operator": func(n *fixture) { n.step(hungUp); n.links() },
		"nobody sees the operator":    func(n *fixture) { n.links() },
	} {
		n := ambiguousUp(t, "", "recover = full\n")
		n.plays(time.Minute, alive, succeeds)
		office, home := n.lac("office"), n.lac("home")
		n.takes(home, policy.StepHangUp)
		n.core.lacs.agenda.slotsTaken++
		n.links(inUserspace(link("ppp0", 5, true))...)
		n.after(time.Second)
		second(n)
		n.step(StepDone{LAC: LAC{Name: "home"}, Step: policy.StepHangUp})
		if !office.mayBeHungUp() || !home.mayBeHungUp() {
			t.Errorf("%s: may be hung up: office %v, home %v, want both", name, office.mayBeHungUp(), home.mayBeHungUp())
		}
	}
}

// Of many ends that may have been a LAC's, the one that was certainly an operator's is remembered.
func TestEndsAreBounded(t *testing.T) {
	all := endList{endByOperator(closer)}
	for range 2 * maxEndList {
		all.add(&end{})
	}
	if len(all) != maxEndList || !all[0].Operator {
		t.Errorf("got %d ends, the first an operator's: %v; want %d, and that one among them", len(all), all[0].Operator, maxEndList)
	}
}
