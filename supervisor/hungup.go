package supervisor

import (
	"log/slog"
	"net/netip"
	"slices"
	"strings"
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

// mayBeByItself reports whether the tunnel may have ended without anybody on this host hanging up. The reason of
// a hang-up is never vague: xl2tpd names it.
func (c *end) mayBeByItself() bool { return !c.sure || c.ByPeer || c.Unanswered || c.Vague }

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
	c, proves := one.end, one.silent && one.lived
	if made := ls.saMadeAt(one.names); !one.saLost.IsZero() && made.After(one.saLost) { // so the tunnel may have lived again
		c.failed, proves = false, proves && now.Sub(made) > helpTime
	}
	switch answered := ls.answered(one.names, now); {
	case answered.IsZero():
		if !c.failed && proves {
			c.failed, c.inferred = true, true
		}
	case !one.saLost.IsZero() && answered.After(one.saLost): // so the tunnel has lived on in the clear
		c.failed = false
	}
	if n, ok := c.identity.lac(); ok {
		l := ls.ensureLAC(n)
		l.lastEnd, l.silent = c, time.Time{}
		if one.silent || c.Unanswered {
			l.silent = now
		}
	}
	ls.attributeEnd(c, now)
}

// saMadeAt returns when charon has last confirmed a new SA for one of these sections; zero: never. It may not have listed that SA.
func (ls *lacTable) saMadeAt(names []name) (at time.Time) {
	for _, l := range ls.lacsNamed(names) {
		if p := &l.progress; p.sa != saUnconfirmed && p.doneAt.After(at) {
			at = p.doneAt
		}
	}
	return at
}

// answered returns when the peer of a silent link of one of these sections has answered recovery in another way; zero: not
// lately. Then only the target is silent, and the silence is no reason for the link's end.
func (ls *lacTable) answered(names []name, now time.Time) (at time.Time) {
	for _, n := range names {
		if n.kind != "lac" {
			continue
		}
		if alive := ls.ensureLAC(n).progress.aliveAt; now.Sub(alive) < aliveTime && alive.After(at) {
			at = alive
		}
	}
	return at
}

// attributeEnd distinguishes a hang-up by recovery from one by the operator. Recovery announces its hang-ups to the
// Hello guard, so the guard names the operator only where it was the operator. If several LACs can't be told apart, the
// operator may have hung up any of them. Then recovery leaves all of them to xl2tpd.
func (ls *lacTable) attributeEnd(c *end, now time.Time) {
	if n, ok := c.identity.lac(); ok {
		l := ls.ensureLAC(n)
		cut := now.Sub(l.cutHangUpAt) < reasonTTL
		if l.lastEnd == c && (l.progress.isHangingUp(now) || cut || l.cameInHangUp(c, now)) && !c.Operator {
			c.assumed = (!c.failed || c.inferred) && l.progress.busy == StepHangUp
			c.failed, c.inferred = true, false
			ls.planRedial(l, c)
		}
		if c.Operator && !c.withXl2tpd { // else the hung-up one may have been another one
			ls.clearPossibleEnds(l, c)
		}
		return
	}
	lacs := ls.lacsNamed(c.identity.names)
	decides := func(l *lac) bool {
		busy := l.progress.busy
		return busy == StepHangUp || c.inferred && (busy == StepAsk || busy == StepRenew) // these ask the peer first
	}
	undecided := slices.ContainsFunc(lacs, decides)
	if c.inferred {
		c.failed = !undecided
	}
	hanging := slices.ContainsFunc(lacs, func(l *lac) bool { return l.progress.isHangingUp(now) || l.cameInHangUp(c, now) })
	switch {
	case c.isFailure():
		return
	case c.Operator || !undecided && !hanging:
		ls.mayHaveHungUp(lacs, c)
		return
	}
	if c.assumed = undecided; !undecided {
		return
	}
	for _, l := range lacs { // resolveEnd decides later
		if decides(l) {
			l.endMeanwhile = c
		} else {
			ls.mayHaveHungUp([]*lac{l}, c)
		}
	}
}

// cameInHangUp reports whether the link that has ended came up in the moment in which recovery made xl2tpd hang up.
func (l *lac) cameInHangUp(c *end, now time.Time) bool {
	up := c.Time.Add(-c.after)
	return now.Sub(l.hungUpAt) < reasonTTL && !up.Before(l.hangUpAt) && up.Sub(l.hangUpAt) <= timerDelay
}

// lacsNamed returns the LACs among these sections.
func (ls *lacTable) lacsNamed(names []name) (all []*lac) {
	for _, n := range names {
		if n.kind == "lac" {
			all = append(all, ls.ensureLAC(n))
		}
	}
	return all
}

// mayHaveHungUp notes that the operator may have hung up any of these LACs. An earlier end of which that may be so counts on:
// it may not be explained by what explains this one.
func (ls *lacTable) mayHaveHungUp(lacs []*lac, c *end) {
	for _, l := range lacs {
		if !l.possibleEnd.mayBeHangUp() {
			l.possibleEnd = c
		}
		ls.agenda.mark(l)
	}
}

// forgetPossibleEnd notes that the operator has hung up none of these LACs.
func (ls *lacTable) forgetPossibleEnd(lacs []*lac, c *end) {
	for _, l := range lacs {
		if l.possibleEnd == c {
			l.possibleEnd = nil
			ls.agenda.mark(l)
		}
	}
}

// resolveEnd decides about the end of a link that may have been the LAC's, and that came while recovery took a step for
// the LAC. If recovery has hung up none of the LACs that the link may have been of, the operator may have. If the link was
// silent, that is so only if its peer has answered.
func (ls *lacTable) resolveEnd(l *lac, hungUp, alive bool) {
	c := l.endMeanwhile
	l.endMeanwhile = nil
	if c == nil || !c.assumed || c.isFailure() {
		return
	}
	lacs := ls.lacsNamed(c.identity.names)
	c.inferred = c.inferred && !alive
	waits := slices.ContainsFunc(lacs, func(other *lac) bool { return other.endMeanwhile == c })
	switch {
	case hungUp || c.inferred && !waits:
		c.assumed = false
		ls.forgetPossibleEnd(lacs, c)
	case !waits:
		ls.mayHaveHungUp(lacs, c)
	}
}

// isHangingUp reports whether recovery hangs up a LAC, or has just done so.
func (ls *lacTable) isHangingUp(n name, now time.Time) bool {
	return n.kind == "lac" && ls.ensureLAC(n).progress.isHangingUp(now)
}

// clearPossibleEnds notes that the hung-up tunnel was this LAC's. So it was not the tunnel of any other LAC.
func (ls *lacTable) clearPossibleEnds(l *lac, c *end) {
	for _, other := range ls.byKey {
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

// operatorHungUp notes that the operator has hung up an attempt, or a tunnel that has no link yet. For a tunnel with a
// link, attributeEnd does that.
func (ls *lacTable) operatorHungUp(c helloguard.OwnedConnection) {
	all := ls.lacsOf(c.Owner, c.Peer.Addr())
	known := len(all) > 0
	if !known {
		all = ls.unresolvedLACs(c.Owner)
	}
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
	if len(lacs) > 0 && (len(all) > 1 || !known) {
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

// unresolvedLACs returns the LACs of an xl2tpd, or of any if it is not known (zero), whose LNS has no known address.
func (ls *lacTable) unresolvedLACs(daemon procfs.ID) (all []*lac) {
	for _, in := range ls.topology.instances {
		if daemon != (procfs.ID{}) && in.Process != daemon {
			continue
		}
		for _, s := range in.lacs {
			if len(s.LNSIPs) == 0 && len(s.LNS) > 0 {
				all = append(all, ls.ensureLAC(in.name(s)))
			}
		}
	}
	slices.SortFunc(all, func(x, y *lac) int { return strings.Compare(x.key, y.key) })
	return all
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
func (ls *lacTable) takeDial(ev Dials, now time.Time) {
	lns := ev.Peer
	ls.noteAsked(ev.Daemon, now)
	lacs := ls.lacsOf(ev.Daemon, lns)
	for _, l := range lacs {
		l.sccrqAt = now
	}
	if !ev.Again && !takeOwnDial(lacs, now) {
		ls.clearDownAt(lacs)
		ls.mayRedialAgain(lacs, now)
	}
	if len(lacs) != 1 {
		ls.dialsHungUp(lacs)
		for _, l := range lacs {
			ls.perhapsDialled(l, lacs, lns, now)
		}
		return
	}
	l := lacs[0]
	if !l.mayBeHungUp() && l.lastEnd == nil {
		l.had = hadOne
	}
	ls.agenda.mark(l)
	l.noteAttempt(lns, now)
	if l.mayBeHungUp() && !l.progress.commands() {
		ls.dialledAgain(l, now)
	}
}

// perhapsDialled notes that xl2tpd dials one of these LACs, perhaps this one.
func (ls *lacTable) perhapsDialled(l *lac, lacs []*lac, lns netip.Addr, now time.Time) {
	switch {
	case l.takeAutodial(now):
		ls.dialledAgain(l, now)
		return
	case ls.candidates(l).up():
		return
	case ls.alone(l, lacs):
		ls.noteDialOf(l, lns, now)
		if !l.mayBeHungUp() {
			l.had = hadOne // the links of all others are their own, so it is this one that somebody wants
		}
	}
	if !l.notDiallingSince.IsZero() {
		l.notDiallingSince = now
	}
	if l.had < mayHaveHad && !l.lastEnd.mayBeHangUp() && (l.mayBeHungUp() || ls.topology.ifDialled(l)) {
		l.had = mayHaveHad
		ls.agenda.mark(l)
	}
}

// noteAttempt notes that xl2tpd dials this LAC.
func (l *lac) noteAttempt(lns netip.Addr, now time.Time) {
	l.attempt, l.notDiallingSince, l.dialledLNS = now, time.Time{}, lns
	if l.lastEnd != nil {
		l.lastEnd.CallOnly = false // with a tunnel that stands, xl2tpd would not ask for another
	}
}

// noteDialOf notes that xl2tpd dials this one of several LACs. While it redials, its attempts are left alone anyway.
func (ls *lacTable) noteDialOf(l *lac, lns netip.Addr, now time.Time) {
	if s := ls.topology.section(l); s != nil && !s.Redial {
		l.noteAttempt(lns, now)
	} else if l.lastEnd != nil {
		l.lastEnd.CallOnly = false
	}
}

// alone reports whether each of these LACs but one has a link that is certainly its own.
func (ls *lacTable) alone(l *lac, lacs []*lac) bool {
	return !slices.ContainsFunc(lacs, func(other *lac) bool {
		return other != l && !ls.candidates(other).hasExact(ls.daemons.of(other).Pid)
	})
}

// callWithoutLinkClosed notes that xl2tpd has closed a call that never got addresses, and not its tunnel.
func (ls *lacTable) callWithoutLinkClosed(e Ending, now time.Time) {
	isCall := func(l *lac) bool {
		return slices.ContainsFunc(ls.candidates(l).exact, func(t *tunnel) bool { return !t.linked() && ls.daemons.of(l).Pid == t.link.Xl2tpdPid })
	}
	lacs := ls.lacsOf(e.Owner, e.Peer.Addr())
	if links, certain := ls.tunnels.tunnelIndex().links.Of(e.OwnedConnection); certain {
		lacs = ls.lacsNamed(links[0].identity.names)
	}
	calling := slices.DeleteFunc(slices.Clone(lacs), func(l *lac) bool { return !isCall(l) })
	if len(calling) != 1 || calling[0].mayBeHungUp() {
		return
	}
	l := calling[0]
	l.lastEnd = &end{Ending: e, Time: now, sure: true}
	ls.agenda.mark(l)
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
	l.attempt, l.notDiallingSince = now, time.Time{}
	if l.progress.isIdle() {
		busy := l.progress.busy
		l.progress = dialling(now)
		l.progress.busy = busy
	}
}

// takeAutodial reports whether a dial may be that of a LAC that was left down: xl2tpd has just started, and first dials the
// LACs with `autodial`. It is true at most once for each start.
func (l *lac) takeAutodial(now time.Time) bool {
	began := l.startedAt
	l.startedAt = time.Time{}
	return !began.IsZero() && now.Sub(began) <= reasonDelay && l.mayBeHungUp() && !l.progress.commands()
}

// dialsHungUp notes that xl2tpd dials one of these LACs, although each of them that is down was hung up, or may have been.
// So somebody wants one again, and nobody can tell which. Recovery dials none of them, but keeps their SA in order.
func (ls *lacTable) dialsHungUp(lacs []*lac) {
	down := slices.DeleteFunc(slices.Clone(lacs), func(l *lac) bool { return ls.candidates(l).up() })
	if slices.ContainsFunc(down, func(l *lac) bool { return !l.mayBeHungUp() || l.progress.commands() }) {
		return
	}
	for _, l := range down {
		l.lastEnd, l.possibleEnd, l.had = nil, endByOperator(helloguard.OwnedConnection{}), max(l.had, mayHaveHad)
		ls.agenda.mark(l)
	}
}

// mayHaveEndedAt returns when the tunnel ended that may have been hung up; zero: none may have, or nobody knows when.
func (l *lac) mayHaveEndedAt() (at time.Time) {
	for _, c := range []*end{l.lastEnd, l.possibleEnd} {
		if c.mayBeHangUp() && c.Time.After(at) {
			at = c.Time
		}
	}
	return at
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
		l.progress.forgetDial()
		l.silent, l.attempt, l.notDiallingSince, l.planned, l.progress.next = time.Time{}, time.Time{}, time.Time{}, time.Time{}, time.Time{}
		l.notRedialled, l.startedAt, l.downAt, l.xl2tpdAt, l.cutHangUpAt = l.had == hadOne, time.Time{}, time.Time{}, time.Time{}, time.Time{}
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
