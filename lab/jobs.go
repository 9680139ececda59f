package main

import (
	"errors"
	"runtime"
	"sync"
)

// jobs runs jobs side by side, up to a number of them.
type jobs struct {
	turns  chan struct{}
	wg     sync.WaitGroup
	mu     sync.Mutex
	failed []error
}

// newJobs makes jobs of which no more run at a time than there are processors: each machine keeps one busy.
func newJobs(most int) *jobs { return &jobs{turns: make(chan struct{}, min(most, runtime.NumCPU()))} }

// start waits for a turn and runs the job beside others.
func (j *jobs) start(job func() error) {
	j.turns <- struct{}{}
	j.wg.Go(func() {
		defer func() { <-j.turns }()
		err := job()
		j.mu.Lock()
		defer j.mu.Unlock()
		j.failed = append(j.failed, err)
	})
}

// wait returns the errors of all jobs.
func (j *jobs) wait() error {
	j.wg.Wait()
	return errors.Join(j.failed...)
}
