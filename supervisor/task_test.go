package supervisor

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// tries runs a task for a while and returns when it was started, and what was
// posted and logged.
func tries(t *testing.T, d time.Duration, run func(ctx context.Context, try int) error) (at []time.Duration, posted []Event, log string) {
	synctest.Test(t, func(t *testing.T) {
		var buf bytes.Buffer
		began := time.Now()
		r := &Runner{
			Log:    slog.New(slog.NewTextHandler(&buf, nil)),
			Post:   func(ev Event) { posted = append(posted, ev) },
			Jitter: func() float64 { return 0.999999999 },
		}
		ctx, cancel := context.WithTimeout(t.Context(), d)
		defer cancel()
		r.Run(ctx, Task{Name: "watcher", Run: func(ctx context.Context) error {
			at = append(at, time.Since(began).Round(time.Millisecond))
			return run(ctx, len(at))
		}})
		log = buf.String()
	})
	return at, posted, log
}

func ms(n ...int) (d []time.Duration) {
	for _, n := range n {
		d = append(d, time.Duration(n)*time.Millisecond)
	}
	return d
}

func TestBackoff(t *testing.T) {
	at, posted, _ := tries(t, 8*time.Second, func(context.Context, int) error { return lost })
	if want := ms(0, 100, 300, 700, 1500, 3100, 5100, 7100); !slices.Equal(at, want) {
		t.Errorf("started at %v, want %v", at, want)
	}
	for _, ev := range posted {
		if f := ev.(TaskFailed); f.Task != "watcher" || f.Err != lost {
			t.Errorf("got %+v, want the task and its error", f)
		}
	}
}

func TestBackoffAnewAfterHealth(t *testing.T) {
	at, _, _ := tries(t, 15*time.Second, func(ctx context.Context, try int) error {
		if try == 4 {
			time.Sleep(healthyAfter)
		}
		return lost
	})
	if want := ms(0, 100, 300, 700, 10800, 11000, 11400, 12200, 13800); !slices.Equal(at, want) {
		t.Errorf("started at %v, want %v", at, want)
	}
}

func TestJitterIsFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began, n := time.Now(), 0
		ctx, cancel := context.WithCancel(t.Context())
		r := &Runner{Log: slog.New(slog.DiscardHandler), Post: func(Event) {}, Jitter: func() float64 { return 0 }}
		r.Run(ctx, Task{Run: func(context.Context) error {
			if n++; n == 5 {
				cancel()
			}
			return lost
		}})
		if d := time.Since(began); d != 0 {
			t.Error(d)
		}
	})
}

func TestPanicIsAFailure(t *testing.T) {
	at, posted, log := tries(t, 150*time.Millisecond, func(context.Context, int) error { panic("ouch") })
	if len(at) != 2 || len(posted) != 2 {
		t.Fatalf("%d tries, %d posts", len(at), len(posted))
	}
	if err := posted[0].(TaskFailed).Err; err.Error() != "panic: ouch" {
		t.Error(err)
	}
	if !strings.Contains(log, "task panicked") || !strings.Contains(log, "task_test.go") {
		t.Error("no stack in the log:", log)
	}
}

func TestEndWithoutReasonIsAFailure(t *testing.T) {
	_, posted, _ := tries(t, 50*time.Millisecond, func(context.Context, int) error { return nil })
	if len(posted) != 1 || posted[0].(TaskFailed).Err == nil {
		t.Errorf("got %v, want one failure", posted)
	}
}

func TestTaskEndsWithContext(t *testing.T) {
	at, posted, _ := tries(t, time.Minute, func(ctx context.Context, _ int) error {
		<-ctx.Done()
		return errors.New("something went wrong on the way out")
	})
	if len(at) != 1 || len(posted) != 0 {
		t.Errorf("got %v %v, want one run and no failure", at, posted)
	}
}
