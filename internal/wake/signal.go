// Package wake wakes a goroutine that has something to do: now (Signal), at a given time (Queue), or after a while (After;
// Backoff says how long after a failure).
package wake

import "sync"

// Signal wakes one waiting goroutine. Signals that nobody has received yet count as one. The zero value is ready.
// It is safe for concurrent use.
type Signal struct {
	once sync.Once
	c    chan struct{}
}

// Send wakes the receiver of C. It never blocks.
func (s *Signal) Send() {
	s.init()
	select {
	case s.c <- struct{}{}:
	default:
	}
}

// C receives once for all signals that were sent since the last time.
func (s *Signal) C() <-chan struct{} {
	s.init()
	return s.c
}

func (s *Signal) init() {
	s.once.Do(func() { s.c = make(chan struct{}, 1) })
}
