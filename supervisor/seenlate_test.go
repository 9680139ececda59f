package supervisor

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"xl2tpd-keepalive/internal/helloguard"
	"xl2tpd-keepalive/internal/ppp"
	"xl2tpd-keepalive/internal/status"
	"xl2tpd-keepalive/internal/xl2tpd"
	"xl2tpd-keepalive/probe"
	"xl2tpd-keepalive/vici"
)

const full = "[lac default]\nrecover = full\n"

var (
	peerCloses   = why{Reason: "closed by the peer"}
	operatorEnds = why{Reason: "hung up on this host", Operator: true}
	callCloses   = why{Reason: "closed by xl2tpd", CallOnly: true}
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

// A step that tells xl2tpd nothing is no reason to overlook a dial of what was hung up.
func TestDialWhileRecoveryAsks(t *testing.T) {
	for step, want := range map[Step]bool{
		StepNone: true, StepLook: true, StepAsk: true, StepSecure: true, StepRenew: true, StepDial: false, StepRedial: false, StepHangUp: false,
	} {
		n, _ := oneLNS(t, "autodial = yes\n", full)
		for _, id := range []uint16{7, 8} {
			n.ends(id, operatorEnds)
		}
		n.links()
		n.after(time.Minute)
		n.replaced("autodial = yes\n", 101)
		n.lac("home").progress.busy = step
		n.step(Dials{Peer: closer.Peer.Addr()})
		if got := !n.lac("home").mayBeHungUp(); got != want {
			t.Errorf("%q under way: dialled again %v, want %v", step, got, want)
		}
		if got := n.lac("home").attemptAt.Equal(n.now); want && !got {
			t.Errorf("%q under way: the dial is no attempt", step)
		}
	}
}

// Nobody has seen who was dialled before, and xl2tpd now redials one of two LACs, as somebody has asked it to. Neither gets
// a second call.
func TestRedialOfWhatNobodyHasSeenDialled(t *testing.T) {
	for name, more := range map[string]string{"15 s": "redial = yes\nredial timeout = 15\n", "60 s": "redial = yes\nredial timeout = 60\n", "30 s": "redial = yes\n"} {
		n, _ := oneLNS(t, more, full)
		n.replaced(more, 101)
		n.lac("office").progress.next = n.now.Add(2 * time.Minute) // as after steps that have failed
		n.lac("home").progress.next = n.now.Add(2 * time.Minute)
		for _, r := range n.attempts(6*time.Minute, 20*time.Second, waits) {
			if r.Step == StepDial {
				t.Errorf("redial after %s: %v of %s", name, r.Step, r.LAC.Name)
			}
		}
	}
}

// Neither LAC has ever been dialled when somebody dials one. xl2tpd may redial either from then on, so it gets no second
// call. And neither is known to be wanted, so with `recover = auto` the other one stays down.
func TestFirstDialOfOneOfTwo(t *testing.T) {
	for _, keepalive := range []string{full, ""} {
		for _, timeout := range []time.Duration{15 * time.Second, 30 * time.Second, time.Minute} {
			more := fmt.Sprintf("redial = yes\nredial timeout = %d\n", timeout/time.Second)
			n := newFixture(t, twoLACs("192.0.2.1", "192.0.2.1", more), "[global]\nrecover = auto\n"+keepalive)
			n.step(TaskWorks{Task: TaskGuard})
			n.step(secured("1"))
			n.links()
			n.step(Dials{Peer: closer.Peer.Addr()})
			lasts := 20 * time.Minute
			if keepalive == full {
				lasts = timeout + 2*attemptTime - time.Second // until xl2tpd should have redialled
			}
			n.plays(lasts, alive, func(r Recover) error {
				if r.Step == StepDial {
					t.Errorf("%q, redial after %v: %v of %s", keepalive, timeout, r.Step, r.LAC.Name)
				}
				return waits(r)
			})
		}
	}
}

// An operator dials while recovery hangs up. xl2tpd goes on to redial after the hang-up, and gets no second call.
func TestRedialsOnAfterAHangUp(t *testing.T) {
	const more = "redial = yes\nredial timeout = 30\n"
	for name, dials := range map[string]int{"once": 1, "twice": 2, "nobody": 0} {
		n, _ := oneLNS(t, more, full)
		n.step(TaskWorks{Task: TaskGuard})
		_, home := officeAndHome()
		n.ends(7, why{Reason: "Hello unanswered", Unanswered: true, StopAcked: true})
		n.lac("office").noRedial()
		n.links(home)
		n.lac("home").progress.busy = StepHangUp
		n.core.lacs.agenda.slotsTaken++
		n.ends(8, why{Reason: "hung up"})
		n.links()
		n.lac("office").notRedialled = true
		for range dials {
			n.step(Dials{Peer: closer.Peer.Addr()})
		}
		n.step(StepDone{LAC: LAC{Name: "home"}, Step: StepHangUp, Err: ErrPeerDead})
		if got := n.lac("home").notRedialled; got != (dials == 0) {
			t.Errorf("%s: not redialled %v", name, got)
		}
		n.plays(60*time.Second, probe.Result{Err: lost}, func(r Recover) error {
			if dials > 0 && r.LAC.Name == "home" && r.Step == StepDial {
				t.Errorf("%s: got %v, want no second dial", name, r.Step)
			}
			return waits(r)
		})
	}
}

// The peer answers after the SA was lost, so the loss is not why the tunnel has ended: it may have been hung up.
func TestLivesOnWithoutItsSA(t *testing.T) {
	for name, tc := range map[string]struct {
		answered time.Duration // before the end; 0: never
		failed   bool
	}{
		"never":              {0, true},
		"since":              {2 * time.Second, false},
		"before the SA went": {12 * time.Second, true},
	} {
		n := established(t, oneLAC, full)
		n.plays(time.Minute, alive, succeeds)
		n.step(vici.Snapshot{})
		n.actions = nil
		n.now = n.now.Add(10 * time.Second)
		if tc.answered > 0 {
			n.lac("tokyo").progress.aliveAt = n.now.Add(-tc.answered)
		}
		n.links()
		if got := n.lac("tokyo").lastEnd.failed; got != tc.failed {
			t.Errorf("answered %s: failed %v, want %v", name, got, tc.failed)
		}
	}
}

// A link that may be either LAC's goes while recovery hangs up. If the step then finds the peer alive, it was not
// recovery, and the operator may have hung up. So neither LAC is dialled.
func TestGoneWhileRecoveryFindsThePeerAlive(t *testing.T) {
	for name, tc := range map[string]struct {
		both    bool // LACs are being hung up
		results []error
		dials   bool
	}{
		"one, alive":             {false, []error{ErrAlive}, false},
		"one, hung up":           {false, []error{nil}, true},
		"both alive":             {true, []error{ErrAlive, ErrAlive}, false},
		"one alive, one hung up": {true, []error{ErrAlive, nil}, true},
	} {
		n := ambiguousUp(t, "", "recover = full\n")
		n.links(inUserspace(link("ppp0", 5, true))...)
		n.plays(time.Minute, alive, succeeds)
		names := []string{"office", "home"}[:len(tc.results)]
		for _, of := range names {
			n.lac(of).possibleEnd, n.lac(of).progress.busy = nil, StepHangUp
			n.core.lacs.agenda.slotsTaken++
		}
		n.links()
		for i, of := range names {
			n.step(StepDone{LAC: LAC{Name: of}, Step: StepHangUp, Err: tc.results[i]})
		}
		n.lac("home").lastEnd = nil
		if got := !n.lac("office").mayBeHungUp(); got != tc.dials {
			t.Errorf("%s: wanted %v, want %v", name, got, tc.dials)
		}
	}
}

// Until that is decided, the LAC that is not being hung up is left down too.
func TestGoneWhileAnotherIsHungUp(t *testing.T) {
	for err, want := range map[error]bool{ErrAlive: true, nil: false, ErrHungUp: false} {
		n := ambiguousUp(t, "", "recover = full\n")
		n.links(inUserspace(link("ppp0", 5, true))...)
		n.plays(time.Minute, alive, succeeds)
		office, home := n.lac("office"), n.lac("home")
		office.possibleEnd, home.possibleEnd, home.progress.busy = nil, nil, StepHangUp
		n.core.lacs.agenda.slotsTaken++
		n.links()
		if !office.mayBeHungUp() {
			t.Errorf("%v: it is dialled before that is decided", err)
		}
		n.step(StepDone{LAC: LAC{Name: "home"}, Step: StepHangUp, Err: err})
		if got := office.mayBeHungUp(); got != want {
			t.Errorf("%v: may be hung up %v, want %v", err, got, want)
		}
	}
}

// A new SA for another LAC may bring a tunnel back, so the tunnel is not hung up in its time.
func TestNewSAMayBringADeadTunnelBack(t *testing.T) {
	for name, tc := range map[string]struct {
		is   func(*progress, *situation)
		want Step
	}{
		"dead":                       {func(p *progress, s *situation) { p.peer, s.saInUse, s.saOnTrial = peerSilent, true, true }, StepNone},
		"silent for too long":        {func(p *progress, s *situation) { s.quiet, s.saOnTrial = stuckAfter, true }, StepNone},
		"dead, and no SA was made":   {func(p *progress, s *situation) { p.peer, s.saInUse = peerSilent, true }, StepHangUp},
		"a call, which is no tunnel": {func(p *progress, s *situation) { s.up, s.quiet, s.stuck, s.saOnTrial = false, 0, true, true }, StepHangUp},
	} {
		p, s := progress{since: origin0}, situation{goal: goalFull, daemon: true, hasSA: true, up: true, quiet: time.Second}
		tc.is(&p, &s)
		if step, _ := p.decide(s, 0.5, origin0); step != tc.want {
			t.Errorf("%s: %q, want %q", name, step, tc.want)
		}
	}
}

// An SA that recovery has just made for a LAC may bring other tunnels back, such as those of callers. So it is not ended
// for that LAC either in its time, while a call that is in the way is.
func TestOwnNewSAHasItsTime(t *testing.T) {
	for name, tc := range map[string]struct {
		is   func(*progress, *situation)
		want Step
	}{
		"new":       {func(p *progress, _ *situation) { p.doneAt, p.sa = origin0.Add(time.Second-helpTime), saConfirmed }, StepNone},
		"no longer": {func(p *progress, _ *situation) { p.doneAt, p.sa = origin0.Add(-helpTime), saConfirmed }, StepRenew},
		"not made":  {func(p *progress, _ *situation) { p.doneAt = origin0.Add(time.Second - helpTime) }, StepRenew},
		"new, and no use": {func(p *progress, s *situation) {
			p.doneAt, p.sa, p.peer, p.last = origin0, saConfirmed, peerSilent, StepRenew
		}, StepHangUp},
	} {
		p, s := progress{since: origin0}, situation{goal: goalFull, daemon: true, hasSA: true, up: true, quiet: deadAfter}
		tc.is(&p, &s)
		if step, _ := p.decide(s, 0.5, origin0); step != tc.want {
			t.Errorf("%s: %q, want %q", name, step, tc.want)
		}
	}
}

// The wait for that ends by itself.
func TestOwnNewSAIsRenewedAfterItsTime(t *testing.T) {
	n := established(t, oneLAC, full)
	n.plays(time.Minute, alive, succeeds)
	n.plays(20*time.Second, probe.Result{Err: lost}, func(Recover) error { return lost })
	p := &n.lac("tokyo").progress
	p.last, p.err, p.sa, p.doneAt, p.peer, p.next = StepSecure, nil, saConfirmed, n.now, peerSilent, n.now.Add(minPause)
	n.core.lacs.agenda.mark(n.lac("tokyo"))
	n.step(Tick{})
	n.actions = nil
	if got := n.steps(helpTime-time.Second, nil); slices.Contains(got, StepRenew) {
		t.Errorf("%v in its time", got)
	}
	if got := n.steps(2*time.Second, nil); !slices.Contains(got, StepRenew) {
		t.Errorf("%v after its time", got)
	}
}

// While charon lists nothing, a new SA for one of two LACs is seen in charon's answer alone. What the other one's peer was
// asked before says nothing about that SA.
func TestAskedBeforeANewSA(t *testing.T) {
	for name, tc := range map[string]struct {
		step Step
		err  error
		dead bool
	}{
		"renewed":              {StepRenew, nil, false},
		"initiated":            {StepSecure, nil, false},
		"could not be renewed": {StepRenew, lost, true},
	} {
		n, _ := oneLNS(t, "", full)
		n.step(TaskFailed{Task: WatcherVICI, Err: lost})
		n.plays(20*time.Second, probe.Result{Err: lost}, func(Recover) error { return lost })
		office, home := n.lac("office"), n.lac("home")
		office.progress.busy, home.progress.busy, home.progress.peer = tc.step, StepAsk, peerUnknown
		n.core.lacs.agenda.slotsTaken++
		n.step(StepDone{LAC: LAC{Name: "office"}, Step: tc.step, Err: tc.err})
		n.step(StepDone{LAC: LAC{Name: "home"}, Step: StepAsk})
		if got := home.progress.peer == peerSilent; got != tc.dead {
			t.Errorf("%s: dead %v, want %v", name, got, tc.dead)
		}
	}
}

// Without the Hello guard nobody sees xl2tpd's redial over a new SA. So the SA has the time of that redial before it is
// renewed for the other LAC.
func TestNewSAHasTheTimeOfARedial(t *testing.T) {
	for _, timeout := range []string{"15", "30", "60"} {
		n, _ := oneLNS(t, "redial = yes\nredial timeout = "+timeout+"\n", "")
		if timeout == "60" {
			n, _ = oneLNS(t, "redial = yes\nredial timeout = 60\n", full)
		}
		n.withoutGuard()
		for _, l := range []string{"office", "home"} {
			n.lac(l).had = hadOne
		}
		n.links()
		made := n.now
		p := &n.lac("office").progress
		p.since, p.last, p.doneAt, p.sa, p.saRenewed, p.next = made, StepRenew, made, saConfirmed, true, made.Add(time.Hour)
		n.lac("office").lastEnd = &end{sure: true, failed: true}
		pause, _ := time.ParseDuration(timeout + "s")
		if got := n.core.lacs.situations.trialTime(n.lac("office")); got != pause+attemptTime {
			t.Errorf("redial timeout %s: %v", timeout, got)
		}
		n.step(Fault{What: TaskGuard})
		if got := n.core.lacs.situations.trialTime(n.lac("office")); got != helpTime {
			t.Errorf("redial timeout %s, with the guard: %v", timeout, got)
		}
	}
}

// A call that never got addresses shows which LAC was dialled. It is brought back after xl2tpd was replaced.
func TestRefusedCallShowsTheLAC(t *testing.T) {
	for name, calls := range map[string]bool{"a call": true, "none": false} {
		n, _ := oneLNS(t, "redial = yes\n", "")
		n.replaced("redial = yes\n", 101)
		_, home := officeAndHome()
		home.Xl2tpdPid, home.Index = 101, 7
		n.links(home)
		n.plays(2*time.Minute, alive, succeeds)
		n.step(Dials{Peer: closer.Peer.Addr()})
		if calls {
			call := link("ppp0", 8, false)
			call.Xl2tpdPid = 101
			n.links(call, home)
		}
		n.step(Ending{OwnedConnection: closerOf("192.0.2.1", 9), CloseReason: peerCloses})
		n.links(home)
		n.lac("office").had = min(n.lac("office").had, map[bool]history{true: hadOne, false: mayHaveHad}[calls])
		n.replaced("redial = yes\n", 102)
		if got := n.lac("office").had == hadOne; got != calls {
			t.Errorf("%s: known to have been dialled %v", name, got)
		}
	}
}

// Without the Hello guard nobody sees that an operator dials what may have been hung up. If xl2tpd redials it, its SA is
// kept in order, also after xl2tpd was replaced.
func TestSAOfADialThatNobodySees(t *testing.T) {
	for name, tc := range map[string]struct {
		more    string
		replace bool
		want    bool
	}{
		"redial":                      {"redial = yes\n", false, true},
		"redial, and a new xl2tpd":    {"redial = yes\n", true, true},
		"no redial":                   {"", false, false},
		"no redial, and a new xl2tpd": {"", true, false},
	} {
		n, _ := oneLNS(t, tc.more, full)
		n.withoutGuard()
		n.links()
		n.after(time.Minute)
		if tc.replace {
			n.replaced(tc.more, 101)
		}
		n.step(vici.Snapshot{})
		got := n.steps(10*time.Minute, nil)
		if slices.Contains(got, StepSecure) != tc.want || slices.Contains(got, StepDial) {
			t.Errorf("%s: the steps are %v, want no dial, and %v: %v", name, got, StepSecure, tc.want)
		}
	}
}

// Recovery has hung up a tunnel, and it came up again. Its next end is not taken for that hang-up: xl2tpd redials it.
func TestEndOfATunnelThatWasHungUpBefore(t *testing.T) {
	for name, tc := range map[string]struct {
		up   time.Duration
		busy bool // the hang-up is still under way, and finds the peer alive
	}{
		"it was up for a moment": {5 * time.Second, false},
		"it was up for 40 s":     {40 * time.Second, false},
		"it is still up":         {20 * time.Second, true},
	} {
		n, _ := oneLNS(t, "redial = yes\nredial timeout = 15\n", "")
		p := &n.lac("home").progress
		p.last, p.failed = StepHangUp, 1
		n.plays(tc.up, alive, succeeds)
		if tc.busy {
			p.busy = StepHangUp
			n.core.lacs.agenda.slotsTaken++
		}
		office, _ := officeAndHome()
		n.ends(8, peerCloses)
		n.links(office)
		if tc.busy {
			n.step(StepDone{LAC: LAC{Name: "home"}, Step: StepHangUp, Err: ErrAlive})
		}
		n.plays(14*time.Second, alive, func(r Recover) error {
			if r.Step == StepDial {
				t.Errorf("%s: %v while xl2tpd redials", name, r.Step)
			}
			return waits(r)
		})
		if n.lac("home").notRedialled {
			t.Errorf("%s: taken for recovery's hang-up", name)
		}
	}
}

// xl2tpd takes recovery's dial, so the tunnel of the closed call does not stand any more, and nothing is hung up.
func TestDialAfterAClosedCall(t *testing.T) {
	for name, other := range map[string]bool{"the other one is up": true, "the other one is down": false} {
		n, _ := oneLNS(t, "", full)
		office, _ := officeAndHome()
		n.ends(8, callCloses)
		if !other {
			n.ends(7, peerCloses)
			n.links()
		} else {
			n.links(office)
		}
		n.lac("home").progress.busy = StepDial
		n.core.lacs.agenda.slotsTaken++
		n.lac("home").awaitsDial = true
		n.step(Dials{Peer: closer.Peer.Addr()})
		if got := n.lac("home").lastEnd.CallOnly; got == other {
			t.Errorf("%s: the tunnel stands: %v", name, got)
		}
	}
}

// An operator dials the one of two LACs that has no link. That is its attempt: recovery neither dials beside it nor gives it up.
func TestDialOfTheOneThatIsDown(t *testing.T) {
	for _, after := range []time.Duration{500 * time.Millisecond, 10 * time.Second, 30 * time.Second} {
		n, _ := oneLNS(t, "", full)
		office, _ := officeAndHome()
		n.ends(8, peerCloses)
		n.links(office)
		n.lac("home").progress.since, n.lac("home").progress.next = n.now, n.now.Add(after)
		n.step(Dials{Peer: closer.Peer.Addr()})
		if n.lac("home").attemptAt != n.now {
			t.Errorf("the attempt is not known")
		}
		n.plays(after+time.Second, alive, func(r Recover) error {
			if r.Step == StepDial || r.Step == StepRedial {
				t.Errorf("%v %v after the dial", r.Step, after)
			}
			return nil
		})
	}
}

// While charon lists nothing, xl2tpd redials one of two LACs that is refused. Its SA is not initiated for each attempt.
func TestRedialsWhileCharonListsNothing(t *testing.T) {
	for _, every := range []time.Duration{16 * time.Second, 20 * time.Second, 60 * time.Second} {
		n, _ := oneLNS(t, "redial = yes\nredial timeout = 15\n", full)
		n.step(TaskFailed{Task: WatcherVICI, Err: lost})
		n.ends(8, peerCloses)
		office, call := officeAndHome()
		call.Index, call.Up, call.Local, call.Peer = 9, false, netip.Addr{}, netip.Addr{}
		n.links(office)
		initiated := 0
		come := func(r Recover) error {
			if r.Step == StepSecure || r.Step == StepRenew {
				initiated++
			}
			return waits(r)
		}
		for end := n.now.Add(time.Hour); n.now.Before(end); call.Index++ {
			n.step(Dials{Peer: closer.Peer.Addr()})
			n.links(office, call)
			n.plays(3*time.Second, alive, come)
			n.links(office)
			n.plays(every-3*time.Second, alive, come)
		}
		if initiated > mostAttempts {
			t.Errorf("dialled every %v: initiated %d times", every, initiated)
		}
	}
}

// xl2tpd is killed while the LNS refuses a LAC. The next step is a dial: that nobody answered the last attempt says nothing
// about the SA.
func TestXl2tpdKilledWhileTheLNSRefuses(t *testing.T) {
	for _, dials := range []int{1, 2, 4} {
		n, _ := oneLNS(t, "redial = yes\n", "")
		office, _ := officeAndHome()
		n.ends(8, peerCloses)
		n.links(office)
		n.after(time.Minute)
		p := &n.lac("home").progress
		p.last, p.dials, p.failed, p.next = StepDial, dials, 3, n.now.Add(time.Minute)
		n.replaced("redial = yes\n", 0) // it is gone, and then its links
		n.after(time.Second)
		n.replaced("redial = yes\n", 101)
		var first Step
		n.plays(10*time.Second, alive, func(r Recover) error {
			if first == StepNone && r.LAC.Name == "home" && !r.Step.asks() {
				first = r.Step
			}
			return nil
		})
		if first != StepDial {
			t.Errorf("after %d dials: %q", dials, first)
		}
	}
}

// A dead link may be either LAC's, and xl2tpd dials one of them. Nothing is hung up in the time of that attempt, unless the
// silence has lasted too long.
func TestDeadBesideADialOfOneLikeIt(t *testing.T) {
	for name, dials := range map[string]bool{"xl2tpd dials": true, "it does not": false} {
		n := ambiguousUp(t, "redial = yes\n", "recover = full\n")
		s := secured("1")
		s.SAs[0].Children = append(s.SAs[0].Children, vici.Child{State: "INSTALLED", Mode: "TUNNEL", RemoteTS: []string{"10.1.0.0/16"}})
		n.step(s)
		n.ends(8, peerCloses)
		n.links(inUserspace(link("ppp0", 5, true))...)
		hungUp := false
		for range 4 {
			if dials {
				n.step(Dials{Peer: closer.Peer.Addr()})
			}
			hungUp = hungUp || slices.Contains(n.steps(30*time.Second, nil), StepHangUp)
		}
		if hungUp == dials {
			t.Errorf("%s: hung up %v", name, hungUp)
		}
	}
}

// An operator hangs up a tunnel to an address that no LAC is known to have, since the LNS of one could not be looked up. It
// may be that LAC's.
func TestHungUpWhileTheNameIsUnknown(t *testing.T) {
	conf := "[lac office]\nlns = vpn.example.net\npppoptfile = /etc/ppp/options.l2tpd\n"
	for name, tc := range map[string]struct {
		up, elsewhere bool
		want          bool
	}{
		"an attempt":               {false, false, true},
		"a silent tunnel":          {true, false, true},
		"an attempt, name known":   {false, true, false},
		"a silent one, name known": {true, true, false},
	} {
		n := newFixture(t, conf, "[global]\nrecover = full\n")
		s := n.xl2tpd(conf)
		if tc.elsewhere {
			s.Home().Conf.Sections[0].LNSIPs = []netip.Addr{addr("192.0.2.9")}
		}
		n.step(s)
		n.step(vici.Snapshot{})
		n.links()
		if tc.up {
			n.links(inUserspace(link("ppp0", 5, true))...)
			n.plays(time.Minute, alive, succeeds)
			n.plays(20*time.Second, probe.Result{Err: lost}, func(Recover) error { return lost })
		}
		n.step(Ending{OwnedConnection: closer, CloseReason: operatorEnds})
		n.links()
		if got := n.lac("office").mayBeHungUp(); got != tc.want {
			t.Errorf("%s: %v, want %v", name, got, tc.want)
		}
	}
}

// If a tunnel of such a LAC ends in that moment, it was hung up, and no other LAC was.
func TestHungUpOfTwoWhoseNamesAreUnknown(t *testing.T) {
	conf := strings.ReplaceAll(twoLACs("192.0.2.1", "192.0.2.1", ""), "192.0.2.1", "vpn.example.net")
	for _, after := range []time.Duration{0, time.Second, 5 * time.Second} {
		n := newFixture(t, conf, "[global]\nrecover = full\n")
		s := n.xl2tpd(conf)
		s.Home().Conf.Sections[1].PPPOptFile = "/etc/ppp/home"
		n.step(s)
		n.step(vici.Snapshot{})
		_, home := officeAndHome()
		n.links(inUserspace(home)...)
		n.plays(time.Minute, alive, func(Recover) error { return lost })
		n.step(Ending{OwnedConnection: closer, CloseReason: operatorEnds})
		n.now = n.now.Add(after)
		n.links()
		if got, want := n.lac("office").mayBeHungUp(), after > reasonDelay; got != want || !n.lac("home").mayBeHungUp() {
			t.Errorf("gone after %v: office may be hung up %v, want %v; home %+v", after, got, want, n.lac("home").lastEnd)
		}
	}
}

// xl2tpd may redial what was perhaps hung up, or another LAC: the dial does not show which.
func TestPerhapsHungUpExplainsNoDial(t *testing.T) {
	for name, perhaps := range map[string]bool{"perhaps hung up": true, "redialled": false} {
		n, _ := oneLNS(t, "redial = yes\n", full)
		for _, id := range []uint16{7, 8} {
			n.ends(id, peerCloses)
		}
		n.links()
		if perhaps {
			n.lac("office").possibleEnd = endByOperator(helloguard.OwnedConnection{})
		}
		n.lac("home").notRedialled = true
		n.step(Dials{Peer: closer.Peer.Addr()})
		if got := n.lac("home").notRedialled; got == perhaps {
			t.Errorf("the other LAC is %s: not redialled %v", name, got)
		}
	}
}

// An operator hangs up a tunnel of a new xl2tpd right after the old one has ended. It stays down.
func TestHungUpRightAfterANewXl2tpd(t *testing.T) {
	for name, up := range map[string]time.Duration{"new": 500 * time.Millisecond, "another new one": time.Second, "old": -time.Minute} {
		n := established(t, oneLAC, full)
		n.plays(2*time.Minute, alive, succeeds)
		s := n.xl2tpd(oneLAC)
		s.Home().Process.Pid = 101
		if up > 0 {
			n.step(s)
			n.links()
			n.now = n.now.Add(up)
			l := link("ppp0", 9, true)
			l.Xl2tpdPid = 101
			n.links(l)
			n.now = n.now.Add(500 * time.Millisecond)
		} else {
			n.step(s)
		}
		n.links()
		if got := n.lac("tokyo").mayBeHungUp(); got != (up > 0) {
			t.Errorf("%s tunnel: may be hung up %v", name, got)
		}
	}
}

// xl2tpd closes a call that never got addresses, and keeps its tunnel. The tunnel is hung up, as it takes no other call.
func TestTunnelOfACallWithoutAddresses(t *testing.T) {
	for name, tc := range map[string]struct {
		kernel bool
		reason why
		want   bool
	}{
		"kernel mode":             {true, callCloses, true},
		"userspace mode":          {false, callCloses, true},
		"the tunnel goes as well": {true, peerCloses, false},
	} {
		n, sessions := oneLNS(t, "", full)
		office, home := officeAndHome()
		n.ends(8, peerCloses)
		n.links(office)
		n.plays(10*time.Minute, alive, func(r Recover) error { return nil })
		home.Index, home.Up, home.Local, home.Peer = 9, false, netip.Addr{}, netip.Addr{}
		s := n.xl2tpd(twoLACs("192.0.2.1", "192.0.2.1", ""))
		s.Home().Conf.Sections[1].PPPOptFile = "/etc/ppp/home"
		s.Sessions = sessions[:1]
		if tc.kernel {
			s.Sessions = append(slices.Clone(s.Sessions), xl2tpd.Session{Ifindex: 9, Local: closer.Local, Peer: closer.Peer, LocalTunnel: 11})
		}
		n.step(s)
		n.links(office, home)
		n.after(time.Second)
		n.ends(11, tc.reason)
		n.links(office)
		hungUp := false
		n.plays(5*time.Minute, alive, func(r Recover) error {
			hungUp = hungUp || r.Step == StepHangUp && r.LAC.Name == "home"
			return nil
		})
		if hungUp != tc.want {
			t.Errorf("%s: hung up %v", name, hungUp)
		}
	}
}

// Without the Hello guard, a silent tunnel ends. Another tunnel then shows that the LNS lives, so the silence was no reason,
// and the operator may have hung up.
func TestSilenceThatIsDisproved(t *testing.T) {
	for err, want := range map[error]bool{ErrSAInUse: false, nil: true} {
		n, _ := oneLNS(t, "", full)
		n.withoutGuard()
		office, _ := officeAndHome()
		n.plays(20*time.Second, probe.Result{Err: lost}, func(Recover) error { return lost })
		n.links(office)
		dialled := false
		n.plays(5*time.Minute, probe.Result{Err: lost}, func(r Recover) error {
			dialled = dialled || r.LAC.Name == "home" && r.Step == StepDial
			if r.Step == StepRenew {
				return err
			}
			if r.Step == StepAsk {
				return lost
			}
			return nil
		})
		if dialled != want {
			t.Errorf("%v: dialled %v", err, dialled)
		}
	}
}

// That xl2tpd does not redial can't be known while nobody would see it: the LNS has no known address.
func TestNotRedialledIsNotConcludedBlindly(t *testing.T) {
	for name, known := range map[string]bool{"known": true, "unknown": false} {
		n, _ := oneLNS(t, "redial = yes\nredial timeout = 30\n", full)
		n.step(TaskWorks{Task: TaskGuard})
		n.ends(8, peerCloses)
		office, _ := officeAndHome()
		s := n.xl2tpd(twoLACs("192.0.2.1", "192.0.2.1", "redial = yes\nredial timeout = 30\n"))
		s.Home().Conf.Sections[1].PPPOptFile = "/etc/ppp/home"
		if !known {
			s.Home().Conf.Sections[1].LNSIPs = nil
		}
		n.step(s)
		n.links(office)
		n.lac("home").notDiallingSince = n.now
		dialled := false
		n.plays(4*time.Minute, alive, func(r Recover) error {
			dialled = dialled || r.Step == StepDial
			return waits(r)
		})
		if dialled != known {
			t.Errorf("address %s: dialled %v", name, dialled)
		}
	}
}

// A silent tunnel ends while its peer is being asked. If the peer then turns out to be alive, the silence was no reason: the
// tunnel may have been hung up, and stays down.
func TestGoneWhileThePeerIsAsked(t *testing.T) {
	const conf = "[global]\nrecover = full\n"
	one := inUserspace(link("ppp0", 5, true))
	for name, up := range map[string]func() (*fixture, []string){
		"one LAC": func() (*fixture, []string) {
			n := newFixture(t, oneLAC, conf)
			n.step(secured("1"))
			return n, []string{"tokyo"}
		},
		"two LACs like it": func() (*fixture, []string) {
			n := newFixture(t, twoLACs("192.0.2.1", "192.0.2.1", ""), conf)
			n.step(secured("1"))
			return n, []string{"office", "home"}
		},
	} {
		for _, step := range []Step{StepAsk, StepHangUp, StepRenew} {
			for _, err := range []error{ErrAlive, lost} {
				n, lacs := up()
				n.withoutGuard()
				n.links(one...)
				n.plays(time.Minute, alive, succeeds)
				n.plays(20*time.Second, probe.Result{Err: lost}, func(Recover) error { return lost })
				l := n.lac(lacs[len(lacs)-1])
				l.progress.busy = step
				n.core.lacs.agenda.slotsTaken++
				n.actions = nil
				n.links()
				n.now = n.now.Add(2 * reasonDelay)
				n.step(StepDone{LAC: LAC{Name: l.name}, Step: step, Err: err})
				for _, of := range lacs {
					if got, want := n.lac(of).mayBeHungUp(), errors.Is(err, ErrAlive); got != want {
						t.Errorf("%s, %v, %v: %s may be hung up %v", name, step, err, of, got)
					}
				}
			}
		}
	}
}

// Until that is decided, a LAC that the tunnel may have been of is not dialled either. The latest answer decides.
func TestGoneWhileThePeerIsAskedForTwo(t *testing.T) {
	for name, tc := range map[string]struct {
		results []error // of the questions for office and home
		want    bool    // they may be hung up
	}{
		"alive, and no answer":   {[]error{ErrAlive, lost}, true},
		"no answer, and alive":   {[]error{lost, ErrAlive}, true},
		"no answer":              {[]error{lost, lost}, false},
		"no question, and alive": {[]error{nil, ErrAlive}, true},
		"no question nor answer": {[]error{nil, lost}, false},
		"alive, and hung up":     {[]error{ErrAlive, ErrPeerDead}, false},
	} {
		n := ambiguousUp(t, "", "recover = full\n")
		n.links(inUserspace(link("ppp0", 5, true))...)
		n.plays(time.Minute, alive, succeeds)
		n.withoutGuard()
		n.plays(20*time.Second, probe.Result{Err: lost}, func(Recover) error { return lost })
		names := []string{"office", "home"}
		for i, of := range names {
			l := n.lac(of)
			l.lastEnd, l.possibleEnd, l.progress.busy = nil, nil, StepNone
			if l.progress.next = n.now.Add(time.Hour); tc.results[i] != nil {
				l.progress.busy = StepAsk
			}
			if errors.Is(tc.results[i], ErrPeerDead) {
				l.progress.busy = StepHangUp
				n.core.lacs.agenda.slotsTaken++
			}
		}
		n.actions = nil
		n.links()
		if office := n.lac("office"); tc.results[0] == nil && !office.mayBeHungUp() {
			t.Errorf("%s: office is dialled before that is decided", name)
		}
		for i, of := range names {
			if busy := n.lac(of).progress.busy; busy != StepNone {
				n.step(StepDone{LAC: LAC{Name: of}, Step: busy, Err: tc.results[i]})
			}
		}
		for _, of := range names {
			if of == "home" && errors.Is(tc.results[1], ErrPeerDead) {
				continue
			}
			if got := n.lac(of).mayBeHungUp(); got != tc.want {
				t.Errorf("%s: %s may be hung up %v", name, of, got)
			}
		}
	}
}

// What may have been hung up before stays down, whatever becomes of the later end of a link.
func TestGoneWhileThePeerIsAskedAfterAHangUp(t *testing.T) {
	for _, err := range []error{ErrAlive, lost} {
		n := ambiguousUp(t, "", "recover = full\n")
		n.step(Ending{OwnedConnection: closer, CloseReason: operatorEnds})
		n.links(inUserspace(link("ppp0", 5, true))...)
		n.withoutGuard()
		n.plays(20*time.Second, probe.Result{Err: lost}, func(Recover) error { return lost })
		n.lac("home").progress.busy = StepAsk
		n.actions = nil
		n.links()
		n.step(StepDone{LAC: LAC{Name: "home"}, Step: StepAsk, Err: err})
		for _, of := range []string{"office", "home"} {
			if !n.lac(of).mayBeHungUp() {
				t.Errorf("%v: %s counts as not hung up", err, of)
			}
		}
	}
}

// The peer of a silent link is asked in every pause of recovery, so its latest answer is never old.
func TestSilentPeerIsAskedInPauses(t *testing.T) {
	for name, tc := range map[string]struct {
		is       func(*progress, *situation)
		slotFree bool
	}{
		"all slots are taken":    {func(*progress, *situation) {}, false},
		"a new SA has its time":  {func(_ *progress, s *situation) { s.saOnTrial = true }, true},
		"an SA is being renewed": {func(_ *progress, s *situation) { s.renewing = true }, true},
		"the hang-up has just failed": {func(p *progress, s *situation) {
			p.last, p.err, p.failed, p.next = StepHangUp, lost, 4, origin0.Add(time.Minute)
		}, true},
	} {
		p := progress{since: origin0, lookAt: origin0.Add(time.Hour)}
		s := situation{goal: goalFull, daemon: true, hasSA: true, up: true, quiet: stuckAfter}
		tc.is(&p, &s)
		if step, _ := p.advance(s, tc.slotFree, 0.5, origin0); step != StepAsk {
			t.Errorf("%s: got %q, want %q", name, step, StepAsk)
			continue
		}
		for _, asks := range []Step{StepAsk, StepHangUp} {
			p.busy = asks
			p.stepDone(ErrAlive, s, 0.5, origin0)
			if step, at := p.advance(s, tc.slotFree, 0.5, origin0); step != StepNone || at.IsZero() || at.After(origin0.Add(aliveLook)) {
				t.Errorf("%s, and the peer is alive: %q, and the next look at %v", name, step, at)
			}
		}
	}
}

// A new xl2tpd ends the wait for a step that began before. That step's result says nothing about the new tunnels.
func TestGoneBeforeANewXl2tpd(t *testing.T) {
	for _, stale := range []bool{true, false} {
		n := ambiguousUp(t, "autodial = yes\n", "recover = full\n")
		l := n.lac("home")
		l.progress.busy, l.stale, l.endMeanwhile = StepHangUp, stale, &end{assumed: true}
		n.core.lacs.agenda.slotsTaken++
		n.step(StepDone{LAC: LAC{Name: "home"}, Step: StepHangUp, Err: lost})
		if l.endMeanwhile != nil {
			t.Errorf("stale %v: the end before is still to be decided", stale)
		}
	}
}

// One of two LACs was hung up, and the other one may have been. xl2tpd dials, so somebody wants one of them. The SA of both is
// kept in order, and neither is dialled.
func TestDialOfWhatWasPerhapsHungUp(t *testing.T) {
	for name, perhaps := range map[string]bool{"perhaps hung up": true, "hung up": false} {
		n, _ := oneLNS(t, "redial = yes\n", full)
		for _, id := range []uint16{7, 8} {
			n.ends(id, operatorEnds)
		}
		n.links()
		n.after(time.Minute)
		if perhaps {
			n.lac("home").lastEnd, n.lac("home").possibleEnd = nil, endByOperator(helloguard.OwnedConnection{})
		}
		n.step(Dials{Peer: closer.Peer.Addr()})
		n.step(vici.Snapshot{})
		secures := map[string]bool{}
		n.plays(10*time.Minute, alive, func(r Recover) error {
			if r.Step == StepDial {
				t.Errorf("%s: %v of %s", name, r.Step, r.LAC.Name)
			}
			secures[r.LAC.Name] = secures[r.LAC.Name] || r.Step == StepSecure
			return nil
		})
		if !secures["office"] || !secures["home"] {
			t.Errorf("%s: the SA is kept in order for %v", name, secures)
		}
	}
}

// Recovery has hung a silent tunnel up. That another tunnel lives does not make an operator's hang-up of it.
func TestSilentTunnelThatRecoveryHasHungUp(t *testing.T) {
	for step, want := range map[Step]bool{StepHangUp: true, StepNone: false} {
		n, _ := oneLNS(t, "", full)
		n.withoutGuard()
		office, _ := officeAndHome()
		n.plays(20*time.Second, probe.Result{Err: lost}, func(Recover) error { return lost })
		home := n.lac("home")
		if home.progress.busy = step; step != StepNone {
			n.core.lacs.agenda.slotsTaken++
		}
		n.links(office)
		if step != StepNone {
			n.step(StepDone{LAC: LAC{Name: "home"}, Step: step})
		}
		home.progress.busy = StepRenew
		n.core.lacs.agenda.slotsTaken++
		n.step(StepDone{LAC: LAC{Name: "home"}, Step: StepRenew, Err: ErrSAInUse})
		if got := !home.mayBeHungUp(); got != want {
			t.Errorf("%q before: wanted %v", step, got)
		}
	}
}

// With `recover = auto` nobody knows whether a LAC that was perhaps dialled once is redialled. So it explains no dial: xl2tpd
// may redial the other one.
func TestPerhapsDialledExplainsNoDial(t *testing.T) {
	for had, want := range map[history]bool{mayHaveHad: false, hadOne: true} {
		n, _ := oneLNS(t, "redial = yes\n", "")
		for _, id := range []uint16{7, 8} {
			n.ends(id, peerCloses)
		}
		n.links()
		n.lac("office").had, n.lac("home").notRedialled = had, true
		n.step(Dials{Peer: closer.Peer.Addr()})
		if got := n.lac("home").notRedialled; got != want {
			t.Errorf("history %d of the other LAC: not redialled %v", had, got)
		}
	}
}

// Recovery has hung a LAC up, so a link that may be of either LAC is the other one's. Its far end is asked before the SA is
// ended.
func TestLinkOfTheOtherOneIsAskedBeforeARenewal(t *testing.T) {
	for name, down := range map[string]bool{"hung up": true, "perhaps its own link": false} {
		n := ambiguousUp(t, "", "recover = full\n")
		n.step(TaskWorks{Task: TaskGuard})
		n.links(inUserspace(link("ppp0", 5, true))...)
		l, s := n.lac("home"), n.core.topology.section(n.lac("home"))
		n.now = n.now.Add(time.Second)
		if down {
			l.downAt = n.now
		}
		for _, t := range n.core.tunnels.byKey {
			t.state, t.target = Silent, addr("172.16.0.1")
		}
		r := n.core.lacs.request(l, s, n.core.lacs.candidates(l), situation{}, StepRenew)
		if got := len(r.Beside) == 1 && len(r.Inside) == 0; got != down {
			t.Errorf("%s: inside %v, beside %v", name, r.Inside, r.Beside)
		}
	}
}

// Without the Hello guard, one of two LACs may have been hung up. Then the other link ends with its xl2tpd. That explains the
// later end alone.
func TestPerhapsHungUpBeforeXl2tpdEnded(t *testing.T) {
	for _, ago := range []time.Duration{3 * time.Second, time.Minute, time.Hour} {
		n := ambiguousUp(t, "", "recover = full\n")
		n.withoutGuard()
		n.links(inUserspace(link("ppp0", 5, true))...)
		n.plays(ago, alive, succeeds)
		n.links()
		s := n.xl2tpd(twoLACs("192.0.2.1", "192.0.2.1", ""))
		s.Home().Process.Pid = 101
		n.step(s)
		for _, of := range []string{"office", "home"} {
			if !n.lac(of).mayBeHungUp() {
				t.Errorf("%v before: %s counts as not hung up", ago, of)
			}
		}
	}
}
