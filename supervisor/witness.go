package supervisor

import (
	"net/netip"
	"time"

	"xl2tpd-keepalive/config"
	"xl2tpd-keepalive/xl2tpd"
)

// missable is how many echoes in a row may be lost, or be late, before there is
// no fresh evidence.
const missable = 3

func window(s config.Settings) time.Duration { return missable * (s.Interval + s.Timeout) }

// Fresh tells whether the tunnel has lately shown that it is alive.
func (t Tunnel) Fresh(now time.Time) bool {
	at := t.Evidence.Last()
	return !at.IsZero() && now.Sub(at) <= t.Window
}

// Control is a control tunnel of xl2tpd, as its packets show it.
type Control struct {
	Local, Peer netip.AddrPort
	LocalID     uint16
}

// Links returns those of the links that can be the control tunnel's; all of them
// have to be alive for it to be. In userspace mode nothing ties a link to
// its tunnel but the peer's address, and that only if the link's section is known
// or `pass peer = yes`. Where it is not, any link of unknown origin may be the
// one, if there are enough of them for all controls, the known control tunnels.
func (c Control) Links(all []Tunnel, controls int) []Tunnel {
	var own, near, unknown []Tunnel
	for _, t := range all {
		switch {
		case c.carries(t.Session):
			own = append(own, t)
		case t.Session != (xl2tpd.Session{}):
		case t.Outer == c.Peer.Addr():
			near = append(near, t)
		case !t.Outer.IsValid():
			unknown = append(unknown, t)
		}
	}
	switch {
	case len(own) > 0:
		return own
	case len(near) > 0:
		return near
	case len(all) >= controls:
		return unknown
	}
	return nil
}

// has tells whether the place can be the control tunnel's.
func (c Control) has(p place) bool {
	if p.session != (xl2tpd.Session{}) {
		return c.carries(p.session)
	}
	return p.outer == c.Peer.Addr()
}

func (c Control) carries(s xl2tpd.Session) bool {
	return s.LocalTunnel != 0 && s.LocalTunnel == c.LocalID && s.Local == c.Local &&
		(!s.Peer.IsValid() || s.Peer == c.Peer)
}
