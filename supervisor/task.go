package supervisor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"

	"xl2tpd-keepalive/internal/wake"
)

const (
	minBackoff = 100 * time.Millisecond
	maxBackoff = 2 * time.Second
	// healthyAfter is how long a task must run to count as healthy. Its backoff then starts again at minBackoff.
	healthyAfter = 10 * time.Second
)

// Task is work that runs as long as the program does.
type Task struct {
	Name string
	Run  func(context.Context) error
}

// Runner runs tasks. A task that fails or panics is restarted alone, after a pause. The pause grows while the task
// keeps failing.
type Runner struct {
	Log    *slog.Logger
	Post   func(Event)    // gets each failure
	Jitter func() float64 // numbers in [0, 1); safe for concurrent use
}

// Run runs one task until ctx has ended and the task has returned.
func (r *Runner) Run(ctx context.Context, t Task) {
	backoff := wake.Backoff{First: minBackoff, Longest: maxBackoff, Healthy: healthyAfter}
	for {
		began := time.Now()
		err := r.once(ctx, t)
		if ctx.Err() != nil {
			return
		}
		r.Post(TaskFailed{Task: t.Name, Err: err})
		// Full jitter: tasks that failed together should not restart together.
		if wake.After(ctx, time.Duration(r.Jitter()*float64(backoff.Next(time.Since(began))))) != nil {
			return
		}
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
