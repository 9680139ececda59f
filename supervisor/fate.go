package supervisor

import (
	"log/slog"
	"net/netip"
	"slices"
	"time"

	"xl2tpd-keepalive/internal/procfs"
)

// dyingFor is how long xl2tpd holds on to a tunnel whose StopCCN nobody
// acknowledges; buriedFor the same if the Hello guard does, in the name of a dead
// peer.
const (
	dyingFor  = 33 * time.Second
	buriedFor = time.Second
)

// mishap reports whether a tunnel has ended against the operator's will, as far as
// can be told. Where nobody has said why, he may have hung up.
func (c *closing) mishap() bool { return !c.operator && (c.sure || c.failed) }

// hangUp reports whether there was an end that may have been a hang-up by the operator; nil: none.
func (c *closing) hangUp() bool { return c != nil && !c.mishap() }

// unheard notes that the peer of the tunnel that recovery has hung up is dead, and that
// xl2tpd does not wait for its answer.
func (l *lac) unheard(now time.Time) {
	if l.last == nil {
		l.last = &closing{sure: true, failed: true}
	}
	l.last.buried, l.silent = true, now
}

// ended notes for recovery how a tunnel has ended.
func (b *Brain) ended(t *tunnel, c *closing, was State, now time.Time) {
	if n, ok := t.place.lac(); ok {
		l := b.lac(n)
		l.last, l.silent = c, time.Time{}
		if was == Silent || c.unanswered {
			l.silent = now
		}
	}
	b.ascribe(c)
}

// ascribe tells a hang-up by recovery from one by the operator. The Hello guard is told before
// recovery hangs up, so what the guard says of an operator holds. The operator may have hung up one
// of several LACs that can't be told apart: then all of them are left to xl2tpd.
func (b *Brain) ascribe(c *closing) {
	if n, ok := c.place.lac(); ok {
		l := b.lac(n)
		if l.last == c && l.ladder.hangsUp() && !c.operator {
			c.failed, l.idle = true, true
		}
		if c.operator {
			b.wasAnothers(l, c)
		}
		return
	}
	if c.mishap() || !c.operator && slices.ContainsFunc(c.place.names, b.hangsUp) {
		return
	}
	for _, n := range c.place.names {
		if n.kind == "lac" {
			l := b.lac(n)
			l.perhaps = c
			b.touchLAC(l)
		}
	}
}

// hangsUp reports whether recovery hangs up a LAC, or has done so last.
func (b *Brain) hangsUp(n name) bool { return n.kind == "lac" && b.lac(n).ladder.hangsUp() }

// wasAnothers notes that a tunnel that was hung up was one LAC's: it was none of the others'.
func (b *Brain) wasAnothers(l *lac, c *closing) {
	for _, other := range b.lacsOf(c.tunnel.Owner, c.tunnel.Peer.Addr()) {
		if other != l && other.perhaps != nil && other.perhaps.tunnel == c.tunnel {
			other.perhaps = nil
			b.touchLAC(other)
		}
	}
}

// leftDown reports whether a LAC was hung up on this host, or may have been.
func (l *lac) leftDown() bool {
	return l.last.hangUp() || l.perhaps.hangUp()
}

// hungUp notes that the operator has hung up an attempt, or a tunnel of which no link
// has come. One that has a link is told of by its end.
func (b *Brain) hungUp(c Control) {
	if _, certain := b.places().links.Of(c); certain {
		return
	}
	all := b.lacsOf(c.Owner, c.Peer.Addr())
	if slices.ContainsFunc(all, func(l *lac) bool { return l.ladder.busy == StepRedial }) {
		return // it was recovery: the guard is not told
	}
	lacs := slices.DeleteFunc(slices.Clone(all), func(l *lac) bool {
		return slices.ContainsFunc(b.claims(l).sole, (*tunnel).linked)
	})
	if len(lacs) > 0 && len(all) > 1 {
		b.perhapsHungUp(lacs, c)
		return
	}
	if len(lacs) == 0 {
		return
	}
	l := lacs[0]
	if l.last == nil {
		l.last = &closing{}
	}
	if l.last.operator {
		return // and that is known
	}
	l.last.sure, l.last.operator, l.last.half = true, true, false
	b.touchLAC(l)
	b.noteLAC(l, slog.LevelInfo, "tunnel left down", slog.String("reason", "hung up on this host"))
}

// perhapsHungUp notes that the operator has hung up an attempt of one of these LACs. If the tunnel
// was another's that has a link, the end of that tells.
func (b *Brain) perhapsHungUp(lacs []*lac, c Control) {
	for _, l := range lacs {
		if l.leftDown() {
			continue
		}
		l.perhaps = &closing{sure: true, operator: true, tunnel: c}
		b.touchLAC(l)
		b.noteLAC(l, slog.LevelInfo, "tunnel left down", slog.String("reason", "it, or another one to this LNS, was hung up on this host"))
	}
}

// dials notes that an xl2tpd dials. If the LAC was left down, somebody wants it again:
// xl2tpd does not redial what was hung up. That dial counts as recovery's.
//
// Of several LACs with one LNS nobody can tell which is dialled. What was hung up stays down, and
// xl2tpd may be dialling any other one that is down.
func (b *Brain) dials(daemon procfs.ID, lns netip.Addr, now time.Time) {
	lacs := b.lacsOf(daemon, lns)
	for _, l := range lacs {
		l.asked = now
	}
	b.revive(lacs)
	if len(lacs) != 1 {
		for _, l := range lacs {
			if b.claims(l).up() {
				continue
			}
			if !l.rests.IsZero() {
				l.rests = now
			}
			if !l.mayHave && !l.seen && !l.leftDown() && b.ifDialled(l) {
				l.mayHave = true
				b.touchLAC(l)
			}
		}
		return
	}
	l := lacs[0]
	l.attempt, l.rests, l.called, l.seen = now, time.Time{}, lns, l.seen || !l.leftDown() && l.last == nil
	b.touchLAC(l)
	if l.last != nil {
		l.last.half = false // it would not ask for another tunnel
	}
	if !l.leftDown() || l.ladder.busy != StepNone {
		return
	}
	l.seen, l.idle, l.last, l.perhaps, l.silent = true, false, nil, nil, time.Time{}
	l.ladder = dialling(now)
	b.noteLAC(l, slog.LevelInfo, "tunnel dialled again on this host")
}

// free is when xl2tpd has certainly done with the last tunnel, if the peer did not
// answer. What the Hello guard says of that may come late.
func (l *lac) free() time.Time {
	switch {
	case l.silent.IsZero():
		return time.Time{}
	case l.last.buried:
		return l.silent.Add(buriedFor)
	}
	return l.silent.Add(dyingFor)
}

// newDaemon notes that an instance's xl2tpd is another one, or gone: it knows nothing of what
// the last one was told. What was hung up stays so. Where there is `autodial`, it dials as
// soon as it runs.
func (b *Brain) newDaemon(instance string, runs bool, now time.Time) {
	for _, l := range b.lacs {
		if l.instance != instance {
			continue
		}
		l.seen = l.seen || l.was
		if l.last != nil && !l.last.sure && now.Sub(l.last.Time) <= late {
			l.last.failed, l.last.Reason = true, xl2tpdEnded // its links were seen to go first
		}
		if l.perhaps != nil && !l.perhaps.sure && now.Sub(l.perhaps.Time) <= late {
			l.perhaps = nil
		}
		hungUp := l.leftDown()
		l.mayHave = false
		if hungUp {
			l.seen = false
		} else {
			l.last, l.perhaps = nil, nil
		}
		l.silent, l.attempt, l.rests, l.planned, l.ladder.next = time.Time{}, time.Time{}, time.Time{}, time.Time{}, time.Time{}
		l.idle = l.seen
		if s := b.section(l); !hungUp && runs && s != nil && s.Autodial {
			l.idle, l.attempt = false, now
			busy := l.ladder.busy
			l.ladder = dialling(now)
			l.ladder.busy, l.stale = busy, busy != StepNone
		}
	}
}
