package supervisor

import "time"

// asking are situations in which recovery takes a step. The later ones are for a LAC that has got a new SA.
var asking = map[Step][]situation{
	StepSecure: {{goal: goalFull, daemon: true}},
	StepDial:   {{goal: goalRedial, daemon: true}},
	StepRedial: {{goal: goalRedial, daemon: true, trying: true}},
	StepRenew: {
		{goal: goalFull, daemon: true, hasSA: true, endedSilent: true},
		{goal: goalFull, daemon: true, hasSA: true, redialsFor: time.Hour},
		{goal: goalFull, daemon: true, hasSA: true, up: true, quiet: 100 * time.Second},
	},
	StepHangUp: {{goal: goalRedial, daemon: true, stuck: true}},
	StepLook:   {{goal: goalRedial, daemon: true}},
	StepAsk:    {{goal: goalFull, daemon: true, hasSA: true, up: true, quiet: time.Second}},
}

// takes makes a step of a LAC's recovery the one under way. What recovery knows of the LAC stays as it is. StepNone: no step
// is under way.
func (f *fixture) takes(l *lac, step Step) {
	f.t.Helper()
	well := l.progress.troubleSince().IsZero()
	if l.progress.abandon(); step != StepNone {
		f.takesInTrouble(l, step)
	}
	if well {
		l.progress.advance(situation{up: true}, true, 0.5, f.now)
	}
}

// takesInTrouble does the same, and if there was no trouble, it begins now.
func (f *fixture) takesInTrouble(l *lac, step Step) {
	f.t.Helper()
	for _, is := range asking[step] {
		p := l.progress
		if step == StepAsk {
			p.outdateAnswer()
		}
		for _, at := range []time.Time{f.now, f.now.Add(time.Minute)} { // the trouble begins, and then a step is due
			p.abandon()
			p.xl2tpdEnded()
			p.advance(is, step != StepLook, 0.5, at) // in the wait for a slot the LNS is looked for
		}
		if p.underWay() == step {
			l.progress = p
			return
		}
	}
	f.t.Fatalf("%s: %q is not to be had from %+v", l.name, step, l.progress)
}

// took makes a step of a LAC's recovery the latest one. It has ended at that time.
func (f *fixture) took(l *lac, step Step, err error, at time.Time) {
	f.t.Helper()
	f.takesInTrouble(l, step)
	l.progress.stepDone(err, situation{}, 0.5, at)
}

// rests lets recovery take no step for a LAC until then: there was no route, which is looked for every 2 s.
func (f *fixture) rests(l *lac, until time.Time) {
	f.t.Helper()
	f.took(l, StepDial, ErrNoRoute, until.Add(-2*time.Second))
}
