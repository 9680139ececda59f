package wake

import "time"

// Backoff says how long to wait before something that has failed is tried again: First, and twice as long after each
// further failure, up to Longest.
type Backoff struct {
	First, Longest time.Duration
	Healthy        time.Duration // what has run for so long without a failure begins with First again; 0: Reset says so
	pause          time.Duration // before the next try; 0: First
}

// Next returns the pause after a failure of what has run for a while.
func (b *Backoff) Next(ran time.Duration) time.Duration {
	if b.pause == 0 || b.Healthy > 0 && ran >= b.Healthy {
		b.pause = b.First
	}
	pause := b.pause
	b.pause = min(2*pause, b.Longest)
	return pause
}

// Reset makes the pauses begin with First again.
func (b *Backoff) Reset() { b.pause = 0 }
