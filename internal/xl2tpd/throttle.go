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
func (t *throttle) ready(now time.Time) bool {
	age, rest := now.Sub(t.last), cooldownFactor*t.took
	if t.stale && age < rest && t.rested == nil {
		t.rested = time.After(rest - age)
	}
	return t.stale && age >= rest
}

// done records a run that began at begin and ends now.
func (t *throttle) done(begin time.Time) {
	t.stale, t.last = false, time.Now()
	t.took = t.last.Sub(begin)
}
