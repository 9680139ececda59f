package supervisor

import (
	"net/netip"
	"time"

	"xl2tpd-keepalive/config"
	"xl2tpd-keepalive/xl2tpd"
	"xl2tpd-keepalive/xl2tpd/conf"
)

// missable is how many echoes in a row may be lost, or be late, before there is
// no fresh evidence.
const missable = 3

// Window is for how long a sign of life is fresh.
func Window(s config.Settings) time.Duration { return missable * (s.Interval + s.Timeout) }

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

// Links are all links, by what ties them to control tunnels. The zero value has
// none.
type Links[L any] struct {
	own     map[uint16][]session[L] // by xl2tpd's id of the tunnel
	near    map[netip.Addr][]L      // those without a session, by the peer's address
	unknown []L                     // and those without either
	n       int
}

type session[L any] struct {
	xl2tpd.Session
	link L
}

// Add adds a link with its session, if it has one, and outer address.
func (ls *Links[L]) Add(link L, s xl2tpd.Session, outer netip.Addr) {
	if ls.n == 0 {
		ls.own, ls.near = make(map[uint16][]session[L]), make(map[netip.Addr][]L)
	}
	ls.n++
	switch {
	case s != (xl2tpd.Session{}):
		ls.own[s.LocalTunnel] = append(ls.own[s.LocalTunnel], session[L]{s, link})
	case outer.IsValid():
		ls.near[outer] = append(ls.near[outer], link)
	default:
		ls.unknown = append(ls.unknown, link)
	}
}

// Of returns those of the links that can be the control tunnel's; all of them
// have to be alive for it to be. In userspace mode nothing ties a link to
// its tunnel but the peer's address, and that only if the link's section is known
// or `pass peer = yes`. Where it is not, any link of unknown origin may be the
// one, if there are enough of them for all controls, the known control tunnels.
func (ls *Links[L]) Of(c Control, controls int) []L {
	var own []L
	for _, s := range ls.own[c.LocalID] {
		if c.carries(s.Session) {
			own = append(own, s.link)
		}
	}
	switch near := ls.near[c.Peer.Addr()]; {
	case len(own) > 0:
		return own
	case len(near) > 0:
		return near
	case ls.n >= controls:
		return ls.unknown
	}
	return nil
}

// book has the tunnels by their places.
type book struct {
	lacs  map[string]*claims // by the LACs that they may belong to, in lower case
	links Links[*tunnel]
}

// places makes the book anew if a place has changed: that comes with a snapshot,
// which costs as much.
func (b *Brain) places() *book {
	if b.book != nil {
		return b.book
	}
	b.book = &book{lacs: make(map[string]*claims)}
	crowds := make(map[*name]*[]*tunnel)
	for _, t := range b.tunnels {
		if t.gone {
			continue
		}
		b.book.links.Add(t, t.place.session, t.place.outer)
		names := t.place.names
		if len(names) == 1 {
			b.book.claims(names[0]).sole = append(b.book.claims(names[0]).sole, t)
		}
		if len(names) < 2 {
			continue
		}
		crowd := crowds[&names[0]]
		if crowd == nil {
			crowd = new([]*tunnel)
			crowds[&names[0]] = crowd
			for _, n := range names {
				c := b.book.claims(n)
				c.shared = append(c.shared, crowd)
			}
		}
		*crowd = append(*crowd, t)
	}
	return b.book
}

// claims are the links that a section has; those of an LNS are of no use.
func (k *book) claims(n name) *claims {
	if n.kind != "lac" {
		return &claims{}
	}
	key := conf.Lower(n.name)
	if k.lacs[key] == nil {
		k.lacs[key] = &claims{}
	}
	return k.lacs[key]
}

// Witnesses returns what is known of a control tunnel's links, see Links.Of.
func (b *Brain) Witnesses(c Control, controls int) []Tunnel {
	links := b.places().links.Of(c, controls)
	all := make([]Tunnel, len(links))
	for i, t := range links {
		all[i] = t.view()
	}
	return all
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
