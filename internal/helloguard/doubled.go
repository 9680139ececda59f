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

// doubled finds out whether an xl2tpd gives the id of one of its living tunnels to another tunnel. If so, it has xl2tpd close
// the new one. drop says that its peer must not learn of it: a caller that gets no answer asks again, and is given another id.
// A StopCCN is not dropped: with it xl2tpd itself closes the new tunnel, and its peer may learn that.
func (op *opener) doubled(p *l2tp.Packet, now time.Time) (drop bool) {
	at := path{p.Src, p.Dst}
	if p.Msg.ZLB() {
		return op.acknowledgesClose(address{at, p.Msg.Tunnel, true})
	}
	id, ok := op.newID(p)
	if !ok {
		return false
	}
	of := address{at, cmp.Or(p.Msg.Tunnel, noTunnel), true}
	op.closing.delete(of)
	for _, c := range op.table.byID[id] {
		t := c.translator.Connection()
		if !c.stands() || t.Peer == p.Dst && t.PeerID == p.Msg.Tunnel {
			continue
		}
		if o := op.owners.ownerOf(at, true, now); o.ownership != ownerKnown || !c.owner.is(o.process) {
			continue
		}
		if p.Msg.Type != l2tp.TypeStopCCN {
			op.closing.put(of, struct{}{})
		}
		op.closeNewest(p, id, now)
		op.log.seldom(now, slog.LevelWarn, "hello guard: xl2tpd has given a tunnel's id to another tunnel, the new one is closed",
			func() []any { return []any{"id", id, "peer", t.Peer.String(), "new", p.Dst.String()} })
		return p.Msg.Type != l2tp.TypeStopCCN
	}
	return false
}

const (
	// noTunnel is the id to which xl2tpd sends while its peer has not given it one (xl2tpd.c, new_tunnel).
	noTunnel = 0xffff

	// maxClosing is how many tunnels may wait for xl2tpd's acknowledgement of closeNewest. It comes at once.
	maxClosing = 64
)

// acknowledgesClose reports whether a ZLB of xl2tpd acknowledges the StopCCN of closeNewest. A caller that gets it does not ask
// again: its request was acknowledged. If it is an xl2tpd, it gives its attempt up (control.c, check_control).
func (op *opener) acknowledgesClose(of address) bool {
	_, is := op.closing.get(of)
	op.closing.delete(of)
	return is
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
