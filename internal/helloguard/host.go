package helloguard

import (
	"slices"
	"time"

	"xl2tpd-keepalive/internal/l2tp"
)

// update takes in what is known of the xl2tpds now. One may have dialled before it was known.
func (h *handler) update(host Host, now time.Time) {
	another := !slices.Equal(host.Daemons, h.owners.host.Daemons)
	h.owners.host = host
	for _, c := range h.table.list {
		c.wanted = false // perhaps no longer
	}
	if another {
		h.owners.facts.forget()
		h.opener.reportDials()
	}
	h.opener.takeSessions(host.Sessions, now)
	h.closer.noteOwnerEnds(now)
}

// reportDials reports the attempts that are not reported yet of xl2tpds that are known now.
func (op *opener) reportDials() {
	var late []l2tp.Connection
	op.table.awaited.all(func(t l2tp.Connection, a awaited) bool {
		if !a.dialed && op.owners.runs(a.owner) {
			late = append(late, t)
		}
		return true
	})
	for _, t := range late {
		a, _ := op.table.awaited.get(t)
		a.dialed = true
		op.table.awaited.put(t, a)
		op.dials(a.owner.process, t.Peer.Addr(), false)
	}
}

// takeSessions takes in the kernel's table of sessions. A tunnel that is met before its first
// packet is one whose Hello has certainly been seen first.
//
// What a file has kept of a tunnel that has ended since goes, if the peer has given its id
// to another.
func (op *opener) takeSessions(sessions []KernelSession, now time.Time) {
	sessions = slices.DeleteFunc(slices.Clone(sessions), KernelSession.incomplete)
	op.table.setSessions(sessions)
	for _, s := range sessions {
		old := op.table.find(pathOf(s.Connection), s.PeerID, true)
		if old != nil && old.metBy == fromFile && old.translator.Connection().LocalID != s.LocalID && !op.table.has(old.translator.Connection()) {
			op.exec.drop(old)
		}
	}
	for _, s := range sessions {
		if s.Peer.IsValid() {
			op.takeSession(s, now)
		}
	}
}

func (s KernelSession) incomplete() bool {
	return !s.Local.Addr().Is4() || s.Local.Addr().IsUnspecified() || s.LocalID == 0 || s.PeerID == 0
}

// takeSession takes in one session of the kernel.
func (op *opener) takeSession(s KernelSession, now time.Time) {
	at := pathOf(s.Connection)
	out, in := op.table.find(at, s.PeerID, true), op.table.find(at, s.LocalID, false)
	switch {
	case out == nil && in == nil:
		if c := op.openSession(s, now); c != nil {
			op.exec.wanted(c, false, now)
		}
	case out == in:
		out.inKernel = true
		if out.owner.ownership != ownerUnclear || s.Xl2tpd == 0 {
			return
		}
		if o := op.owners.factsOf(s.Local.Port(), now).session(s); o.ownership == ownerKnown {
			out.owner = o
			op.exec.save(out)
		}
	}
}
