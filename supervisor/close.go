package supervisor

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"xl2tpd-keepalive/internal/status"
)

const (
	// soon is how long after its cause a link goes away: xl2tpd repeats a
	// StopCCN for 31 s before it ends the pppd.
	soon = 40 * time.Second
	// late is how long after its end the cause of it may become known.
	late = 2 * time.Second

	// idle is the shortest idle timer that anybody sets.
	idle = 20 * time.Second

	maxEndings = 1000
	maxCloses  = 1000 // of callers from ever new addresses
)

// xl2tpdEnded is why all tunnels have ended at once.
const xl2tpdEnded = "xl2tpd ended"

// origin is what a tunnel has in common with the one before it: its section and peer, or if its
// section is not known, its link.
type origin struct {
	section name
	outer   netip.Addr
	link    string
}

func (t *tunnel) origin() origin {
	if len(t.place.names) == 1 {
		return origin{section: t.place.names[0], outer: t.place.outer}
	}
	return origin{section: name{instance: t.place.instance}, link: t.key.Name}
}

// closes knows how tunnels ended.
type closes struct {
	endings []ending
	last    map[origin]*closing
	died    map[string]time.Time // when an instance's xl2tpd ended last
}

type ending struct {
	Ending
	at time.Time
}

type closing struct {
	status.Close
	place      place
	link       Key
	sure       bool    // somebody has said why
	operator   bool    // and that it was the operator
	unanswered bool    // or that the peer did not answer
	buried     bool    // and xl2tpd does not wait for its answer
	half       bool    // and xl2tpd has closed the call alone
	failed     bool    // something is known to have failed, whatever was said
	tunnel     Control // that somebody has said it of
}

// hear takes in why a control tunnel is being closed. The link may have gone
// already; it returns those ends of which more is known now,
// in the order of their links.
func (c *closes) hear(e Ending, now time.Time) (told []*closing) {
	for _, one := range c.last {
		switch {
		case !e.Tunnel.has(one.place):
		// A pppd whose peer has ended LCP stays for some seconds, and only then xl2tpd closes the call.
		case !one.sure && (now.Sub(one.Time) <= late || now.Sub(one.Time) <= soon && e.Tunnel.carries(one.place.session)):
			one.Reason = e.Reason
			one.said(e)
			told = append(told, one)
		case one.half && !e.Half && one.tunnel.same(e.Tunnel): // the tunnel has followed its call
			one.half, one.operator = false, one.operator || e.Operator
			told = append(told, one)
		}
	}
	slices.SortFunc(told, func(x, y *closing) int { return cmp.Compare(x.link.Index, y.link.Index) })
	keep := c.endings[:0]
	for _, old := range c.endings {
		if now.Sub(old.at) <= soon {
			keep = append(keep, old)
		}
	}
	if len(keep) == maxEndings {
		keep = keep[1:]
	}
	c.endings = append(keep, ending{e, now})
	return told
}

// why is the reason that was heard for a place since then, if any. An earlier one may be
// the last tunnel's, unless a session tells that it is not.
func (c *closes) why(p place, since, now time.Time) (Ending, bool) {
	for i := len(c.endings) - 1; i >= 0; i-- {
		if e := c.endings[i]; now.Sub(e.at) <= soon && e.Tunnel.has(p) && (!e.at.Before(since) || e.Tunnel.carries(p.session)) {
			return e.Ending, true
		}
	}
	return Ending{}, false
}

// closed notes that a tunnel has ended and returns why, as far as that is known.
func (b *Brain) closed(t *tunnel, reason string, was State, now time.Time) string {
	why, sure := b.closes.why(t.place, t.up, now)
	failed := was == Silent
	switch {
	case sure:
		reason = why.Reason
		if quiet := now.Sub(t.evidence.Last()); why.Unexplained && was != Silent && !t.evidence.Last().IsZero() && quiet >= idle {
			reason = fmt.Sprintf("the peer's idle timer, it seems: nothing came for %.0f s", quiet.Seconds())
		}
	case now.Sub(b.closes.died[t.place.instance]) <= late:
		reason, failed = xl2tpdEnded, true
	case t.secured && !b.atlas.sas[t.place.outer].there():
		reason, failed = "the IPsec SA was lost", true
	}
	if b.closes.last == nil {
		b.closes.last = make(map[origin]*closing)
	}
	b.closes.prune()
	c := &closing{
		Close: status.Close{Time: now, After: status.Seconds(now.Sub(t.up)), Reason: reason},
		place: t.place, link: t.key, failed: failed,
	}
	if sure {
		c.said(why)
	}
	b.closes.last[t.origin()] = c
	b.ended(t, c, was, now)
	return reason
}

// said notes what somebody has said of it.
func (c *closing) said(e Ending) {
	c.sure, c.operator, c.half, c.unanswered, c.buried = true, e.Operator, e.Half, e.Unanswered, e.Buried
	c.tunnel = e.Tunnel
}

// prune makes room for one more by forgetting the oldest.
func (c *closes) prune() {
	if len(c.last) < maxCloses {
		return
	}
	var oldest origin
	var at time.Time
	for o, one := range c.last {
		if at.IsZero() || one.Time.Before(at) {
			oldest, at = o, one.Time
		}
	}
	delete(c.last, oldest)
}
