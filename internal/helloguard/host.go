package helloguard

import (
	"cmp"
	"slices"
	"time"

	"xl2tpd-keepalive/internal/l2tp"
	"xl2tpd-keepalive/internal/procfs"
)

// Host is what is known of the xl2tpds of this host. They are all equal.
type Host struct {
	Ports    []uint16        // at which xl2tpds listen; 1701 always counts
	Daemons  []procfs.ID     // every xl2tpd that runs
	GiveUp   []procfs.ID     // those that surely give up after 31 s on an unanswered message, see translator.Liveness
	Hurry    []procfs.ID     // those of them that give up sooner
	Sessions []KernelSession // of the kernel, every xl2tpd's
}

// normal returns h with its ports and xl2tpds in order, each once.
func (h Host) normal() Host {
	ports := slices.DeleteFunc(slices.Clone(h.Ports), func(p uint16) bool { return p == 0 })
	h.Ports = append(ports, l2tpPort)
	slices.Sort(h.Ports)
	h.Ports = slices.Compact(h.Ports)
	h.Daemons = slices.Clone(h.Daemons)
	slices.SortFunc(h.Daemons, func(a, b procfs.ID) int {
		return cmp.Or(cmp.Compare(a.Pid, b.Pid), cmp.Compare(a.Start, b.Start))
	})
	h.Daemons = slices.Compact(h.Daemons)
	return h
}

// KernelSession is a session of kernel mode.
type KernelSession struct {
	l2tp.Connection     // Peer may be invalid
	Xl2tpd          int // pid of its pppd's parent; 0: not known
}

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

// reportDials reports the attempts of xl2tpds that were not known when they dialled, and are known now.
func (op *opener) reportDials() {
	var late []l2tp.Connection
	op.table.awaited.all(func(t l2tp.Connection, a awaited) bool {
		if !a.dialReported && op.owners.runs(a.owner) {
			late = append(late, t)
		}
		return true
	})
	for _, t := range late {
		a, _ := op.table.awaited.get(t)
		a.dialReported = true
		op.table.awaited.update(t, a)
		op.dials(OwnedConnection{t, a.owner.process}, false)
	}
}

// takeSessions takes in the kernel's table of sessions. So the guard meets most tunnels before their next packet, and
// certainly sees their next Hello.
//
// An earlier process may have saved a tunnel that has ended since. If the peer has given the id of that tunnel to another
// one, its channel is dropped.
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
		if o := op.owners.factsOf(s.Local.Port(), now).whoOpened(s); o.ownership == ownerKnown {
			out.owner = o
			op.exec.save(out)
		}
	}
}
