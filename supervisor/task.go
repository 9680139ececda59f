package supervisor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"
)

const (
	minBackoff = 100 * time.Millisecond
	maxBackoff = 2 * time.Second
	// A task that has run this long was healthy: its backoff begins anew.
	healthyAfter = 10 * time.Second
)

// Task is something that runs as long as the program does.
type Task struct {
	Name string
	Run  func(context.Context) error
}

// Runner runs tasks, each on its own: one that fails or panics is restarted
// alone, after a pause that grows while it keeps failing.
type Runner struct {
	Log    *slog.Logger
	Post   func(Event)    // is told of each failure
	Jitter func() float64 // numbers in [0, 1); safe for concurrent use
}

// Run runs one task until ctx has ended and the task has returned.
func (r *Runner) Run(ctx context.Context, t Task) {
	backoff := minBackoff
	for {
		began := time.Now()
		err := r.once(ctx, t)
		if ctx.Err() != nil {
			return
		}
		r.Post(TaskFailed{Task: t.Name, Err: err})
		if time.Since(began) >= healthyAfter {
			backoff = minBackoff
		}
		// Full jitter: tasks that fell together should not come back together.
		pause := time.NewTimer(time.Duration(r.Jitter() * float64(backoff)))
		select {
		case <-ctx.Done():
			pause.Stop()
			return
		case <-pause.C:
		}
		backoff = min(2*backoff, maxBackoff)
	}
}

func (r *Runner) once(ctx context.Context, t Task) (err error) {
	defer func() {
		if p := recover(); p != nil {
			r.Log.Error("task panicked", "task", t.Name, "panic", p, "stack", string(debug.Stack()))
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	if err := t.Run(ctx); err != nil {
		return err
	}
	return errors.New("ended for no reason")
}
