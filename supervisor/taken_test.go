package supervisor

import (
	"time"

	"xl2tpd-keepalive/supervisor/recovery/policy"
)

// Times of the policy that tests wait for.
const (
	attemptLasts = 31 * time.Second
	connectTime  = 10 * time.Second
	deadAfter    = 65 * time.Second
	stuckAfter   = 150 * time.Second
	deadTime     = 15 * time.Second
	aliveLook    = 10 * time.Second
	firstPause   = 5 * time.Second // after a step that has failed
)

// asking are situations in which recovery takes a step. The later ones are for a LAC that has got a new SA.
var asking = map[policy.Step][]policy.Situation{
	policy.StepSecure: {{Goal: policy.GoalFull, Daemon: true}},
	policy.StepDial:   {{Goal: policy.GoalRedial, Daemon: true}},
	policy.StepRedial: {{Goal: policy.GoalRedial, Daemon: true, Trying: true}},
	policy.StepRenew: {
		{Goal: policy.GoalFull, Daemon: true, HasSA: true, EndedSilent: true},
		{Goal: policy.GoalFull, Daemon: true, HasSA: true, RedialsFor: time.Hour},
		{Goal: policy.GoalFull, Daemon: true, HasSA: true, Up: true, Quiet: 100 * time.Second},
	},
	policy.StepHangUp: {{Goal: policy.GoalRedial, Daemon: true, Stuck: true}},
	policy.StepLook:   {{Goal: policy.GoalRedial, Daemon: true}},
	policy.StepAsk:    {{Goal: policy.GoalFull, Daemon: true, HasSA: true, Up: true, Quiet: time.Second}},
}

// takes makes a step of a LAC's recovery the one under way. What recovery knows of the LAC stays as it is. StepNone: no step
// is under way.
func (f *fixture) takes(l *lac, step policy.Step) {
	f.t.Helper()
	well := l.progress.TroubleSince().IsZero()
	if l.progress.Abandon(); step != policy.StepNone {
		f.takesInTrouble(l, step)
	}
	if well {
		l.progress.Advance(policy.Situation{Up: true}, true, 0.5, f.now)
	}
}

// takesInTrouble does the same, and if there was no trouble, it begins now.
func (f *fixture) takesInTrouble(l *lac, step policy.Step) {
	f.t.Helper()
	for _, is := range asking[step] {
		p := l.progress
		if step == policy.StepAsk {
			p.OutdateAnswer()
		}
		for _, at := range []time.Time{f.now, f.now.Add(time.Minute)} { // the trouble begins, and then a step is due
			p.Abandon()
			p.Xl2tpdEnded()
			p.Advance(is, step != policy.StepLook, 0.5, at) // in the wait for a slot the LNS is looked for
		}
		if p.UnderWay() == step {
			l.progress = p
			return
		}
	}
	f.t.Fatalf("%s: %q is not to be had from %+v", l.name, step, l.progress)
}

// took makes a step of a LAC's recovery the latest one. It has ended at that time.
func (f *fixture) took(l *lac, step policy.Step, err error, at time.Time) {
	f.t.Helper()
	f.takesInTrouble(l, step)
	l.progress.StepDone(err, policy.Situation{}, 0.5, at)
}

// rests lets recovery take no step for a LAC until then: there was no route, which is looked for every 2 s.
func (f *fixture) rests(l *lac, until time.Time) {
	f.t.Helper()
	f.took(l, policy.StepDial, policy.ErrNoRoute, until.Add(-2*time.Second))
}
