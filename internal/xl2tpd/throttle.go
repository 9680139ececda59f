package xl2tpd

import "time"

// cooldownFactor is how many times as long as the last run of a task must pass before the
// next run.
const cooldownFactor = 10

// throttle spaces out the runs of a costly task that hints ask for.
type throttle struct {
	stale  bool          // there was a hint since the last run
	last   time.Time     // end of the last run
	took   time.Duration // length of the last run
	rested <-chan time.Time
}

// ready reports whether the task is to run now. If it has to wait, rested fires when to ask again.
func (p *throttle) ready(now time.Time) bool {
	age, rest := now.Sub(p.last), cooldownFactor*p.took
	if p.stale && age < rest && p.rested == nil {
		p.rested = time.After(rest - age)
	}
	return p.stale && age >= rest
}

// done records a run that began at begin and ends now.
func (p *throttle) done(begin time.Time) {
	p.stale, p.last = false, time.Now()
	p.took = p.last.Sub(begin)
}
