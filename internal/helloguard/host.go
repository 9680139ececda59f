package helloguard

import (
	"slices"
	"time"
	"xl2tpd-keepalive/internal/l2tp"
)

// update takes in what is known of the xl2tpds now. One may have dialled before it was known.
func (h *handler) update(host Host, now time.Time) {
	another := !slices.Equal(host.Daemons, h.host.Daemons)
	h.host = host
	for _, c := range h.table.list {
		c.wanted = false // perhaps no longer
	}
	if another {
		h.facts.forget()
		h.reportDials()
	}
	h.takeSessions(host.Sessions, now)
	h.noteOwnerEnds(now)
}

// runs reports whether the owner is one of the host's xl2tpds, as far as is known.
func (h *handler) runs(o owner) bool {
	return o.ownership == ownerKnown && slices.Contains(h.host.Daemons, o.process)
}

// reportDials reports the attempts that are not reported yet of xl2tpds that are known now.
func (h *handler) reportDials() {
	var late []l2tp.Connection
	h.table.awaited.all(func(t l2tp.Connection, a awaited) bool {
		if !a.dialed && h.runs(a.owner) {
			late = append(late, t)
		}
		return true
	})
	for _, t := range late {
		a, _ := h.table.awaited.get(t)
		a.dialed = true
		h.table.awaited.put(t, a)
		h.dials(a.owner.process, t.Peer.Addr())
	}
}

// takeSessions takes in the kernel's table of sessions. A tunnel that is met before its first
// packet is one whose Hello has certainly been seen first.
//
// What a file has kept of a tunnel that has ended since goes, if the peer has given its id
// to another.
func (h *handler) takeSessions(sessions []KernelSession, now time.Time) {
	sessions = slices.DeleteFunc(slices.Clone(sessions), KernelSession.incomplete)
	h.table.setSessions(sessions)
	for _, s := range sessions {
		old := h.table.find(pathOf(s.Connection), s.PeerID, true)
		if old != nil && old.restored && old.translator.Connection().LocalID != s.LocalID && !h.table.has(old.translator.Connection()) {
			h.drop(old)
		}
	}
	for _, s := range sessions {
		if s.Peer.IsValid() {
			h.takeSession(s, now)
		}
	}
}

func (s KernelSession) incomplete() bool {
	return !s.Local.Addr().Is4() || s.Local.Addr().IsUnspecified() || s.LocalID == 0 || s.PeerID == 0
}

// takeSession takes in one session of the kernel.
func (h *handler) takeSession(s KernelSession, now time.Time) {
	at := pathOf(s.Connection)
	out, in := h.table.find(at, s.PeerID, true), h.table.find(at, s.LocalID, false)
	switch {
	case out == nil && in == nil:
		if c := h.openSession(s, now); c != nil {
			h.wanted(c, false, now)
		}
	case out == in:
		out.inKernel = true
		if out.owner.ownership != ownerUnclear || s.Xl2tpd == 0 {
			return
		}
		if o := h.factsOf(s.Local.Port(), now).session(s); o.ownership == ownerKnown {
			out.owner = o
			h.save(out)
		}
	}
}
