package helloguard

import (
	"time"

	"xl2tpd-keepalive/internal/helloguard/translator"
)

// Counts are what was done for a tunnel since the guard met it.
type Counts struct {
	Held     uint64 // Hellos of xl2tpd acknowledged in the peer's name
	Passed   uint64 // Hellos of xl2tpd shown to the peer, copies included
	Answered uint64 // messages of the peer acknowledged in xl2tpd's name
}

func (c *Counts) add(why translator.Reason) {
	switch why {
	case translator.HelloAcked, translator.HelloAckedForPeer, translator.HelloNotCounted:
		c.Held++
	case translator.HelloPassed:
		c.Passed++
	case translator.PeerHelloAcked:
		c.Answered++
	}
}

// Channel is what is known of one tunnel's control channel.
type Channel struct {
	OwnedConnection
	Vendor  string    // what the peer calls itself; empty: not known
	Holding bool      // the tunnel can't do without the guard
	Heard   time.Time // latest control message of the peer; zero: none
	Up      bool      // the two ends have agreed on it, and nobody has sent a StopCCN
	Closing bool      // a StopCCN was sent, and the peer has not acknowledged it
	Counts
}

// Channels returns what is known of every control channel, in no order.
func (g *Guard) Channels() (all []Channel) {
	g.with(func(h *handler) {
		for _, c := range h.table.list {
			all = append(all, Channel{
				OwnedConnection: c.connection(), Vendor: c.vendor, Heard: c.heard, Counts: c.counts,
				Holding: c.translator.Diverged(), Up: c.up(), Closing: c.translator.Closing() && !c.translator.Closed(),
			})
		}
	})
	return all
}
