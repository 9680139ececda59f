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

// ControlConnection is a control connection of an xl2tpd, as its packets show it.
type ControlConnection struct {
	Local, Peer netip.AddrPort
	LocalID     uint16
	Owner       procfs.ID // the xl2tpd that has opened it; zero: not known
}

// ConnectionLinks are all links, by what ties them to control connections. The zero value has none.
type ConnectionLinks[L any] struct {
	bySession map[uint16][]sessionLink[L]     // by xl2tpd's id of the control connection
	byPeer    map[netip.Addr][]sessionLink[L] // those without a session, by the peer's address
}

type sessionLink[L any] struct {
	xl2tpd.Session
	daemon int // the pid of its pppd's parent
	link   L
}

// Add adds a link with its session, if it has one, its outer address, and the pid of its xl2tpd.
func (ls *ConnectionLinks[L]) Add(link L, s xl2tpd.Session, outer netip.Addr, daemon int) {
	if ls.bySession == nil {
		ls.bySession, ls.byPeer = make(map[uint16][]sessionLink[L]), make(map[netip.Addr][]sessionLink[L])
	}
	one := sessionLink[L]{s, daemon, link}
	if s != (xl2tpd.Session{}) {
		ls.bySession[s.LocalTunnel] = append(ls.bySession[s.LocalTunnel], one)
	} else if outer.IsValid() {
		ls.byPeer[outer] = append(ls.byPeer[outer], one)
	}
}

// Of returns the links of a control connection. Only a session of the kernel makes certain
// which they are. In userspace mode nothing ties a link to its control connection but the
// peer's address and the xl2tpd, which several may have in common.
func (ls *ConnectionLinks[L]) Of(c ControlConnection) (links []L, certain bool) {
	for _, t := range ls.bySession[c.LocalID] {
		if c.carries(t.Session) {
			links = append(links, t.link)
		}
	}
	if len(links) > 0 {
		return links, true
	}
	for _, t := range ls.byPeer[c.Peer.Addr()] {
		if c.canBelongTo(t.daemon) {
			links = append(links, t.link)
		}
	}
	return links, false
}

// unknownOwner has no links. It stands for an owner that is not known where several could be it.
var unknownOwner = procfs.ID{Pid: -1}

// canBelongTo reports whether the control connection can be that xl2tpd's.
func (c ControlConnection) canBelongTo(daemon int) bool {
	return c.Owner == (procfs.ID{}) || c.Owner.Pid == daemon
}

// tunnelIndex has the tunnels by their places.
type tunnelIndex struct {
	lacs  map[string]*candidates // by the keys of the LACs that they may belong to
	links ConnectionLinks[*tunnel]
	bySA  map[string][]*tunnel // by the unique id of the IKE SA that carries them
	far   []*tunnel            // those of which nobody knows the outer address of the far end
}

// tunnelIndex makes the book anew if a place has changed: that comes with a snapshot,
// which costs as much.
func (core *Core) tunnelIndex() *tunnelIndex {
	if core.index != nil {
		return core.index
	}
	core.index = &tunnelIndex{lacs: make(map[string]*candidates), bySA: make(map[string][]*tunnel)}
	crowds := make(map[*name]*[]*tunnel)
	for _, t := range core.inOrder() {
		if t.gone {
			continue
		}
		core.index.links.Add(t, t.identity.session, t.identity.outer, t.identity.daemon)
		if id := t.identity.sa.UniqueID; id != "" {
			core.index.bySA[id] = append(core.index.bySA[id], t)
		}
		if !t.identity.outer.IsValid() {
			core.index.far = append(core.index.far, t)
		}
		names := t.identity.names
		if len(names) == 1 {
			core.index.claims(names[0]).exact = append(core.index.claims(names[0]).exact, t)
		}
		if len(names) < 2 {
			continue
		}
		crowd := crowds[&names[0]]
		if crowd == nil {
			crowd = new([]*tunnel)
			crowds[&names[0]] = crowd
			for _, n := range names {
				c := core.index.claims(n)
				c.ambiguous = append(c.ambiguous, crowd)
			}
		}
		*crowd = append(*crowd, t)
	}
	return core.index
}

// claims are the links that a section has; those of an LNS are of no use.
func (k *tunnelIndex) claims(n name) *candidates {
	if n.kind != "lac" {
		return &candidates{}
	}
	key := n.key()
	if k.lacs[key] == nil {
		k.lacs[key] = &candidates{}
	}
	return k.lacs[key]
}

// LinksOf returns what is known of a control connection's links, see Links.Of.
func (core *Core) LinksOf(c ControlConnection) (all []Tunnel, certain bool) {
	links, certain := core.tunnelIndex().links.Of(c)
	for _, t := range links {
		all = append(all, t.view())
	}
	return all, certain
}

// sameAs reports whether it is the same control connection, whether its owner is known by now or not.
func (c ControlConnection) sameAs(o ControlConnection) bool {
	return c.LocalID == o.LocalID && c.Local == o.Local && c.Peer == o.Peer
}

// matches reports whether a place can be the control connection's.
func (c ControlConnection) matches(p identity) bool {
	if p.session != (xl2tpd.Session{}) {
		return c.carries(p.session)
	}
	return p.outer == c.Peer.Addr() && c.canBelongTo(p.daemon)
}

func (c ControlConnection) carries(s xl2tpd.Session) bool {
	return s.LocalTunnel != 0 && s.LocalTunnel == c.LocalID && s.Local == c.Local &&
		(!s.Peer.IsValid() || s.Peer == c.Peer)
}
