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

func (c *Counts) add(why error) {
	switch why {
	case translator.WhySwallowed:
		c.Held++
	case translator.WhyAdopted:
		c.Held++
		c.Passed++
	case translator.WhyOffered, translator.WhyPassed, translator.WhyUncertain:
		c.Passed++
	case translator.WhyVouched:
		c.Answered++
	}
}

// Channel is what is known of one tunnel's control channel.
type Channel struct {
	Tunnel  translator.Tunnel
	Vendor  string    // what the peer calls itself; empty: not known
	Holding bool      // the tunnel can't do without us
	Heard   time.Time // latest control message of the peer; zero: none
	Counts
}

// Channels returns what is known of every control channel, in no order.
func (g *Guard) Channels() (all []Channel) {
	g.with(func(d *desk) {
		for _, c := range d.x.all() {
			all = append(all, Channel{
				Tunnel: c.translator.Tunnel(), Vendor: c.vendor, Heard: c.heard, Counts: c.counts,
				Holding: c.translator.Apart(),
			})
		}
	})
	return all
}

// with calls do with the desk of who is at work, if somebody is.
func (g *Guard) with(do func(*desk)) {
	g.mu.Lock()
	w := g.now
	g.mu.Unlock()
	if w == nil {
		return
	}
	w.hold(func() {
		if !w.ended {
			do(w.d)
		}
	})
}

// at makes w who is at work.
func (g *Guard) at(s *session) {
	g.mu.Lock()
	g.now = s
	g.mu.Unlock()
}
