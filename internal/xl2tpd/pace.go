package xl2tpd

import "time"

// leisure is how many times as long as something costly took has to pass before
// it is done again.
const leisure = 10

// pace spaces out something costly that is done on hints.
type pace struct {
	stale  bool          // there is a hint
	last   time.Time     // when it was done
	took   time.Duration // and for how long
	rested <-chan time.Time
}

// ready reports whether it is to be done now. If it has to wait, rested says when to ask again.
func (p *pace) ready(now time.Time) bool {
	age, rest := now.Sub(p.last), leisure*p.took
	if p.stale && age < rest && p.rested == nil {
		p.rested = time.After(rest - age)
	}
	return p.stale && age >= rest
}

// done is called when it has been done since begin.
func (p *pace) done(begin time.Time) {
	p.stale, p.last = false, time.Now()
	p.took = p.last.Sub(begin)
}
