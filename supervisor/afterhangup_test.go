package supervisor

import (
	"errors"
	"testing"
	"time"

	"xl2tpd-keepalive/probe"
)

// done ends a step of home's.
func (n *fixture) done(step Step, err error) {
	n.lac("home").progress.busy = step
	n.core.lacs.agenda.slotsTaken++
	n.step(StepDone{LAC: LAC{Name: "home"}, Step: step, Err: err})
}

// Recovery has hung a silent tunnel up, and its link goes only after another step. That is no operator's hang-up.
func TestLinkGoesAfterAnotherStep(t *testing.T) {
	for name, tc := range map[string]struct {
		err     error // of the hang-up
		between func(*fixture)
		hungUp  bool // by an operator, it may be
	}{
		"nothing comes between":     {nil, func(*fixture) {}, false},
		"the step failed after it":  {errors.Join(ErrHungUp, lost), func(*fixture) {}, false},
		"a new SA of a neighbour's": {nil, func(n *fixture) { n.step(secured("2")) }, false},
		"the SA is initiated":       {nil, func(n *fixture) { n.done(StepSecure, nil) }, false},
		"the SA can't be initiated": {nil, func(n *fixture) { n.done(StepSecure, lost) }, false},
		"another hang-up fails":     {nil, func(n *fixture) { n.done(StepHangUp, lost) }, false},
		"only a hang-up that fails": {lost, func(*fixture) {}, true},
		"it has lived since":        {nil, func(n *fixture) { n.plays(20*time.Second, alive, succeeds) }, true},
		"it was dialled since":      {nil, func(n *fixture) { n.done(StepDial, nil) }, true},
		"long ago":                  {nil, func(n *fixture) { n.now = n.now.Add(reasonTTL); n.lac("home").progress.aliveAt = n.now }, true},
	} {
		n, _ := oneLNS(t, "", full)
		n.step(TaskWorks{Task: TaskGuard})
		n.plays(20*time.Second, probe.Result{Err: lost}, func(r Recover) error { return ErrAlive }) // only the target is silent
		n.done(StepHangUp, tc.err)
		tc.between(n)
		office, _ := officeAndHome()
		n.links(office)
		if got := n.lac("home").mayBeHungUp(); got != tc.hungUp {
			t.Errorf("%s: perhaps hung up %v", name, got)
		}
	}
}
