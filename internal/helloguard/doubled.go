package helloguard

import (
	"cmp"
	"log/slog"
	"time"

	"xl2tpd-keepalive/internal/helloguard/translator"
	"xl2tpd-keepalive/internal/l2tp"
)

// xl2tpd draws the id of a new tunnel at random, whether or not one of its tunnels has it (xl2tpd.c, new_tunnel). What comes
// in with an id, it gives to the newest tunnel that has it, whoever has sent it (call.c, get_call): the older one does not
// hear its peer any more. A caller that xl2tpd refuses has such a tunnel too, for 31 s.

// doubled finds out whether an xl2tpd gives the id of one of its living tunnels to another tunnel, and if so has xl2tpd close
// the new one. drop says that its peer must not learn of it: a caller that gets no answer asks again, and is given another id.
func (op *opener) doubled(p *l2tp.Packet, now time.Time) (drop bool) {
	id, ok := op.newID(p)
	if !ok {
		return false
	}
	at := path{p.Src, p.Dst}
	for _, c := range op.table.list {
		t := c.translator.Connection()
		if t.LocalID != id || !c.stands() || pathOf(t) == at && t.PeerID == p.Msg.Tunnel {
			continue
		}
		if o := op.owners.of(at, true, now); o.ownership != ownerKnown || !c.owner.is(o.process) {
			continue
		}
		op.closeNewest(p, id, now)
		op.log.seldom(now, slog.LevelWarn, "hello guard: xl2tpd has given a tunnel's id to another tunnel, the new one is closed",
			func() []any { return []any{"id", id, "peer", t.Peer.String(), "new", p.Dst.String()} })
		return p.Msg.Type != l2tp.TypeStopCCN
	}
	return false
}

// newID returns the id that a message of xl2tpd gives to a tunnel that is not established.
func (op *opener) newID(p *l2tp.Packet) (id uint16, ok bool) {
	switch p.Msg.Type {
	case l2tp.TypeSCCRQ, l2tp.TypeSCCRP, l2tp.TypeStopCCN:
		id, ok = l2tp.AssignedTunnel(p.Payload())
	}
	return id, ok && id != 0
}

// closeNewest has xl2tpd close the newest tunnel with an id, in the name of its peer: it acknowledges xl2tpd's StopCCN, or
// sends one.
func (op *opener) closeNewest(p *l2tp.Packet, id uint16, now time.Time) {
	m := l2tp.Message{Tunnel: id, Ns: p.Msg.Nr, Nr: p.Msg.Ns + 1}
	if p.Msg.Type != l2tp.TypeStopCCN {
		m.Type, m.Assigned = l2tp.TypeStopCCN, cmp.Or(p.Msg.Tunnel, id) // xl2tpd compares it with what it knows
	}
	op.exec.inject(translator.Injection{To: translator.ToXl2tpd, Packet: l2tp.AppendPacket(nil, p.Dst, p.Src, m)},
		path{p.Src, p.Dst}.connection(id, p.Msg.Tunnel), now)
}
