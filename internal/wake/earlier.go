package wake

import "time"

// Earlier returns the earlier of two times. A zero time means that there is none.
func Earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
