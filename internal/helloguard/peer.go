package helloguard

import (
	"net/netip"
	"time"

	"xl2tpd-keepalive/internal/l2tp"
	"xl2tpd-keepalive/internal/procfs"
)

// diallingFor is for how long after an SCCRQ an attempt certainly goes on. xl2tpd gives up 16 s after its last SCCRQ
// (network.c, control_xmit), and a command may take a moment to reach xl2tpd.
const diallingFor = 13 * time.Second

// Selector selects control connections of one xl2tpd with one peer.
type Selector struct {
	Owner   procfs.ID // the xl2tpd
	Peer    netip.Addr
	LocalID uint16 // xl2tpd's id of the control connection; 0: any
}

// Selects reports whether a selector selects a tunnel, whoever its owner is.
func (s Selector) Selects(t l2tp.Connection) bool {
	return t.Peer.Addr() == s.Peer && (s.LocalID == 0 || s.LocalID == t.LocalID)
}

// certain reports whether a selector selects a tunnel or attempt that is certainly its xl2tpd's.
func (s Selector) certain(t l2tp.Connection, o owner) bool { return s.Selects(t) && o.is(s.Owner) }

// Ask asks a peer for a sign of life, on every control connection that is selected. It
// reports whether there is one that can be asked. An answer changes Channel.Heard.
func (g *Guard) Ask(which Selector) (asked bool) {
	g.each(which, func(h *handler, c *channel) {
		now := time.Now()
		live, _ := h.evidence.liveness(c, now)
		v := c.translator.Ask(now, live)
		asked = asked || len(v.Inject) > 0
		h.exec.act(c, v, now)
	})
	return asked
}

// AckStops says that a peer is dead. The guard then acknowledges the StopCCN that xl2tpd sends
// the peer, or has sent, so that xl2tpd can dial a new tunnel immediately. It reports whether
// a tunnel was selected.
func (g *Guard) AckStops(which Selector) (any bool) {
	g.each(which, func(h *handler, c *channel) {
		any = true
		c.peerDead, c.ackStop = true, c.translator.Closing()
		h.catchUp(c, time.Now())
	})
	return any
}

// Dialling reports whether this xl2tpd is dialling a peer that has not answered yet, and
// will go on for some seconds. known is false while the guard is off, or while nobody knows
// which xl2tpd dials that peer.
func (g *Guard) Dialling(owner procfs.ID, peer netip.Addr) (is, known bool) {
	g.with(func(h *handler) {
		is, known = h.table.dials(owner, peer, time.Now().Add(-diallingFor))
	})
	return is, known
}

// Answered reports whether a peer has accepted an attempt of this xl2tpd since a time.
func (g *Guard) Answered(owner procfs.ID, peer netip.Addr, since time.Time) (is bool) {
	g.with(func(h *handler) { is = happened(h.table.accepted, attempt{owner, peer}, since) })
	return is
}

// Refused reports whether a peer has refused an attempt of this xl2tpd since a time, with a StopCCN (RFC 2661 §6.4) that
// came through IPsec: the SA works.
func (g *Guard) Refused(owner procfs.ID, peer netip.Addr, since time.Time) (is bool) {
	g.with(func(h *handler) { is = happened(h.table.refused, attempt{owner, peer}, since) })
	return is
}

// Lapsed reports whether an attempt of this xl2tpd to get a tunnel to a peer has ended since a time, or the tunnel that came
// of one, and nobody on this host has hung up. xl2tpd may have planned a redial then (xl2tpd.c, destroy_tunnel, and call.c,
// destroy_call).
func (g *Guard) Lapsed(owner procfs.ID, peer netip.Addr, since time.Time) (is bool) {
	g.with(func(h *handler) { is = happened(h.table.lapsed, attempt{owner, peer}, since) })
	return is
}

func happened(at *lru[attempt, time.Time], to attempt, since time.Time) bool {
	last, has := at.get(to)
	return has && !last.Before(since)
}

// each calls do for every selected channel that is certainly this xl2tpd's.
func (g *Guard) each(which Selector, do func(*handler, *channel)) {
	g.with(func(h *handler) {
		for _, c := range h.table.all() {
			if which.certain(c.translator.Connection(), c.owner) {
				do(h, c)
			}
		}
	})
}
