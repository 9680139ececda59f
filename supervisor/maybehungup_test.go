package supervisor

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"xl2tpd-keepalive/internal/ppp"
	"xl2tpd-keepalive/internal/status"
	"xl2tpd-keepalive/internal/xl2tpd"
	"xl2tpd-keepalive/probe"
	"xl2tpd-keepalive/supervisor/recovery/policy"
	"xl2tpd-keepalive/vici"
)

// ambiguousUp has two LACs of one LNS up that can't be told apart.
func ambiguousUp(t *testing.T, more, keepalive string) *fixture {
	n := newFixture(t, twoLACs("192.0.2.1", "192.0.2.1", more), "[global]\n"+keepalive)
	n.step(secured("1"))
	n.links(inUserspace(link("ppp0", 5, true), link("ppp1", 6, true))...)
	n.plays(time.Minute, probe.Result{RTT: time.Millisecond}, func(Recover) error { return nil })
	n.rules = nil
	return n
}

// oneHungUpAndTheOtherEnds hangs up one of the tunnels of ambiguousUp, and the peer closes the other one later.
func (f *fixture) oneHungUpAndTheOtherEnds() {
	f.step(Ending{OwnedConnection: closer, CloseReason: why{Reason: "hung up on this host", Operator: true}})
	f.links(inUserspace(link("ppp1", 6, true))...)
	f.after(time.Minute)
	f.step(Ending{OwnedConnection: closerOf("192.0.2.1", 8), CloseReason: why{Reason: "closed by the peer"}})
	f.links()
}

// One of two LACs that can't be told apart is hung up, and the other one ends later. Neither is dialled until both are up again.
func TestHungUpOfTwoAmbiguous(t *testing.T) {
	n := ambiguousUp(t, "", "recover = full\n")
	n.oneHungUpAndTheOtherEnds()
	if got := n.steps(10*time.Minute, nil); got != nil {
		t.Errorf("%v, and one of them was hung up", got)
	}
	n.links(inUserspace(link("ppp0", 7, true), link("ppp1", 8, true))...)
	n.bothEndAndAreDialled()
}

// bothEndAndAreDialled ends the tunnels of two LACs that are up. Neither is taken for hung up.
func (f *fixture) bothEndAndAreDialled() {
	f.t.Helper()
	f.after(time.Minute)
	for _, id := range []uint16{9, 10} {
		f.step(Ending{OwnedConnection: closerOf("192.0.2.1", id), CloseReason: why{Reason: "closed by the peer"}})
	}
	f.links()
	if got := f.steps(10*time.Minute, nil); !slices.Contains(got, policy.StepDial) {
		f.t.Errorf("got %v, want a dial after both were up", got)
	}
}

// The same if a new snapshot of xl2tpd comes between: the two links then have different lists of the same names.
func TestBothAmbiguousUpAgain(t *testing.T) {
	n := ambiguousUp(t, "", "recover = full\n")
	n.step(Ending{OwnedConnection: closer, CloseReason: why{Reason: "hung up on this host", Operator: true}})
	n.links(inUserspace(link("ppp1", 6, true))...)
	n.after(time.Minute)
	n.step(n.xl2tpd(twoLACs("192.0.2.1", "192.0.2.1", "")))
	n.links(inUserspace(link("ppp0", 7, true), link("ppp1", 6, true))...)
	n.bothEndAndAreDialled()
}

// Nor are they while xl2tpd redials them.
func TestXl2tpdRedialsTwoAmbiguous(t *testing.T) {
	n := ambiguousUp(t, "redial = yes\n", "recover = full\n")
	n.step(Ending{OwnedConnection: closer, CloseReason: why{Reason: "closed by the peer"}})
	n.links(inUserspace(link("ppp1", 6, true))...)
	n.step(Ending{OwnedConnection: closerOf("192.0.2.1", 8), CloseReason: why{Reason: "closed by the peer"}})
	n.links()
	if got := n.steps(10*time.Minute, nil); slices.Contains(got, policy.StepDial) {
		t.Errorf("%v while xl2tpd redials", got)
	}
}

// An attempt of one of two LACs is hung up: neither is dialled. If the tunnel was the other one's,
// which had a link, only that one stays down.
func TestHungUpAttemptOfOneOfTwo(t *testing.T) {
	n, _ := oneLNS(t, "", "[lac default]\nrecover = full\n")
	for _, id := range []uint16{7, 8} {
		n.step(Ending{OwnedConnection: closerOf("192.0.2.1", id), CloseReason: why{Reason: "closed by the peer"}})
	}
	n.links()
	n.after(time.Second)
	n.actions = nil
	n.step(Ending{OwnedConnection: closerOf("192.0.2.1", 9), CloseReason: why{Reason: "hung up on this host", Operator: true}})
	if got := n.steps(10*time.Minute, nil); slices.Contains(got, policy.StepDial) {
		t.Errorf("%v, and one of them was hung up", got)
	}
}

// A silent tunnel gets a new SA that another LAC's recovery has made. That SA is not ended before it had its time to
// help.
func TestNewSAOfANeighbour(t *testing.T) {
	n := established(t, redials, "")
	n.plays(time.Minute, probe.Result{RTT: time.Millisecond}, func(Recover) error { return nil })
	renewed := false
	n.plays(70*time.Second, probe.Result{Err: lost}, func(r Recover) error {
		if r.Step == policy.StepAsk && !renewed {
			renewed = true
			n.step(secured("2"))
			return nil // it did not answer over the old one
		}
		if r.Step == policy.StepAsk {
			return policy.ErrAlive
		}
		t.Errorf("%v with the SA %s", r.Step, r.SA)
		return policy.ErrAlive
	})
	if !renewed {
		t.Error("the peer was never asked")
	}
}

// A link outlives its session for a moment. The reason of another tunnel with the same peer is not taken for the link's
// then.
func TestLinkWithoutItsSession(t *testing.T) {
	n, sessions := oneLNS(t, "", "[lac default]\nrecover = full\n")
	s := n.xl2tpd(twoLACs("192.0.2.1", "192.0.2.1", ""))
	s.Home().Conf.Sections[1].PPPOptFile = "/etc/ppp/home"
	s.Sessions = []xl2tpd.Session{sessions[0]}
	n.step(Ending{OwnedConnection: closerOf("192.0.2.1", 8), CloseReason: why{Reason: "closed by xl2tpd", CallOnly: true}})
	n.step(s)
	n.links(link("ppp0", 5, true))
	n.step(Ending{OwnedConnection: closer, CloseReason: why{Reason: "hung up on this host", Operator: true}})
	if l := n.lac("home"); l.lastEnd == nil || l.lastEnd.Operator {
		t.Errorf("got %+v, want no hang-up by the operator", l.lastEnd)
	}
}

// The peer may have forgotten an SA that must not be ended. Recovery then initiates it once more, so that charon finds
// that out.
func TestForgottenSAThatHasToStay(t *testing.T) {
	for name, conf := range map[string]string{"nobody redials": oneLAC, "xl2tpd redials": redials} {
		n := established(t, conf, "[lac default]\nrecover = full\n")
		s := secured("1")
		s.SAs[0].Children = append(s.SAs[0].Children, vici.Child{State: "INSTALLED", Mode: "TUNNEL", RemoteTS: []string{"10.1.0.0/16"}})
		n.step(s)
		n.step(Ending{OwnedConnection: closer, CloseReason: why{Reason: "closed by the peer"}})
		n.links()
		if got := n.steps(10*time.Minute, nil); !slices.Contains(got, policy.StepSecure) || slices.Contains(got, policy.StepRenew) {
			t.Errorf("%s: got %v, want StepSecure, and no StepRenew", name, got)
		}
	}
}

// If one of two LACs that can't be told apart is down, a row of the status says so about both.
func TestOneOfTwoAmbiguousIsReported(t *testing.T) {
	n := ambiguousUp(t, "", "recover = off\n")
	down := func() (rows []string) {
		for _, r := range n.status() {
			if r.Link == nil {
				rows = append(rows, r.Name+": "+r.State)
			}
		}
		return rows
	}
	if got := down(); got != nil {
		t.Errorf("both up: %q", got)
	}
	n.links(inUserspace(link("ppp1", 6, true))...)
	if got := down(); !slices.Equal(got, []string{"lac office, home: down"}) {
		t.Errorf("one up: %q", got)
	}
	n.links()
	if got := down(); !slices.Equal(got, []string{"lac home: down", "lac office: down"}) {
		t.Errorf("none up: %q", got)
	}
	n.step(n.config("[lac home]\nkeepalive = no\n"))
	n.links(inUserspace(link("ppp1", 7, true))...)
	if got := down(); got != nil {
		t.Errorf("only one is to be kept up: %q", got)
	}
}

// One of two LACs that can't be told apart was hung up. If xl2tpd asks for a tunnel and gets none, the SA is renewed as
// often as usual. If it does not ask, the SA is renewed less and less often.
func TestOldSAOfTwoAmbiguous(t *testing.T) {
	for name, tc := range map[string]struct {
		asks bool
		want int
	}{"nobody asks": {false, 5}, "xl2tpd asks": {true, 24}} {
		n := ambiguousUp(t, "redial = yes\n", "recover = full\n")
		n.step(Ending{OwnedConnection: closer, CloseReason: why{Reason: "hung up on this host", Operator: true}})
		n.links(inUserspace(link("ppp1", 6, true))...)
		n.after(time.Minute)
		n.step(Ending{OwnedConnection: closerOf("192.0.2.1", 8), CloseReason: why{Reason: "closed by the peer"}})
		n.links()
		renewed := 0
		come := func(r Recover) error {
			if r.Step == policy.StepRenew && r.LAC.Name == "home" {
				renewed++
			}
			return nil
		}
		if tc.asks {
			n.attempts(2*time.Hour, time.Minute, come)
		} else {
			n.plays(2*time.Hour, probe.Result{Err: lost}, come)
		}
		if renewed != tc.want {
			t.Errorf("%s: renewed %d times in two hours, want %d", name, renewed, tc.want)
		}
	}
}

// Without the Hello guard nobody knows why a tunnel has ended, and it may have been hung up. xl2tpd dials no LAC that
// was hung up: if a call comes, the LAC is wanted.
func TestCallAfterAnEndThatNobodyExplains(t *testing.T) {
	for name, tc := range map[string]struct {
		after time.Duration
		want  bool
	}{"in time": {30 * time.Second, true}, "with the end": {time.Second, false}} {
		n := established(t, redials, "")
		n.plays(time.Minute, probe.Result{RTT: time.Millisecond}, func(Recover) error { return nil })
		n.links()
		n.after(tc.after)
		call := link("ppp0", 6, false)
		n.links(call)
		n.after(5 * time.Second)
		n.links()
		n.step(vici.Snapshot{})
		if got := n.steps(10*time.Minute, nil); slices.Contains(got, policy.StepSecure) != tc.want {
			t.Errorf("%s: the steps are %v, want %v: %v", name, got, policy.StepSecure, tc.want)
		}
	}
}

// xl2tpd dials one of two LACs of one LNS, and nobody knows which. Recovery keeps the SA in order for it, and dials
// neither.
func TestDialOfOneOfTwoNew(t *testing.T) {
	conf := twoLACs("192.0.2.1", "192.0.2.1", "redial = yes\n")
	n := newFixture(t, conf, "[global]\nrecover = auto\n")
	n.step(vici.Snapshot{})
	n.links()
	if got := n.steps(time.Minute, nil); got != nil {
		t.Errorf("%v before anything was dialled", got)
	}
	var got []policy.Step
	for _, r := range n.attempts(10*time.Minute, time.Minute, func(Recover) error { return nil }) {
		got = append(got, r.Step)
	}
	if !slices.Contains(got, policy.StepSecure) || slices.Contains(got, policy.StepDial) {
		t.Errorf("got %v, want StepSecure, and no StepDial", got)
	}
}

// One of two LACs that can't be told apart was hung up, and xl2tpd should redial neither. It dials one: that one needs the SA.
func TestDialOfOneThatMayBeHungUp(t *testing.T) {
	n := ambiguousUp(t, "redial = yes\n", "recover = full\n")
	n.oneHungUpAndTheOtherEnds()
	n.lac("office").notRedialled, n.lac("home").notRedialled = true, true
	n.step(Dials{OwnedConnection: closer})
	for _, name := range []string{"office", "home"} {
		if n.lac(name).notRedialled {
			t.Errorf("xl2tpd is taken not to redial %s", name)
		}
	}
	for _, r := range n.attempts(10*time.Minute, time.Minute, func(Recover) error { return nil }) {
		if r.Step == policy.StepDial {
			t.Errorf("%v of %s", r.Step, r.LAC.Name)
		}
	}
}

// xl2tpd dials, and the other LAC with that LNS has a link of its own. So the dial is of the one that is down, and is wanted.
func TestDialBesideALink(t *testing.T) {
	for name, tc := range map[string]struct {
		up   bool
		want history
	}{"the other one is up": {true, hadOne}, "both are down": {false, mayHaveHad}} {
		n, _ := oneLNS(t, "redial = yes\n", "")
		office, _ := officeAndHome()
		if n.links(); tc.up {
			n.links(office)
		}
		home := n.lac("home")
		home.had, home.lastEnd = hadNone, nil
		n.step(Dials{OwnedConnection: closer})
		if home.had != tc.want {
			t.Errorf("%s: had %v, want %v", name, home.had, tc.want)
		}
	}
}

// xl2tpd dials no LAC that was hung up, so it is the other one that it dials, and redials.
func TestDialBesideAHungUpLAC(t *testing.T) {
	n, _ := oneLNS(t, "redial = yes\n", "")
	n.step(Ending{OwnedConnection: closer, CloseReason: why{Reason: "hung up on this host", Operator: true}})
	n.step(Ending{OwnedConnection: closerOf("192.0.2.1", 8), CloseReason: why{Reason: "closed by the peer"}})
	n.links()
	n.after(time.Second)
	n.lac("home").notRedialled = true
	n.step(Dials{OwnedConnection: closer})
	if n.lac("home").notRedialled {
		t.Error("xl2tpd is taken not to redial")
	}
}

// Of two LACs that can't be told apart one is up, and the other one was hung up by recovery. If xl2tpd dials, that may be the
// other one, and then xl2tpd redials it.
func TestDialBesideALinkOfTwoAmbiguous(t *testing.T) {
	n := ambiguousUp(t, "redial = yes\n", "recover = full\n")
	n.step(Ending{OwnedConnection: closerOf("192.0.2.1", 8), CloseReason: why{Reason: "closed by the peer"}})
	n.links(inUserspace(link("ppp0", 5, true))...)
	n.lac("home").notRedialled = true
	n.step(Dials{OwnedConnection: closer})
	if n.lac("home").notRedialled {
		t.Error("xl2tpd is taken not to redial")
	}
}

// The other tunnel that an SA carries has shown nothing: the peer may have forgotten the SA. It is initiated once more, also
// if one of the LACs may have been hung up.
func TestSAOfATunnelThatHasShownNothing(t *testing.T) {
	n, _ := oneLNS(t, "redial = yes\n", "[lac default]\nrecover = full\n")
	s := n.xl2tpd(twoLACs("192.0.2.1", "192.0.2.1", "redial = yes\n"))
	s.Home().Conf.Sections[1].PPPOptFile = "/etc/ppp/home"
	caller := link("ppp2", 9, true)
	caller.OptFile = "/etc/ppp/callers"
	s.Sessions = []xl2tpd.Session{{Ifindex: 9, Local: closer.Local, Peer: closer.Peer, LocalTunnel: 20, LNS: true}}
	n.step(s)
	for _, id := range []uint16{7, 8} {
		n.step(Ending{OwnedConnection: closerOf("192.0.2.1", id), CloseReason: why{Reason: "closed by the peer"}})
	}
	n.links(caller)
	n.step(Ending{OwnedConnection: closerOf("192.0.2.1", 30), CloseReason: why{Reason: "hung up on this host", Operator: true}})
	if got := n.steps(10*time.Minute, nil); !slices.Contains(got, policy.StepSecure) || slices.Contains(got, policy.StepDial) || slices.Contains(got, policy.StepRenew) {
		t.Errorf("got %v, want StepSecure, and neither StepDial nor StepRenew", got)
	}
}

// Nobody knows which of two LACs was hung up, and a new xl2tpd dials neither. If it is made to dial one, the SA is needed
// again.
func TestOneOfTwoIsDialledByANewXl2tpd(t *testing.T) {
	const more = "redial = yes\n"
	n, _ := oneLNS(t, more, "")
	for _, id := range []uint16{7, 8} {
		n.step(Ending{OwnedConnection: closerOf("192.0.2.1", id), CloseReason: why{Reason: "closed by the peer"}})
	}
	n.links()
	n.step(Ending{OwnedConnection: closerOf("192.0.2.1", 9), CloseReason: why{Reason: "hung up", Operator: true}})
	restarted := n.xl2tpd(twoLACs("192.0.2.1", "192.0.2.1", more))
	restarted.Home().Process.Pid = 101
	n.step(restarted)
	n.step(vici.Snapshot{})
	if got := n.steps(time.Hour, nil); got != nil {
		t.Errorf("got %v, although nobody has dialled", got)
	}
	n.step(Dials{OwnedConnection: closer})
	if got := n.steps(time.Minute, nil); len(got) == 0 || slices.ContainsFunc(got, func(s policy.Step) bool { return s != policy.StepSecure }) {
		t.Errorf("got %v, want the SA initiated, and nothing else", got)
	}
}

// Recovery hangs up the dead tunnels of two LACs that can't be told apart, and dials one. The link that comes is not the
// other one's, which is dialled too, unless somebody may have done so.
func TestHungUpByRecoveryBesideALink(t *testing.T) {
	n := ambiguousUp(t, "", "recover = full\n")
	n.step(TaskWorks{Task: TaskGuard})
	n.after(time.Second)
	left := inUserspace(link("ppp0", 5, true), link("ppp1", 6, true))
	var dialled []string
	n.plays(3*time.Minute, probe.Result{Err: lost}, func(r Recover) error {
		switch {
		case r.Step == policy.StepHangUp && len(left) > 0:
			n.step(Ending{OwnedConnection: closerOf("192.0.2.1", uint16(left[0].Index)), CloseReason: why{Reason: "hung up", StopAcked: true}})
			left = left[1:]
			n.links(left...)
		case r.Step == policy.StepDial:
			if dialled = append(dialled, r.LAC.Name); len(dialled) == 1 {
				n.links(inUserspace(link("ppp0", 7, true))...)
			}
		}
		return nil
	})
	if slices.Sort(dialled); !slices.Equal(slices.Compact(dialled), []string{"home", "office"}) {
		t.Fatalf("got %q dialled, want both", dialled)
	}
}

// Of three LACs that can't be told apart, one row says how many links are missing, whichever LACs they are of.
func TestSomeOfThreeAmbiguousAreReported(t *testing.T) {
	conf := twoLACs("192.0.2.1", "192.0.2.1", "") + "[lac shop]\nlns = 192.0.2.1\npppoptfile = /etc/ppp/options.l2tpd\n"
	for up, want := range [][]string{
		{"lac home: down", "lac office: down", "lac shop: down"},
		{"lac office, home, shop: down"},
		{"lac office, home, shop: down"},
		nil,
	} {
		n := newFixture(t, conf, "[global]\nrecover = off\n")
		n.step(secured("1"))
		var links []ppp.Link
		for i := range up {
			links = append(links, link(fmt.Sprint("ppp", i), 5+i, true))
		}
		n.links(inUserspace(links...)...)
		var got []string
		for _, r := range n.status() {
			if r.Link == nil {
				got = append(got, r.Name+": "+r.State)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%d up: %q, want %q", up, got, want)
		}
	}
}

// A LAC that recovery has hung up is certainly down until the Hello guard sees a dial that may be its, or can't see one.
func TestCertainlyDown(t *testing.T) {
	for name, tc := range map[string]struct {
		happens func(*fixture)
		want    bool
	}{
		"nothing":             {func(*fixture) {}, true},
		"its LNS is dialled":  {func(n *fixture) { n.step(Dials{OwnedConnection: closer}) }, false},
		"some LNS is dialled": {func(n *fixture) { n.step(dialOf(addr("192.0.2.9"))) }, false},
		"recovery dials another": {func(n *fixture) {
			n.lac("home").dialledAt, n.lac("home").ownDialAt = n.now, n.now
			n.step(Dials{OwnedConnection: closer})
		}, true},
		"recovery dials another, and xl2tpd asks again": {func(n *fixture) {
			n.lac("home").dialledAt, n.lac("home").ownDialAt = n.now, n.now
			n.step(Dials{OwnedConnection: closer})
			n.step(Dials{OwnedConnection: closer, Again: true})
		}, true},
		"recovery dials another, and somebody it": {func(n *fixture) {
			n.lac("home").dialledAt, n.lac("home").ownDialAt = n.now, n.now
			n.step(Dials{OwnedConnection: closer})
			n.step(Dials{OwnedConnection: closer})
		}, false},
		"the guard was away": {func(n *fixture) {
			n.step(Fault{What: TaskGuard, Problem: status.Problem{Text: "no such queue"}})
			n.after(time.Second)
			n.step(Fault{What: TaskGuard})
		}, false},
		"its LNS can't be looked up": {func(n *fixture) {
			s := n.xl2tpd(twoLACs("192.0.2.1", "192.0.2.1", ""))
			s.Home().Conf.Sections[0].Unresolved = true
			n.step(s)
		}, false},
		"xl2tpd is replaced": {func(n *fixture) {
			s := n.xl2tpd(twoLACs("192.0.2.1", "192.0.2.1", ""))
			s.Home().Process.Pid = 101
			n.step(s)
		}, false},
		"one link comes": {func(n *fixture) { n.links(inUserspace(link("ppp0", 7, true))...) }, true},
		"two links come": {func(n *fixture) { n.links(inUserspace(link("ppp0", 7, true), link("ppp1", 8, true))...) }, false},
	} {
		n := ambiguousUp(t, "", "recover = full\n")
		n.step(TaskWorks{Task: TaskGuard})
		n.after(time.Second)
		n.takes(n.lac("office"), policy.StepHangUp)
		n.core.lacs.agenda.slotsTaken++
		n.step(StepDone{LAC: LAC{Name: "office"}, Step: policy.StepHangUp})
		n.links()
		n.after(time.Second)
		tc.happens(n)
		n.after(time.Second)
		if got := n.lac("office").certainlyDown(n.core.health.guardAt); got != tc.want {
			t.Errorf("%s: got %v, want %v", name, got, tc.want)
		}
	}
}

// Somebody dials a LAC while recovery still hangs it up. The link that comes may be its, and no second call is made.
func TestDialledWhileRecoveryHangsUp(t *testing.T) {
	for name, dialled := range map[string]string{"its LNS": "192.0.2.1", "an address that is no LAC's": "192.0.2.9"} {
		n := ambiguousUp(t, "", "recover = full\n")
		n.step(TaskWorks{Task: TaskGuard})
		answer := probe.Result{Err: lost}
		hangUp := func(r Recover) error {
			switch {
			case r.Step != policy.StepHangUp:
			case answer.Err == nil:
				return policy.ErrAlive // the peer answers again
			default:
				answer = probe.Result{RTT: time.Millisecond}
				n.step(Ending{OwnedConnection: closer, CloseReason: why{Reason: "hung up", StopAcked: true}})
				n.links(inUserspace(link("ppp1", 6, true))...)
				n.after(time.Second)
				n.step(dialOf(addr(dialled)))
				n.links(inUserspace(link("ppp0", 7, true), link("ppp1", 6, true))...)
				n.after(time.Second)
			}
			return nil
		}
		for answer.Err != nil {
			n.plays(time.Second, answer, hangUp)
		}
		n.plays(10*time.Minute, answer, func(r Recover) error {
			t.Errorf("%s: %v of %s", name, r.Step, r.LAC.Name)
			return nil
		})
	}
}

// Of two LACs that can't be told apart one was hung up, and xl2tpd is replaced. If the new one dials, that may be either of
// them. The SA is kept in order for it, whatever `recover` says of LACs that nobody has dialled.
func TestDialOfAnAmbiguousLACByANewXl2tpd(t *testing.T) {
	const more = "redial = yes\n"
	for _, keepalive := range []string{"recover = full\n", "recover = auto\n"} {
		n := ambiguousUp(t, more, keepalive)
		n.step(Ending{OwnedConnection: closer, CloseReason: why{Reason: "hung up on this host", Operator: true}})
		n.links(inUserspace(link("ppp1", 6, true))...)
		n.after(time.Minute)
		s := n.xl2tpd(twoLACs("192.0.2.1", "192.0.2.1", more))
		s.Home().Process.Pid = 101
		n.step(s)
		n.links()
		if got := n.steps(10*time.Minute, nil); got != nil {
			t.Errorf("%s: %v, and nobody dials", keepalive, got)
		}
		got := make(map[policy.Step]bool)
		for _, r := range n.attempts(10*time.Minute, time.Minute, func(Recover) error { return nil }) {
			got[r.Step] = true
		}
		if !got[policy.StepRenew] || got[policy.StepDial] || got[policy.StepHangUp] {
			t.Errorf("%s: got %v, want StepRenew, and neither StepDial nor StepHangUp", keepalive, got)
		}
	}
}

// Without the Hello guard, the peer of a silent tunnel whose SA has to stay is asked until the tunnel has to be hung up.
// So a tunnel whose peer answers, and that ends, may have been hung up.
func TestSilentTunnelIsHungUp(t *testing.T) {
	for _, quiet := range []time.Duration{70 * time.Second, 100 * time.Second, 140 * time.Second} {
		n := established(t, oneLAC, "hello guard = off\n[lac default]\nrecover = full\n")
		s := secured("1")
		s.SAs[0].Children = append(s.SAs[0].Children, vici.Child{State: "INSTALLED", Mode: "TUNNEL", RemoteTS: []string{"10.1.0.0/16"}})
		n.step(s)
		n.plays(time.Minute, probe.Result{RTT: time.Millisecond}, func(Recover) error { return nil })
		n.asked = policy.ErrAlive
		if got := n.steps(quiet, nil); got != nil {
			t.Errorf("silent for %v: %v", quiet, got)
		}
		n.links()
		if got := n.steps(10*time.Minute, nil); slices.Contains(got, policy.StepDial) {
			t.Errorf("silent for %v, and then perhaps hung up: %v", quiet, got)
		}
	}
}
