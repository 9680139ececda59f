package main

import (
	"slices"
	"sync"
	"time"
)

// record is one thing that was seen happening, by whom it concerns and when.
type record struct {
	at     time.Time
	kind   string // up, down, dial, operator, echo, lns, journal
	tunnel string // the peer's name, which is also the LAC's
	link   string
	reason string
	text   string
	try    int           // of a Hello of the peer's LNS: 1 is the first
	ns     uint16        // of a message that the peer's LNS has received
	due    uint16        // and the Ns that it expected
	waited time.Duration // of a Hello of the peer's LNS that was acknowledged: since it was first sent
}

// history keeps all that was seen since the scenario began and wakes those who wait for more.
type history struct {
	mu      sync.Mutex
	records []record
	changed chan struct{}
}

func newHistory() *history { return &history{changed: make(chan struct{})} }

func (h *history) add(r record) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.records = append(h.records, r)
	close(h.changed)
	h.changed = make(chan struct{})
}

// all is what was seen so far. It is not to be changed.
func (h *history) all() []record {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clip(h.records)
}

// link is the one that the tunnel came up on last.
func (h *history) link(tunnel string) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	up, _ := last(h.records, "up", tunnel)
	return up.link
}

// await returns as soon as what was seen satisfies cond; false after timeout.
func (h *history) await(timeout time.Duration, cond func([]record) bool) bool {
	expired := time.After(timeout)
	for {
		h.mu.Lock()
		records, changed := slices.Clip(h.records), h.changed
		h.mu.Unlock()
		if cond(records) {
			return true
		}
		select {
		case <-changed:
		case <-expired:
			return false
		}
	}
}

// last returns the newest record of that kind and tunnel.
func last(records []record, kind, tunnel string) (record, bool) {
	for _, r := range slices.Backward(records) {
		if r.kind == kind && r.tunnel == tunnel {
			return r, true
		}
	}
	return record{}, false
}

// isUp reports whether the tunnel is up now, and since when.
func isUp(records []record, tunnel string) (time.Time, bool) {
	for _, r := range slices.Backward(records) {
		if r.tunnel != tunnel {
			continue
		}
		switch r.kind {
		case "up":
			return r.at, true
		case "down":
			return time.Time{}, false
		}
	}
	return time.Time{}, false
}

// awaitState returns as soon as the tunnel is up, or down; false after timeout.
func (h *history) awaitState(timeout time.Duration, tunnel string, up bool) bool {
	return h.await(timeout, func(records []record) bool {
		_, is := isUp(records, tunnel)
		return is == up
	})
}
