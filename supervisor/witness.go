package supervisor

import (
	"net/netip"
	"time"

	"xl2tpd-keepalive/internal/config"
	"xl2tpd-keepalive/internal/procfs"
	"xl2tpd-keepalive/internal/xl2tpd"
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

// Control is a control connection of an xl2tpd, as its packets show it.
type Control struct {
	Local, Peer netip.AddrPort
	LocalID     uint16
	Owner       procfs.ID // the xl2tpd that has opened it; zero: not known
}

// Links are all links, by what ties them to control connections. The zero value has none.
type Links[L any] struct {
	own  map[uint16][]tied[L]     // by xl2tpd's id of the control connection
	near map[netip.Addr][]tied[L] // those without a session, by the peer's address
}

type tied[L any] struct {
	xl2tpd.Session
	daemon int // the pid of its pppd's parent
	link   L
}

// Add adds a link with its session, if it has one, its outer address, and the pid of its xl2tpd.
func (ls *Links[L]) Add(link L, s xl2tpd.Session, outer netip.Addr, daemon int) {
	if ls.own == nil {
		ls.own, ls.near = make(map[uint16][]tied[L]), make(map[netip.Addr][]tied[L])
	}
	one := tied[L]{s, daemon, link}
	if s != (xl2tpd.Session{}) {
		ls.own[s.LocalTunnel] = append(ls.own[s.LocalTunnel], one)
	} else if outer.IsValid() {
		ls.near[outer] = append(ls.near[outer], one)
	}
}

// Of returns the links of a control connection. Only a session of the kernel makes certain
// which they are. In userspace mode nothing ties a link to its control connection but the
// peer's address and the xl2tpd, which several may have in common.
func (ls *Links[L]) Of(c Control) (links []L, certain bool) {
	for _, t := range ls.own[c.LocalID] {
		if c.carries(t.Session) {
			links = append(links, t.link)
		}
	}
	if len(links) > 0 {
		return links, true
	}
	for _, t := range ls.near[c.Peer.Addr()] {
		if c.of(t.daemon) {
			links = append(links, t.link)
		}
	}
	return links, false
}

// nobody has no links. It stands for an owner that is not known where several could be it.
var nobody = procfs.ID{Pid: -1}

// of reports whether the control connection can be that xl2tpd's.
func (c Control) of(daemon int) bool { return c.Owner == (procfs.ID{}) || c.Owner.Pid == daemon }

// book has the tunnels by their places.
type book struct {
	lacs  map[string]*claims // by the keys of the LACs that they may belong to
	links Links[*tunnel]
	bySA  map[string][]*tunnel // by the unique id of the IKE SA that carries them
	far   []*tunnel            // those of which nobody knows the outer address of the far end
}

// places makes the book anew if a place has changed: that comes with a snapshot,
// which costs as much.
func (b *Brain) places() *book {
	if b.book != nil {
		return b.book
	}
	b.book = &book{lacs: make(map[string]*claims), bySA: make(map[string][]*tunnel)}
	crowds := make(map[*name]*[]*tunnel)
	for _, t := range b.inOrder() {
		if t.gone {
			continue
		}
		b.book.links.Add(t, t.place.session, t.place.outer, t.place.daemon)
		if id := t.place.sa.UniqueID; id != "" {
			b.book.bySA[id] = append(b.book.bySA[id], t)
		}
		if !t.place.outer.IsValid() {
			b.book.far = append(b.book.far, t)
		}
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
	key := n.key()
	if k.lacs[key] == nil {
		k.lacs[key] = &claims{}
	}
	return k.lacs[key]
}

// Witnesses returns what is known of a control connection's links, see Links.Of.
func (b *Brain) Witnesses(c Control) (all []Tunnel, certain bool) {
	links, certain := b.places().links.Of(c)
	for _, t := range links {
		all = append(all, t.view())
	}
	return all, certain
}

// same reports whether it is the same control connection, whether its owner is known by now or not.
func (c Control) same(o Control) bool {
	return c.LocalID == o.LocalID && c.Local == o.Local && c.Peer == o.Peer
}

// has reports whether a place can be the control connection's.
func (c Control) has(p place) bool {
	if p.session != (xl2tpd.Session{}) {
		return c.carries(p.session)
	}
	return p.outer == c.Peer.Addr() && c.of(p.daemon)
}

func (c Control) carries(s xl2tpd.Session) bool {
	return s.LocalTunnel != 0 && s.LocalTunnel == c.LocalID && s.Local == c.Local &&
		(!s.Peer.IsValid() || s.Peer == c.Peer)
}
