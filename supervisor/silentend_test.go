package supervisor

import (
	"errors"
	"testing"
	"time"

	"xl2tpd-keepalive/probe"
	"xl2tpd-keepalive/supervisor/recovery/policy"
	"xl2tpd-keepalive/vici"
)

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
			n.took(n.lac("tokyo"), policy.StepAsk, policy.ErrAlive, n.now.Add(-tc.answered))
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
		"one, alive":             {false, []error{policy.ErrAlive}, false},
		"one, hung up":           {false, []error{nil}, true},
		"both alive":             {true, []error{policy.ErrAlive, policy.ErrAlive}, false},
		"one alive, one hung up": {true, []error{policy.ErrAlive, nil}, true},
	} {
		n := ambiguousUp(t, "", "recover = full\n")
		n.links(inUserspace(link("ppp0", 5, true))...)
		n.plays(time.Minute, alive, succeeds)
		names := []string{"office", "home"}[:len(tc.results)]
		for _, of := range names {
			n.takes(n.lac(of), policy.StepHangUp)
			n.lac(of).possibleEnds = nil
			n.core.lacs.agenda.slotsTaken++
		}
		n.links()
		for i, of := range names {
			n.step(StepDone{LAC: LAC{Name: of}, Step: policy.StepHangUp, Err: tc.results[i]})
		}
		n.lac("home").lastEnd = nil
		if got := !n.lac("office").mayBeHungUp(); got != tc.dials {
			t.Errorf("%s: wanted %v, want %v", name, got, tc.dials)
		}
	}
}

// Until that is decided, the LAC that is not being hung up is left down too.
func TestGoneWhileAnotherIsHungUp(t *testing.T) {
	for err, want := range map[error]bool{policy.ErrAlive: true, nil: false, policy.ErrHungUp: false} {
		n := ambiguousUp(t, "", "recover = full\n")
		n.links(inUserspace(link("ppp0", 5, true))...)
		n.plays(time.Minute, alive, succeeds)
		office, home := n.lac("office"), n.lac("home")
		n.takes(home, policy.StepHangUp)
		office.possibleEnds, home.possibleEnds = nil, nil
		n.core.lacs.agenda.slotsTaken++
		n.links()
		if !office.mayBeHungUp() {
			t.Errorf("%v: it is dialled before that is decided", err)
		}
		n.step(StepDone{LAC: LAC{Name: "home"}, Step: policy.StepHangUp, Err: err})
		if got := office.mayBeHungUp(); got != want {
			t.Errorf("%v: may be hung up %v, want %v", err, got, want)
		}
	}
}

// Without the Hello guard, a silent tunnel ends. Another tunnel then shows that the LNS lives, so the silence was no reason,
// and the operator may have hung up.
func TestSilenceThatIsDisproved(t *testing.T) {
	for err, want := range map[error]bool{policy.ErrSAInUse: false, nil: true} {
		n, _ := oneLNS(t, "", full)
		n.withoutGuard()
		office, _ := officeAndHome()
		n.plays(20*time.Second, probe.Result{Err: lost}, func(Recover) error { return lost })
		n.links(office)
		dialled := false
		n.plays(5*time.Minute, probe.Result{Err: lost}, func(r Recover) error {
			dialled = dialled || r.LAC.Name == "home" && r.Step == policy.StepDial
			if r.Step == policy.StepRenew {
				return err
			}
			if r.Step == policy.StepAsk {
				return lost
			}
			return nil
		})
		if dialled != want {
			t.Errorf("%v: dialled %v", err, dialled)
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
		for _, step := range []policy.Step{policy.StepAsk, policy.StepHangUp, policy.StepRenew} {
			for _, err := range []error{policy.ErrAlive, lost} {
				n, lacs := up()
				n.withoutGuard()
				n.links(one...)
				n.plays(time.Minute, alive, succeeds)
				n.plays(20*time.Second, probe.Result{Err: lost}, func(Recover) error { return lost })
				l := n.lac(lacs[len(lacs)-1])
				n.takes(l, step)
				n.core.lacs.agenda.slotsTaken++
				n.actions = nil
				n.links()
				n.now = n.now.Add(2 * policy.ReasonDelay)
				n.step(StepDone{LAC: LAC{Name: l.name}, Step: step, Err: err})
				for _, of := range lacs {
					if got, want := n.lac(of).mayBeHungUp(), errors.Is(err, policy.ErrAlive); got != want {
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
		"alive, and no answer":   {[]error{policy.ErrAlive, lost}, true},
		"no answer, and alive":   {[]error{lost, policy.ErrAlive}, true},
		"no answer":              {[]error{lost, lost}, false},
		"no question, and alive": {[]error{nil, policy.ErrAlive}, true},
		"no question nor answer": {[]error{nil, lost}, false},
		"alive, and hung up":     {[]error{policy.ErrAlive, policy.ErrPeerDead}, false},
	} {
		n := ambiguousUp(t, "", "recover = full\n")
		n.links(inUserspace(link("ppp0", 5, true))...)
		n.plays(time.Minute, alive, succeeds)
		n.withoutGuard()
		n.plays(20*time.Second, probe.Result{Err: lost}, func(Recover) error { return lost })
		names := []string{"office", "home"}
		n.core.lacs.agenda.slotsTaken = maxSlots // no other step begins
		for i, of := range names {
			l := n.lac(of)
			l.lastEnd, l.possibleEnds = nil, nil
			switch {
			case tc.results[i] == nil:
				n.takes(l, policy.StepNone)
			case errors.Is(tc.results[i], policy.ErrPeerDead):
				n.takes(l, policy.StepHangUp)
			default:
				n.takes(l, policy.StepAsk)
			}
		}
		n.actions = nil
		n.links()
		if office := n.lac("office"); tc.results[0] == nil && !office.mayBeHungUp() {
			t.Errorf("%s: office is dialled before that is decided", name)
		}
		for i, of := range names {
			if busy := n.lac(of).progress.UnderWay(); busy != policy.StepNone {
				n.step(StepDone{LAC: LAC{Name: of}, Step: busy, Err: tc.results[i]})
			}
		}
		for _, of := range names {
			if of == "home" && errors.Is(tc.results[1], policy.ErrPeerDead) {
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
	for _, err := range []error{policy.ErrAlive, lost} {
		n := ambiguousUp(t, "", "recover = full\n")
		n.step(Ending{OwnedConnection: closer, CloseReason: operatorEnds})
		n.links(inUserspace(link("ppp0", 5, true))...)
		n.withoutGuard()
		n.plays(20*time.Second, probe.Result{Err: lost}, func(Recover) error { return lost })
		n.takes(n.lac("home"), policy.StepAsk)
		n.actions = nil
		n.links()
		n.step(StepDone{LAC: LAC{Name: "home"}, Step: policy.StepAsk, Err: err})
		for _, of := range []string{"office", "home"} {
			if !n.lac(of).mayBeHungUp() {
				t.Errorf("%v: %s counts as not hung up", err, of)
			}
		}
	}
}

// A new xl2tpd ends the wait for a step that began before. That step's result says nothing about the new tunnels.
func TestGoneBeforeANewXl2tpd(t *testing.T) {
	for _, stale := range []bool{true, false} {
		n := ambiguousUp(t, "autodial = yes\n", "recover = full\n")
		l := n.lac("home")
		n.takes(l, policy.StepHangUp)
		l.stale, l.endsMeanwhile = stale, endList{{assumed: true}}
		n.core.lacs.agenda.slotsTaken++
		n.step(StepDone{LAC: LAC{Name: "home"}, Step: policy.StepHangUp, Err: lost})
		if l.endsMeanwhile != nil {
			t.Errorf("stale %v: the end before is still to be decided", stale)
		}
	}
}

// Recovery has hung a silent tunnel up. That another tunnel lives does not make an operator's hang-up of it.
func TestSilentTunnelThatRecoveryHasHungUp(t *testing.T) {
	for step, want := range map[policy.Step]bool{policy.StepHangUp: true, policy.StepNone: false} {
		n, _ := oneLNS(t, "", full)
		n.withoutGuard()
		office, _ := officeAndHome()
		n.plays(20*time.Second, probe.Result{Err: lost}, func(Recover) error { return lost })
		home := n.lac("home")
		if n.takes(home, step); step != policy.StepNone {
			n.core.lacs.agenda.slotsTaken++
		}
		n.links(office)
		if step != policy.StepNone {
			n.step(StepDone{LAC: LAC{Name: "home"}, Step: step})
		}
		n.takes(home, policy.StepRenew)
		n.core.lacs.agenda.slotsTaken++
		n.step(StepDone{LAC: LAC{Name: "home"}, Step: policy.StepRenew, Err: policy.ErrSAInUse})
		if got := !home.mayBeHungUp(); got != want {
			t.Errorf("%q before: wanted %v", step, got)
		}
	}
}
