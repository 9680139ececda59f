package policy

import (
	"testing"
	"time"
)

// A new SA for another LAC may bring a tunnel back, so the tunnel is not hung up in its time.
func TestNewSAMayBringADeadTunnelBack(t *testing.T) {
	for name, tc := range map[string]struct {
		is   func(*Progress, *Situation)
		want Step
	}{
		"dead":                       {func(p *Progress, s *Situation) { p.peer, s.SAInUse, s.SAOnTrial = peerSilent, true, true }, StepNone},
		"silent for too long":        {func(p *Progress, s *Situation) { s.Quiet, s.SAOnTrial = stuckAfter, true }, StepNone},
		"dead, and no SA was made":   {func(p *Progress, s *Situation) { p.peer, s.SAInUse = peerSilent, true }, StepHangUp},
		"a call, which is no tunnel": {func(p *Progress, s *Situation) { s.Up, s.Quiet, s.Stuck, s.SAOnTrial = false, 0, true, true }, StepHangUp},
	} {
		p, s := Progress{since: origin0}, Situation{Goal: GoalFull, Daemon: true, HasSA: true, Up: true, Quiet: time.Second}
		tc.is(&p, &s)
		if step, _ := p.decide(s, 0.5, origin0); step != tc.want {
			t.Errorf("%s: %q, want %q", name, step, tc.want)
		}
	}
}

// An SA that recovery has just made for a LAC may bring other tunnels back, such as those of callers. So it is not ended
// for that LAC either in its time, while a call that is in the way is.
func TestOwnNewSAHasItsTime(t *testing.T) {
	for name, tc := range map[string]struct {
		is   func(*Progress, *Situation)
		want Step
	}{
		"new":       {func(p *Progress, _ *Situation) { p.doneAt, p.sa = origin0.Add(time.Second-HelpTime), saConfirmed }, StepNone},
		"no longer": {func(p *Progress, _ *Situation) { p.doneAt, p.sa = origin0.Add(-HelpTime), saConfirmed }, StepRenew},
		"not made":  {func(p *Progress, _ *Situation) { p.doneAt = origin0.Add(time.Second - HelpTime) }, StepRenew},
		"new, and no use": {func(p *Progress, s *Situation) {
			p.doneAt, p.sa, p.peer, p.last = origin0, saConfirmed, peerSilent, StepRenew
		}, StepHangUp},
	} {
		p, s := Progress{since: origin0}, Situation{Goal: GoalFull, Daemon: true, HasSA: true, Up: true, Quiet: deadAfter}
		tc.is(&p, &s)
		if step, _ := p.decide(s, 0.5, origin0); step != tc.want {
			t.Errorf("%s: %q, want %q", name, step, tc.want)
		}
	}
}
