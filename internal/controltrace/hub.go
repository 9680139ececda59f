package controltrace

import (
	"encoding/binary"
	"errors"
	"slices"
	"sync"
	"sync/atomic"

	"xl2tpd-keepalive/internal/l2tp"
	"xl2tpd-keepalive/internal/wake"
)

const (
	// maxWatchers and maxQueued bound the memory that people who watch may take: a watcher has two buffers.
	maxWatchers = 4
	maxQueued   = 1 << 20 // bytes
)

// errBusy says that too many people watch.
var errBusy = errors.New("too many traces at one time")

// Hub passes messages on to who watches. It never waits for them: what a watcher is too slow for is counted. The zero
// value is ready.
type Hub struct {
	mu       sync.Mutex // of changes to watchers
	watchers atomic.Pointer[[]*Watcher]
}

// Publish passes a message on. While nobody watches, it only looks whether somebody does.
func (h *Hub) Publish(c *l2tp.Connection, r *Record) {
	all := h.watchers.Load()
	if all == nil {
		return
	}
	for _, w := range *all {
		w.put(c, r)
	}
}

// Watched reports whether somebody watches.
func (h *Hub) Watched() bool { return h.watchers.Load() != nil }

// Watch begins to watch. Only with secrets are those in the messages.
func (h *Hub) Watch(secrets bool) (*Watcher, error) {
	w := &Watcher{hub: h, secrets: secrets}
	return w, h.change(func(all []*Watcher) ([]*Watcher, error) {
		if len(all) == maxWatchers {
			return nil, errBusy
		}
		return append(all, w), nil
	})
}

func (h *Hub) change(how func([]*Watcher) ([]*Watcher, error)) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	var all []*Watcher
	if now := h.watchers.Load(); now != nil {
		all = slices.Clone(*now)
	}
	all, err := how(all)
	switch {
	case err != nil:
		return err
	case len(all) == 0:
		h.watchers.Store(nil)
	default:
		h.watchers.Store(&all)
	}
	return nil
}

// Watcher is a queue of messages for one who watches.
type Watcher struct {
	hub     *Hub
	secrets bool
	wake    wake.Signal // there is something to take

	mu     sync.Mutex
	queued []byte // frames
	spare  []byte
	lost   uint64 // messages since the last one that was queued
}

// Close ends the watch.
func (w *Watcher) Close() {
	_ = w.hub.change(func(all []*Watcher) ([]*Watcher, error) { // it can't fail
		return slices.DeleteFunc(all, func(o *Watcher) bool { return o == w }), nil
	})
}

// put queues a message, or counts it as missed.
func (w *Watcher) put(c *l2tp.Connection, r *Record) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.queued)+maxFrame > maxQueued {
		w.lost++
		return
	}
	w.queueLost()
	began := len(w.queued)
	w.queued = appendMessage(w.queued, c, r)
	if !w.secrets && r.mayHoldSecrets() {
		l2tp.Blank(w.queued[began+messageAt:])
	}
	w.wake.Send()
}

// queueLost queues how many messages were missed. There is always room for that.
func (w *Watcher) queueLost() {
	if w.lost > 0 {
		w.queued = appendFrame(w.queued, frameLost, binary.BigEndian.AppendUint64(nil, w.lost))
		w.lost = 0
	}
}

// Wake returns a channel that receives when there is something to take.
func (w *Watcher) Wake() <-chan struct{} { return w.wake.C() }

// Take returns the frames that wait. They are valid until the next call.
func (w *Watcher) Take() []byte {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.queueLost()
	taken := w.queued
	w.queued, w.spare = w.spare[:0], taken
	return taken
}
