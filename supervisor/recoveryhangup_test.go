package supervisor

import (
	"errors"
	"slices"
	"testing"
	"time"

	"xl2tpd-keepalive/internal/procfs"
	"xl2tpd-keepalive/probe"
	"xl2tpd-keepalive/supervisor/recovery/policy"
	"xl2tpd-keepalive/vici"
)

// A tunnel ends by itself just before recovery hangs it up. xl2tpd has planned its redial by then, and a dial before that
// would make it call twice. What is seen of the end may come before or after the result of the step.
func TestHangUpOfATunnelThatHasJustEnded(t *testing.T) {
	byItself, byRecovery := time.Minute+policy.TimerDelay, ackedClosingTime
	for name, tc := range map[string]struct {
		says why
		want time.Duration // from the hang-up to the dial
	}{
		"xl2tpd gave up":       {why{Reason: "Hello unanswered", Unanswered: true, StopAcked: true}, byItself},
		"the peer closed it":   {why{Reason: "closed by the peer", ByPeer: true}, byItself},
		"pppd ended":           {why{Reason: "closed by xl2tpd", Vague: true}, byItself},
		"recovery has hung up": {why{Reason: "hung up on this host", StopAcked: true}, byRecovery},
		"nobody has said why":  {want: byItself},
	} {
		says := func(n *fixture) {
			if tc.says.Reason != "" {
				n.step(Ending{OwnedConnection: closer, CloseReason: tc.says})
			}
		}
		gone := func(n *fixture) { n.links() }
		for order, happens := range map[string]struct{ before, after []func(*fixture) }{
			"reason, end, result": {before: []func(*fixture){says, gone}},
			"end, result, reason": {[]func(*fixture){gone}, []func(*fixture){says}},
			"reason, result, end": {[]func(*fixture){says}, []func(*fixture){gone}},
			"result, reason, end": {after: []func(*fixture){says, gone}},
			"result, end, reason": {after: []func(*fixture){gone, says}},
		} {
			n := established(t, redials+"redial timeout = 60\n", "")
			happen := func(all []func(*fixture)) {
				for _, one := range all {
					one(n)
				}
			}
			hungUp, dialled := n.playsUntilHungUp(func() { happen(happens.before) }), time.Time{}
			happen(happens.after)
			n.plays(2*time.Minute, probe.Result{Err: lost}, func(r Recover) error {
				if r.Step == policy.StepDial && dialled.IsZero() {
					dialled = n.now
				}
				return nil
			})
			if got := dialled.Sub(hungUp); got < tc.want || got > tc.want+10*time.Second {
				t.Errorf("%s, %s: dialled after %v, want %v", name, order, got, tc.want)
			}
		}
	}
}

// Somebody dials while recovery hangs up, so xl2tpd may redial. Why the tunnel has ended is no reason to dial before that.
func TestDialDuringAHangUp(t *testing.T) {
	for _, says := range []why{{Reason: "hung up on this host"}, {Reason: "closed by the peer", ByPeer: true}} {
		n := established(t, redials, "")
		n.playsUntilHungUp(func() { n.step(Dials{OwnedConnection: closer}) })
		planned := n.lac("office").plannedUntil
		n.step(Ending{OwnedConnection: closer, CloseReason: says})
		n.links()
		if got := n.lac("office").plannedUntil; got != planned || !got.After(n.now) {
			t.Errorf("%s: xl2tpd may redial until %v, want %v", says.Reason, got, planned)
		}
	}
}

// xl2tpd keeps a call that has ended, and ignores each dial: it asks the LNS for nothing. Recovery makes it drop that call,
// unless nobody could see what xl2tpd asks for.
func TestDialThatXl2tpdIgnores(t *testing.T) {
	for name, tc := range map[string]struct {
		guarded bool
		asks    func(*fixture) // what comes of each dial
		want    bool           // to be hung up
	}{
		"ignored":             {true, func(*fixture) {}, true},
		"nobody would see it": {false, func(*fixture) {}, false},
		"asks for a tunnel":   {true, func(n *fixture) { n.step(Dials{OwnedConnection: closer}) }, false},
		"asks for a call":     {true, func(n *fixture) { n.step(Calls{closer}) }, false},
		"another one asks": {true, func(n *fixture) {
			n.step(dialBy(procfs.ID{Pid: branchPid}))
		}, true},
		"asks somebody else": {true, func(n *fixture) { n.step(dialOf(addr("203.0.113.9"))) }, false},
	} {
		n := established(t, oneLAC, "[lac default]\nrecover = full\n")
		if n.step(TaskWorks{Task: TaskGuard}); !tc.guarded {
			n.withoutGuard()
		}
		n.plays(time.Minute, probe.Result{RTT: time.Millisecond}, func(Recover) error { return nil })
		n.step(Ending{OwnedConnection: closer, CloseReason: why{Reason: "closed by the peer", ByPeer: true}})
		n.links()
		var dialled, hungUp time.Time
		n.plays(time.Minute, probe.Result{Err: lost}, func(r Recover) error {
			switch {
			case r.Step == policy.StepDial:
				if tc.asks(n); dialled.IsZero() {
					dialled = n.now
				}
			case r.Step == policy.StepHangUp && hungUp.IsZero():
				hungUp = n.now
			}
			return nil
		})
		if dialled.IsZero() || !hungUp.IsZero() != tc.want || tc.want && hungUp.Sub(dialled) > callStart+time.Second {
			t.Errorf("%s: dialled at %v, hung up at %v", name, dialled.Sub(epoch), hungUp.Sub(epoch))
		}
	}
}

// The operator may hang up while there is no link: an attempt of xl2tpd, or a tunnel whose calls all fail. The LAC
// stays down until it has been up again. A LAC that recovery hangs up does not.
func TestRecoveryOfWhatWasHungUpBefore(t *testing.T) {
	hungUp := Ending{OwnedConnection: closer, CloseReason: why{Reason: "hung up on this host", Operator: true}}
	full := "[lac default]\nrecover = full"
	n := newFixture(t, oneLAC, "[global]\nrecover = full")
	n.step(secured("1"))
	n.links()
	if got := n.steps(10*time.Second, nil); !slices.Equal(got, []policy.Step{policy.StepDial}) {
		t.Fatalf("got %v, want %v", got, []policy.Step{policy.StepDial})
	}
	n.step(hungUp)
	if got := n.steps(time.Hour, nil); got != nil {
		t.Errorf("got %v, want none after the first attempt was hung up", got)
	}
	n.links(link("ppp0", 5, true))
	n.step(Ending{OwnedConnection: closer, CloseReason: why{Reason: "closed by the peer"}})
	n.links()
	if got := n.steps(10*time.Second, nil); !slices.Equal(got, []policy.Step{policy.StepDial}) {
		t.Errorf("%v after it was up again", got)
	}

	n = established(t, redials, full)
	n.step(Ending{OwnedConnection: closer, CloseReason: why{Reason: "Hello unanswered", Unanswered: true}})
	n.links()
	other := hungUp
	other.LocalID++ // it is another attempt
	n.now, n.notes = n.now.Add(time.Minute), nil
	n.step(other)
	n.step(other)
	n.wantNotes("tunnel left down tunnel=lac office")
	if got := n.steps(time.Hour, nil); got != nil {
		t.Errorf("got %v, want none after a later attempt was hung up", got)
	}
}

// If somebody dials it again, it is wanted again, even if that dial fails.
func TestRecoveryOfWhatIsDialledAgain(t *testing.T) {
	for _, conf := range []string{redials, oneLAC} {
		n := established(t, conf, "[lac default]\nrecover = full")
		n.step(Ending{OwnedConnection: closer, CloseReason: why{Reason: "hung up on this host", Operator: true}})
		n.links()
		n.notes = nil
		for range 3 {
			n.step(Dials{OwnedConnection: closer})
		}
		n.wantNotes("tunnel dialled again on this host tunnel=lac")
		if got := n.steps(34*time.Second, nil); got != nil {
			t.Errorf("%v while that is under way", got)
		}
		if got := n.steps(2*time.Second, nil); len(got) != 2 || got[0] != policy.StepRenew {
			t.Errorf("then %v", got)
		}
	}
}

// The operator hangs up while recovery still asks the peer before its own hang-up. The step then does nothing. Without
// the Hello guard nobody says that it was the operator.
func TestOperatorHangsUpInThatStep(t *testing.T) {
	for _, guarded := range []bool{true, false} {
		n := established(t, redials, "")
		for n.lac("office").lastEnd == nil {
			n.plays(time.Second, probe.Result{Err: lost}, func(r Recover) error {
				switch {
				case r.Step == policy.StepAsk && !guarded:
					return policy.ErrAlive
				case r.Step != policy.StepHangUp:
					return nil
				case guarded:
					n.step(Ending{OwnedConnection: closer, CloseReason: why{Reason: "hung up on this host", Operator: true}})
				}
				n.links()
				return policy.ErrAlive
			})
		}
		if got := n.steps(5*time.Minute, nil); got != nil {
			t.Errorf("guarded %v: %v of what the operator has hung up", guarded, got)
		}
	}
}

// The guard does not know the owner of a tunnel, so it can't tell whether the operator or recovery hangs up. Recovery
// knows when it hangs up itself. Any other time it may be the operator.
func TestHangUpOfAnUnknownOwner(t *testing.T) {
	for name, during := range map[string]bool{"during a hang-up by recovery": true, "at any other time": false} {
		n := established(t, redials, "")
		hangUp := func() {
			n.step(Ending{OwnedConnection: closer, CloseReason: why{Reason: "hung up on this host", MayBeOperator: true}})
			n.links()
		}
		if !during {
			hangUp()
		}
		for n.lac("office").lastEnd == nil {
			n.plays(time.Second, probe.Result{Err: lost}, func(r Recover) error {
				if r.Step == policy.StepHangUp {
					hangUp()
				}
				return nil
			})
		}
		if got := n.steps(5*time.Minute, nil); slices.Contains(got, policy.StepDial) != during {
			t.Errorf("%s: the steps are %v, want a dial: %v", name, got, during)
		}
	}
}

// If recovery fails to hang up, the next hang-up is the operator's.
func TestRecoveryFailsToHangUp(t *testing.T) {
	n := established(t, redials, "")
	for hung := false; !hung; {
		n.plays(time.Second, probe.Result{Err: lost}, func(r Recover) error {
			if r.Step == policy.StepHangUp {
				hung = true
				return errors.New("nobody to ask")
			}
			return nil
		})
	}
	n.step(Ending{OwnedConnection: closer, CloseReason: why{Reason: "hung up on this host", Operator: true}})
	n.links()
	if got := n.steps(5*time.Minute, nil); got != nil {
		t.Errorf("%v of what the operator has hung up", got)
	}
}

// The end of a silent link is a failure, unless its peer has just answered recovery: then an operator may have hung up.
func TestEndOfASilentLink(t *testing.T) {
	for name, tc := range map[string]struct {
		before probe.Result
		asked  error
		want   bool
	}{
		"its peer is silent":    {probe.Result{RTT: time.Millisecond}, lost, true},
		"its peer answers":      {probe.Result{RTT: time.Millisecond}, policy.ErrAlive, false},
		"nothing has ever come": {probe.Result{Err: lost}, lost, false},
	} {
		n := newFixture(t, oneLAC, "[lac default]\nrecover = full\n")
		n.step(secured("1"))
		n.links(link("ppp0", 5, true))
		n.plays(time.Minute, tc.before, func(Recover) error { return tc.asked })
		n.plays(time.Minute, probe.Result{Err: lost}, func(Recover) error { return tc.asked })
		n.links()
		if got := n.lac("tokyo").lastEnd.failed; got != tc.want {
			t.Errorf("%s: got a failure: %v, want %v", name, got, tc.want)
		}
	}
}

// Once xl2tpd has closed a call, its pppd may take some seconds to end, and a dial does not wait for that. If the call ends
// by itself, xl2tpd refuses to dial until it has.
func TestDialBesideAPPPDThatEnds(t *testing.T) {
	const pppdEnds = 6 * time.Second
	for name, tc := range map[string]struct {
		hangsUp bool // recovery does; else the tunnel just ends
		losesSA bool
		says    Ending
		want    time.Duration
	}{
		"recovery hangs up": {true, false, Ending{CloseReason: why{Reason: "hung up", StopAcked: true}}, ackedClosingTime},
		"the peer closes":   {false, false, Ending{CloseReason: why{Reason: "closed by the peer"}}, policy.Grace},
		"it ends by itself": {false, true, Ending{}, pppdEnds},
	} {
		n := established(t, oneLAC, "[lac default]\nrecover = full\n")
		n.plays(time.Minute, probe.Result{RTT: time.Millisecond}, func(Recover) error { return nil })
		var ended, dialled time.Time
		ends := func() {
			if tc.says.OwnedConnection = closer; tc.says.Reason != "" {
				n.step(tc.says)
			}
			n.links(link("ppp0", 5, false))
			ended = n.now
		}
		if tc.losesSA {
			n.step(vici.Snapshot{})
		}
		if !tc.hangsUp {
			ends()
		}
		for limit := n.now.Add(2 * time.Minute); dialled.IsZero() && n.now.Before(limit); {
			n.plays(500*time.Millisecond, probe.Result{Err: lost}, func(r Recover) error {
				switch r.Step {
				case policy.StepSecure:
					n.step(secured("2"))
				case policy.StepHangUp:
					ends()
				case policy.StepDial:
					dialled = n.now
				}
				return nil
			})
			if !ended.IsZero() && n.now.Sub(ended) >= pppdEnds {
				n.links()
			}
		}
		if got := dialled.Sub(ended); got < tc.want || got > tc.want+500*time.Millisecond {
			t.Errorf("%s: dialled after %v, want %v", name, got, tc.want)
		}
	}
}
