package xl2tpd

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"time"
)

const (
	lookupTimeout = 5 * time.Second
	lookupRetry   = 5 * time.Second // after a failure
	lookupAgain   = 5 * time.Minute // after an answer
	lookupKeep    = 16              // addresses kept per host
)

// resolver keeps the addresses of the hosts in `lns =`. It never blocks: it returns
// the known addresses, looks hosts up in goroutines, and sends each answer on done.
// After a failure it tries again.
//
// Addresses of earlier answers stay behind the newest, since a tunnel stays on the
// address to which it was dialled.
type resolver struct {
	lookup func(ctx context.Context, host string) ([]netip.Addr, error)
	done   chan answer
	wg     sync.WaitGroup
	hosts  map[string]*host // used by the loop only
}

type host struct {
	addrs  []netip.Addr
	failed bool // the latest lookup
	due    time.Time
	soon   time.Time // the earliest time of the next lookup
	busy   bool
}

type answer struct {
	host  string
	addrs []netip.Addr
	err   error
}

// addrs returns the known addresses of a host, and starts a lookup if one is due.
func (r *resolver) addrs(ctx context.Context, name string, now time.Time) []netip.Addr {
	if a, ok := ParseAddr(name); ok {
		return []netip.Addr{a}
	}
	if name == "" || numeric(name) {
		return nil
	}
	h := r.hosts[name]
	if h == nil {
		h = &host{}
		r.hosts[name] = h
	}
	if !h.busy && !now.Before(h.due) {
		h.busy = true
		r.wg.Go(func() {
			limited, cancel := context.WithTimeout(ctx, lookupTimeout)
			defer cancel()
			a := answer{host: name}
			a.addrs, a.err = r.lookup(limited, name)
			select {
			case r.done <- a:
			case <-ctx.Done():
			}
		})
	}
	return h.addrs
}

// failing reports whether a host's latest lookup failed, or none is possible. It is false until the first answer.
func (r *resolver) failing(name string) bool {
	if h := r.hosts[name]; h != nil {
		return h.failed
	}
	_, ok := ParseAddr(name)
	return !ok && numeric(name)
}

// lookUpSoon makes the next lookup of a host due as soon as lookupRetry allows.
func (r *resolver) lookUpSoon(name string) {
	if h := r.hosts[name]; h != nil {
		h.due = h.soon
	}
}

// take stores an answer.
func (r *resolver) take(a answer, now time.Time) {
	h := r.hosts[a.host]
	h.busy = false
	h.soon, h.failed = now.Add(lookupRetry), a.err != nil
	if a.err != nil {
		h.due = h.soon
		return
	}
	h.due = now.Add(lookupAgain)
	var addrs []netip.Addr
	for _, x := range a.addrs {
		addrs = append(addrs, x.Unmap())
	}
	slices.SortFunc(addrs, netip.Addr.Compare) // servers shuffle their answers
	addrs = slices.Compact(addrs)
	for _, x := range h.addrs {
		if !slices.Contains(addrs, x) {
			addrs = append(addrs, x)
		}
	}
	addrs = slices.Clip(addrs[:min(len(addrs), lookupKeep)])
	h.addrs = addrs
}
