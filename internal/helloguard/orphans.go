package helloguard

import (
	"slices"
	"time"

	"xl2tpd-keepalive/internal/helloguard/translator"
	"xl2tpd-keepalive/internal/l2tp"
	"xl2tpd-keepalive/internal/procfs"
)

const (
	// dialling is for how long after an SCCRQ an attempt goes on for certain: 16 s after
	// its last one xl2tpd gives it up (network.c, control_xmit), and a command may take a
	// moment to get there.
	dialling = 13 * time.Second

	maxStops = 5 // as many as xl2tpd sends of a message (network.c, control_xmit)
)

// stops are the StopCCNs that the guard sends for an xl2tpd that has ended.
type stops struct {
	sent int
	next time.Time // when the next one is sent
}

// closesForXl2tpd reports whether the guard still has to close the tunnel in the name of its xl2tpd.
func (c *channel) closesForXl2tpd() bool { return c.phase.xl2tpdEnded() && c.stops.sent < maxStops }

// orphan notes that the xl2tpd of a channel has ended.
func (c *channel) orphan(now time.Time) {
	c.stops, c.rounds = stops{next: now}, 0
	if c.phase == opening {
		c.phase = abandoned
	} else {
		c.phase = orphaned
	}
}

// revive notes that a channel whose xl2tpd has ended is another process's.
func (c *channel) revive() {
	c.owner, c.asked = owner{ownership: unclear}, time.Time{}
	if c.phase == abandoned {
		c.phase = opening
	} else {
		c.phase = established
	}
}

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
	h.closeOrphans(now)
}

// runs reports whether the owner is one of the host's xl2tpds, as far as is known.
func (h *handler) runs(o owner) bool {
	return o.ownership == known && slices.Contains(h.host.Daemons, o.process)
}

// reportDials reports the attempts that are not reported yet of xl2tpds that are known now.
func (h *handler) reportDials() {
	var late []translator.Tunnel
	h.table.awaited.all(func(t translator.Tunnel, a awaited) bool {
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
func (h *handler) takeSessions(sessions []Session, now time.Time) {
	sessions = slices.DeleteFunc(slices.Clone(sessions), Session.incomplete)
	h.table.setSessions(sessions)
	for _, s := range sessions {
		old := h.table.known(path{s.Local, s.Peer}, s.PeerID, true)
		if old != nil && old.restored && old.translator.Tunnel().LocalID != s.LocalID && !h.table.has(old.translator.Tunnel()) {
			h.drop(old)
		}
	}
	for _, s := range sessions {
		if s.Peer.IsValid() {
			h.takeSession(s, now)
		}
	}
}

func (s Session) incomplete() bool {
	return !s.Local.Addr().Is4() || s.Local.Addr().IsUnspecified() || s.LocalID == 0 || s.PeerID == 0
}

// takeSession takes in one session of the kernel.
func (h *handler) takeSession(s Session, now time.Time) {
	at := path{s.Local, s.Peer}
	out, in := h.table.known(at, s.PeerID, true), h.table.known(at, s.LocalID, false)
	switch {
	case out == nil && in == nil:
		if c := h.openSession(s, now); c != nil {
			h.wanted(c, false, now)
		}
	case out == in:
		out.inKernel = true
		if out.owner.ownership != unclear || s.Xl2tpd == 0 {
			return
		}
		if o := h.factsOf(s.Local.Port(), now).session(s); o.ownership == known {
			out.owner = o
			h.save(out)
		}
	}
}

// closeOrphans looks for tunnels whose xl2tpd has ended, to close them in its name.
func (h *handler) closeOrphans(now time.Time) {
	ended := map[procfs.ID]bool{}
	for _, c := range h.table.list {
		p := c.owner.process
		if c.phase.xl2tpdEnded() || c.owner.ownership != known {
			continue
		}
		if _, looked := ended[p]; !looked {
			ended[p] = h.gone(p)
		}
		if ended[p] {
			c.orphan(now)
			h.plan(c)
		}
	}
}

// sendStop closes a tunnel in the name of an xl2tpd that has ended, if it is time to.
func (h *handler) sendStop(c *channel, now time.Time) {
	if !c.closesForXl2tpd() || now.Before(c.stops.next) {
		return
	}
	v := c.translator.Close()
	if v.Reason == translator.Nothing { // the peer has acknowledged it, or too little is known
		c.stops.sent = maxStops
		return
	}
	h.act(c, v, now)
	c.stops.next = now.Add(time.Second << c.stops.sent)
	c.stops.sent++
}

// givenUp acknowledges the StopCCN of an attempt that no peer has answered: there is nobody
// who could, and xl2tpd would wait 31 s for it before it dials again. It reports
// if somebody has hung up.
func (h *handler) givenUp(p *l2tp.Packet, now time.Time) {
	own, ok := l2tp.AssignedTunnel(p.Payload())
	t := translator.Tunnel{Local: p.Src, Peer: p.Dst, LocalID: own}
	a, asked := h.table.awaited.get(t)
	if !ok || !asked {
		return
	}
	h.table.awaited.delete(t)
	h.stopListening(t)
	if a.owner.ownership != known {
		return
	}
	of := Connection{t, a.owner.process}
	if r := closeReason(p.Msg, p.Payload(), false, 0, 0); r.Operator {
		h.ended(of, r)
	}
	if !h.signs(h.ctx, of).Wanted {
		return
	}
	ack := l2tp.Message{Tunnel: own, Nr: p.Msg.Ns + 1} // the first of its peer
	h.inject(translator.Injection{To: translator.ToXl2tpd, Packet: l2tp.AppendPacket(nil, t.Peer, t.Local, ack)}, t.Peer, now)
}
