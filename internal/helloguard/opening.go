package helloguard

import (
	"log/slog"
	"time"

	"xl2tpd-keepalive/internal/controltrace"
	"xl2tpd-keepalive/internal/helloguard/translator"
	"xl2tpd-keepalive/internal/l2tp"
)

// opener finds the channels of packets, and opens those of new tunnels.
type opener struct {
	table    *channelTable
	owners   *owners
	flight   *flightRecorder
	exec     *executor
	closer   *closer
	unpaired *unpairedTable
	log      *packetLog
	dials    func(c OwnedConnection, again bool)
	closing  *lru[address, struct{}] // tunnels that closeNewest has xl2tpd close, until it acknowledges that
}

// channelOfOutgoing returns the channel of a packet of this host, or nil.
func (op *opener) channelOfOutgoing(p *l2tp.Packet, now time.Time) *channel {
	at := path{p.Src, p.Dst}
	if p.Msg.Tunnel == 0 {
		switch p.Msg.Type {
		case l2tp.TypeSCCRQ:
			op.request(p, at, now)
		case l2tp.TypeStopCCN:
			op.closer.givenUp(p, now)
		}
		return nil
	}
	if p.Msg.Type == l2tp.TypeSCCRP {
		op.reply(p, at, now)
		return nil
	}
	if half, ok := op.table.answered(at, p.Msg); ok {
		op.unpaired.forget(at, p.Msg.Tunnel)
		return op.open(&channel{translator: translator.New(half.tunnel, now), owner: op.owners.confirmed(half.owner, at, now), phase: established, review: now.Add(reviewAfter), recorder: half.recorder}, now)
	}
	if p.Msg.Type == l2tp.TypeSCCCN {
		op.replaced(at, p.Msg.Tunnel)
	}
	c := op.table.find(at, p.Msg.Tunnel, true)
	if c == nil {
		return op.unpairedOutgoing(p, at, now)
	}
	op.sends(c, p, at, now)
	return c
}

// sends notes that xl2tpd sends in a channel.
func (op *opener) sends(c *channel, p *l2tp.Packet, at path, now time.Time) {
	c.seen, c.rounds = now, 0
	if c.phase.xl2tpdEnded() { // so another process has sent it
		c.revive()
		op.owners.facts.forget()
	}
	stop := p.Msg.Type == l2tp.TypeStopCCN // its sender may have ended since
	if c.owner.ownership == ownerUnclear && !stop && now.Sub(c.asked) >= repeatAfter {
		c.asked = now
		if o := op.owners.ownerOf(at, false, now); o.ownership == ownerKnown {
			c.owner = o
			op.exec.save(c)
		}
	}
	if c.phase == opening && !stop {
		c.phase, c.review = established, now.Add(reviewAfter)
		c.owner, c.asked = op.owners.confirmed(c.owner, at, now), now
		op.exec.save(c)
	}
}

// request takes in an SCCRQ.
func (op *opener) request(p *l2tp.Packet, at path, now time.Time) {
	own, ok := l2tp.AssignedTunnel(p.Payload())
	if !ok || own == 0 {
		return
	}
	if c := op.table.find(at, own, false); c != nil && !c.phase.xl2tpdEnded() && !c.translator.Closing() {
		return // sent again: the SCCRP was lost after the guard
	}
	t := at.connection(own, 0)
	a, again := op.table.awaited.get(t)
	opens := !again || op.owners.hasEnded(a.owner)
	if opens {
		a = awaited{owner: op.owners.ownerOf(at, true, now), recorder: new(controltrace.Recorder)}
		if !op.owners.mayServe(a.owner, at, now) {
			return
		}
		op.dropEnded(at, own)
		op.closer.forgetReasons(at.peer.Addr())
	}
	op.flight.opens = a.recorder
	reported := !opens && (a.dialReported || a.owner.ownership == ownerUnclear)
	a.at, a.dialReported = now, op.owners.runs(a.owner)
	op.table.awaited.put(t, a)
	if opens {
		op.exec.listen(t, true, now)
	}
	if a.dialReported || a.owner.ownership == ownerUnclear {
		op.dials(OwnedConnection{t, a.owner.process}, reported)
	}
}

// reply takes in an SCCRP. Anybody can make xl2tpd send one.
func (op *opener) reply(p *l2tp.Packet, at path, now time.Time) {
	own, ok := l2tp.AssignedTunnel(p.Payload())
	if !ok || own == 0 {
		return
	}
	if c := op.table.find(at, p.Msg.Tunnel, true); c != nil && c.translator.Connection().LocalID == own {
		return // sent again
	}
	k := callerKey{at, p.Msg.Tunnel}
	half, again := op.table.callers.get(k)
	if !again || half.tunnel.LocalID != own {
		o := op.owners.ownerOf(at, true, now)
		if !op.owners.mayServe(o, at, now) {
			return
		}
		half = caller{tunnel: at.connection(own, p.Msg.Tunnel), owner: o, recorder: new(controltrace.Recorder)}
	}
	op.flight.opens = half.recorder
	half.at, half.nr = now, p.Msg.Nr
	op.table.callers.put(k, half)
}

// channelOfIncoming returns the channel of a packet of a peer, or nil.
func (op *opener) channelOfIncoming(p *l2tp.Packet, secured bool, now time.Time) *channel {
	at := path{p.Dst, p.Src}
	if p.Msg.Tunnel == 0 || p.Msg.Type == l2tp.TypeSCCRQ {
		return nil
	}
	if secured && p.Msg.Type == l2tp.TypeSCCRP {
		op.distrust(p, now)
	}
	if c := op.table.find(at, p.Msg.Tunnel, false); c != nil {
		switch {
		case secured:
			op.trust(c, now)
		case c.secured:
			return nil // the IPsec policy will drop it: forged
		}
		return c
	}
	switch p.Msg.Type {
	case l2tp.TypeSCCRP:
		return op.accepted(p, at, secured, now)
	case l2tp.TypeStopCCN:
		op.closer.refused(p, at.connection(p.Msg.Tunnel, 0), secured, now)
	}
	if s, ok := op.table.session(at, p.Msg.Tunnel, false); ok {
		return op.openSession(s, now)
	}
	return op.unpairedIncoming(p, at, secured, now)
}

// trust takes in that the peer's packets come through IPsec. What it seemed to say in the
// clear before that was forged: the IPsec policy has dropped it after the guard.
func (op *opener) trust(c *channel, now time.Time) {
	if !c.secured && c.clear && !c.translator.Diverged() {
		c.translator = translator.New(c.translator.Connection(), now)
	}
	c.secured, c.clear = true, false
}

// accepted opens the channel of an SCCRP for which xl2tpd has asked.
func (op *opener) accepted(p *l2tp.Packet, at path, secured bool, now time.Time) *channel {
	t := at.connection(p.Msg.Tunnel, 0)
	other, ok := l2tp.AssignedTunnel(p.Payload())
	a, asked := op.table.awaited.get(t)
	if !ok || other == 0 || !asked {
		return nil
	}
	op.table.awaited.delete(t)
	t.PeerID = other
	if a.owner.ownership == ownerKnown {
		op.table.accepted.put(attempt{a.owner.process, t.Peer.Addr()}, now)
	}
	c := op.open(&channel{translator: translator.New(t, now), owner: a.owner, dialled: true, dialReported: a.dialReported,
		peerSide: peerSide{secured: secured, vendor: clip(l2tp.ParseAttributes(p.Payload()).Vendor)}, listening: true, recorder: a.recorder}, now)
	if c == nil {
		op.exec.stopListening(t)
		return nil
	}
	op.exec.listen(t, true, now) // with the peer's id
	return c
}

// maxVendor is how much is kept of what a peer calls itself, in bytes.
const maxVendor = 64

func clip(vendor string) string { return vendor[:min(len(vendor), maxVendor)] }

// distrust forgets what an SCCRP in the clear has opened, once one for the same tunnel
// comes through IPsec: the policy has dropped the first after the guard.
func (op *opener) distrust(p *l2tp.Packet, now time.Time) {
	at := path{p.Dst, p.Src}
	c := op.table.find(at, p.Msg.Tunnel, false)
	if c == nil || c.secured || c.phase.agreed() {
		return
	}
	t := at.connection(p.Msg.Tunnel, 0)
	op.table.awaited.put(t, awaited{owner: c.owner, at: now, dialReported: c.dialReported, recorder: c.recorder})
	op.exec.drop(c)
	op.exec.listen(t, true, now)
}

// openSession opens the channel of a session of the kernel.
func (op *opener) openSession(s KernelSession, now time.Time) *channel {
	at := pathOf(s.Connection)
	o := op.owners.factsOf(s.Local.Port(), now).whoOpened(s)
	if op.owners.hasEnded(o) {
		op.owners.facts.forget()
		o = op.owners.factsOf(s.Local.Port(), now).whoOpened(s)
	}
	if !op.owners.mayServe(o, at, now) {
		return nil
	}
	return op.open(&channel{translator: translator.New(s.Connection, now), owner: o, phase: established, inKernel: true}, now)
}

// open takes a channel in, and what it replaces out. It returns nil if there is no room.
func (op *opener) open(c *channel, now time.Time) *channel {
	t := c.translator.Connection()
	c.seen, c.asked = now, now
	if at := pathOf(t); c.phase.agreed() {
		for old := op.table.find(at, t.PeerID, true); old != nil; old = op.table.find(at, t.PeerID, true) {
			op.exec.drop(old)
		}
		op.dropEnded(at, t.LocalID)
	}
	if len(op.table.list) >= maxChannels {
		old := op.table.makeRoom()
		if old == nil {
			op.log.seldom(now, slog.LevelWarn, "hello guard: too many tunnels, this one is left alone",
				func() []any { return []any{"peer", t.Peer.String(), "most", maxChannels} })
			return nil
		}
		op.exec.forget(old)
	}
	op.table.add(c)
	return c
}

// replaced drops an earlier channel with an id that the peer has now given to a new tunnel, as a peer does that has
// restarted. Only xl2tpd's SCCCN proves that: the peer's messages can be forged.
func (op *opener) replaced(at path, id uint16) {
	if all := op.table.channels[address{at, id, true}]; len(all) > 1 {
		op.exec.drop(all[0])
	}
}

// dropEnded drops a channel whose xl2tpd has ended, or that is closing, if its id has been given to another one.
func (op *opener) dropEnded(at path, id uint16) {
	if c := op.table.find(at, id, false); c != nil && (c.phase.xl2tpdEnded() || c.translator.Closing()) {
		op.exec.drop(c)
	}
}
