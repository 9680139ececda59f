package supervisor

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"xl2tpd-keepalive/internal/status"
	"xl2tpd-keepalive/internal/xl2tpd"
	"xl2tpd-keepalive/probe"
	"xl2tpd-keepalive/supervisor/recovery/policy"
	"xl2tpd-keepalive/vici"
)

// oneLNS has two LACs of one LNS up over one SA, "office" and "home", told apart by their sessions.
func oneLNS(t *testing.T, more, keepalive string) (*fixture, []xl2tpd.Session) {
	conf := twoLACs("192.0.2.1", "192.0.2.1", more)
	n := newFixture(t, conf, "[global]\nrecover = auto\n"+keepalive)
	s := n.xl2tpd(conf)
	s.Home().Conf.Sections[1].PPPOptFile = "/etc/ppp/home"
	var sessions []xl2tpd.Session
	for i, id := range []uint16{7, 8} {
		sessions = append(sessions, xl2tpd.Session{Ifindex: 5 + i, Local: closer.Local, Peer: closer.Peer, LocalTunnel: id})
	}
	s.Sessions = sessions
	n.step(s)
	n.step(secured("1"))
	home := link("ppp1", 6, true)
	home.OptFile = "/etc/ppp/home"
	n.links(link("ppp0", 5, true), home)
	n.plays(time.Minute, probe.Result{RTT: time.Millisecond}, func(Recover) error { return nil })
	return n, sessions
}

// attempts plays time in which xl2tpd regularly asks the LNS for a tunnel. It returns the steps that change something.
func (f *fixture) attempts(d, every time.Duration, come func(Recover) error) (all []Recover) {
	for end := f.now.Add(d); f.now.Before(end); {
		f.step(Dials{OwnedConnection: closer})
		f.plays(every, probe.Result{RTT: time.Millisecond}, func(r Recover) error {
			if r.Step.Asks() {
				return nil
			}
			if all = append(all, r); len(all) > 1000 {
				f.t.Fatalf("no pause between steps: %+v", all[:10])
			}
			return come(r)
		})
	}
	return all
}

// waits is the result of a step if xl2tpd redials by itself.
func waits(r Recover) error {
	if r.Step == policy.StepRedial {
		return policy.ErrRedialsLater
	}
	return nil
}

// One of two LACs with one LNS is refused. Recovery does not touch the SA, which carries the other LAC, and leaves the
// redials to xl2tpd.
func TestNeighbourIsLeftAlone(t *testing.T) {
	for name, more := range map[string]string{"redial": "redial = yes\nredial timeout = 15\n", "autodial and redial": "autodial = yes\nredial = yes\n"} {
		n, _ := oneLNS(t, more, "")
		e := Ending{OwnedConnection: closerOf("192.0.2.1", 8), CloseReason: why{Reason: "closed by the peer"}}
		n.step(e)
		n.links(link("ppp0", 5, true))
		for _, r := range n.attempts(time.Hour, 20*time.Second, waits) {
			t.Errorf("%s: %v of %s with the SA %q", name, r.Step, r.LAC.Name, r.SA)
		}
	}
}

// Without `redial` recovery dials it, less and less often. It does not end the SA that carries the other LAC.
func TestNeighboursSAIsKept(t *testing.T) {
	n, _ := oneLNS(t, "", "[lac default]\nrecover = full\n")
	n.step(Ending{OwnedConnection: closerOf("192.0.2.1", 8), CloseReason: why{Reason: "closed by the peer"}})
	n.links(link("ppp0", 5, true))
	dials := 0
	n.plays(time.Hour, probe.Result{RTT: time.Millisecond}, func(r Recover) error {
		switch r.Step {
		case policy.StepDial:
			dials++
		case policy.StepRenew:
			t.Errorf("renewed: %+v", r)
		}
		return nil
	})
	if dials == 0 || dials > 30 {
		t.Errorf("dialled %d times in an hour", dials)
	}
}

// The SA is not ended either while the other LAC is not watched, or has shown no sign of life yet.
func TestNeighbourThatIsNotWatched(t *testing.T) {
	n, _ := oneLNS(t, "redial = yes\n", "[lac office]\nkeepalive = no\n")
	n.step(Ending{OwnedConnection: closerOf("192.0.2.1", 8), CloseReason: why{Reason: "Hello unanswered", Unanswered: true}})
	n.links(link("ppp0", 5, true))
	for _, r := range n.attempts(time.Hour, time.Minute, waits) {
		if r.Step == policy.StepRenew {
			t.Errorf("%v of %s with the SA %q", r.Step, r.LAC.Name, r.SA)
		}
	}
}

// Two LACs whose LNS answers IKE and no L2TP renew the SA less and less often.
func TestTwoThatAreNotAnswered(t *testing.T) {
	n, _ := oneLNS(t, "redial = yes\nredial timeout = 15\n", "")
	for _, id := range []uint16{7, 8} {
		n.step(Ending{OwnedConnection: closerOf("192.0.2.1", id), CloseReason: why{Reason: "closed by the peer"}})
	}
	n.links()
	renewed := map[string]int{}
	for _, r := range n.attempts(2*time.Hour, 20*time.Second, waits) {
		if r.Step == policy.StepRenew {
			renewed[r.LAC.Name]++
		}
	}
	for name, times := range renewed {
		if times > 60 {
			t.Errorf("%s: %d times in two hours", name, times)
		}
	}
}

// An IKE SA that carries something else, such as a site-to-site tunnel, is not ended either.
func TestSAWithOtherTraffic(t *testing.T) {
	n := established(t, redials, "")
	s := secured("1")
	s.SAs[0].Children = append(s.SAs[0].Children, vici.Child{State: "INSTALLED", Mode: "TUNNEL", RemoteTS: []string{"10.1.0.0/16"}})
	n.step(s)
	n.plays(time.Minute, probe.Result{RTT: time.Millisecond}, func(Recover) error { return nil })
	hungUp := false
	n.plays(10*time.Minute, probe.Result{Err: lost}, func(r Recover) error {
		if r.Step == policy.StepRenew {
			t.Errorf("got %+v, want no StepRenew", r)
		}
		hungUp = hungUp || r.Step == policy.StepHangUp
		return lost
	})
	if !hungUp {
		t.Error("the silent link stays for ever")
	}
}

// A LAC that the operator hung up stays down, even if xl2tpd dials another LAC of that LNS.
func TestHungUpBesideARedial(t *testing.T) {
	n, _ := oneLNS(t, "redial = yes\n", "")
	n.step(Ending{OwnedConnection: closerOf("192.0.2.1", 8), CloseReason: why{Reason: "hung up on this host", Operator: true}})
	n.links(link("ppp0", 5, true))
	n.after(time.Minute)
	n.step(Ending{OwnedConnection: closer, CloseReason: why{Reason: "closed by the peer"}})
	n.links()
	for _, r := range n.attempts(20*time.Minute, 30*time.Second, waits) {
		if r.LAC.Name == "home" {
			t.Errorf("%v of what was hung up", r.Step)
		}
	}
	if l := n.lac("home"); l.lastEnd == nil || !l.lastEnd.Operator {
		t.Errorf("got %+v, want a hang-up by the operator", l.lastEnd)
	}
}

// A LAC that is refused although the LNS answers: the SA is not to blame, and the tries become ever
// fewer.
func TestRefusedByTheLNS(t *testing.T) {
	for name, tc := range map[string]struct{ conf, keepalive string }{
		"xl2tpd redials": {redials + "redial timeout = 15\n", ""},
		"it does not":    {oneLAC, "[lac default]\nrecover = full\n"},
	} {
		n := established(t, tc.conf, tc.keepalive)
		n.plays(time.Minute, probe.Result{RTT: time.Millisecond}, func(Recover) error { return nil })
		n.step(Ending{OwnedConnection: closer, CloseReason: why{Reason: "closed by the peer"}})
		n.links()
		ended, tries, asked := 0, 0, 0
		come := func(r Recover) error {
			tries++
			switch {
			case r.Step != policy.StepRenew:
				return nil
			case r.LastAttempt.IsZero():
				ended++
				return nil
			}
			asked++ // the Hello guard knew the answer: nothing was sent to the LNS
			return policy.ErrAnswers
		}
		var all []Recover
		if name == "xl2tpd redials" {
			all = n.attempts(time.Hour, 20*time.Second, come)
		} else {
			n.plays(time.Hour, probe.Result{Err: lost}, func(r Recover) error {
				if r.Step.Asks() {
					return nil
				}
				all = append(all, r)
				return come(r)
			})
		}
		if ended > 0 || tries-asked > 30 || tries < 5 {
			t.Errorf("%s: %d tries, %d SAs ended", name, tries, ended)
		}
		if n := len(all); n > 2 && !slices.ContainsFunc(all, func(r Recover) bool { return r.Step == policy.StepRenew }) {
			t.Errorf("%s: nothing was asked", name)
		}
	}
}

// Of two LACs with one LNS that were hung up xl2tpd dials those again that have `autodial`, when it begins to run.
func TestAutodialOfWhatWasHungUp(t *testing.T) {
	for more, want := range map[string]bool{"autodial = yes\n": true, "": false} {
		n, _ := oneLNS(t, more, "[lac default]\nrecover = full\n")
		for _, id := range []uint16{7, 8} {
			n.step(Ending{OwnedConnection: closerOf("192.0.2.1", id), CloseReason: why{Reason: "hung up on this host", Operator: true}})
		}
		n.links()
		n.after(time.Minute)
		s := n.xl2tpd(twoLACs("192.0.2.1", "192.0.2.1", more))
		s.Home().Conf.Sections[1].PPPOptFile = "/etc/ppp/home"
		s.Home().Process.Pid++
		n.step(s)
		if got := n.steps(time.Minute, nil); got != nil {
			t.Errorf("%q: %v of what was hung up", more, got)
		}
		s.Home().Process.Pid++
		n.step(s)
		n.step(Dials{OwnedConnection: closer})
		if got := n.steps(10*time.Minute, nil); slices.Contains(got, policy.StepDial) != want {
			t.Errorf("%q: %v once xl2tpd has begun to dial", more, got)
		}
	}
}

// Two LACs of one LNS were hung up, and xl2tpd dials one of them. The SA is kept in order for it, and neither is dialled.
func TestDialOfOneOfTwoHungUp(t *testing.T) {
	for _, unanswered := range []bool{false, true} {
		n, _ := oneLNS(t, "redial = yes\n", "[lac default]\nrecover = full\n")
		for _, id := range []uint16{7, 8} {
			n.step(Ending{OwnedConnection: closerOf("192.0.2.1", id), CloseReason: why{Reason: "hung up on this host", Operator: true, Unanswered: unanswered}})
		}
		n.links()
		n.step(vici.Snapshot{})
		if got := n.steps(time.Minute, nil); got != nil {
			t.Errorf("unanswered %v: %v of what was hung up", unanswered, got)
		}
		var got []policy.Step
		for _, r := range n.attempts(10*time.Minute, time.Minute, func(Recover) error { return nil }) {
			got = append(got, r.Step)
		}
		if !slices.Contains(got, policy.StepSecure) || slices.ContainsFunc(got, func(s policy.Step) bool { return s != policy.StepSecure && s != policy.StepRenew }) {
			t.Errorf("unanswered %v: got %v, want the SA and no dial", unanswered, got)
		}
	}
}

// A call has just begun, and its link has no addresses yet: xl2tpd is not made to call a second time.
func TestNoDialBesideACall(t *testing.T) {
	n := established(t, oneLAC, "[lac default]\nrecover = full\n")
	n.step(Ending{OwnedConnection: closer, CloseReason: why{Reason: "closed by the peer"}})
	n.links()
	n.after(2 * time.Second)
	n.links(link("ppp0", 6, false))
	if got := n.steps(callTime-time.Second, nil); slices.Contains(got, policy.StepDial) || slices.Contains(got, policy.StepRedial) {
		t.Errorf("%v beside a call", got)
	}
	n.links()
	if got := n.steps(3*time.Minute, nil); !slices.Contains(got, policy.StepDial) {
		t.Errorf("%v once it has ended", got)
	}
}

// xl2tpd should not redial a LAC, but there is a call of it. So somebody has dialled the LAC, and xl2tpd redials it from then
// on, also if the call gets no addresses. A call from before a hang-up proves nothing.
func TestCallIsRedialled(t *testing.T) {
	for name, tc := range map[string]struct {
		before time.Duration // from the hang-up to the call
		want   bool          // not redialled
	}{
		"after the hang-up":  {2 * time.Second, false},
		"before the hang-up": {-2 * time.Second, true},
	} {
		n := established(t, redials, "[lac default]\nrecover = full\n")
		n.step(Ending{OwnedConnection: closer, CloseReason: why{Reason: "closed by the peer"}})
		n.links()
		n.after(time.Minute)
		n.lac("office").hangUpAt, n.lac("office").notRedialled = n.now.Add(-tc.before), true
		n.links(link("ppp0", 6, false))
		if got := n.lac("office").notRedialled; got != tc.want {
			t.Errorf("a call %s: got not redialled %v, want %v", name, got, tc.want)
		}
	}
}

// After a hang-up pppd takes a moment to end. A link that loses its addresses meanwhile is no new call: xl2tpd does not redial.
func TestLinkOfAHangUpLingers(t *testing.T) {
	for name, up := range map[string]bool{
		"without addresses": false,
		"as it was":         true,
	} {
		n := established(t, redials, full)
		n.after(time.Minute)
		l := n.lac("office")
		l.hangUpAt, l.notRedialled = n.now, true
		n.after(time.Second)
		n.links(link("ppp0", 5, up))
		n.step(Ending{OwnedConnection: closer, CloseReason: why{Reason: operatorEnds.Reason}})
		if !l.notRedialled {
			t.Errorf("%s: xl2tpd redials", name)
		}
	}
}

// xl2tpd may have redialled a LAC whose call was closed alone, and nobody sees that. Once it is hung up, xl2tpd keeps to the
// redial that it has planned, so that LAC is not dialled before.
func TestHalfClosedOfTwo(t *testing.T) {
	n, _ := oneLNS(t, "redial = yes\nredial timeout = 60\n", "")
	n.step(Ending{OwnedConnection: closerOf("192.0.2.1", 8), CloseReason: why{Reason: "closed by xl2tpd", CallOnly: true}})
	n.links(link("ppp0", 5, true))
	var hungUp time.Time
	n.plays(10*time.Minute, probe.Result{RTT: time.Millisecond}, func(r Recover) error {
		switch {
		case r.Step == policy.StepHangUp:
			hungUp = n.now
		case (r.Step == policy.StepDial || r.Step == policy.StepRedial) && n.now.Sub(hungUp) <= time.Minute: // its timer may be late
			t.Errorf("%v %v after it was hung up", r.Step, n.now.Sub(hungUp))
		}
		return nil
	})
	if hungUp.IsZero() {
		t.Error("nothing was hung up")
	}
}

// That an echo request can't be sent says nothing about the far end: no tunnel counts as silent, and
// the operator is told once.
func TestEchoThatCannotBeSent(t *testing.T) {
	for name, err := range map[string]error{
		"refused by a filter": fmt.Errorf("echo: %w: operation not permitted", probe.ErrSend),
		"no socket":           fmt.Errorf("echo: %w", probe.ErrPermission),
	} {
		n := established(t, redials, "")
		n.plays(time.Minute, probe.Result{RTT: time.Millisecond}, func(Recover) error { return nil })
		n.notes = nil
		n.plays(20*time.Minute, probe.Result{Err: err}, func(r Recover) error {
			t.Errorf("%s: got %v, want no step", name, r.Step)
			return nil
		})
		if all := n.status(); all[0].State != "alive" || all[0].Link.Echoes.Lost != 0 {
			t.Errorf("%s: got %+v, want an alive tunnel with no lost echo", name, all[0])
		}
		n.wantNotes("echo requests can't be sent")
		if got := n.core.health.problems(); len(got) != 1 || got[0].Text.String() != "ppp0: "+err.Error() {
			t.Errorf("%s: got %q, want the reason of ppp0 alone", name, got)
		}
		n.plays(time.Minute, probe.Result{RTT: time.Millisecond}, func(Recover) error { return nil })
		n.wantNotes("echo requests can be sent again")
		if got := n.core.health.problems(); got != nil {
			t.Errorf("%s: got %q, want no problem", name, got)
		}
	}
}

// Echo requests that are refused on one link say nothing of another link's.
func TestEchoThatCannotBeSentThroughOneLink(t *testing.T) {
	n, _ := oneLNS(t, "", "")
	refused := fmt.Errorf("echo: %w: operation not permitted", probe.ErrSend)
	n.notes = nil
	for end := n.now.Add(5 * time.Minute); n.now.Before(end); n.after(500 * time.Millisecond) {
		for len(n.actions) > 0 {
			a := n.actions[0]
			n.actions = n.actions[1:]
			switch a := a.(type) {
			case ReadCounter:
				n.step(Counters{{Link: a.Link}})
			case SendEcho:
				r := probe.Result{Link: a.Link, Index: a.Index, RTT: time.Millisecond}
				if a.Link == "ppp0" {
					r.RTT, r.Err = 0, refused
				}
				n.step(Results{r})
			}
		}
	}
	n.wantNotes("echo requests can't be sent")
	if got := n.core.health.problems(); len(got) != 1 || got[0].Text.String() != "ppp0: "+refused.Error() {
		t.Errorf("got %q, want the reason of ppp0 alone", got)
	}
}

// While the SA is made anew for one LAC, the other one to that LNS is not dialled: for a moment there
// is no SA, and the dial would go out in the clear.
func TestNoDialWhileTheSAIsMadeAnew(t *testing.T) {
	n, _ := oneLNS(t, "", "[lac default]\nrecover = full\n")
	n.step(Ending{OwnedConnection: closerOf("192.0.2.1", 7), CloseReason: why{Reason: "Hello unanswered", Unanswered: true, StopAcked: true}})
	home := link("ppp1", 6, true)
	home.OptFile = "/etc/ppp/home"
	n.links(home)
	n.after(time.Second)
	n.step(Ending{OwnedConnection: closerOf("192.0.2.1", 8), CloseReason: why{Reason: "closed by the peer"}})
	n.links()
	var asked, later []string
	for end := n.now.Add(20 * time.Second); n.now.Before(end); n.after(500 * time.Millisecond) {
		for _, a := range n.actions {
			if r, is := a.(Recover); is && !r.Step.Asks() {
				asked = append(asked, r.LAC.Name+": "+r.Step.String())
			}
		}
		n.actions = nil
	}
	if !slices.Equal(asked, []string{"office: renew the IPsec SA"}) {
		t.Fatalf("%q while no step has ended", asked)
	}
	n.step(StepDone{LAC: LAC{Name: "office"}, Step: policy.StepRenew})
	n.plays(10*time.Second, probe.Result{Err: lost}, func(r Recover) error {
		later = append(later, r.LAC.Name+": "+r.Step.String())
		return nil
	})
	if !slices.Contains(later, "home: dial") {
		t.Errorf("%q once the SA is there", later)
	}
}

// A silent link of userspace mode may be either LAC's, and both are hung up. xl2tpd keeps the redial that it had
// planned for the LAC that was down. So recovery does not dial that LAC before then.
func TestHungUpWhileXl2tpdMayRedial(t *testing.T) {
	n := ambiguousUp(t, "redial = yes\nredial timeout = 60\n", "recover = full\n")
	n.plays(10*time.Second, probe.Result{RTT: time.Millisecond}, func(Recover) error { return nil })
	n.step(Ending{OwnedConnection: closerOf("192.0.2.1", 8), CloseReason: why{Reason: "closed by the peer"}})
	n.links(inUserspace(link("ppp0", 5, true))...)
	hungUp := map[string]time.Time{}
	n.plays(10*time.Minute, probe.Result{Err: lost}, func(r Recover) error {
		at, is := hungUp[r.LAC.Name]
		switch {
		case r.Step == policy.StepHangUp && !is:
			hungUp[r.LAC.Name] = n.now
			n.links()
		case is && (r.Step == policy.StepDial || r.Step == policy.StepRedial) && n.now.Sub(at) <= time.Minute:
			t.Errorf("%v of %s %v after it was hung up", r.Step, r.LAC.Name, n.now.Sub(at))
		}
		return nil
	})
	if len(hungUp) == 0 {
		t.Error("nothing was hung up")
	}
}

// In userspace mode nobody knows the address of a caller. Without the Hello guard, an SA that may carry its tunnel is
// not ended.
func TestCallerFromNobodyKnowsWhere(t *testing.T) {
	for name, blind := range map[string]bool{"without the guard": true, "with the guard": false} {
		n := newFixture(t, oneLAC+"[lns default]\nip range = 10.9.0.1-10.9.0.9\npppoptfile = /etc/ppp/callers\n", "[global]\nrecover = full\n")
		if blind {
			n.step(Fault{What: TaskGuard, Problem: status.Problem{Text: "hello guard unavailable"}})
		}
		tokyo, caller := link("ppp0", 5, true), link("ppp1", 6, true)
		caller.OptFile, caller.Peer = "/etc/ppp/callers", addr("10.9.0.1")
		n.step(secured("1"))
		n.links(inUserspace(tokyo, caller)...)
		n.plays(time.Minute, probe.Result{RTT: time.Millisecond}, func(Recover) error { return nil })
		n.step(Ending{OwnedConnection: closer, CloseReason: why{Reason: "Hello unanswered", Unanswered: true}})
		n.links(inUserspace(caller)...)
		renewed := false
		n.plays(2*time.Minute, probe.Result{RTT: time.Millisecond}, func(r Recover) error {
			renewed = renewed || r.Step == policy.StepRenew
			return nil
		})
		if renewed == blind {
			t.Errorf("%s: renewed %v", name, renewed)
		}
	}
}

// Two LACs with one LNS have ended in silence. The new SA for one of them has its time, also once xl2tpd dials over it, before
// it is renewed for the other one.
func TestNewSAHasItsTimeAfterADial(t *testing.T) {
	n, _ := oneLNS(t, "", "[lac default]\nrecover = full\n")
	for _, id := range []uint16{7, 8} {
		n.step(Ending{OwnedConnection: closerOf("192.0.2.1", id), CloseReason: why{Reason: "Hello unanswered", Unanswered: true, StopAcked: true}})
	}
	n.links()
	var renewed time.Time
	dialled, times := false, 0
	come := func(r Recover) error {
		switch {
		case r.Step == policy.StepDial:
			dialled = dialled || !renewed.IsZero()
		case r.Step == policy.StepRenew:
			if dialled && n.now.Sub(renewed) < policy.HelpTime {
				t.Errorf("renewed for %s %v after the last one", r.LAC.Name, n.now.Sub(renewed))
			}
			renewed, dialled, times = n.now, false, times+1
		}
		return nil
	}
	for range 60 {
		n.plays(time.Second, probe.Result{Err: lost}, come)
		n.step(secured(fmt.Sprint(1 + times))) // what charon lists makes recovery look again
	}
	if times < 2 {
		t.Errorf("renewed %d times, so nothing was shown", times)
	}
}
