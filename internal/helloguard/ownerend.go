package helloguard

import (
	"time"

	"xl2tpd-keepalive/internal/helloguard/translator"
	"xl2tpd-keepalive/internal/l2tp"
	"xl2tpd-keepalive/internal/procfs"
)

const maxStops = 5 // as many as xl2tpd sends of a message (network.c, control_xmit)

// stops are the StopCCNs that the guard sends for an xl2tpd that has ended.
type stops struct {
	sent int
	next time.Time // when the next one is sent
}

// closesForXl2tpd reports whether the guard still has to close the tunnel in the name of its xl2tpd.
func (c *channel) closesForXl2tpd() bool { return c.phase.xl2tpdEnded() && c.stops.sent < maxStops }

// endOwner notes that the xl2tpd of a channel has ended.
func (c *channel) endOwner(now time.Time) {
	c.stops, c.rounds = stops{next: now}, 0
	if c.phase == opening {
		c.phase = abandoned
	} else {
		c.phase = ownerEnded
	}
}

// revive notes that a channel whose xl2tpd has ended is another process's.
func (c *channel) revive() {
	c.owner, c.asked = owner{ownership: ownerUnclear}, time.Time{}
	if c.phase == abandoned {
		c.phase = opening
	} else {
		c.phase = established
	}
}

// noteOwnerEnds looks for tunnels whose xl2tpd has ended, to close them in its name.
func (cl *closer) noteOwnerEnds(now time.Time) {
	ended := map[procfs.ID]bool{}
	for _, c := range cl.table.list {
		p := c.owner.process
		if c.phase.xl2tpdEnded() || c.owner.ownership != ownerKnown {
			continue
		}
		if _, looked := ended[p]; !looked {
			ended[p] = cl.owners.gone(p)
		}
		if ended[p] {
			c.endOwner(now)
			cl.flight.keep(c, now)
			cl.exec.plan(c)
		}
	}
}

// sendStop closes a tunnel in the name of an xl2tpd that has ended, if it is time to.
func (cl *closer) sendStop(c *channel, now time.Time) {
	if !c.closesForXl2tpd() || now.Before(c.stops.next) {
		return
	}
	v := c.translator.Close()
	if c.translator.Closed() { // the peer has acknowledged it
		c.stops.sent = maxStops
		return
	}
	cl.exec.act(c, v, now) // which is nothing while too little is known
	c.stops.next = now.Add(time.Second << c.stops.sent)
	c.stops.sent++
}

// refused notes that a peer refuses a tunnel. In the clear the message may be forged, so nothing else follows from it.
func (cl *closer) refused(p *l2tp.Packet, t l2tp.Connection, secured bool, now time.Time) {
	a, asked := cl.table.awaited.get(t)
	if asked && secured && a.owner.ownership == ownerKnown {
		cl.table.refused.put(attempt{a.owner.process, t.Peer.Addr()}, now)
	}
	if !asked || a.refused {
		return
	}
	a.refused = true
	cl.table.awaited.update(t, a)
	cl.attemptEnds(t, a, closeReason(p.Msg, p.Payload(), true, 0, 0), now)
}

// attemptEnds reports that an attempt has got no tunnel, and that nobody has hung up.
func (cl *closer) attemptEnds(t l2tp.Connection, a awaited, r CloseReason, now time.Time) {
	of := OwnedConnection{t, a.owner.process}
	if a.owner.ownership == ownerKnown {
		cl.lapse(of, now)
	}
	if a.dialReported || a.owner.ownership == ownerUnclear { // the attempt was reported
		cl.failed(of, r)
	}
}

// lapse notes that an attempt or tunnel has ended for which nobody on this host has hung up.
func (cl *closer) lapse(c OwnedConnection, now time.Time) {
	cl.table.lapsed.put(attempt{c.Owner, c.Peer.Addr()}, now)
}

// givenUp acknowledges the StopCCN of an attempt that no peer has answered: there is nobody
// who could, and xl2tpd would wait 31 s for it before it dials again. It reports the end.
func (cl *closer) givenUp(p *l2tp.Packet, now time.Time) {
	own, ok := l2tp.AssignedTunnel(p.Payload())
	t := l2tp.Connection{Local: p.Src, Peer: p.Dst, LocalID: own}
	a, asked := cl.table.awaited.get(t)
	if !ok || !asked {
		return
	}
	cl.table.awaited.delete(t)
	cl.exec.stopListening(t)
	of, known := OwnedConnection{t, a.owner.process}, a.owner.ownership == ownerKnown
	r := closeReason(p.Msg, p.Payload(), false, 0, 0)
	if known && r.Operator && !cl.requested.take(of, now) {
		cl.ended(of, r)
	}
	if r.StopAcked = known && cl.evidence.linksOf(of).Wanted; !r.Operator {
		cl.attemptEnds(t, a, r, now)
	}
	if !r.StopAcked {
		return
	}
	ack := l2tp.Message{Tunnel: own, Nr: p.Msg.Ns + 1} // the first of its peer
	cl.exec.inject(translator.Injection{To: translator.ToXl2tpd, Packet: l2tp.AppendPacket(nil, t.Peer, t.Local, ack)}, t, now)
}
