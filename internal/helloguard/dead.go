package helloguard

import (
	"cmp"
	"time"

	"xl2tpd-keepalive/internal/helloguard/translator"
	"xl2tpd-keepalive/internal/l2tp"
)

const (
	// dialling is for how long after an SCCRQ an attempt goes on for certain: 16 s after
	// its last one xl2tpd gives it up (network.c, control_xmit), and a word of ours may
	// take a moment to get there.
	dialling = 13 * time.Second

	// foundPort is how long an xl2tpd has to live for a tunnel to be its own: one
	// that finds its port taken by another ends at once.
	foundPort = 2 * time.Second

	farewells = 5 // as many as xl2tpd sends of a message (network.c, control_xmit)
)

// farewell is how far the closing of a tunnel has come that a dead xl2tpd has left.
type farewell struct {
	said int
	next time.Time
}

// meet takes in what is known of xl2tpd now. One that has just started may have
// sent something before that was known.
func (d *desk) meet(h Host, now time.Time) {
	was, since := d.host, d.since
	d.host, d.x.standing = h, 0
	another := h.Daemon != was.Daemon
	if another {
		d.since = now
	}
	for _, c := range d.x.all() {
		c.wanted = false // perhaps no longer
		switch {
		case !another:
		case c.daemon == "" && was.Daemon == "" && c.seen.After(since) && d.its(c):
			c.daemon = h.Daemon
		case c.daemon == was.Daemon && now.Sub(since) < foundPort:
			c.daemon = ""
		}
	}
	d.look(h.Sessions, now)
	d.mourn(now)
}

// look takes in the kernel's table of sessions.
func (d *desk) look(sessions []translator.Tunnel, now time.Time) {
	for _, c := range d.x.meet(sessions, now) {
		d.forget(c)
	}
}

// its tells whether a channel can be that of the xl2tpd that is known: another may listen on
// another port or address.
func (d *desk) its(c *channel) bool {
	at := c.translator.Tunnel().Local
	all := !d.host.Addr.IsValid() || d.host.Addr.IsUnspecified()
	return at.Port() == cmp.Or(d.host.Port, l2tpPort) && (all || at.Addr() == d.host.Addr)
}

// mourn looks for tunnels that a dead xl2tpd has left, to close them in its name.
func (d *desk) mourn(now time.Time) {
	for _, c := range d.x.all() {
		if c.orphan == nil && c.daemon != "" && c.daemon != d.host.Daemon && d.its(c) && d.gone(c.daemon) {
			c.orphan = &farewell{next: now}
			c.rounds = 0
			d.plan(c)
		}
	}
}

// bid bids the peer farewell if it is time to.
func (d *desk) bid(c *channel, now time.Time) {
	f := c.orphan
	if f == nil || f.said == farewells || now.Before(f.next) {
		return
	}
	v := c.translator.Close()
	if v.Why == nil { // the peer has acknowledged it, or too little is known
		f.said = farewells
		return
	}
	d.act(c, v)
	f.next = now.Add(time.Second << f.said)
	f.said++
}

// givenUp acknowledges the StopCCN of an attempt that no peer has answered: there is
// nobody who could, and xl2tpd would wait 31 s for it before it dials again. It tells
// if somebody has hung up.
func (d *desk) givenUp(p *l2tp.Packet) {
	own, ok := l2tp.AssignedTunnel(p.Payload())
	t := translator.Tunnel{Local: p.Src, Peer: p.Dst, LocalID: own}
	if _, asked := d.x.asked[t]; !ok || !asked || p.Msg.Type != l2tp.TypeStopCCN {
		return
	}
	delete(d.x.asked, t)
	d.x.listen(t, false)
	if e := end(p.Msg, p.Payload(), false, 0, 0); e.Operator {
		d.ended(t, e)
	}
	if !d.signs(d.ctx, t, d.standing()).Wanted {
		return
	}
	ack := l2tp.Message{Tunnel: own, Nr: p.Msg.Ns + 1} // the first of its peer
	if err := d.send(translator.Injection{To: translator.ToLocal, Packet: l2tp.AppendPacket(nil, t.Peer, t.Local, ack)}); err != nil {
		d.log.Warn("hello guard: packet can't be sent", "peer", t.Peer.String(), "err", err)
	}
}
