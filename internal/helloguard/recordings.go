package helloguard

import (
	"sync"
	"time"

	"xl2tpd-keepalive/internal/controltrace"
	"xl2tpd-keepalive/internal/l2tp"
)

// maxRecordings is the number of ended tunnels with messages that are kept. Each takes controltrace.Budget, as each of
// maxChannels tunnels does: together 48 MiB at most, and 32 MiB if 4,000 tunnels have ended and are up again.
const maxRecordings = 4096

// recordings are the last messages of tunnels that have ended. They outlive a session of the guard.
type recordings struct {
	mu  sync.Mutex
	all *lru[l2tp.Connection, recording]
}

type recording struct {
	*controltrace.Recorder
	vendor string
	at     time.Time // of the end
}

// keep notes that a tunnel ends. Its recorder may get the messages that follow.
func (k *recordings) keep(t l2tp.Connection, vendor string, r *controltrace.Recorder, at time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.all == nil {
		k.all = newLRU[l2tp.Connection, recording](maxRecordings, 0, nil, nil)
	}
	if was, again := k.all.get(t); again && was.Recorder == r {
		at = was.at
	}
	k.all.put(t, recording{r, vendor, at})
}

// list returns those that have ended, with their messages.
func (k *recordings) list() (all []controltrace.Recording) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.all == nil {
		return nil
	}
	k.all.all(func(t l2tp.Connection, r recording) bool {
		all = append(all, controltrace.Recording{Connection: t, Ended: r.at, Vendor: r.vendor, Records: r.Records()})
		return true
	})
	return all
}

// Watch begins to watch each message that the guard sees.
func (g *Guard) Watch(secrets bool) (*controltrace.Watcher, error) { return g.hub.Watch(secrets) }

// Works reports whether the guard sees messages.
func (g *Guard) Works() (is bool) {
	g.with(func(*handler) { is = true })
	return is
}

// Recordings returns the last messages of each tunnel, and of each that has ended, unless an operator has hung it up.
func (g *Guard) Recordings() (all []controltrace.Recording) {
	listed := false
	g.with(func(h *handler) { // its recorders stand still meanwhile
		all, listed = append(g.recordings.list(), h.standing()...), true
	})
	if !listed {
		all = g.recordings.list()
	}
	return all
}

// standing returns the last messages of tunnels of which no end is known.
func (h *handler) standing() (all []controltrace.Recording) {
	for _, c := range h.table.list {
		if c.recorder != nil && c.reported == noEnd && !c.phase.xl2tpdEnded() {
			all = append(all, controltrace.Recording{Connection: c.translator.Connection(), Vendor: c.vendor, Records: c.recorder.Records()})
		}
	}
	return all
}
