package supervisor

import (
	"log/slog"
	"net/netip"
	"slices"
	"time"

	"xl2tpd-keepalive/internal/procfs"
)

// closingTime is how long xl2tpd holds on to a tunnel whose StopCCN nobody
// acknowledges; buriedFor the same if the Hello guard does, in the name of a dead
// peer.
const (
	closingTime      = 33 * time.Second
	ackedClosingTime = time.Second
)

// isFailure reports whether a tunnel has ended against the operator's will, as far as
// can be told. Where nobody has said why, he may have hung up.
func (c *end) isFailure() bool { return !c.operator && (c.sure || c.failed) }

// mayBeHangUp reports whether there was an end that may have been a hang-up by the operator; nil: none.
func (c *end) mayBeHangUp() bool { return c != nil && !c.isFailure() }

// peerIsDead notes that the peer of the tunnel that recovery has hung up is dead, and that
// xl2tpd does not wait for its answer.
func (l *lac) peerIsDead(now time.Time) {
	if l.lastEnd == nil {
		l.lastEnd = &end{sure: true, failed: true}
	}
	l.lastEnd.buried, l.silent = true, now
}

// recordEnd notes for recovery how a tunnel has ended.
func (core *Core) recordEnd(t *tunnel, c *end, was State, now time.Time) {
	if n, ok := t.identity.lac(); ok {
		l := core.lac(n)
		l.lastEnd, l.silent = c, time.Time{}
		if was == Silent || c.unanswered {
			l.silent = now
		}
	}
	core.attributeEnd(c)
}

// attributeEnd tells a hang-up by recovery from one by the operator. The Hello guard is told before
// recovery hangs up, so what the guard says of an operator holds. The operator may have hung up one
// of several LACs that can't be told apart: then all of them are left to xl2tpd.
func (core *Core) attributeEnd(c *end) {
	if n, ok := c.identity.lac(); ok {
		l := core.lac(n)
		if l.lastEnd == c && l.progress.isHangingUp() && !c.operator {
			c.failed, l.idle = true, true
		}
		if c.operator {
			core.clearPossibleEnds(l, c)
		}
		return
	}
	if c.isFailure() || !c.operator && slices.ContainsFunc(c.identity.names, core.isHangingUp) {
		return
	}
	for _, n := range c.identity.names {
		if n.kind == "lac" {
			l := core.lac(n)
			l.possibleEnd = c
			core.markLAC(l)
		}
	}
}

// isHangingUp reports whether recovery hangs up a LAC, or has done so last.
func (core *Core) isHangingUp(n name) bool {
	return n.kind == "lac" && core.lac(n).progress.isHangingUp()
}

// clearPossibleEnds notes that a tunnel that was hung up was one LAC's: it was none of the others'.
func (core *Core) clearPossibleEnds(l *lac, c *end) {
	for _, other := range core.lacsOf(c.tunnel.Owner, c.tunnel.Peer.Addr()) {
		if other != l && other.possibleEnd != nil && other.possibleEnd.tunnel == c.tunnel {
			other.possibleEnd = nil
			core.markLAC(other)
		}
	}
}

// mayBeHungUp reports whether a LAC was hung up on this host, or may have been.
func (l *lac) mayBeHungUp() bool {
	return l.lastEnd.mayBeHangUp() || l.possibleEnd.mayBeHangUp()
}

// operatorHungUp notes that the operator has hung up an attempt, or a tunnel of which no link
// has come. One that has a link is told of by its end.
func (core *Core) operatorHungUp(c ControlConnection) {
	if _, certain := core.tunnelIndex().links.Of(c); certain {
		return
	}
	all := core.lacsOf(c.Owner, c.Peer.Addr())
	if slices.ContainsFunc(all, func(l *lac) bool { return l.progress.busy == StepRedial }) {
		return // it was recovery: the guard is not told
	}
	lacs := slices.DeleteFunc(slices.Clone(all), func(l *lac) bool {
		return slices.ContainsFunc(core.candidates(l).exact, (*tunnel).linked)
	})
	if len(lacs) > 0 && len(all) > 1 {
		core.operatorMayHaveHungUp(lacs, c)
		return
	}
	if len(lacs) == 0 {
		return
	}
	l := lacs[0]
	if l.lastEnd == nil {
		l.lastEnd = &end{}
	}
	if l.lastEnd.operator {
		return // and that is known
	}
	l.lastEnd.sure, l.lastEnd.operator, l.lastEnd.half = true, true, false
	core.markLAC(l)
	core.logLAC(l, slog.LevelInfo, "tunnel left down", slog.String("reason", "hung up on this host"))
}

// operatorMayHaveHungUp notes that the operator has hung up an attempt of one of these LACs. If the tunnel
// was another's that has a link, the end of that tells.
func (core *Core) operatorMayHaveHungUp(lacs []*lac, c ControlConnection) {
	for _, l := range lacs {
		if l.mayBeHungUp() {
			continue
		}
		l.possibleEnd = &end{sure: true, operator: true, tunnel: c}
		core.markLAC(l)
		core.logLAC(l, slog.LevelInfo, "tunnel left down", slog.String("reason", "it, or another one to this LNS, was hung up on this host"))
	}
}

// takeDial notes that an xl2tpd dials. If the LAC was left down, somebody wants it again:
// xl2tpd does not redial what was hung up. That dial counts as recovery's.
//
// Of several LACs with one LNS nobody can tell which is dialled. What was hung up stays down, and
// xl2tpd may be dialling any other one that is down.
func (core *Core) takeDial(daemon procfs.ID, lns netip.Addr, now time.Time) {
	lacs := core.lacsOf(daemon, lns)
	for _, l := range lacs {
		l.asked = now
	}
	core.revive(lacs)
	if len(lacs) != 1 {
		for _, l := range lacs {
			if core.candidates(l).up() {
				continue
			}
			if !l.notDiallingSince.IsZero() {
				l.notDiallingSince = now
			}
			if !l.mayHave && !l.seen && !l.mayBeHungUp() && core.ifDialled(l) {
				l.mayHave = true
				core.markLAC(l)
			}
		}
		return
	}
	l := lacs[0]
	l.attempt, l.notDiallingSince, l.dialledLNS, l.seen = now, time.Time{}, lns, l.seen || !l.mayBeHungUp() && l.lastEnd == nil
	core.markLAC(l)
	if l.lastEnd != nil {
		l.lastEnd.half = false // it would not ask for another tunnel
	}
	if !l.mayBeHungUp() || l.progress.busy != StepNone {
		return
	}
	l.seen, l.idle, l.lastEnd, l.possibleEnd, l.silent = true, false, nil, nil, time.Time{}
	l.progress = dialling(now)
	core.logLAC(l, slog.LevelInfo, "tunnel dialled again on this host")
}

// closedAt is when xl2tpd has certainly done with the last tunnel, if the peer did not
// answer. What the Hello guard says of that may come late.
func (l *lac) closedAt() time.Time {
	switch {
	case l.silent.IsZero():
		return time.Time{}
	case l.lastEnd.buried:
		return l.silent.Add(ackedClosingTime)
	}
	return l.silent.Add(closingTime)
}

// daemonReplaced notes that an instance's xl2tpd is another one, or gone: it knows nothing of what
// the last one was told. What was hung up stays so. Where there is `autodial`, it dials as
// soon as it runs.
func (core *Core) daemonReplaced(instance string, runs bool, now time.Time) {
	for _, l := range core.lacs {
		if l.instance != instance {
			continue
		}
		l.seen = l.seen || l.seenBefore
		if l.lastEnd != nil && !l.lastEnd.sure && now.Sub(l.lastEnd.Time) <= late {
			l.lastEnd.failed, l.lastEnd.Reason = true, xl2tpdEnded // its links were seen to go first
		}
		if l.possibleEnd != nil && !l.possibleEnd.sure && now.Sub(l.possibleEnd.Time) <= late {
			l.possibleEnd = nil
		}
		hungUp := l.mayBeHungUp()
		l.mayHave = false
		if hungUp {
			l.seen = false
		} else {
			l.lastEnd, l.possibleEnd = nil, nil
		}
		l.silent, l.attempt, l.notDiallingSince, l.planned, l.progress.next = time.Time{}, time.Time{}, time.Time{}, time.Time{}, time.Time{}
		l.idle = l.seen
		if s := core.section(l); !hungUp && runs && s != nil && s.Autodial {
			l.idle, l.attempt = false, now
			busy := l.progress.busy
			l.progress = dialling(now)
			l.progress.busy, l.stale = busy, busy != StepNone
		}
	}
}
