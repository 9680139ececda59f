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
	// reasonTTL is how long after its cause a link goes away: xl2tpd repeats a
	// StopCCN for 31 s before it ends the pppd.
	reasonTTL = 40 * time.Second
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
	if len(t.identity.names) == 1 {
		return origin{section: t.identity.names[0], outer: t.identity.outer}
	}
	return origin{section: name{instance: t.identity.instance}, link: t.key.Name}
}

// ends knows how tunnels ended.
type ends struct {
	reasons []closeReason
	last    map[origin]*end
	died    map[string]time.Time // when an instance's xl2tpd ended last
}

type closeReason struct {
	Ending
	at time.Time
}

type end struct {
	status.Close
	identity   identity
	link       Key
	sure       bool              // somebody has said why
	operator   bool              // and that it was the operator
	unanswered bool              // or that the peer did not answer
	buried     bool              // and xl2tpd does not wait for its answer
	half       bool              // and xl2tpd has closed the call alone
	failed     bool              // something is known to have failed, whatever was said
	tunnel     ControlConnection // that somebody has said it of
}

// record takes in why a control tunnel is being closed. The link may have gone
// already; it returns those ends of which more is known now,
// in the order of their links.
func (c *ends) record(e Ending, now time.Time) (told []*end) {
	for _, one := range c.last {
		switch {
		case !e.Tunnel.matches(one.identity):
		// A pppd whose peer has ended LCP stays for some seconds, and only then xl2tpd closes the call.
		case !one.sure && (now.Sub(one.Time) <= late || now.Sub(one.Time) <= reasonTTL && e.Tunnel.carries(one.identity.session)):
			one.Reason = e.Reason
			one.setReason(e)
			told = append(told, one)
		case one.half && !e.Half && one.tunnel.sameAs(e.Tunnel): // the tunnel has followed its call
			one.half, one.operator = false, one.operator || e.Operator
			told = append(told, one)
		}
	}
	slices.SortFunc(told, func(x, y *end) int { return cmp.Compare(x.link.Index, y.link.Index) })
	keep := c.reasons[:0]
	for _, old := range c.reasons {
		if now.Sub(old.at) <= reasonTTL {
			keep = append(keep, old)
		}
	}
	if len(keep) == maxEndings {
		keep = keep[1:]
	}
	c.reasons = append(keep, closeReason{e, now})
	return told
}

// reasonFor is the reason that was heard for a place since then, if any. An earlier one may be
// the last tunnel's, unless a session tells that it is not.
func (c *ends) reasonFor(p identity, since, now time.Time) (Ending, bool) {
	for i := len(c.reasons) - 1; i >= 0; i-- {
		if e := c.reasons[i]; now.Sub(e.at) <= reasonTTL && e.Tunnel.matches(p) && (!e.at.Before(since) || e.Tunnel.carries(p.session)) {
			return e.Ending, true
		}
	}
	return Ending{}, false
}

// recordClose notes that a tunnel has ended and returns why, as far as that is known.
func (core *Core) recordClose(t *tunnel, reason string, was State, now time.Time) string {
	why, sure := core.ends.reasonFor(t.identity, t.up, now)
	failed := was == Silent
	switch {
	case sure:
		reason = why.Reason
		if quiet := now.Sub(t.evidence.Last()); why.Unexplained && was != Silent && !t.evidence.Last().IsZero() && quiet >= idle {
			reason = fmt.Sprintf("the peer's idle timer, it seems: nothing came for %.0f s", quiet.Seconds())
		}
	case now.Sub(core.ends.died[t.identity.instance]) <= late:
		reason, failed = xl2tpdEnded, true
	case t.secured && !core.topology.sas[t.identity.outer].there():
		reason, failed = "the IPsec SA was lost", true
	}
	if core.ends.last == nil {
		core.ends.last = make(map[origin]*end)
	}
	core.ends.prune()
	c := &end{
		Close:    status.Close{Time: now, After: status.Seconds(now.Sub(t.up)), Reason: reason},
		identity: t.identity, link: t.key, failed: failed,
	}
	if sure {
		c.setReason(why)
	}
	core.ends.last[t.origin()] = c
	core.recordEnd(t, c, was, now)
	return reason
}

// setReason notes what somebody has said of it.
func (c *end) setReason(e Ending) {
	c.sure, c.operator, c.half, c.unanswered, c.buried = true, e.Operator, e.Half, e.Unanswered, e.Buried
	c.tunnel = e.Tunnel
}

// prune makes room for one more by forgetting the oldest.
func (c *ends) prune() {
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
