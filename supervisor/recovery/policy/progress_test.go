package policy

import (
	"errors"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var (
	origin0 = time.Unix(1_000_000, 0)
	lost    = errors.New("no answer")
)

// Times of the situations that the supervisor reports.
const (
	callTime     = 75 * time.Second // after which a call without addresses is stuck
	closingTime  = 33 * time.Second // for which xl2tpd keeps a tunnel whose StopCCN nobody acknowledges
	unlistedTime = 10 * time.Second // for which a new SA counts while charon lists none
)

// mostAttempts is how often a step may be taken in an hour.
const mostAttempts = 30

// play plays recovery for a time in a situation. Each step ends immediately with the result. It returns the steps and
// when they were taken.
func play(l *Progress, span time.Duration, is func(time.Duration) Situation, result func(Step) error) (steps []Step, at []time.Duration) {
	for t := time.Duration(0); t <= span; t += 100 * time.Millisecond {
		now := origin0.Add(t)
		step, _ := l.Advance(is(t), true, 0.5, now)
		if step == StepLook || step == StepAsk {
			l.StepDone(result(step), is(t), 0.5, now)
		} else if step != StepNone {
			steps, at = append(steps, step), append(at, t.Round(time.Second))
			l.StepDone(result(step), is(t), 0.5, now)
		}
	}
	return steps, at
}

// A LAC that may have been hung up gets a new SA less and less often.
func TestPerhapsHungUpIsRenewedSeldom(t *testing.T) {
	for name, is := range map[string]Situation{
		"up, and silent": {Goal: GoalFull, Daemon: true, HasSA: true, MayBeHungUp: true, Up: true, Quiet: deadAfter, RedialPause: time.Minute},
		"down":           {Goal: GoalFull, Daemon: true, HasSA: true, MayBeHungUp: true, RedialPause: time.Minute},
	} {
		var l Progress
		steps, at := play(&l, 6*time.Hour, func(time.Duration) Situation { return is }, func(Step) error { return nil })
		for i, step := range steps {
			if step != StepRenew || i > 1 && at[i]-at[i-1] < at[i-1]-at[i-2] {
				t.Errorf("%s: got %v at %v, want a renewal after ever longer waits", name, steps, at)
				break
			}
		}
		if len(steps) < 3 || len(steps) > 8 {
			t.Errorf("%s: got %d renewals in 6 hours, at %v", name, len(steps), at)
		}
	}
}

// A silent link ends, and may have been hung up. How long it was silent before says nothing about when to renew its SA.
func TestRenewalAfterALongSilence(t *testing.T) {
	for _, silent := range []time.Duration{0, time.Hour, 24 * time.Hour} {
		ended := origin0.Add(silent)
		is := Situation{Goal: GoalFull, Daemon: true, HasSA: true, MayBeHungUp: true, RedialPause: time.Minute, EndedAt: ended}
		p := Progress{since: origin0, saRenewed: true, doneAt: ended.Add(10 * time.Second), last: StepDial}
		var renewed time.Duration
		for now := p.doneAt; renewed == 0 && now.Sub(ended) < 2*time.Hour; now = now.Add(time.Second) {
			if step, _ := p.Advance(is, true, 0.5, now); step == StepRenew {
				renewed = now.Sub(ended)
			}
		}
		if renewed == 0 || renewed > 2*MaxPause {
			t.Errorf("silent for %v before: renewed after %v", silent, renewed)
		}
	}
}

func TestProgress(t *testing.T) {
	down := Situation{Goal: GoalFull, Daemon: true, HasSA: true}
	for _, tt := range []struct {
		name   string
		is     func(*Situation)
		result map[Step]error
		steps  []Step
		at     []int // seconds
	}{
		{"nobody redials", func(*Situation) {}, nil, []Step{StepDial, StepRenew, StepDial}, []int{3, 38, 38}},
		{"xl2tpd redials", func(s *Situation) { s.RedialsFor, s.RedialPause = 24*time.Hour, 30*time.Second }, nil, []Step{StepRenew}, []int{65}},
		{"xl2tpd redials, no IPsec", func(s *Situation) { s.Goal, s.RedialsFor, s.RedialPause = GoalRedial, 24*time.Hour, 30*time.Second }, nil, nil, nil},
		{"xl2tpd has given up", func(s *Situation) { s.RedialsFor, s.RedialPause = 50*time.Second, 30*time.Second }, nil, []Step{StepDial}, []int{65}},
		{"the SA is lost", func(s *Situation) { s.HasSA, s.RedialsFor, s.RedialPause = false, 24*time.Hour, 30*time.Second }, nil,
			[]Step{StepSecure, StepSecure, StepSecure}, []int{3, 8, 18}},
		{"xl2tpd dials", func(s *Situation) { s.Trying, s.RedialsFor, s.RedialPause = true, 24*time.Hour, 30*time.Second }, nil, []Step{StepRenew}, []int{35}},
		{"xl2tpd dials without its SA", func(s *Situation) { s.Trying, s.HasSA, s.RedialsFor = true, false, 24*time.Hour }, nil,
			[]Step{StepSecure}, []int{3}},
		{"the SA does not come", func(s *Situation) { s.HasSA = false }, map[Step]error{StepSecure: errors.New("timeout")},
			[]Step{StepSecure, StepSecure, StepSecure, StepSecure}, []int{3, 8, 18, 38}},
		{"no IPsec", func(s *Situation) { s.HasSA = false }, map[Step]error{StepSecure: ErrNoConnection}, []Step{StepSecure, StepDial}, []int{3, 3}},
		{"no route", func(s *Situation) {}, map[Step]error{StepDial: ErrNoRoute}, []Step{StepDial, StepDial, StepDial}, []int{3, 5, 7}},
		{"only redial", func(s *Situation) { s.Goal, s.HasSA = GoalRedial, false }, nil, []Step{StepDial, StepDial}, []int{3, 38}},
		{"the peer was silent", func(s *Situation) { s.EndedSilent, s.ClosingUntil = true, origin0.Add(33*time.Second) }, nil,
			[]Step{StepRenew, StepDial}, []int{3, 33}},
		{"a call is stuck", func(s *Situation) { s.Stuck, s.RedialsFor = true, 24*time.Hour }, nil, []Step{StepHangUp, StepHangUp}, []int{0, 35}},
		{"nothing is wanted", func(s *Situation) { s.Goal = GoalNone }, nil, nil, nil},
		{"no xl2tpd", func(s *Situation) { s.Daemon = false }, nil, nil, nil},
		{"well", func(s *Situation) { s.Up = true }, nil, nil, nil},
		{"silent, and the peer does not answer", func(s *Situation) { s.Up, s.Quiet = true, time.Second }, nil,
			[]Step{StepRenew, StepHangUp, StepHangUp}, []int{0, 3, 38}},
		{"silent, and the peer speaks", func(s *Situation) { s.Up, s.Quiet = true, time.Second }, map[Step]error{StepAsk: ErrAlive}, nil, nil},
		{"silent, and nobody knows", func(s *Situation) { s.Up, s.Quiet = true, time.Second }, map[Step]error{StepAsk: lost}, nil, nil},
		{"silent and dead, only redial", func(s *Situation) { s.Goal, s.Up, s.Quiet = GoalRedial, true, time.Second }, nil,
			[]Step{StepHangUp, StepHangUp}, []int{0, 35}},
		{"dead", func(s *Situation) { s.Up, s.Quiet = true, deadAfter }, nil, []Step{StepRenew}, []int{0}},
		{"dead, but the peer speaks", func(s *Situation) { s.Up, s.Quiet = true, deadAfter }, map[Step]error{StepRenew: ErrAlive},
			[]Step{StepRenew, StepRenew}, []int{0, 10}},
		{"dead, only redial", func(s *Situation) { s.Goal, s.Up, s.Quiet = GoalRedial, true, deadAfter }, map[Step]error{StepAsk: lost}, nil, nil},
		{"without its SA", func(s *Situation) { s.Up, s.HasSA, s.WithoutSA, s.RedialsFor = true, false, true, 24*time.Hour }, nil,
			[]Step{StepSecure, StepSecure}, []int{3, 8}},
		{"without its SA, only redial", func(s *Situation) { s.Goal, s.Up, s.HasSA, s.WithoutSA = GoalRedial, true, false, true }, nil, nil, nil},
		{"stuck", func(s *Situation) { s.Goal, s.Up, s.Quiet = GoalRedial, true, stuckAfter }, nil, []Step{StepHangUp, StepHangUp}, []int{0, 35}},
	} {
		is := down
		tt.is(&is)
		steps, at := play(&Progress{}, 69*time.Second, func(time.Duration) Situation { return is }, func(s Step) error { return tt.result[s] })
		var want []time.Duration
		for _, s := range tt.at {
			want = append(want, time.Duration(s)*time.Second)
		}
		n := min(len(steps), len(tt.steps))
		if !slices.Equal(steps[:n], tt.steps) || !slices.Equal(at[:n], want) || tt.steps == nil && len(steps) > 0 {
			t.Errorf("%s: %v at %v, want %v at %v", tt.name, steps, at, tt.steps, want)
		}
	}
}

// The SA is back while xl2tpd redials: an attempt from before can't succeed any more. Without such an attempt, xl2tpd
// redials first.
func TestProgressRedials(t *testing.T) {
	for _, tc := range []struct {
		redial error
		steps  []Step
		at     []time.Duration
	}{
		{nil, []Step{StepSecure, StepRedial, StepRenew, StepRedial}, []time.Duration{3, 3, 38, 38}},
		{ErrRedialsLater, []Step{StepSecure, StepRedial, StepRenew, StepRedial}, []time.Duration{3, 3, 68, 68}},
	} {
		var l Progress
		secured := false
		steps, at := play(&l, 80*time.Second, func(time.Duration) Situation {
			return Situation{Goal: GoalFull, Daemon: true, HasSA: secured, RedialsFor: 24 * time.Hour, RedialPause: 30 * time.Second}
		}, func(s Step) error {
			secured = true
			if s == StepRedial {
				return tc.redial
			}
			return nil
		})
		for i := range tc.at {
			tc.at[i] *= time.Second
		}
		if !slices.Equal(steps[:min(4, len(steps))], tc.steps) || !slices.Equal(at[:min(4, len(at))], tc.at) {
			t.Errorf("%v: %v at %v, want %v at %v", tc.redial, steps, at, tc.steps, tc.at)
		}
	}
}

// A call may also get stuck on a host without IPsec, once recovery knows that there is no connection.
func TestProgressStuckInTheClear(t *testing.T) {
	steps, at := play(&Progress{}, 80*time.Second, func(t time.Duration) Situation {
		return Situation{Goal: GoalFull, Daemon: true, EndedSilent: true, RedialsFor: 24 * time.Hour, RedialPause: 30 * time.Second, Stuck: t >= callTime}
	}, func(s Step) error {
		if s == StepSecure {
			return ErrNoConnection
		}
		return nil
	})
	if !slices.Equal(steps, []Step{StepSecure, StepHangUp}) || at[1] != callTime {
		t.Errorf("%v at %v", steps, at)
	}
}

// With a wrong password each dial is answered, and none brings a link.
func TestProgressWithWrongPassword(t *testing.T) {
	is := Situation{Goal: GoalFull, Daemon: true, HasSA: true}
	steps, at := play(&Progress{}, time.Hour, func(time.Duration) Situation { return is }, func(Step) error { return nil })
	dials := 0
	for _, s := range steps {
		if s == StepDial {
			dials++
		}
	}
	t.Logf("%d dials in the first hour: %v at %v", dials, steps, at)
	if dials < 10 || dials > 40 {
		t.Errorf("%d dials in an hour", dials)
	}
	if !slices.Contains(steps, StepRenew) {
		t.Error("the SA was never renewed")
	}
}

// Somebody has dialled besides xl2tpd's redials, and each attempt is refused: charon is asked again, but not more often than
// any other step is taken.
func TestProgressBesideARedial(t *testing.T) {
	for name, tc := range map[string]struct {
		listed time.Duration // for how long a new SA is known
		in     Situation
	}{
		"VICI is silent":        {unlistedTime, Situation{}},                // history 91306430
		"the SA has to stay":    {24 * time.Hour, Situation{SAInUse: true}}, // history 92071486
		"the SA may be renewed": {24 * time.Hour, Situation{}},
	} {
		var now, made time.Duration
		steps, at := play(&Progress{}, time.Hour, func(t time.Duration) Situation {
			now = t
			s := tc.in
			s.Goal, s.Daemon, s.RedialsFor, s.RedialPause = GoalFull, true, 24*time.Hour, 30*time.Second
			s.HasSA = made > 0 && t-made < tc.listed
			s.RedialPlannedUntil = origin0.Add(t.Truncate(30*time.Second) + 30*time.Second)
			return s
		}, func(s Step) error {
			if s == StepSecure || s == StepRenew {
				made = now
			}
			return nil
		})
		if n := len(steps); n < 10 || n > mostAttempts || slices.Contains(steps, StepRedial) || slices.Contains(steps, StepDial) {
			t.Errorf("%s: got %d steps, want 10 to %d, and no dial: %v at %v", name, n, mostAttempts, steps, at)
		}
	}
}

// A line that was cut for an hour: soon after the LNS can be reached again there is
// another try, whatever the pause. One that answers no echoes costs the whole pause.
func TestProgressLooks(t *testing.T) {
	for deaf, limit := range map[bool]time.Duration{false: lnsLook, true: MaxPause} {
		cut, dead := time.Hour, errors.New("no answer")
		now := time.Duration(0)
		steps, at := play(&Progress{}, cut+10*time.Minute, func(t time.Duration) Situation {
			now = t
			return Situation{Goal: GoalFull, Daemon: true}
		}, func(s Step) error {
			if now < cut || deaf && s == StepLook {
				return dead
			}
			return nil
		})
		i := slices.IndexFunc(at, func(t time.Duration) bool { return t >= cut })
		if i < 0 || steps[i] != StepSecure || at[i] > cut+limit+time.Second || deaf && at[i] < cut+2*lnsLook {
			t.Errorf("deaf %v: %v at %v", deaf, steps[i:], at[i:])
		}
		if i > 30 {
			t.Errorf("%d tries while it was cut: %v", i, at[:i])
		}
	}
}

// A tunnel that closes right after it came up is not dialled without a pause.
func TestProgressFlapping(t *testing.T) {
	var l Progress
	up := false
	var upUntil time.Duration
	now := time.Duration(0)
	steps, at := play(&l, time.Hour, func(t time.Duration) Situation {
		now = t
		up = t < upUntil
		return Situation{Goal: GoalFull, Daemon: true, HasSA: true, Up: up}
	}, func(s Step) error {
		if s == StepDial {
			upUntil = now + 2*time.Second
		}
		return nil
	})
	t.Logf("%d steps in the first hour", len(steps))
	if len(steps) < 10 || len(steps) > 100 {
		t.Errorf("%d steps in an hour, at %v ... %v", len(steps), at[0], at[len(at)-1])
	}
}

// In every history these hold:
//   - there is no step unless the tunnel is wanted, xl2tpd runs and no other step is under way;
//   - there is no step for a tunnel that is well;
//   - a pause of at least five seconds follows a step that failed;
//   - xl2tpd is never made to dial while it may be closing a tunnel, or redials by itself;
//   - only a tunnel that is stuck or dead is hung up;
//   - the SA of a silent link is renewed only if its peer is dead, or has been silent for long;
//   - IPsec is left alone if only redialling is wanted.
func TestProgressHistories(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var l Progress
		now := origin0
		var failed time.Time
		s := Situation{Goal: GoalFull, Daemon: true}
		for range rapid.IntRange(1, 60).Draw(t, "events") {
			now = now.Add(time.Duration(rapid.Int64Range(0, int64(2*time.Minute)).Draw(t, "wait")))
			switch rapid.IntRange(0, 8).Draw(t, "what") {
			case 0:
				s.Goal = rapid.SampledFrom([]Goal{GoalNone, GoalRedial, GoalFull}).Draw(t, "wish")
			case 1:
				s.Daemon = rapid.Bool().Draw(t, "daemon")
			case 2:
				s.Up, s.Quiet = rapid.Bool().Draw(t, "up"), 0
				s.WithoutSA, s.Stuck = s.WithoutSA && s.Up, s.Stuck && !s.Up
				if s.Up {
					s.Quiet = time.Duration(rapid.SampledFrom([]int64{0, 0, int64(time.Second), int64(deadAfter), int64(stuckAfter)}).Draw(t, "quiet"))
				}
			case 3:
				s.HasSA = rapid.Bool().Draw(t, "secured")
				s.WithoutSA = !s.HasSA && s.Up && rapid.Bool().Draw(t, "bare")
			case 4:
				s.RedialsFor = time.Duration(rapid.SampledFrom([]int64{0, int64(time.Hour)}).Draw(t, "owner"))
				s.RedialPause = min(s.RedialsFor, 30*time.Second)
			case 5:
				s.EndedSilent, s.ClosingUntil = true, now.Add(closingTime)
			case 6:
				s.Stuck = !s.Up && rapid.Bool().Draw(t, "stuck")
			default:
				if l.busy == StepNone {
					break
				}
				done := l.busy
				err := rapid.SampledFrom([]error{nil, nil, ErrNoRoute, ErrNoConnection, ErrAlive, ErrRedialsLater, errors.New("other")}).Draw(t, "result")
				l.StepDone(err, s, rapid.Float64Range(0, 0.999).Draw(t, "jitter"), now)
				if failed = (time.Time{}); err != nil && err.Error() == "other" && !l.since.IsZero() && done != StepLook && done != StepAsk {
					failed = now
				}
			}
			busy := l.busy
			step, again := l.Advance(s, true, 0.5, now)
			if s.IsWell() {
				failed = time.Time{}
			}
			switch {
			case (step == StepLook || step == StepAsk && s.silent()) && busy == StepNone && s.Goal != GoalNone && !s.IsWell():
				continue
			case step == StepNone:
				if !again.IsZero() && !again.After(now) {
					t.Fatalf("wants to look again at %v, it is %v: %+v %+v", again, now, l, s)
				}
				continue
			case busy != StepNone:
				t.Fatalf("%v while %v", step, busy)
			case s.Goal == GoalNone || !s.Daemon || s.IsWell():
				t.Fatalf("%v in %+v", step, s)
			case step == StepDial && (s.Up || now.Before(s.ClosingUntil) || now.Before(l.since.Add(s.RedialsFor))):
				t.Fatalf("%v in %+v", step, s)
			case step == StepRedial && (s.Up || !s.HasSA || !now.Before(l.since.Add(s.RedialsFor))):
				t.Fatalf("%v in %+v", step, s)
			case step == StepHangUp && s.Quiet < stuckAfter && !s.Stuck && !(l.PeerIsDead(now) && s.silent()):
				t.Fatalf("%v in %+v", step, s)
			case step == StepRenew && s.silent() && s.Quiet < deadAfter && !l.PeerIsDead(now):
				t.Fatalf("%v though nothing proves that the peer of %+v is dead", step, s)
			case s.Goal == GoalRedial && (step == StepSecure || step == StepRenew):
				t.Fatalf("%v though only redialling is wanted", step)
			case !failed.IsZero() && now.Sub(failed) < minPause:
				t.Fatalf("%v %v after a failure", step, now.Sub(failed))
			}
		}
	})
}

// If the LNS did not answer before and answers now, recovery does not even wait for charon's own new try.
func TestProgressOfALateAnswer(t *testing.T) {
	is := Situation{Goal: GoalFull, Daemon: true, Trying: true, RedialsFor: 24 * time.Hour}
	l := &Progress{since: origin0, last: StepDial, next: origin0.Add(AttemptTime), failed: 1, lnsSilent: true}
	steps, at := play(l, Grace-time.Second, func(time.Duration) Situation { return is }, func(Step) error { return nil })
	if !slices.Equal(steps, []Step{StepSecure}) || at[0] != 0 {
		t.Errorf("%v at %v", steps, at)
	}
}

// A dial waits for a call without link. It comes as soon as the call is gone, and the wait is no failure.
func TestDialWaitsForACall(t *testing.T) {
	const gone = 20 * time.Second
	l := Progress{since: origin0.Add(-time.Minute), last: StepHangUp, next: origin0}
	steps, at := play(&l, gone+time.Second, func(t time.Duration) Situation {
		is := Situation{Goal: GoalFull, Daemon: true, HasSA: true}
		if t < gone {
			is.CallingUntil = origin0.Add(callTime)
		}
		return is
	}, func(Step) error { return nil })
	if !slices.Equal(steps, []Step{StepDial}) || at[0] != gone || l.failed > 1 {
		t.Errorf("got %v at %v, and %d failures, want a dial at %v", steps, at, l.failed, gone)
	}
}
