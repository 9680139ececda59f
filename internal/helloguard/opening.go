package helloguard

import (
	"log/slog"
	"time"

	"xl2tpd-keepalive/internal/controltrace"
	"xl2tpd-keepalive/internal/helloguard/translator"
	"xl2tpd-keepalive/internal/l2tp"
)

// sender returns the channel of a packet of this host, or nil.
func (h *handler) sender(p *l2tp.Packet, now time.Time) *channel {
	at := path{p.Src, p.Dst}
	if p.Msg.Tunnel == 0 {
		switch p.Msg.Type {
		case l2tp.TypeSCCRQ:
			h.request(p, at, now)
		case l2tp.TypeStopCCN:
			h.givenUp(p, now)
		}
		return nil
	}
	if p.Msg.Type == l2tp.TypeSCCRP {
		h.reply(p, at, now)
		return nil
	}
	if half, ok := h.table.answered(at, p.Msg); ok {
		h.unpairedGone(at, p.Msg.Tunnel)
		return h.open(&channel{translator: translator.New(half.tunnel, now), owner: h.confirmed(half.owner, at, now), phase: established, review: now.Add(reviewAfter), recorder: half.recorder}, now)
	}
	if p.Msg.Type == l2tp.TypeSCCCN {
		h.replaced(at, p.Msg.Tunnel)
	}
	c := h.table.find(at, p.Msg.Tunnel, true)
	if c == nil {
		return h.unpairedSender(p, at, now)
	}
	h.sends(c, p, at, now)
	return c
}

// sends notes that xl2tpd sends in a channel.
func (h *handler) sends(c *channel, p *l2tp.Packet, at path, now time.Time) {
	c.seen, c.rounds = now, 0
	if c.phase.xl2tpdEnded() { // so another process has sent it
		c.revive()
		h.facts.forget()
	}
	stop := p.Msg.Type == l2tp.TypeStopCCN // its sender may have ended since
	if c.owner.ownership == ownerUnclear && !stop && now.Sub(c.asked) >= repeatAfter {
		c.asked = now
		if o := h.ownerOf(at, false, now); o.ownership == ownerKnown {
			c.owner = o
			h.save(c)
		}
	}
	if c.phase == opening && !stop {
		c.phase, c.review = established, now.Add(reviewAfter)
		c.owner, c.asked = h.confirmed(c.owner, at, now), now
		h.save(c)
	}
}

// confirmed asks anew who the owner of a connection is that is established now: it may have
// ended in the meantime, or what was known of the sockets was older than its socket.
func (h *handler) confirmed(o owner, at path, now time.Time) owner {
	if o.ownership != ownerKnown {
		return o
	}
	h.facts.forget()
	return h.ownerOf(at, false, now)
}

// request takes in an SCCRQ.
func (h *handler) request(p *l2tp.Packet, at path, now time.Time) {
	own, ok := l2tp.AssignedTunnel(p.Payload())
	if !ok || own == 0 {
		return
	}
	if c := h.table.find(at, own, false); c != nil && !c.phase.xl2tpdEnded() && !c.translator.Closing() {
		return // sent again: the SCCRP was lost after the guard
	}
	t := at.connection(own, 0)
	a, again := h.table.awaited.get(t)
	opens := !again || h.hasEnded(a.owner)
	if opens {
		if a.owner = h.ownerOf(at, true, now); !h.mayServe(a.owner, at, now) {
			return
		}
		h.dropEnded(at, own)
		h.forgetReasons(at.peer.Addr())
		a.recorder = new(controltrace.Recorder)
	}
	h.opens = a.recorder
	a.at, a.dialed = now, h.runs(a.owner)
	h.table.awaited.put(t, a)
	if opens {
		h.listen(t, true, now)
	}
	if a.dialed || a.owner.ownership == ownerUnclear {
		h.dials(a.owner.process, at.peer.Addr())
	}
}

// reply takes in an SCCRP. Anybody can make xl2tpd send one.
func (h *handler) reply(p *l2tp.Packet, at path, now time.Time) {
	own, ok := l2tp.AssignedTunnel(p.Payload())
	if !ok || own == 0 {
		return
	}
	if c := h.table.find(at, p.Msg.Tunnel, true); c != nil && c.translator.Connection().LocalID == own {
		return // sent again
	}
	k := callerKey{at, p.Msg.Tunnel}
	half, again := h.table.callers.get(k)
	if !again || half.tunnel.LocalID != own {
		o := h.ownerOf(at, true, now)
		if !h.mayServe(o, at, now) {
			return
		}
		half = caller{tunnel: at.connection(own, p.Msg.Tunnel), owner: o, recorder: new(controltrace.Recorder)}
	}
	h.opens = half.recorder
	half.at, half.nr = now, p.Msg.Nr
	h.table.callers.put(k, half)
}

// receiver returns the channel of a packet of a peer, or nil.
func (h *handler) receiver(p *l2tp.Packet, secured bool, now time.Time) *channel {
	at := path{p.Dst, p.Src}
	if p.Msg.Tunnel == 0 || p.Msg.Type == l2tp.TypeSCCRQ {
		return nil
	}
	if secured && p.Msg.Type == l2tp.TypeSCCRP {
		h.distrust(p, now)
	}
	if c := h.table.find(at, p.Msg.Tunnel, false); c != nil {
		switch {
		case secured:
			h.trust(c, now)
		case c.secured:
			return nil // the IPsec policy will drop it: forged
		}
		return c
	}
	if p.Msg.Type == l2tp.TypeSCCRP {
		return h.accepted(p, at, secured, now)
	}
	if s, ok := h.table.session(at, p.Msg.Tunnel, false); ok {
		return h.openSession(s, now)
	}
	return h.unpairedReceiver(p, at, secured, now)
}

// trust takes in that the peer's packets come through IPsec. What it seemed to say in the
// clear before that was forged: the IPsec policy has dropped it after the guard.
func (h *handler) trust(c *channel, now time.Time) {
	if !c.secured && c.clear && !c.translator.Diverged() {
		c.translator = translator.New(c.translator.Connection(), now)
	}
	c.secured, c.clear = true, false
}

// accepted opens the channel of an SCCRP for which xl2tpd has asked.
func (h *handler) accepted(p *l2tp.Packet, at path, secured bool, now time.Time) *channel {
	t := at.connection(p.Msg.Tunnel, 0)
	other, ok := l2tp.AssignedTunnel(p.Payload())
	a, asked := h.table.awaited.get(t)
	if !ok || other == 0 || !asked {
		return nil
	}
	h.table.awaited.delete(t)
	t.PeerID = other
	c := h.open(&channel{translator: translator.New(t, now), owner: a.owner, secured: secured,
		listening: true, vendor: clip(l2tp.Vendor(p.Payload())), recorder: a.recorder}, now)
	if c == nil {
		h.stopListening(t)
	}
	return c
}

// maxVendor is how much is kept of what a peer calls itself, in bytes.
const maxVendor = 64

func clip(vendor string) string { return vendor[:min(len(vendor), maxVendor)] }

// distrust forgets what an SCCRP in the clear has opened, once one for the same tunnel
// comes through IPsec: the policy has dropped the first after the guard.
func (h *handler) distrust(p *l2tp.Packet, now time.Time) {
	at := path{p.Dst, p.Src}
	c := h.table.find(at, p.Msg.Tunnel, false)
	if c == nil || c.secured || c.phase.agreed() {
		return
	}
	h.table.awaited.put(at.connection(p.Msg.Tunnel, 0), awaited{owner: c.owner, at: now, dialed: true, recorder: c.recorder})
	c.listening = false // the question keeps it
	h.drop(c)
}

// openSession opens the channel of a session of the kernel.
func (h *handler) openSession(s KernelSession, now time.Time) *channel {
	at := pathOf(s.Connection)
	o := h.factsOf(s.Local.Port(), now).session(s)
	if h.hasEnded(o) {
		h.facts.forget()
		o = h.factsOf(s.Local.Port(), now).session(s)
	}
	if !h.mayServe(o, at, now) {
		return nil
	}
	return h.open(&channel{translator: translator.New(s.Connection, now), owner: o, phase: established, inKernel: true}, now)
}

// open takes a channel in, and what it replaces out. It returns nil if there is no room.
func (h *handler) open(c *channel, now time.Time) *channel {
	t := c.translator.Connection()
	c.seen, c.asked = now, now
	if at := pathOf(t); c.phase.agreed() {
		for old := h.table.find(at, t.PeerID, true); old != nil; old = h.table.find(at, t.PeerID, true) {
			h.drop(old)
		}
		h.dropEnded(at, t.LocalID)
	}
	if len(h.table.list) >= maxChannels {
		old := h.table.makeRoom()
		if old == nil {
			h.log.seldom(h.ctx, now, slog.LevelWarn, "hello guard: too many tunnels, this one is left alone",
				func() []any { return []any{"peer", t.Peer.String(), "most", maxChannels} })
			return nil
		}
		h.forget(old)
	}
	h.table.add(c)
	return c
}

// replaced drops the channel whose id the peer has given to a new tunnel, as one does that
// has restarted. xl2tpd's SCCCN says so; the peer's part can be forged.
func (h *handler) replaced(at path, id uint16) {
	if all := h.table.channels[address{at, id, true}]; len(all) > 1 {
		h.drop(all[0])
	}
}

// dropEnded drops a channel whose xl2tpd has ended, or that is closing, if its id has been given to another one.
func (h *handler) dropEnded(at path, id uint16) {
	if c := h.table.find(at, id, false); c != nil && (c.phase.xl2tpdEnded() || c.translator.Closing()) {
		h.drop(c)
	}
}
