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
	// reasonTTL is how long after its cause a link may go away: xl2tpd repeats a StopCCN for 31 s before it ends the
	// pppd.
	reasonTTL = 40 * time.Second
	// late is how long after a tunnel's end its reason may become known.
	late = 2 * time.Second

	// idle is the shortest idle timer that a peer may have.
	idle = 20 * time.Second

	maxReasons = 1000
	maxEnds    = 1000 // of callers from ever new addresses
)

// xl2tpdEnded is the reason when all tunnels of an xl2tpd have ended together.
const xl2tpdEnded = "xl2tpd ended"

// origin is what a tunnel has in common with the one before it: its section and peer. If the section is not known, it
// is the name of the link.
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

// ends records how tunnels ended.
type ends struct {
	reasons []closeReason
	last    map[origin]*end
	died    map[string]time.Time // when an instance's xl2tpd last ended
}

type closeReason struct {
	Ending
	at    time.Time
	spent time.Time // when the end of a link that it has explained right away was seen; zero: none was
}

// explains reports whether it can be why the link of a place ends. In userspace mode only the peer's address ties it to a
// link, so one that has explained the end of a link explains none that ends later.
func (r *closeReason) explains(p identity, since, now time.Time) bool {
	if now.Sub(r.at) > reasonTTL || !r.Tunnel.matches(p) {
		return false
	}
	certain := r.Tunnel.carries(p.session)
	return certain || !r.at.Before(since) && (r.spent.IsZero() || now.Sub(r.spent) <= late)
}

type end struct {
	status.Close
	identity   identity
	link       Key
	sure       bool              // an Ending has said why
	operator   bool              // and that the operator has hung up
	unanswered bool              // or that the peer did not answer
	stopAcked  bool              // and that xl2tpd does not wait for the peer's answer
	half       bool              // and that xl2tpd has closed only the call
	failed     bool              // something is known to have failed, whatever the Ending said
	tunnel     ControlConnection // of the Ending
}

// record takes the reason why a control tunnel is being closed. Its links may have gone already: record returns the
// ends of which it has learnt more, in the order of their links.
func (c *ends) record(e Ending, now time.Time) (told []*end) {
	for _, one := range c.last {
		switch {
		case !e.Tunnel.matches(one.identity):
		// A pppd whose peer has ended LCP stays for some seconds, and only then xl2tpd closes the call.
		case !one.sure && (now.Sub(one.Time) <= late || now.Sub(one.Time) <= reasonTTL && e.Tunnel.carries(one.identity.session)):
			one.Reason = e.Reason
			one.setReason(e)
			told = append(told, one)
		case one.half && !e.Half && one.tunnel.sameAs(e.Tunnel): // after the call, the tunnel is closed too
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
	if len(keep) == maxReasons {
		keep = keep[1:]
	}
	heard := closeReason{Ending: e, at: now}
	if len(told) > 0 {
		heard.spent = now
	}
	c.reasons = append(keep, heard)
	return told
}

// reasonFor returns the latest reason for an identity that came after since. An earlier one may belong to the tunnel
// before, unless the session proves that it does not.
func (c *ends) reasonFor(p identity, since, now time.Time) (Ending, bool) {
	for i := len(c.reasons) - 1; i >= 0; i-- {
		if e := &c.reasons[i]; e.explains(p, since, now) {
			if e.spent.IsZero() && now.Sub(e.at) <= late {
				e.spent = now
			}
			return e.Ending, true
		}
	}
	return Ending{}, false
}

// recordClose notes that a tunnel has ended, and returns the reason, as far as it is known.
func (core *Core) recordClose(t *tunnel, reason string, was State, now time.Time) string {
	why, sure := core.ends.reasonFor(t.identity, t.up, now)
	failed := was == Silent && core.shownDead(t, now)
	switch {
	case sure:
		reason = why.Reason
		if quiet := now.Sub(t.evidence.Last()); why.Unexplained && was != Silent && !t.evidence.Last().IsZero() && quiet >= idle {
			reason = fmt.Sprintf("the peer's idle timer, it seems: nothing came for %.0f s", quiet.Seconds())
		}
	case now.Sub(core.ends.died[t.identity.instance]) <= late:
		reason, failed = xl2tpdEnded, true
	case !t.saLostAt.IsZero() && !t.evidence.Last().After(t.saLostAt): // one that has lived on has another cause
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

// shownDead reports whether the silence of a link is a reason for its end. It is none if the link never showed a sign of
// life, or if its peer has just answered recovery in another way: then only the target is silent.
func (core *Core) shownDead(t *tunnel, now time.Time) bool {
	return !t.evidence.Last().IsZero() && !slices.ContainsFunc(t.identity.names, func(n name) bool {
		return n.kind == "lac" && now.Sub(core.lac(n).progress.aliveAt) < aliveTime
	})
}

// setReason notes the reason of an end.
func (c *end) setReason(e Ending) {
	c.sure, c.operator, c.half, c.unanswered, c.stopAcked = true, e.Operator, e.Half, e.Unanswered, e.StopAcked
	c.tunnel = e.Tunnel
}

// prune makes room for one more end: it forgets the oldest.
func (c *ends) prune() {
	if len(c.last) < maxEnds {
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
