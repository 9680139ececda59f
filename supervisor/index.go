package supervisor

import (
	"net/netip"
	"strings"
	"time"

	"xl2tpd-keepalive/internal/config"
	"xl2tpd-keepalive/internal/helloguard"
	"xl2tpd-keepalive/internal/l2tp"
	"xl2tpd-keepalive/internal/procfs"
	"xl2tpd-keepalive/internal/xl2tpd"
)

// missable is how many echoes in a row may be lost or late before the evidence is no longer fresh.
const missable = 3

// Window returns for how long a sign of life is fresh.
func Window(s config.Settings) time.Duration { return missable * (s.Interval + s.Timeout) }

// Fresh reports whether the latest sign of life is fresh.
func (t Tunnel) Fresh(now time.Time) bool {
	at := t.Evidence.Last()
	return !at.IsZero() && now.Sub(at) <= t.Window
}

// ConnectionLinks finds the links of a control connection. The zero value has no links.
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

// Of returns the links of a control connection. certain is true if sessions of the kernel prove that they are its
// links. In userspace mode only the peer's address and the xl2tpd connect them, and several control connections may
// share those.
func (ls *ConnectionLinks[L]) Of(c helloguard.OwnedConnection) (links []L, certain bool) {
	for _, t := range ls.bySession[c.LocalID] {
		if carries(c.Connection, t.Session) {
			links = append(links, t.link)
		}
	}
	if len(links) > 0 {
		return links, true
	}
	for _, t := range ls.byPeer[c.Peer.Addr()] {
		if canBelongTo(c.Owner, t.daemon) {
			links = append(links, t.link)
		}
	}
	return links, false
}

// unknownOwner stands for an unknown owner if several xl2tpds could be it. It has no links.
var unknownOwner = procfs.ID{Pid: -1}

// canBelongTo reports whether a control connection with that owner can belong to the xl2tpd with that pid.
func canBelongTo(owner procfs.ID, daemon int) bool {
	return owner == (procfs.ID{}) || owner.Pid == daemon
}

// tunnelIndex finds tunnels by their identities.
type tunnelIndex struct {
	lacs  map[string]*candidates // by the keys of their LACs
	links ConnectionLinks[*tunnel]
	bySA  map[string][]*tunnel // by the unique id of the IKE SA that carries them
	far   []*tunnel            // those without a known outer address of the far end
}

// tunnelIndex returns the index of all tunnels. If an identity has changed, it builds the index again: identities only
// change with a snapshot, which costs as much.
func (ts *tunnelTable) tunnelIndex() *tunnelIndex {
	if ts.index != nil {
		return ts.index
	}
	ts.index = &tunnelIndex{lacs: make(map[string]*candidates), bySA: make(map[string][]*tunnel)}
	groups := &linkGroups{make(map[string]*[]*tunnel), make(map[*name]string)}
	for _, t := range ts.inOrder() {
		if t.presence == gone {
			continue
		}
		ts.index.links.Add(t, t.identity.session, t.identity.outer, t.identity.daemon)
		if id := t.identity.sa.UniqueID; id != "" {
			ts.index.bySA[id] = append(ts.index.bySA[id], t)
		}
		if !t.identity.outer.IsValid() {
			ts.index.far = append(ts.index.far, t)
		}
		switch names := t.identity.names; len(names) {
		case 0:
		case 1:
			c := ts.index.candidates(names[0])
			c.exact = append(c.exact, t)
		default:
			group := groups.of(names, ts.index)
			*group = append(*group, t)
		}
	}
	return ts.index
}

// linkGroups finds groups of links that may belong to any of the same LACs.
type linkGroups struct {
	byKey map[string]*[]*tunnel
	keys  map[*name]string // of lists of names that links share
}

// of returns the group of the links with these names. A new one is among the candidates of each of the names.
func (g *linkGroups) of(names []name, index *tunnelIndex) *[]*tunnel {
	key, known := g.keys[&names[0]]
	if !known {
		key = groupOf(names)
		g.keys[&names[0]] = key
	}
	group := g.byKey[key]
	if group == nil {
		group = new([]*tunnel)
		g.byKey[key] = group
		for _, n := range names {
			c := index.candidates(n)
			c.ambiguous = append(c.ambiguous, group)
		}
	}
	return group
}

// groupOf returns the key of the links that may belong to any of these sections.
func groupOf(names []name) string {
	var key strings.Builder
	for _, n := range names {
		key.WriteString(n.key() + "\x00")
	}
	return key.String()
}

// candidates returns the links that may be a LAC's. Those of an LNS are not recorded.
func (index *tunnelIndex) candidates(n name) *candidates {
	if n.kind != "lac" {
		return &candidates{}
	}
	key := n.key()
	if index.lacs[key] == nil {
		index.lacs[key] = &candidates{}
	}
	return index.lacs[key]
}

// LinksOf returns the tunnels of a control connection, see ConnectionLinks.Of.
func (core *Core) LinksOf(c helloguard.OwnedConnection) (all []Tunnel, certain bool) {
	links, certain := core.tunnels.tunnelIndex().links.Of(c)
	for _, t := range links {
		all = append(all, t.view())
	}
	return all, certain
}

// matches reports whether a link with that identity can belong to the control connection that ends.
func (e *Ending) matches(id identity) bool {
	if id.session != (xl2tpd.Session{}) {
		return carries(e.Connection, id.session)
	}
	return id.outer == e.Peer.Addr() && canBelongTo(e.Owner, id.daemon)
}

// carries reports whether a control connection has that session.
func carries(c l2tp.Connection, s xl2tpd.Session) bool {
	return s.LocalTunnel != 0 && s.LocalTunnel == c.LocalID && s.Local == c.Local &&
		(!s.Peer.IsValid() || s.Peer == c.Peer)
}
