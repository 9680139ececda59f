package supervisor

import (
	"errors"
	"testing"
	"time"

	"xl2tpd-keepalive/probe"
	"xl2tpd-keepalive/supervisor/recovery/policy"
)

// otherTarget is a LAC with a target that is not its peer.
func otherTarget(t *testing.T) *fixture {
	n := established(t, redials, "[lac office]\ntarget = 172.16.0.1\n")
	n.step(TaskWorks{Task: TaskGuard})
	n.plays(time.Minute, alive, succeeds)
	return n
}

// delays are what delays the step that follows a question that the peer has left unanswered.
var delays = map[string]struct {
	begins, ends func(*fixture)
	step         policy.Step // that fails
	long         bool        // the delay
}{
	"renewals fail":   {func(*fixture) {}, func(*fixture) {}, policy.StepRenew, true},
	"hang-ups fail":   {func(*fixture) {}, func(*fixture) {}, policy.StepHangUp, true},
	"no slot is free": {func(n *fixture) { n.core.lacs.agenda.slotsTaken = maxSlots }, func(n *fixture) { n.core.lacs.agenda.slotsTaken = 0 }, policy.StepNone, false},
	"recovery is off": {func(n *fixture) { n.recovers("off") }, func(n *fixture) { n.recovers("auto") }, policy.StepNone, false},
	"xl2tpd is away":  {func(n *fixture) { n.runs(0) }, func(n *fixture) { n.runs(100) }, policy.StepNone, false},
}

// recovers changes keepalive.conf.
func (f *fixture) recovers(how string) {
	f.step(f.config("[global]\nrecover = " + how + "\n[lac office]\ntarget = 172.16.0.1\n"))
}

// runs reports the pid of xl2tpd.
func (f *fixture) runs(pid int) {
	s := f.xl2tpd(redials)
	s.Home().Process.Pid = pid
	f.step(s)
}

// That a peer has left a question unanswered counts for a short time. If the step comes later, the peer is asked anew. Here
// it answers by then, and only the target is off.
func TestOldSilenceIsNoProof(t *testing.T) {
	for name, tc := range delays {
		n := otherTarget(t)
		silent, answers := false, false
		var asked time.Time
		peer := func(r Recover) error {
			switch {
			case r.Step == policy.StepAsk:
				asked = n.now
				if answers {
					return policy.ErrAlive
				}
				silent = true
			case r.Step != policy.StepRenew && r.Step != policy.StepHangUp:
			case r.Dead && n.now.Sub(asked) > deadTime:
				t.Errorf("%s: %v, %v after the latest question", name, r.Step, n.now.Sub(asked))
			case !r.Dead && answers:
				return policy.ErrAlive
			case r.Step == tc.step:
				return errors.New("it can't be done now")
			}
			return nil
		}
		for !silent {
			n.plays(500*time.Millisecond, probe.Result{Err: lost}, peer)
		}
		tc.begins(n)
		n.plays(40*time.Second, probe.Result{Err: lost}, peer)
		if tc.long {
			n.plays(3*time.Minute, probe.Result{Err: lost}, peer)
		}
		answers = true
		tc.ends(n)
		n.plays(10*time.Minute, probe.Result{Err: lost}, peer)
	}
}

// While the peer is asked anew, the wire is cut. That proves nothing: there is no step before the tunnel has been silent for
// too long.
func TestOldSilenceAndACut(t *testing.T) {
	for name, tc := range delays {
		if tc.long {
			continue
		}
		n := otherTarget(t)
		silent, cut := time.Time{}, false
		plays := func(d time.Duration) {
			n.plays(d, probe.Result{Err: lost}, func(r Recover) error {
				switch {
				case r.Step == policy.StepAsk && cut:
					return lost
				case r.Step == policy.StepAsk:
					silent = n.now
				case cut && n.now.Sub(silent) < stuckAfter-time.Minute:
					t.Errorf("%s: %v without proof, %v after the latest answer", name, r.Step, n.now.Sub(silent))
				}
				return nil
			})
		}
		for silent.IsZero() {
			plays(500 * time.Millisecond)
		}
		tc.begins(n)
		plays(30 * time.Second)
		cut = true
		tc.ends(n)
		plays(time.Minute)
	}
}

// A link ends while its silent peer is asked anew, and nobody says why. It was not hung up.
func TestLinkEndsWhileThePeerIsAskedAnew(t *testing.T) {
	for _, first := range []bool{true, false} {
		n := otherTarget(t)
		questions, ended := 0, false
		for end := n.now.Add(5 * time.Minute); !ended && n.now.Before(end); {
			n.plays(500*time.Millisecond, probe.Result{Err: lost}, func(r Recover) error {
				if r.Step != policy.StepAsk {
					return errors.New("it can't be done now")
				}
				if questions++; first || questions > 1 && n.lac("office").progress.PeerSilentSince(time.Time{}) {
					n.links()
					ended = true
				}
				return nil
			})
		}
		if got := n.lac("office").mayBeHungUp(); !ended || got != first {
			t.Errorf("at the first question %v: ended %v, hung up %v", first, ended, got)
		}
	}
}

// A link ends, and nobody says why. Its peer has left a question unanswered. If the Hello guard has failed since, that may be
// long ago, and the operator may have hung up.
func TestOldSilenceIsNoProofOfAFailure(t *testing.T) {
	for name, tc := range map[string]struct {
		guard  func(*fixture)
		after  time.Duration
		hungUp bool
	}{
		"the guard works":             {func(*fixture) {}, 2 * deadTime, false},
		"it has failed just now":      {(*fixture).withoutGuard, time.Second, false},
		"it has failed some time ago": {(*fixture).withoutGuard, 2 * deadTime, true},
		"it is back": {func(n *fixture) {
			n.withoutGuard()
			n.after(time.Second)
			n.step(Fault{What: TaskGuard})
		}, 2 * deadTime, true},
	} {
		n := otherTarget(t)
		questions := 0
		for end := n.now.Add(time.Minute); !n.lac("office").progress.PeerSilentSince(time.Time{}) || questions < 2; {
			n.plays(500*time.Millisecond, probe.Result{Err: lost}, func(r Recover) error {
				if r.Step == policy.StepAsk {
					questions++
					return nil
				}
				return lost
			})
			if n.now.After(end) {
				t.Fatalf("%s: %d questions", name, questions)
			}
		}
		n.core.lacs.agenda.slotsTaken = maxSlots // only questions are asked
		tc.guard(n)
		n.plays(tc.after, probe.Result{Err: lost}, func(Recover) error { return lost })
		n.links()
		n.after(2 * policy.ReasonDelay)
		if got := n.lac("office").mayBeHungUp(); got != tc.hungUp {
			t.Errorf("%s: may have been hung up: %v, want %v", name, got, tc.hungUp)
		}
	}
}
