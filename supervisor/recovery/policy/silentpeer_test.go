package policy

import (
	"testing"
	"time"
)

// The peer of a silent link is asked in every pause of recovery, so its latest answer is never old.
func TestSilentPeerIsAskedInPauses(t *testing.T) {
	for name, tc := range map[string]struct {
		is       func(*Progress, *Situation)
		slotFree bool
	}{
		"all slots are taken":    {func(*Progress, *Situation) {}, false},
		"a new SA has its time":  {func(_ *Progress, s *Situation) { s.SAOnTrial = true }, true},
		"an SA is being renewed": {func(_ *Progress, s *Situation) { s.Renewing = true }, true},
		"the hang-up has just failed": {func(p *Progress, s *Situation) {
			p.last, p.err, p.failed, p.next = StepHangUp, lost, 4, origin0.Add(time.Minute)
		}, true},
	} {
		p := Progress{since: origin0, lookAt: origin0.Add(time.Hour)}
		s := Situation{Goal: GoalFull, Daemon: true, HasSA: true, Up: true, Quiet: stuckAfter}
		tc.is(&p, &s)
		if step, _ := p.Advance(s, tc.slotFree, 0.5, origin0); step != StepAsk {
			t.Errorf("%s: got %q, want %q", name, step, StepAsk)
			continue
		}
		for _, asks := range []Step{StepAsk, StepHangUp} {
			p.busy = asks
			p.StepDone(ErrAlive, s, 0.5, origin0)
			if step, at := p.Advance(s, tc.slotFree, 0.5, origin0); step != StepNone || at.IsZero() || at.After(origin0.Add(aliveLook)) {
				t.Errorf("%s, and the peer is alive: %q, and the next look at %v", name, step, at)
			}
		}
	}
}
