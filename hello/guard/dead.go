package guard

import (
	"cmp"
	"time"
)

const (
	// foundPort is how long an xl2tpd has to be there before a tunnel is taken for
	// its own: one that finds its port taken ends at once.
	foundPort = 2 * time.Second

	farewells = 5 // as many as xl2tpd sends of a message (network.c, control_xmit)
)

// farewell is how far the closing of a tunnel has come that a dead xl2tpd has left.
type farewell struct {
	said int
	next time.Time
}

// mourn looks for tunnels that a dead xl2tpd has left, to close them in its name.
func (d *desk) mourn(now time.Time) {
	for _, c := range d.x.all() {
		if c.orphan == nil && c.daemon != "" && c.daemon != d.host.Daemon &&
			c.translator.Tunnel().Local.Port() == cmp.Or(d.host.Port, l2tpPort) && d.gone(c.daemon) {
			c.orphan = &farewell{next: now}
			c.closing, c.seen = true, now
			d.x.standing = 0
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
