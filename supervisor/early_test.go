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
	dials := func(n *fixture) { n.step(Dials{Peer: closer.Peer.Addr()}) }
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
		n.step(Dials{Peer: closer.Peer.Addr()})
		for _, l := range n.core.lacs.byKey {
			if want := found.Add(tc.want + policy.TimerDelay); tc.want == 0 && !l.plannedUntil.IsZero() || tc.want > 0 && !l.plannedUntil.Equal(want) {
				t.Errorf("%s: planned until %v after the lookup, want %v", name, l.plannedUntil.Sub(found), tc.want)
			}
		}
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
	n.step(Dials{Peer: closer.Peer.Addr()})
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
