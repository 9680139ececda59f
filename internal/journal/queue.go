package journal

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"
)

// maxQueued is how many records may wait. With a stuck journal they take a few hundred KB.
const maxQueued = 1024

// Queue passes records to other handlers in its own goroutine, so that a stuck journal blocks no
// caller. While maxQueued records wait, it drops and counts further ones.
type Queue struct {
	records chan queued
	dropped atomic.Int64
	closing chan struct{}
	done    chan struct{}
}

type queued struct {
	to     slog.Handler
	record slog.Record
}

// NewQueue starts a queue. Close ends it.
func NewQueue() *Queue {
	q := &Queue{records: make(chan queued, maxQueued), closing: make(chan struct{}), done: make(chan struct{})}
	go q.run()
	return q
}

// Handler returns a handler that passes its records through the queue to another handler.
func (q *Queue) Handler(to slog.Handler) slog.Handler { return &sender{q, to} }

// Close waits until every record is written, but no longer than longest. Call it once.
func (q *Queue) Close(longest time.Duration) {
	close(q.closing)
	select {
	case <-q.done:
	case <-time.After(longest):
	}
}

func (q *Queue) run() {
	defer close(q.done)
	for {
		select {
		case r := <-q.records:
			q.write(r)
		case <-q.closing:
			for {
				select {
				case r := <-q.records:
					q.write(r)
				default:
					return
				}
			}
		}
	}
}

// write writes a record, and then the number of dropped ones: now the journal accepts records again.
func (q *Queue) write(r queued) {
	if err := r.to.Handle(context.Background(), r.record); err != nil {
		q.dropped.Add(1)
		return
	}
	if n := q.dropped.Swap(0); n > 0 {
		lost := slog.NewRecord(time.Now(), slog.LevelWarn, "log lines were dropped: the journal did not take them", 0)
		lost.AddAttrs(slog.Int64("lines", n))
		if err := r.to.Handle(context.Background(), lost); err != nil {
			q.dropped.Add(n)
		}
	}
}

// sender is a slog.Handler that never blocks.
type sender struct {
	q  *Queue
	to slog.Handler
}

func (s *sender) Enabled(ctx context.Context, l slog.Level) bool { return s.to.Enabled(ctx, l) }

func (s *sender) Handle(_ context.Context, r slog.Record) error {
	select {
	case s.q.records <- queued{s.to, r.Clone()}:
	default:
		s.q.dropped.Add(1)
	}
	return nil
}

func (s *sender) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &sender{s.q, s.to.WithAttrs(attrs)}
}

func (s *sender) WithGroup(name string) slog.Handler { return &sender{s.q, s.to.WithGroup(name)} }
