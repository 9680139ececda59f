package supervisor

import (
	"time"

	"xl2tpd-keepalive/internal/wake"
)

const (
	looks = 4 // how often the counter is read in each interval while data comes in now and then

	// closelyFor is for how many intervals after the last data the counter is read that often. While nothing but echo
	// replies comes in, one reading right before each echo request is enough.
	closelyFor = 3

	// An echo request may be late by this part of the interval, so that many tunnels need one wake-up.
	slack = 1.0 / 3

	maxJitter = slack - 1.0/looks // of the interval, added to it: data may be older than the reading by the rest of slack

	slotSize = 32                     // how many tunnels have their echo requests sent in one wake-up
	minStep  = 100 * time.Millisecond // between two wake-ups, even if more tunnels then share one

	maxDelay = 100 * time.Millisecond // a request or reading counts as in time if it is no later than this
)

// echoSchedule says when to read a tunnel's counter, and when to send the next echo request.
type echoSchedule struct {
	// The last sign of life came in between these two times. Unless another sign comes in, an echo request is due
	// wait*stretch after heardBy.
	heardAfter, heardBy time.Time
	wait                time.Duration
	stretch             float64
	retry               bool // wait is not the interval, and data is no reason to wait for longer

	echoAt  time.Time // when the echo request is due
	closely bool      // read the counter a few times until then
	looked  time.Time // when the counter was last read
	planned time.Time // when the latest reading or echo request was due
	sent    time.Time // when the echo request in flight, or else the latest, was due
	again   bool      // if that is lost, send another one soon
}

// next returns when to do something about the tunnel next. The counters of all tunnels with one interval are read at the
// same moment, counted from epoch, so that they need one request.
func (s *echoSchedule) next(epoch time.Time) time.Time {
	every := s.wait / looks
	if s.retry || every == 0 {
		return s.echoAt
	}
	look := s.looked.Add(every - s.looked.Sub(epoch)%every)
	if !s.closely {
		look = s.heardBy.Add(s.wait) // not later, even if the slot is: there may have been data
		if !s.looked.Before(look) {
			return s.echoAt
		}
	}
	return wake.Earlier(look, s.echoAt)
}

// justLooked reports whether the counter was read a moment ago, so that an echo request that is due need not wait for
// another reading.
func (s *echoSchedule) justLooked(now time.Time) bool {
	return now.Sub(s.looked) < s.wait/looks && !now.Before(s.echoAt)
}

// inTime returns when the reading or echo request of now was due. A wake-up is always a little late. If that counted, no
// two tunnels would stay in one slot.
func (s *echoSchedule) inTime(now time.Time) time.Time {
	if late := now.Sub(s.planned); late < 0 || late > maxDelay {
		return now
	}
	return s.planned
}

// untilSoon returns how long to wait before the next echo if it is to come soon.
func (t *tunnel) untilSoon(now time.Time) time.Duration {
	return max(0, t.settings.Interval/looks-now.Sub(t.sent))
}

// hurry makes a tunnel's echo due now.
func (ts *tunnelTable) hurry(t *tunnel, now time.Time) {
	ts.retry(t, now, 0)
}

// retry makes an echo due after a wait, even if data comes in meanwhile.
func (ts *tunnelTable) retry(t *tunnel, now time.Time, wait time.Duration) {
	t.retry, t.closely = true, true
	ts.arm(t, now, now, wait, 1)
}

// armInterval makes an echo due if nothing comes in for the interval, times stretch. The last sign of life came in
// between after and by.
func (ts *tunnelTable) armInterval(t *tunnel, after, by time.Time, stretch float64) {
	t.retry = false
	ts.arm(t, after, by, t.settings.Interval, stretch)
}

func (ts *tunnelTable) arm(t *tunnel, after, by time.Time, wait time.Duration, stretch float64) {
	t.heardAfter, t.heardBy, t.wait, t.stretch, t.looked = after, by, wait, stretch, by
	ts.plan(t)
}

// rearm applies a new interval to a wait that has begun.
func (ts *tunnelTable) rearm(t *tunnel) {
	if !t.retry || t.wait > t.settings.Interval {
		t.wait = t.settings.Interval
	}
	t.closely = true
	ts.plan(t)
}

// plan plans the next echo request: in the next slot of many tunnels, if that is not too late.
func (ts *tunnelTable) plan(t *tunnel) {
	t.echoAt = t.heardBy.Add(time.Duration(float64(t.wait) * t.stretch))
	if !t.retry {
		late := time.Duration(slack * float64(t.wait))
		latest := t.heardAfter.Add(t.wait + late)
		if soonest := t.heardBy.Add(late); latest.Before(soonest) { // nobody has read the counter for long
			latest = soonest
		}
		t.echoAt = wake.Earlier(ts.slot(t.echoAt, t.wait), latest)
	}
	ts.enqueue(t)
}

// slot returns the first time from at on that is a multiple of a part of the interval, counted from the start. The part
// is the whole interval if there are few tunnels, and else a half, a quarter and so on of it.
func (ts *tunnelTable) slot(at time.Time, interval time.Duration) time.Time {
	step := interval
	for watched := ts.count[Up] + ts.count[Alive] + ts.count[Silent]; watched > slotSize && step >= 2*minStep; watched /= 2 {
		step /= 2
	}
	return at.Add((step - at.Sub(ts.began)%step) % step)
}

func (ts *tunnelTable) enqueue(t *tunnel) {
	if t.inFlight == none {
		t.planned = t.next(ts.began)
		ts.due.Set(t, t.planned)
	}
}

func (ts *tunnelTable) unqueue(t *tunnel) { ts.due.Set(t, time.Time{}) }
