package supervisor

import (
	"log/slog"
	"net/netip"
	"slices"
	"time"

	"xl2tpd-keepalive/internal/helloguard"
	"xl2tpd-keepalive/internal/procfs"
)

// closingTime is how long xl2tpd keeps a tunnel whose StopCCN nobody acknowledges. ackedClosingTime is the same if the
// Hello guard acknowledges the StopCCN for a dead peer.
const (
	closingTime      = 33 * time.Second
	ackedClosingTime = time.Second
)

// isFailure reports whether it is known that the operator has not hung up. If nobody has said why the tunnel ended, the
// operator may have.
func (c *end) isFailure() bool { return !c.Operator && (c.sure || c.failed) }

// mayBeHangUp reports whether the operator may have hung up. It is false if there was no end (nil).
func (c *end) mayBeHangUp() bool { return c != nil && !c.isFailure() }

// peerIsDead notes that recovery has hung up a tunnel of a dead peer, and that xl2tpd does not wait for the peer's
// answer.
func (l *lac) peerIsDead(now time.Time) {
	if l.lastEnd == nil {
		l.lastEnd = &end{sure: true, failed: true}
	}
	l.lastEnd.StopAcked, l.silent = true, now
}

// recordEnd notes in the LAC of a tunnel how the tunnel has ended.
func (ls *lacTable) recordEnd(one news, now time.Time) {
	c := one.end
	if one.silent && one.lived && !ls.answers(one.names, now) {
		c.failed = true
	}
	if n, ok := c.identity.lac(); ok {
		l := ls.ensureLAC(n)
		l.lastEnd, l.silent = c, time.Time{}
		if one.silent || c.Unanswered {
			l.silent = now
		}
	}
	ls.attributeEnd(c)
}

// answers reports whether the peer of a silent link of one of these sections has just answered recovery in another way.
// Then only the target is silent, and the silence is no reason for the link's end.
func (ls *lacTable) answers(names []name, now time.Time) bool {
	return slices.ContainsFunc(names, func(n name) bool {
		return n.kind == "lac" && now.Sub(ls.ensureLAC(n).progress.aliveAt) < aliveTime
	})
}

// attributeEnd distinguishes a hang-up by recovery from one by the operator. Recovery announces its hang-ups to the
// Hello guard, so the guard names the operator only where it was the operator. If several LACs can't be told apart, the
// operator may have hung up any of them. Then recovery leaves all of them to xl2tpd.
func (ls *lacTable) attributeEnd(c *end) {
	if n, ok := c.identity.lac(); ok {
		l := ls.ensureLAC(n)
		if l.lastEnd == c && l.progress.isHangingUp() && !c.Operator {
			c.assumed = !c.failed && l.progress.busy == StepHangUp
			c.failed, l.notRedialled = true, true
		}
		if c.Operator {
			ls.clearPossibleEnds(l, c)
		}
		return
	}
	if c.isFailure() || !c.Operator && slices.ContainsFunc(c.identity.names, ls.isHangingUp) {
		return
	}
	for _, n := range c.identity.names {
		if n.kind == "lac" {
			l := ls.ensureLAC(n)
			l.possibleEnd = c
			ls.agenda.mark(l)
		}
	}
}

// isHangingUp reports whether recovery hangs up a LAC, or did so in its latest step.
func (ls *lacTable) isHangingUp(n name) bool {
	return n.kind == "lac" && ls.ensureLAC(n).progress.isHangingUp()
}

// clearPossibleEnds notes that the hung-up tunnel was this LAC's. So it was not the tunnel of any other LAC.
func (ls *lacTable) clearPossibleEnds(l *lac, c *end) {
	for _, other := range ls.lacsOf(c.Owner, c.Peer.Addr()) {
		if other != l && other.possibleEnd != nil && other.possibleEnd.OwnedConnection == c.OwnedConnection {
			other.possibleEnd = nil
			ls.agenda.mark(other)
		}
	}
}

// mayBeHungUp reports whether a LAC was hung up on this host, or may have been.
func (l *lac) mayBeHungUp() bool {
	return l.lastEnd.mayBeHangUp() || l.possibleEnd.mayBeHangUp()
}

// hungUp reports whether the operator is known to have hung up a LAC's latest tunnel.
func (l *lac) hungUp() bool { return l.lastEnd != nil && l.lastEnd.Operator }

// operatorHungUp notes that the operator has hung up an attempt, or a tunnel that has no link yet. For a tunnel with a
// link, attributeEnd does that.
func (ls *lacTable) operatorHungUp(c helloguard.OwnedConnection) {
	all := ls.lacsOf(c.Owner, c.Peer.Addr())
	if links, certain := ls.tunnels.tunnelIndex().links.Of(c); certain {
		n, ok := links[0].identity.lac()
		switch {
		case slices.ContainsFunc(links, (*tunnel).linked):
			return
		case ok: // of a call without addresses
			all = []*lac{ls.ensureLAC(n)}
		}
	}
	if slices.ContainsFunc(all, func(l *lac) bool { return l.progress.busy == StepRedial }) {
		return // it was recovery's StepRedial, which is not announced to the guard
	}
	lacs := slices.DeleteFunc(slices.Clone(all), func(l *lac) bool {
		return slices.ContainsFunc(ls.candidates(l).exact, (*tunnel).linked)
	})
	if len(lacs) > 0 && len(all) > 1 {
		ls.operatorMayHaveHungUp(lacs, c)
		return
	}
	if len(lacs) == 0 {
		return
	}
	l := lacs[0]
	if l.lastEnd == nil {
		l.lastEnd = &end{}
	}
	if l.lastEnd.Operator {
		return // that is known already
	}
	l.lastEnd.sure, l.lastEnd.Operator, l.lastEnd.CallOnly = true, true, false
	ls.agenda.mark(l)
	ls.logLAC(l, slog.LevelInfo, "tunnel left down", slog.String("reason", "hung up on this host"))
}

// operatorMayHaveHungUp notes that the operator has hung up an attempt of one of these LACs. If it was the tunnel of
// another LAC with a link, clearPossibleEnds corrects that once the link has gone.
func (ls *lacTable) operatorMayHaveHungUp(lacs []*lac, c helloguard.OwnedConnection) {
	for _, l := range lacs {
		if l.mayBeHungUp() {
			continue
		}
		l.possibleEnd = endByOperator(c)
		ls.agenda.mark(l)
		ls.logLAC(l, slog.LevelInfo, "tunnel left down", slog.String("reason", "it, or another one to this LNS, was hung up on this host"))
	}
}

// takeDial notes that an xl2tpd dials. xl2tpd does not redial a LAC that was hung up. So if it dials such a LAC,
// somebody wants it again, and that dial counts as recovery's.
//
// If several LACs have this LNS, nobody can see which one xl2tpd dials. A LAC that was hung up stays down. xl2tpd may
// be dialling any other LAC that is down.
func (ls *lacTable) takeDial(daemon procfs.ID, lns netip.Addr, now time.Time) {
	lacs := ls.lacsOf(daemon, lns)
	for _, l := range lacs {
		l.sccrqAt = now
	}
	ls.clearDownAt(lacs, now)
	ls.mayRedialAgain(lacs)
	if len(lacs) != 1 {
		ls.dialsHungUp(lacs)
		for _, l := range lacs {
			if l.takeAutodial(now) {
				ls.dialledAgain(l, now)
				continue
			}
			if ls.candidates(l).up() {
				continue
			}
			if !l.notDiallingSince.IsZero() {
				l.notDiallingSince = now
			}
			if l.had < mayHaveHad && !l.lastEnd.mayBeHangUp() && (l.mayBeHungUp() || ls.topology.ifDialled(l)) {
				l.had = mayHaveHad
				ls.agenda.mark(l)
			}
		}
		return
	}
	l := lacs[0]
	l.attempt, l.notDiallingSince, l.dialledLNS = now, time.Time{}, lns
	if !l.mayBeHungUp() && l.lastEnd == nil {
		l.had = hadOne
	}
	ls.agenda.mark(l)
	if l.lastEnd != nil {
		l.lastEnd.CallOnly = false // with a tunnel that stands, xl2tpd would not ask for another
	}
	if l.mayBeHungUp() && l.progress.busy == StepNone {
		ls.dialledAgain(l, now)
	}
}

// dialledAgain notes that somebody wants a LAC again that was left down.
func (ls *lacTable) dialledAgain(l *lac, now time.Time) {
	l.startAgain(now)
	ls.agenda.mark(l)
	ls.logLAC(l, slog.LevelInfo, "tunnel dialled again on this host")
}

// startAgain notes that a LAC is wanted, and that xl2tpd dials it. If recovery is taking a step, that step still counts.
func (l *lac) startAgain(now time.Time) {
	l.had, l.notRedialled, l.lastEnd, l.possibleEnd, l.silent = hadOne, false, nil, nil, time.Time{}
	if l.progress.busy == StepNone {
		l.attempt, l.notDiallingSince, l.progress = now, time.Time{}, dialling(now)
	}
}

// takeAutodial reports whether a dial may be that of a LAC that was left down: xl2tpd has just started, and first dials the
// LACs with `autodial`. It is true at most once for each start.
func (l *lac) takeAutodial(now time.Time) bool {
	began := l.startedAt
	l.startedAt = time.Time{}
	return !began.IsZero() && now.Sub(began) <= reasonDelay && l.mayBeHungUp() && l.progress.busy == StepNone
}

// dialsHungUp notes that xl2tpd dials one of these LACs, although each of them that is down was hung up. So somebody wants
// one again, and nobody can tell which. Recovery dials none of them, but keeps their SA in order.
func (ls *lacTable) dialsHungUp(lacs []*lac) {
	down := slices.DeleteFunc(slices.Clone(lacs), func(l *lac) bool { return ls.candidates(l).up() })
	if slices.ContainsFunc(down, func(l *lac) bool { return !l.lastEnd.mayBeHangUp() || l.progress.busy != StepNone }) {
		return
	}
	for _, l := range down {
		l.lastEnd, l.possibleEnd, l.had = nil, endByOperator(helloguard.OwnedConnection{}), max(l.had, mayHaveHad)
		ls.agenda.mark(l)
	}
}

// closedAt returns when xl2tpd has certainly closed the last tunnel, if the peer did not answer; zero: the peer did. It
// can change: the Hello guard may report late that it has acknowledged the StopCCN.
func (l *lac) closedAt() time.Time {
	switch {
	case l.silent.IsZero():
		return time.Time{}
	case l.lastEnd != nil && l.lastEnd.StopAcked:
		return l.silent.Add(ackedClosingTime)
	}
	return l.silent.Add(closingTime)
}

// forgetTunnel forgets how a LAC's tunnel ended, unless it may have been hung up: its xl2tpd is another process, or has
// ended.
func (l *lac) forgetTunnel(now time.Time) (hungUp bool) {
	if l.had == hadBefore {
		l.had = hadOne
	}
	if l.lastEnd != nil && !l.lastEnd.sure && now.Sub(l.lastEnd.Time) <= reasonDelay {
		l.lastEnd.failed, l.lastEnd.Reason = true, xl2tpdEnded // the links were seen to go before their xl2tpd
	}
	if l.possibleEnd != nil && !l.possibleEnd.sure && now.Sub(l.possibleEnd.Time) <= reasonDelay {
		l.possibleEnd = nil
	}
	if hungUp = l.mayBeHungUp(); hungUp || l.had != hadOne {
		l.had = hadNone
	}
	if !hungUp {
		l.lastEnd, l.possibleEnd = nil, nil
	}
	return hungUp
}

// daemonReplaced notes that an instance's xl2tpd is another process, or has ended. A new xl2tpd does not know what the
// old one was told. A LAC that was hung up stays down. A LAC with `autodial` is dialled as soon as xl2tpd runs.
func (ls *lacTable) daemonReplaced(instance string, runs bool, now time.Time) {
	for _, l := range ls.byKey {
		if l.instance != instance {
			continue
		}
		hungUp := l.forgetTunnel(now)
		l.silent, l.attempt, l.notDiallingSince, l.planned, l.progress.next = time.Time{}, time.Time{}, time.Time{}, time.Time{}, time.Time{}
		l.notRedialled, l.startedAt, l.downAt, l.xl2tpdAt = l.had == hadOne, time.Time{}, time.Time{}, time.Time{}
		if runs {
			l.xl2tpdAt = now
		}
		s := ls.topology.section(l)
		autodials := runs && s != nil && s.Autodial
		if autodials && ls.health.reported[WatcherXl2tpd] {
			l.startedAt = now
		}
		if autodials && !hungUp {
			l.notRedialled, l.attempt = false, now
			busy := l.progress.busy
			l.progress = dialling(now)
			l.progress.busy, l.stale = busy, busy != StepNone
		}
	}
}
