package policy

import "time"

// The backoff between steps.
const (
	minPause    = 5 * time.Second // after the first step that failed or did not help
	jitterAfter = time.Minute     // pauses up to this one double
	MaxPause    = 5 * time.Minute // and later ones are random, from jitterAfter to at most this
)

// spread shortens a wait by up to a fifth, so that many LACs do not look at the same time.
func spread(d time.Duration, jitter float64) time.Duration {
	return d - time.Duration(jitter*float64(d)/5)
}

// pause returns how long to wait after that many failures in a row. jitter is in [0, 1).
func pause(failed int, jitter float64) time.Duration {
	d := minPause << min(failed-1, 16)
	if d <= jitterAfter {
		return d
	}
	return jitterAfter + time.Duration(jitter*float64(min(d, MaxPause)-jitterAfter))
}
