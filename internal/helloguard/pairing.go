package helloguard

import (
	"time"

	"xl2tpd-keepalive/internal/helloguard/translator"
	"xl2tpd-keepalive/internal/l2tp"
)

// unpairedOutgoing returns the channel of a message of this host in a tunnel that is not known:
// it is older than the guard.
func (op *opener) unpairedOutgoing(p *l2tp.Packet, at path, now time.Time) *channel {
	if p.Msg.Type == l2tp.TypeStopCCN {
		op.unpaired.closes(at, p.Msg.Tunnel, now)
		return nil
	}
	if s, ok := op.table.session(at, p.Msg.Tunnel, true); ok {
		return op.openSession(s, now)
	}
	if u, own, ok := op.unpaired.sends(p, at, now); ok {
		return op.openPair(u, at, own, p.Msg.Tunnel, now)
	}
	return nil
}

// unpairedIncoming returns the channel of a peer's message in a tunnel that is not known.
func (op *opener) unpairedIncoming(p *l2tp.Packet, at path, secured bool, now time.Time) *channel {
	if u, peerID, ok := op.unpaired.receives(p, at, secured, now); ok {
		return op.openPair(u, at, p.Msg.Tunnel, peerID, now)
	}
	return nil
}

// openPair opens the channel of a tunnel whose two ids are known now. xl2tpd's Hello may be
// on its way to the peer since before.
func (op *opener) openPair(u *unpaired, at path, own, peerID uint16, now time.Time) *channel {
	if op.table.find(at, own, false) != nil || op.table.find(at, peerID, true) != nil {
		return nil
	}
	f := u.tunnels[peerID]
	if f == nil {
		f = &unpairedTunnel{since: now}
	}
	delete(u.tunnels, peerID)
	if u.asked == f {
		u.asked = nil
	}
	t := at.connection(own, peerID)
	c := op.open(&channel{translator: translator.New(t, f.since), owner: op.owners.confirmed(u.owner, at, now),
		phase: established, metBy: fromPair, peerSide: peerSide{secured: u.secured}}, now)
	if c == nil {
		return nil
	}
	if live, ok := op.exec.wanted(c, true, now); ok {
		op.replay(c, f, live, now)
		return c
	}
	return nil
}

// replay shows a channel's translator the copies of the Hello that the peer has got.
func (op *opener) replay(c *channel, f *unpairedTunnel, live translator.Liveness, now time.Time) {
	for _, one := range f.copies {
		p, err := l2tp.ParsePacket(one.raw)
		if err != nil {
			return
		}
		op.exec.act(c, c.translator.Out(&p, one.at, live), now)
		c.clock(one.at)
	}
	if !f.askedAt.IsZero() {
		c.translator.Questioned(f.askedAt)
	}
}
