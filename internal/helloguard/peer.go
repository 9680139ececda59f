package helloguard

import (
	"net/netip"
	"time"

	"xl2tpd-keepalive/internal/procfs"
)

// dialling is for how long after an SCCRQ an attempt goes on for certain: 16 s after
// its last one xl2tpd gives it up (network.c, control_xmit), and a command may take a
// moment to get there.
const dialling = 13 * time.Second

// Ask asks a peer for a sign of life, on every channel that this xl2tpd has with it. It
// reports whether there is one that can be asked. An answer changes Channel.Heard.
func (g *Guard) Ask(owner procfs.ID, peer netip.Addr) (asked bool) {
	g.each(owner, peer, func(h *handler, c *channel) {
		now := time.Now()
		live, _ := h.liveness(c, now)
		v := c.translator.Ask(now, live)
		asked = asked || len(v.Inject) > 0
		h.act(c, v, now)
	})
	return asked
}

// AckStops says that a peer is dead. The guard then acknowledges the StopCCN that this xl2tpd sends
// the peer, or has sent, so that xl2tpd can dial a new tunnel immediately. It reports whether
// there is a tunnel with that peer.
func (g *Guard) AckStops(owner procfs.ID, peer netip.Addr) (any bool) {
	g.each(owner, peer, func(h *handler, c *channel) {
		any = true
		c.peerDead, c.ackStop = true, c.translator.Closing()
		h.catchUp(c, time.Now())
	})
	return any
}

// Hanging says that the service, and no operator, asks this xl2tpd to hang up its tunnel
// with a peer; or that nothing has come of that.
func (g *Guard) Hanging(owner procfs.ID, peer netip.Addr, is bool) {
	g.each(owner, peer, func(_ *handler, c *channel) {
		if c.hangingUp = time.Now(); !is {
			c.hangingUp = time.Time{}
		}
	})
}

// Dialling reports whether this xl2tpd is dialling a peer that has not answered yet, and
// will go on for some seconds. It is not known while the guard is off, or while nobody knows
// which xl2tpd dials that peer.
func (g *Guard) Dialling(owner procfs.ID, peer netip.Addr) (is, known bool) {
	g.with(func(h *handler) {
		is, known = h.table.dials(owner, peer, time.Now().Add(-dialling))
	})
	return is, known
}

// each calls do for every channel with a peer that is certainly this xl2tpd's.
func (g *Guard) each(owner procfs.ID, peer netip.Addr, do func(*handler, *channel)) {
	g.with(func(h *handler) {
		for _, c := range h.table.all() {
			if c.translator.Tunnel().Peer.Addr() == peer && c.owner.is(owner) {
				do(h, c)
			}
		}
	})
}
