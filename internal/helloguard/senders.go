package helloguard

import (
	"log/slog"
	"slices"
	"time"
)

// aliveFor is for how long a process that ran counts as running while a connection is being
// opened. Whether it still runs is asked again when the connection is established.
const aliveFor = 100 * time.Millisecond

// ownerOf asks who sends on a path. The answer names no process that has ended: facts may
// be a second old.
func (h *handler) ownerOf(at path, opens bool, now time.Time) owner {
	for range 2 {
		f := h.factsOf(at.local.Port(), now)
		o := f.owner(at.local, at.peer, opens)
		if o.ownership == ownerUnclear {
			o = h.bySender(f, at, opens, now)
		}
		if o.ownership != ownerKnown {
			return o
		}
		if age := now.Sub(h.aliveAt); o.process == h.alive && age >= 0 && age < aliveFor {
			return o
		}
		if !h.gone(o.process) {
			h.alive, h.aliveAt = o.process, now
			return o
		}
		h.facts.forget()
	}
	return owner{ownership: ownerUnclear}
}

// cheapRead is how long it may take to ask the kernel who sends without a pause after it.
const cheapRead = 5 * time.Millisecond

// bySender asks the kernel who sends the message at hand, where several programs can. If the
// answer takes long, it is asked so seldom that it costs one part in dataCost of the time.
func (h *handler) bySender(f facts, at path, opens bool, now time.Time) owner {
	if h.sending.path == at && !f.unread && f.certain(f.sockets) && !now.Before(h.sendersAt) {
		began := time.Now()
		cgroups := h.fx.sentFrom(h.sending)
		if took := time.Since(began); took > cheapRead {
			h.sendersAt = now.Add(dataCost * took)
		}
		if o := f.of(cgroups).owner(at.local, at.peer, opens); o.ownership == ownerKnown {
			return o
		}
	}
	return owner{ownership: ownerUnclear}
}

// hasEnded reports whether an owner is known, and has ended.
func (h *handler) hasEnded(o owner) bool { return o.ownership == ownerKnown && h.gone(o.process) }

// unlistedEvery is the shortest time between two calls of Guard.Unlisted.
const unlistedEvery = time.Second

// factsOf returns the facts about a port, and says if they name an xl2tpd that is not known yet.
func (h *handler) factsOf(port uint16, now time.Time) facts {
	f := h.facts.of(port, now)
	unknown := func(d Daemon) bool { return !slices.Contains(h.host.Daemons, d.ID) }
	if slices.ContainsFunc(f.daemons, unknown) && h.unlisted != nil && now.Sub(h.unlistedAt) >= unlistedEvery {
		h.unlistedAt = now
		h.unlisted()
	}
	return f
}

// mayServe reports whether the guard may touch an owner's connections on a path. It says so
// in the log, once for each process, if it may not because of `ipsec saref`.
func (h *handler) mayServe(o owner, at path, now time.Time) bool {
	if o.ownership == ownerForeign {
		return false
	}
	if !h.factsOf(at.local.Port(), now).sendsThroughLo(o, at.local.Addr()) {
		return true
	}
	if h.leftAlone != o.process {
		h.leftAlone = o.process
		h.log.seldom(h.ctx, now, slog.LevelWarn, "hello guard leaves tunnels alone: with `ipsec saref` in its file, xl2tpd can't be answered at an address of lo",
			func() []any { return []any{"local", at.local.Addr().String(), "pid", o.process.Pid} })
	}
	return false
}
