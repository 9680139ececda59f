package supervisor

import (
	"slices"
	"testing"
	"time"

	"xl2tpd-keepalive/supervisor/recovery/policy"
	"xl2tpd-keepalive/vici"
)

// After a restart of xl2tpd, recovery brings back a LAC that was up, and not one that had been hung up.
func TestRecoveryOfXl2tpd(t *testing.T) {
	for _, operator := range []bool{false, true} {
		n := established(t, redials, "")
		if operator {
			n.step(Ending{OwnedConnection: closer, CloseReason: why{Reason: "hung up", Operator: true}})
			n.links()
		}
		s := n.xl2tpd(redials)
		s.Home().Process.Pid = 200
		n.step(s)
		n.links()
		got := n.steps(70*time.Second, nil)
		if want := !operator; (len(got) > 0) != want {
			t.Errorf("hung up before: %v; steps %v", operator, got)
		}
	}
}

// xl2tpd may end before its own redial, which recovery waits for, has succeeded.
func TestRecoveryOfXl2tpdInTheClear(t *testing.T) {
	n := newFixture(t, redials, "[global]\nrecover = auto")
	n.step(vici.Snapshot{})
	n.links(link("ppp0", 5, true))
	n.step(Ending{OwnedConnection: closer, CloseReason: why{Reason: "closed by the peer"}})
	n.links()
	if got := n.steps(5*time.Minute, policy.ErrNoConnection); slices.Contains(got, policy.StepDial) {
		t.Errorf("%v while xl2tpd redials", got)
	}
	s := n.xl2tpd(redials)
	s.Home().Process.Pid = 200
	n.step(s)
	if got := n.steps(10*time.Second, policy.ErrNoConnection); !slices.Contains(got, policy.StepDial) {
		t.Errorf("%v after its end", got)
	}
}

// The links may be seen to go before their xl2tpd.
func TestRecoveryOfXl2tpdSeenLate(t *testing.T) {
	n := established(t, redials, "")
	n.now = n.now.Add(time.Second)
	n.links()
	n.now = n.now.Add(time.Second)
	s := n.xl2tpd(redials)
	s.Home().Process.Pid = 200
	n.step(s)
	if why := n.status()[0].Last.Reason; why != xl2tpdEnded {
		t.Errorf("status: %s", why)
	}
	if got := n.steps(70*time.Second, nil); !slices.Contains(got, policy.StepDial) {
		t.Errorf("got %v, want a dial", got)
	}
}

// The result of a step that began before xl2tpd was restarted says nothing about the attempt of the new xl2tpd. That
// attempt has its time, and no other step begins meanwhile.
func TestRecoveryOfXl2tpdDuringAStep(t *testing.T) {
	for _, err := range []error{nil, lost} {
		conf := redials + "autodial = yes\n"
		n := established(t, conf, "")
		n.step(Ending{OwnedConnection: closer, CloseReason: why{Reason: "Hello unanswered", Unanswered: true}})
		n.links()
		n.actions = nil
		n.after(5 * time.Second)
		if len(n.actions) != 1 || n.actions[0].(Recover).Step != policy.StepRenew {
			t.Fatal(show(n.actions))
		}
		n.actions = nil
		s := n.xl2tpd(conf)
		s.Home().Process.Pid = 200
		n.step(s)
		if got := n.steps(10*time.Second, nil); got != nil {
			t.Errorf("%v beside another step", got)
		}
		n.step(StepDone{LAC: LAC{Name: "office"}, Step: policy.StepRenew, Err: err})
		if got := n.steps(24*time.Second, nil); got != nil {
			t.Errorf("%v: got %v, want no step", err, got)
		}
	}
}
