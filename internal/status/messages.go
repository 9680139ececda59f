package status

import (
	"xl2tpd-keepalive/internal/controltrace"
	"xl2tpd-keepalive/internal/l2tp"
)

// AddMessages adds to the tunnels' ends the messages that the flight recorders have kept of them.
func AddMessages(tunnels []Tunnel, kept []controltrace.Recording) {
	of := make(map[l2tp.Connection]controltrace.Recording, len(kept))
	for _, k := range kept {
		if !k.Ended.IsZero() {
			of[k.WithoutPeerID()] = k
		}
	}
	for i := range tunnels {
		if c := tunnels[i].Last; c != nil && c.Control != nil {
			c.Messages = of[c.Control.WithoutPeerID()].Records
		}
	}
}

// Names finds the tunnels of control connections.
type Names struct {
	connections map[l2tp.Connection]string
	peers       map[string]string // by the peer's address; empty: several tunnels have it
}

// NamesOf returns the names of tunnels, also of those that have ended last.
func NamesOf(tunnels []Tunnel) Names {
	n := Names{map[l2tp.Connection]string{}, map[string]string{}}
	for _, t := range tunnels {
		name := t.Title()
		if t.Last != nil && t.Last.Control != nil {
			n.connections[t.Last.Control.WithoutPeerID()] = name
		}
		if peer := t.Peer.String(); t.Peer.IsValid() {
			if _, again := n.peers[peer]; again {
				name = ""
			}
			n.peers[peer] = name
		}
	}
	for _, t := range tunnels {
		if t.Control != nil {
			n.connections[t.Control.WithoutPeerID()] = t.Title()
		}
	}
	return n
}

// Of returns the name of a control connection's tunnel; empty: not known.
func (n Names) Of(c l2tp.Connection) string {
	if name, ok := n.connections[c.WithoutPeerID()]; ok && c.LocalID != 0 {
		return name
	}
	return n.peers[c.Peer.Addr().String()]
}

// diagramOf is how many messages a text for a person has of an end.
const diagramOf = 13

// messages draws the last messages of a tunnel that has ended.
func (p *page) messages(t *Tunnel, c *Close) {
	last := c.Messages
	if len(last) == 0 {
		return
	}
	more := len(last) - diagramOf
	for _, line := range controltrace.Diagram(last[max(more, 0):], last[len(last)-1].Time) {
		p.printf("    %s\n", Printable(line))
	}
	if more > 0 {
		p.printf("    %s\n", p.lang.Sprintf("… %d messages before them: xl2tpd-keepalive trace --last %s", more, Printable(t.Name)))
	}
}
