package journal

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// target is a handler that is stuck until it is let go.
type target struct {
	slog.Handler // of the level
	mu           sync.Mutex
	lines        []string
	stuck        chan struct{}
	err          error
}

func (t *target) Enabled(context.Context, slog.Level) bool { return true }

func (t *target) Handle(_ context.Context, r slog.Record) error {
	if t.stuck != nil {
		<-t.stuck
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.err != nil {
		return t.err
	}
	line := r.Message
	r.Attrs(func(a slog.Attr) bool { line += " " + a.String(); return true })
	t.lines = append(t.lines, line)
	return nil
}

func (t *target) WithAttrs([]slog.Attr) slog.Handler { return t }
func (t *target) WithGroup(string) slog.Handler      { return t }

// Records come in order, and Close waits for all of them.
func TestQueueOrder(t *testing.T) {
	to := &target{}
	q := NewQueue()
	log := slog.New(q.Handler(to))
	var want []string
	for i := range 500 {
		log.Info(fmt.Sprint("line ", i), "i", i)
		want = append(want, fmt.Sprintf("line %d i=%d", i, i))
	}
	q.Close(10 * time.Second)
	if !slices.Equal(to.lines, want) {
		t.Errorf("%d lines, the last %q", len(to.lines), to.lines[max(0, len(to.lines)-1):])
	}
}

// Nobody who logs waits for a stuck journal. When it goes on, what has waited is written, and how
// many lines were dropped is said once.
func TestQueueWhileStuck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		to := &target{stuck: make(chan struct{})}
		q := NewQueue()
		log := slog.New(q.Handler(to))
		log.Info("first")
		synctest.Wait() // it is being written
		for i := range maxQueued + 7 {
			log.Info(fmt.Sprint("line ", i))
		}
		close(to.stuck)
		synctest.Wait()
		log.Info("last")
		q.Close(time.Second)
		if len(to.lines) != 1+maxQueued+1+1 {
			t.Fatalf("%d lines", len(to.lines))
		}
		if lost := to.lines[1]; !strings.Contains(lost, "dropped") || !strings.Contains(lost, "lines=7") {
			t.Errorf("got %q, want 7 dropped lines", lost)
		}
		if last := to.lines[len(to.lines)-1]; last != "last" {
			t.Errorf("got %q, want %q", last, "last")
		}
	})
}

// Close does not wait for a journal that stays stuck.
func TestQueueCloseWhileStuck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		to := &target{stuck: make(chan struct{})}
		q := NewQueue()
		slog.New(q.Handler(to)).Info("never written")
		began := time.Now()
		q.Close(500 * time.Millisecond)
		if took := time.Since(began); took != 500*time.Millisecond {
			t.Errorf("took %v", took)
		}
		close(to.stuck)
		<-q.done
	})
}

// A line that the journal refuses counts as dropped.
func TestQueueRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		to := &target{err: errors.New("no such socket")}
		q := NewQueue()
		log := slog.New(q.Handler(to))
		log.Info("refused")
		synctest.Wait()
		to.mu.Lock()
		to.err = nil
		to.mu.Unlock()
		log.Info("taken")
		q.Close(time.Second)
		if len(to.lines) != 2 || to.lines[0] != "taken" || !strings.Contains(to.lines[1], "lines=1") {
			t.Errorf("got %q, want the record and one dropped line", to.lines)
		}
	})
}
