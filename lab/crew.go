package main

import (
	"errors"
	"sync"
)

// crew runs machines side by side, no more than there are turns.
type crew struct {
	turns  chan struct{}
	wg     sync.WaitGroup
	mu     sync.Mutex
	failed []error
}

func newCrew(turns int) *crew { return &crew{turns: make(chan struct{}, turns)} }

// start waits for a turn and runs the job beside others.
func (c *crew) start(job func() error) {
	c.turns <- struct{}{}
	c.wg.Go(func() {
		defer func() { <-c.turns }()
		err := job()
		c.mu.Lock()
		defer c.mu.Unlock()
		c.failed = append(c.failed, err)
	})
}

// wait returns the errors of all jobs.
func (c *crew) wait() error {
	c.wg.Wait()
	return errors.Join(c.failed...)
}
