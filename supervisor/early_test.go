package supervisor

import (
	"slices"
	"testing"
	"time"

	"xl2tpd-keepalive/supervisor/recovery/policy"
)

// Somebody dials a LAC after the end of its tunnel or attempt, before xl2tpd redials it. xl2tpd redials it in its time all
// the same, unless the end was a hang-up.
func TestDialAfterAnEnd(t *testing.T) {
	const redial = 30 * time.Second
	dials := func(n *fixture) { n.step(Dials{OwnedConnection: closer}) }
	says := func(reason why) func(*fixture) {
		return func(n *fixture) { n.step(Ending{OwnedConnection: closer, CloseReason: reason}) }
	}
	for name, tc := range map[string]struct {
		conf  string
		ends  func(*fixture)
		after time.Duration // the end somebody dials
		meant func(*fixture)
		want  time.Duration // after the end xl2tpd redials; 0: it does not, besides that dial
	}{
		"the peer closes":         {redials, says(peerCloses), 5 * time.Second, nil, redial},
		"just before the redial":  {redials, says(peerCloses), redial - 2*time.Second, nil, redial},
		"it is xl2tpd's redial":   {redials, says(peerCloses), redial, nil, 0},
		"a redial of 60 s":        {redials + "redial timeout = 60\n", says(peerCloses), 50 * time.Second, nil, time.Minute},
		"xl2tpd does not redial":  {oneLAC, says(peerCloses), 5 * time.Second, nil, 0},
		"a call closes":           {redials, says(callCloses), 5 * time.Second, nil, redial},
		"the peer is dead":        {redials, says(why{Unanswered: true}), 50 * time.Second, nil, closingTime + redial},
		"it is, and acknowledged": {redials, says(why{Unanswered: true, StopAcked: true}), 20 * time.Second, nil, ackedClosingTime + redial},
		"somebody hangs up":       {redials, says(operatorEnds), 5 * time.Second, nil, 0},
		"or may have":             {redials, says(why{MayBeOperator: true}), 5 * time.Second, nil, redial},
		"recovery hangs up":       {redials, says(why{Reason: operatorEnds.Reason}), 5 * time.Second, nil, 0},
		"another LNS closes": {redials, func(n *fixture) {
			n.step(Ending{OwnedConnection: closerOf("192.0.2.9", 7), CloseReason: peerCloses})
		}, 5 * time.Second, nil, 0},
		"the LNS refuses each call": {redials, says(peerCloses), 5 * time.Second, func(n *fixture) { // and somebody dials twice
			dials(n)
			n.now = n.now.Add(3 * time.Second)
			says(peerCloses)(n)
			n.now = n.now.Add(3 * time.Second)
		}, 8*time.Second + redial},
		"the service restarts": {redials, says(peerCloses), 5 * time.Second, func(n *fixture) {
			n.restarted(n.xl2tpd(redials), secured("1"))
			n.step(TaskWorks{Task: TaskGuard})
		}, redial},
		"xl2tpd restarts": {redials, says(peerCloses), 5 * time.Second, func(n *fixture) {
			s := n.xl2tpd(redials)
			s.Home().Process.Pid = 101
			n.step(s)
		}, 0},
	} {
		n := established(t, tc.conf, full)
		n.step(TaskWorks{Task: TaskGuard})
		n.after(time.Minute)
		ended := n.now
		tc.ends(n)
		n.links()
		n.now = ended.Add(tc.after)
		if tc.meant != nil {
			tc.meant(n)
		}
		dials(n)
		var got time.Time
		for _, l := range n.core.lacs.byKey {
			got = l.plannedUntil
		}
		if want := ended.Add(tc.want + policy.TimerDelay); tc.want == 0 && !got.IsZero() || tc.want > 0 && !got.Equal(want) {
			t.Errorf("%s: planned until %v after the end, want %v", name, got.Sub(ended), tc.want)
		}
	}
}

// While the LNS's name can't be looked up, nobody sees that somebody dials. xl2tpd plans a redial after that failed lookup, besides
// the one that it had planned before (history 92028181).
func TestDialAfterALookup(t *testing.T) {
	const redial = 30 * time.Second
	for name, tc := range map[string]struct {
		conf  string
		fails bool
		after time.Duration // the name can be looked up again, xl2tpd dials
		want  time.Duration // 0: no other redial is waited for
	}{
		"soon":                   {redials, true, 5 * time.Second, redial},
		"after a redial timeout": {redials, true, redial, 0},
		"it never failed":        {redials, false, 5 * time.Second, 0},
		"xl2tpd does not redial": {oneLAC, true, 5 * time.Second, 0},
	} {
		n := established(t, tc.conf, full)
		n.step(TaskWorks{Task: TaskGuard})
		lookup := func(fails bool) {
			s := n.xl2tpd(tc.conf)
			s.Home().Conf.Sections[0].Unresolved = fails
			n.step(s)
		}
		n.links()
		n.after(time.Minute)
		lookup(tc.fails)
		n.after(time.Minute)
		lookup(false)
		found := n.now
		n.now = found.Add(tc.after)
		n.step(Dials{OwnedConnection: closer})
		for _, l := range n.core.lacs.byKey {
			if want := found.Add(tc.want + policy.TimerDelay); tc.want == 0 && !l.plannedUntil.IsZero() || tc.want > 0 && !l.plannedUntil.Equal(want) {
				t.Errorf("%s: planned until %v after the lookup, want %v", name, l.plannedUntil.Sub(found), tc.want)
			}
		}
	}
}

// Recovery's own dial is seen before or after its step is done, once. If the step has made no dial, the next one is somebody
// else's, and xl2tpd's redial comes besides.
func TestOwnDialIsSeenOnce(t *testing.T) {
	for name, tc := range map[string]struct {
		step   policy.Step
		before int // dials, in the step
		err    error
		after  int
		want   bool // somebody else has dialled
	}{
		"dialled, and seen in the step":         {policy.StepDial, 1, nil, 0, false},
		"dialled, and seen after it":            {policy.StepDial, 0, nil, 1, false},
		"dialled twice":                         {policy.StepDial, 1, nil, 1, true},
		"the command got lost":                  {policy.StepDial, 0, lost, 1, true},
		"dialled anew, and seen in the step":    {policy.StepRedial, 1, nil, 0, false},
		"dialled anew, and seen after it":       {policy.StepRedial, 0, nil, 1, false},
		"dialled anew twice":                    {policy.StepRedial, 0, nil, 2, true},
		"xl2tpd was waiting for its redial":     {policy.StepRedial, 0, policy.ErrRedialsLater, 1, true},
		"the LNS had answered":                  {policy.StepRedial, 0, policy.ErrAnswered, 1, true},
		"xl2tpd has hung up, and was not asked": {policy.StepRedial, 0, policy.ErrHungUp, 1, true},
	} {
		n := established(t, redials, full)
		n.step(TaskWorks{Task: TaskGuard})
		n.after(time.Minute)
		n.ends(7, peerCloses)
		n.links()
		l := n.lac("office")
		l.dialledAt = n.now // an earlier step's
		n.takes(l, tc.step)
		l.ownDialAt = n.now
		n.core.lacs.agenda.slotsTaken++
		dials := func(times int) {
			for range times {
				n.now = n.now.Add(time.Second)
				n.step(Dials{OwnedConnection: closer})
			}
		}
		dials(tc.before)
		n.step(StepDone{LAC: LAC{Name: "office"}, Step: tc.step, Err: tc.err})
		ended := l.overAt
		dials(tc.after)
		if got := l.plannedUntil.Equal(ended.Add(30*time.Second + policy.TimerDelay)); got != tc.want {
			t.Errorf("%s: got a redial besides: %v, want %v (until %v)", name, got, tc.want, l.plannedUntil.Sub(ended))
		}
	}
}

// xl2tpd sends its request again, which makes the attempt no longer.
func TestCopiesOfARequest(t *testing.T) {
	n := established(t, redials, full)
	n.step(TaskWorks{Task: TaskGuard})
	n.after(time.Minute)
	n.ends(7, peerCloses)
	n.links()
	began := n.now
	n.step(Dials{OwnedConnection: closer})
	for _, at := range []time.Duration{time.Second, 3 * time.Second, 7 * time.Second, 15 * time.Second} {
		n.now = began.Add(at)
		n.step(Dials{OwnedConnection: closer, Again: true})
		if got := n.lac("office").attemptAt; !got.Equal(began) {
			t.Errorf("after %v: got an attempt since %v, want since its first request", at, got.Sub(began))
		}
	}
	n.lac("office").attemptAt = time.Time{} // as if recovery had found that xl2tpd does not dial
	n.step(Dials{OwnedConnection: closer, Again: true})
	if got := n.lac("office").attemptAt; !got.Equal(n.now) {
		t.Errorf("got an attempt since %v, want since now", got)
	}
}

// The peer has refused the last call, and somebody dials before xl2tpd redials, while recovery makes a new SA. That attempt
// is from before the SA, and can't succeed any more. It is not made anew before xl2tpd's redial, or that would be a second
// call (history 90890598).
func TestNoDialAnewBeforeARedial(t *testing.T) {
	n := established(t, redials, full)
	n.step(TaskWorks{Task: TaskGuard})
	n.after(time.Minute)
	n.ends(7, peerCloses)
	n.links()
	ended := n.now
	var at time.Duration // of the first dial
	outcome := func(r Recover) error {
		if (r.Step == policy.StepDial || r.Step == policy.StepRedial) && at == 0 {
			at = n.now.Sub(ended)
		}
		return nil
	}
	n.plays(5*time.Second, alive, outcome)
	n.step(Dials{OwnedConnection: closer})
	l := n.lac("office")
	n.takes(l, policy.StepRenew) // it had begun before
	n.core.lacs.agenda.slotsTaken++
	n.plays(2*time.Second, alive, outcome)
	n.step(StepDone{LAC: LAC{Name: "office"}, Step: policy.StepRenew})
	n.step(secured("2"))
	n.plays(time.Minute, alive, outcome)
	if at < 30*time.Second {
		t.Errorf("dialled %v after the end, want xl2tpd's redial first; rules %q", at, slices.Compact(n.rules))
	}
}
