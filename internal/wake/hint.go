// Package wake wakes somebody who has to look at something.
package wake

import "sync"

// Hint is one or more hints that have not been taken yet, or none: two are as good
// as one. The zero value is ready. It may be used by many goroutines.
type Hint struct {
	once sync.Once
	c    chan struct{}
}

// Give gives a hint. It never blocks.
func (h *Hint) Give() {
	h.init()
	select {
	case h.c <- struct{}{}:
	default:
	}
}

// C has an item when there is a hint.
func (h *Hint) C() <-chan struct{} {
	h.init()
	return h.c
}

func (h *Hint) init() {
	h.once.Do(func() { h.c = make(chan struct{}, 1) })
}
