package supervisor

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"xl2tpd-keepalive/probe"
)

// Each rule decides in a case of its own.
func TestEachRule(t *testing.T) {
	hour := 24 * time.Hour
	covered := map[string]bool{}
	for _, tc := range []struct {
		rule string
		is   func(*progress, *situation)
	}{
		{"the SA is made anew for another LAC", func(l *progress, s *situation) { s.renewing = true }},
		{"a new SA has its time", func(l *progress, s *situation) { s.saOnTrial, s.endedSilent = true, true }},
		{"perhaps hung up, and no SA", func(l *progress, s *situation) { s.mayBeHungUp, s.hasSA, s.redialPause = true, false, time.Minute }},
		{"perhaps hung up, and an old SA", func(l *progress, s *situation) { s.mayBeHungUp, s.redialPause = true, time.Minute }},
		{"perhaps hung up, and the SA has to stay", func(l *progress, s *situation) { s.mayBeHungUp, s.saInUse, s.redialPause = true, true, time.Minute }},
		{"perhaps hung up", func(l *progress, s *situation) {
			s.mayBeHungUp, s.up, s.quiet, s.saInUse, s.saWorks = true, true, stuckAfter, true, true
		}},
		{"silent for too long", func(l *progress, s *situation) { s.up, s.quiet = true, stuckAfter }},
		{"dead, and xl2tpd dials a neighbour", func(l *progress, s *situation) {
			s.up, s.quiet, s.saInUse, l.peer, s.neighbourDialledUntil = true, time.Second, true, peerSilent, origin0.Add(attemptTime)
		}},
		{"dead, and nothing to renew", func(l *progress, s *situation) {
			s.up, s.quiet, s.saInUse, l.peer = true, time.Second, true, peerSilent
		}},
		{"the LNS has moved", func(l *progress, s *situation) {
			s.up, s.quiet, s.withoutSA, s.moved, l.saRenewed = true, time.Second, true, true, true
		}},
		{"up without its SA", func(l *progress, s *situation) { s.up, s.withoutSA, s.hasSA = true, true, false }},
		{"silent", func(l *progress, s *situation) { s.up, s.quiet = true, deadAfter }},
		{"silent, and nothing to renew", func(l *progress, s *situation) { s.up, s.quiet, s.saInUse = true, deadAfter, true }},
		{"a call without link", func(l *progress, s *situation) { s.stuck, s.hasSA = true, false }},
		{"no SA", func(l *progress, s *situation) { s.hasSA, s.noCall = false, true }},
		{"a tunnel without call", func(l *progress, s *situation) { s.noCall = true }},
		{"a hang-up was cut short", func(l *progress, s *situation) { s.hangUpCut, s.redialsFor = true, hour }},
		{"ended in silence", func(l *progress, s *situation) { s.endedSilent = true }},
		{"dialled without answer", func(l *progress, s *situation) { l.last, l.dials = StepDial, 4 }},
		{"dialled without answer, and the SA has to stay", func(l *progress, s *situation) { l.last, l.dials, s.saInUse = StepDial, 4, true }},
		{"xl2tpd redials one of several", func(l *progress, s *situation) { l.last, s.redialsFor, s.sharesLNS = StepSecure, hour, true }},
		{"xl2tpd dials, and may redial besides", func(l *progress, s *situation) {
			l.last, l.doneAt, s.redialsFor, s.redialPlannedUntil = StepSecure, origin0, hour, origin0.Add(time.Second)
		}},
		{"xl2tpd redials twice in each redial timeout", func(l *progress, s *situation) {
			l.last, l.doneAt, s.redialsFor, s.redialPlannedUntil = StepSecure, origin0.Add(-time.Minute), hour, origin0.Add(time.Second)
		}},
		{"xl2tpd dials from before the SA", func(l *progress, s *situation) { l.last, s.redialsFor = StepSecure, hour }},
		{"xl2tpd has redialled without success", func(l *progress, s *situation) { s.redialsFor = hour }},
		{"xl2tpd has redialled, and the SA has to stay", func(l *progress, s *situation) { s.redialsFor, s.saInUse = hour, true }},
		{"xl2tpd redials", func(l *progress, s *situation) { s.redialsFor, s.saInUse, s.saWorks = hour, true, true }},
		{"the last tunnel still closes", func(l *progress, s *situation) { s.closingUntil = origin0.Add(time.Second) }},
		{"hung up while xl2tpd may redial", func(l *progress, s *situation) { s.redialPlannedUntil = origin0.Add(time.Second) }},
		{"a call waits for PPP", func(l *progress, s *situation) { s.callingUntil, s.trying = origin0.Add(callTime), true }},
		{"xl2tpd dials one of several already", func(l *progress, s *situation) {
			s.trying, s.sharesLNS, s.tryingUntil = true, true, origin0.Add(attemptTime)
		}},
		{"xl2tpd dials already", func(l *progress, s *situation) { s.trying = true }},
		{"nobody dials", func(l *progress, s *situation) {}},
	} {
		l, s := progress{since: origin0}, situation{goal: goalFull, daemon: true, hasSA: true}
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
		is    func(*progress, *situation)
		want  time.Duration
	}{
		{"a new SA", func(l *progress, s *situation) { l.last, l.next = StepRenew, next }, 0},
		{"in the way of a dial", func(l *progress, s *situation) { l.last, l.next, s.stuck = StepDial, next, true }, 0},
		{"hung up, and the peer was dead", func(l *progress, s *situation) {
			l.last, l.next, s.endedSilent, s.closingUntil = StepHangUp, next, true, free
		}, closingTime},
		{"the LNS has moved", func(l *progress, s *situation) {
			l.last, l.next, l.saRenewed, l.sa, s.up, s.quiet, s.withoutSA, s.moved = StepRenew, next, true, saSettling, true, time.Second, true, true
		}, 0},
		{"dialled without SA", func(l *progress, s *situation) { l.last, l.next, s.trying, s.hasSA = StepDial, next, true, false }, grace},
		{"after a step", func(l *progress, s *situation) { l.last, l.next, l.err = StepDial, next, errors.New("lost") }, time.Minute},
		{"a silent link", func(l *progress, s *situation) { s.up, s.quiet = true, deadAfter }, 0},
		{"xl2tpd redials", func(l *progress, s *situation) { s.redialsFor, s.redialPause = time.Hour, 30*time.Second }, 30*time.Second + attemptTime},
		{"the tunnel has just ended", func(l *progress, s *situation) { s.connecting = true }, connectTime},
	} {
		l, s := progress{since: origin0}, situation{goal: goalFull, daemon: true, hasSA: true}
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
	text, err := os.ReadFile("../docs/recovery.md")
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
		rows = append(rows, "| "+r.name+" | "+does(r.step)+" | "+r.why+" |\n")
	}
	return rows
}

func pauseRows() (rows []string) {
	for _, p := range pauses {
		rows = append(rows, "| "+p.name+" | "+p.why+" |\n")
	}
	return rows
}

// The debug log says which rule has decided.
func TestRulesAreLogged(t *testing.T) {
	n := established(t, oneLAC, "[lac default]\nrecover = full\n")
	n.step(Ending{OwnedConnection: closer, CloseReason: why{Reason: "closed by the peer"}})
	n.links()
	n.steps(time.Minute, nil)
	if want := []string{"nobody dials", "dialled without answer", "nobody dials"}; !slices.Equal(n.rules, want) {
		t.Errorf("%q, want %q", n.rules, want)
	}
}

// An SA that is new, and was made for another LAC, is not ended before that LAC's tunnel could show that it lives again.
func TestNewSAIsNotRenewedForAnotherLAC(t *testing.T) {
	silent := situation{goal: goalFull, daemon: true, up: true, hasSA: true, quiet: deadAfter}
	for onTrial, want := range map[bool]Step{false: StepRenew, true: StepNone} {
		p, s := progress{since: origin0, peer: peerSilent, peerAt: origin0.Add(time.Hour)}, silent
		s.saOnTrial = onTrial
		if got, _ := p.advance(s, true, 0.5, origin0.Add(time.Hour)); got != want {
			t.Errorf("on trial for another LAC %v: got %v, want %v", onTrial, got, want)
		}
	}
}

// A new xl2tpd dials the LACs with autodial. The SA that they need is not ended meanwhile for a LAC that may have been hung
// up.
func TestNewXl2tpdHasItsTime(t *testing.T) {
	const autodials = redials + "autodial = yes\n"
	n := established(t, autodials, "hello guard = off\n")
	n.plays(time.Minute, probe.Result{RTT: time.Millisecond}, func(Recover) error { return nil })
	n.links()
	n.steps(time.Minute, nil)
	s := n.xl2tpd(autodials)
	s.Home().Process.Pid = 101
	n.step(s)
	if got := n.steps(attemptTime-time.Second, nil); got != nil {
		t.Errorf("%v, although xl2tpd has just begun to dial", got)
	}
	if got := n.steps(10*time.Second, nil); !slices.Contains(got, StepRenew) {
		t.Errorf("%v, and the SA may be what fails", got)
	}
}
