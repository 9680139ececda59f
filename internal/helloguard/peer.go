package helloguard

import (
	"net/netip"
	"time"
)

// Ask asks a peer for control messages, on every channel with it that can be
// asked, and reports whether there is one. What comes changes Channel.Heard.
func (g *Guard) Ask(peer netip.Addr) (asked bool) {
	g.each(peer, func(d *desk, c *channel) {
		life, _ := d.life(c, time.Now())
		v := c.translator.Ask(life)
		asked = asked || len(v.Inject) > 0
		d.act(c, v)
	})
	return asked
}

// Bury says that a peer is dead: the StopCCN that xl2tpd sends it, or has sent it,
// is acknowledged, so that a new tunnel can be dialled at once.
func (g *Guard) Bury(peer netip.Addr) {
	g.each(peer, func(d *desk, c *channel) {
		c.dead, c.bury = true, c.translator.Closing()
		d.catchUp(c, time.Now())
	})
}

// Hanging says that we have xl2tpd hang up its tunnel with a peer, which is no operator's
// doing, or that nothing has come of that.
func (g *Guard) Hanging(peer netip.Addr, is bool) {
	g.each(peer, func(_ *desk, c *channel) {
		if c.hanging = time.Now(); !is {
			c.hanging = time.Time{}
		}
	})
}

// Dialling tells whether xl2tpd is trying to reach a peer that has not answered yet, and
// will for some seconds more, if that is known: nobody sees it while the guard is off.
func (g *Guard) Dialling(peer netip.Addr) (is, known bool) {
	g.with(func(d *desk) {
		known = true
		for t, at := range d.x.asked {
			is = is || t.Peer.Addr() == peer && time.Since(at) < dialling
		}
	})
	return is, known
}

// each calls do for every channel with a peer.
func (g *Guard) each(peer netip.Addr, do func(*desk, *channel)) {
	g.with(func(d *desk) {
		for _, c := range d.x.all() {
			if c.translator.Tunnel().Peer.Addr() == peer {
				do(d, c)
			}
		}
	})
}
