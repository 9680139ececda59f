package policy

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// Each rule decides in a case of its own.
func TestEachRule(t *testing.T) {
	hour := 24 * time.Hour
	covered := map[string]bool{}
	for _, tc := range []struct {
		rule string
		is   func(*Progress, *Situation)
	}{
		{"the SA is made anew for another LAC", func(l *Progress, s *Situation) { s.Renewing = true }},
		{"a new SA has its time", func(l *Progress, s *Situation) { s.SAOnTrial, s.EndedSilent = true, true }},
		{"perhaps hung up, and no SA", func(l *Progress, s *Situation) { s.MayBeHungUp, s.HasSA, s.RedialPause = true, false, time.Minute }},
		{"perhaps hung up, and an old SA", func(l *Progress, s *Situation) { s.MayBeHungUp, s.RedialPause = true, time.Minute }},
		{"perhaps hung up, and the SA has to stay", func(l *Progress, s *Situation) { s.MayBeHungUp, s.SAInUse, s.RedialPause = true, true, time.Minute }},
		{"perhaps hung up", func(l *Progress, s *Situation) {
			s.MayBeHungUp, s.Up, s.Quiet, s.SAInUse, s.SAWorks = true, true, stuckAfter, true, true
		}},
		{"silent for too long", func(l *Progress, s *Situation) { s.Up, s.Quiet = true, stuckAfter }},
		{"dead, and xl2tpd dials a neighbour", func(l *Progress, s *Situation) {
			s.Up, s.Quiet, s.SAInUse, l.peer, s.NeighbourDialledUntil = true, time.Second, true, peerSilent, origin0.Add(AttemptTime)
		}},
		{"dead, and nothing to renew", func(l *Progress, s *Situation) {
			s.Up, s.Quiet, s.SAInUse, l.peer = true, time.Second, true, peerSilent
		}},
		{"the LNS has moved", func(l *Progress, s *Situation) {
			s.Up, s.Quiet, s.WithoutSA, s.Moved, l.saRenewed = true, time.Second, true, true, true
		}},
		{"up without its SA", func(l *Progress, s *Situation) { s.Up, s.WithoutSA, s.HasSA = true, true, false }},
		{"silent", func(l *Progress, s *Situation) { s.Up, s.Quiet = true, deadAfter }},
		{"silent, and nothing to renew", func(l *Progress, s *Situation) { s.Up, s.Quiet, s.SAInUse = true, deadAfter, true }},
		{"a call without link", func(l *Progress, s *Situation) { s.Stuck, s.HasSA = true, false }},
		{"no SA", func(l *Progress, s *Situation) { s.HasSA, s.NoCall = false, true }},
		{"a tunnel without call", func(l *Progress, s *Situation) { s.NoCall = true }},
		{"a hang-up was cut short", func(l *Progress, s *Situation) { s.HangUpCut, s.RedialsFor = true, hour }},
		{"ended in silence", func(l *Progress, s *Situation) { s.EndedSilent = true }},
		{"dialled without answer", func(l *Progress, s *Situation) { l.last, l.dials = StepDial, 4 }},
		{"dialled without answer, and the SA has to stay", func(l *Progress, s *Situation) { l.last, l.dials, s.SAInUse = StepDial, 4, true }},
		{"xl2tpd redials one of several", func(l *Progress, s *Situation) { l.last, s.RedialsFor, s.SharesLNS = StepSecure, hour, true }},
		{"xl2tpd dials, and may redial besides", func(l *Progress, s *Situation) {
			l.last, l.doneAt, s.RedialsFor, s.RedialPlannedUntil = StepSecure, origin0, hour, origin0.Add(time.Second)
		}},
		{"xl2tpd redials twice in each redial timeout", func(l *Progress, s *Situation) {
			l.last, l.doneAt, s.RedialsFor, s.RedialPlannedUntil = StepSecure, origin0.Add(-time.Minute), hour, origin0.Add(time.Second)
		}},
		{"xl2tpd dials from before the SA", func(l *Progress, s *Situation) { l.last, s.RedialsFor = StepSecure, hour }},
		{"xl2tpd has redialled without success", func(l *Progress, s *Situation) { s.RedialsFor = hour }},
		{"xl2tpd has redialled, and the SA has to stay", func(l *Progress, s *Situation) { s.RedialsFor, s.SAInUse = hour, true }},
		{"xl2tpd redials", func(l *Progress, s *Situation) { s.RedialsFor, s.SAInUse, s.SAWorks = hour, true, true }},
		{"the last tunnel still closes", func(l *Progress, s *Situation) { s.ClosingUntil = origin0.Add(time.Second) }},
		{"hung up while xl2tpd may redial", func(l *Progress, s *Situation) { s.RedialPlannedUntil = origin0.Add(time.Second) }},
		{"a call waits for PPP", func(l *Progress, s *Situation) { s.CallingUntil, s.Trying = origin0.Add(callTime), true }},
		{"xl2tpd dials one of several already", func(l *Progress, s *Situation) {
			s.Trying, s.SharesLNS, s.TryingUntil = true, true, origin0.Add(AttemptTime)
		}},
		{"xl2tpd dials already", func(l *Progress, s *Situation) { s.Trying = true }},
		{"nobody dials", func(l *Progress, s *Situation) {}},
	} {
		l, s := Progress{since: origin0}, Situation{Goal: GoalFull, Daemon: true, HasSA: true}
		tc.is(&l, &s)
		step, at := l.decide(s, 0.5, origin0)
		all := slices.Concat(holdBacks, rules)
		r := all[slices.IndexFunc(all, func(r rule) bool { return r.name == l.rule })]
		if l.rule != tc.rule || step != r.step {
			t.Errorf("%s: %q decided for %q", tc.rule, l.rule, step)
		}
		heldBack := slices.ContainsFunc(holdBacks, func(h rule) bool { return h.name == r.name })
		if (step == StepNone) != (r.until != nil || heldBack) {
			t.Errorf("%s: got %q, and a time to look again: %v", tc.rule, step, r.until != nil)
		}
		if waits := r.until != nil; waits && (step != StepNone || !at.After(origin0)) {
			t.Errorf("%s: %q until %v", tc.rule, step, at)
		}
		covered[tc.rule] = true
	}
	for _, r := range slices.Concat(holdBacks, rules) {
		if !covered[r.name] {
			t.Errorf("no case of %q", r.name)
		}
	}
}

// Each pause decides in a case of its own.
func TestEachPause(t *testing.T) {
	next, free := origin0.Add(time.Minute), origin0.Add(closingTime)
	covered := map[string]bool{}
	for _, tc := range []struct {
		pause string
		is    func(*Progress, *Situation)
		want  time.Duration
	}{
		{"a new SA", func(l *Progress, s *Situation) { l.last, l.next = StepRenew, next }, 0},
		{"in the way of a dial", func(l *Progress, s *Situation) { l.last, l.next, s.Stuck = StepDial, next, true }, 0},
		{"hung up, and the peer was dead", func(l *Progress, s *Situation) {
			l.last, l.next, s.EndedSilent, s.ClosingUntil = StepHangUp, next, true, free
		}, closingTime},
		{"the LNS has moved", func(l *Progress, s *Situation) {
			l.last, l.next, l.saRenewed, l.sa, s.Up, s.Quiet, s.WithoutSA, s.Moved = StepRenew, next, true, saSettling, true, time.Second, true, true
		}, 0},
		{"dialled without SA", func(l *Progress, s *Situation) { l.last, l.next, s.Trying, s.HasSA = StepDial, next, true, false }, Grace},
		{"after a step", func(l *Progress, s *Situation) { l.last, l.next, l.err = StepDial, next, errors.New("lost") }, time.Minute},
		{"a silent link", func(l *Progress, s *Situation) { s.Up, s.Quiet = true, deadAfter }, 0},
		{"xl2tpd redials", func(l *Progress, s *Situation) { s.RedialsFor, s.RedialPause = time.Hour, 30*time.Second }, 30*time.Second + AttemptTime},
		{"the tunnel has just ended", func(l *Progress, s *Situation) { s.Connecting = true }, connectTime},
	} {
		l, s := Progress{since: origin0}, Situation{Goal: GoalFull, Daemon: true, HasSA: true}
		tc.is(&l, &s)
		if at := l.dueAt(s, origin0); l.pause != tc.pause || at.Sub(origin0) != tc.want {
			t.Errorf("%s: %q until %v, want %v", tc.pause, l.pause, at.Sub(origin0), tc.want)
		}
		covered[tc.pause] = true
	}
	for _, p := range pauses {
		if !covered[p.name] {
			t.Errorf("no case of %q", p.name)
		}
	}
}

// docs/recovery.md has the rules and pauses in their order, word for word.
func TestRulesAreDocumented(t *testing.T) {
	text, err := os.ReadFile("../../../docs/recovery.md")
	if err != nil {
		t.Fatal(err)
	}
	for table, rows := range map[string][]string{
		"| rule | step | why |\n|---|---|---|\n": ruleRows(),
		"| pause | until |\n|---|---|\n":         pauseRows(),
	} {
		want := table + strings.Join(rows, "")
		if !strings.Contains(string(text), want+"\n") {
			t.Errorf("docs/recovery.md does not have this table:\n%s", want)
		}
	}
}

func ruleRows() (rows []string) {
	for _, r := range slices.Concat(holdBacks, rules) {
		rows = append(rows, "| "+r.name+" | "+Does(r.step)+" | "+r.why+" |\n")
	}
	return rows
}

func pauseRows() (rows []string) {
	for _, p := range pauses {
		rows = append(rows, "| "+p.name+" | "+p.why+" |\n")
	}
	return rows
}

// An SA that is new, and was made for another LAC, is not ended before that LAC's tunnel could show that it lives again.
func TestNewSAIsNotRenewedForAnotherLAC(t *testing.T) {
	silent := Situation{Goal: GoalFull, Daemon: true, Up: true, HasSA: true, Quiet: deadAfter}
	for onTrial, want := range map[bool]Step{false: StepRenew, true: StepNone} {
		p, s := Progress{since: origin0, peer: peerSilent, peerAt: origin0.Add(time.Hour)}, silent
		s.SAOnTrial = onTrial
		if got, _ := p.Advance(s, true, 0.5, origin0.Add(time.Hour)); got != want {
			t.Errorf("on trial for another LAC %v: got %v, want %v", onTrial, got, want)
		}
	}
}
