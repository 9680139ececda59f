package supervisor

import (
	"log/slog"
	"slices"
	"time"

	"xl2tpd-keepalive/internal/helloguard"
	"xl2tpd-keepalive/supervisor/recovery/policy"
)

// closingTime is how long xl2tpd keeps a tunnel whose StopCCN nobody acknowledges. ackedClosingTime is the same if the
// Hello guard acknowledges the StopCCN for a dead peer.
const (
	closingTime      = 33 * time.Second
	ackedClosingTime = time.Second
)

// hangUps decides who has hung up: the operator, recovery or nobody.
type hangUps struct{ *lacSet }

// isFailure reports whether it is known that the operator has not hung up. If nobody has said why the tunnel ended, the
// operator may have.
func (e *end) isFailure() bool { return !e.Operator && (e.sure || e.failed) }

// mayBeHangUp reports whether the operator may have hung up. It is false if there was no end (nil).
func (e *end) mayBeHangUp() bool { return e != nil && !e.isFailure() }

// mayBeByItself reports whether the tunnel may have ended without anybody on this host hanging up.
func (e *end) mayBeByItself() bool { return !e.sure || e.Ending.mayBeByItself() }

// mayBeByItself is the same of the reason alone. That of a hang-up is never vague: xl2tpd names it.
func (e *Ending) mayBeByItself() bool { return e.MayBeOperator || e.ByPeer || e.Unanswered || e.Vague }

// peerIsDead notes that recovery has hung up a tunnel of a dead peer, and that xl2tpd does not wait for the peer's
// answer.
func (l *lac) peerIsDead(now time.Time) {
	if l.lastEnd == nil {
		l.lastEnd = &end{sure: true, failed: true}
	}
	l.lastEnd.StopAcked, l.silentAt = true, now
}

// recordEnd notes in the LAC of a tunnel how the tunnel has ended. The silence before the end proves a failure. It does not
// if the far end has never shown a sign of life, or has answered recovery in another way. The silence of another target
// proves nothing until recovery has asked the peer.
func (h *hangUps) recordEnd(one news, now time.Time) {
	c, silent := one.end, !one.silentSince.IsZero()
	asked := slices.ContainsFunc(h.lacsNamed(one.names), func(l *lac) bool { return h.peerWasDead(l, now) })
	proves := silent && one.lived && (asked || !one.otherTarget)
	if made := h.saMadeAt(one.names); !one.saLost.IsZero() && made.After(one.saLost) { // so the tunnel may have lived again
		c.failed, proves = false, proves && now.Sub(made) > policy.HelpTime
	}
	switch answered := h.answered(one, now); {
	case answered.IsZero():
		if !c.failed && proves {
			c.failed, c.inferred = true, true
		}
	case !one.saLost.IsZero() && answered.After(one.saLost): // so the tunnel has lived on in the clear
		c.failed = false
	}
	if n, ok := c.identity.lac(); ok {
		l := h.ensureLAC(n)
		l.lastEnd, l.silentAt = c, time.Time{}
		if silent || c.Unanswered {
			l.silentAt = now
		}
	}
	h.attributeEnd(c, now)
}

// peerWasDead reports whether the peer of a LAC's silent link has left a question unanswered. While the Hello guard works, that
// counts for longer: the guard would have seen it if the operator had hung up since.
func (h *hangUps) peerWasDead(l *lac, now time.Time) bool {
	guardAt := h.health.guardAt
	return l.progress.PeerIsDead(now) || !guardAt.IsZero() && l.progress.PeerSilentSince(guardAt)
}

// saMadeAt returns when charon has last confirmed a new SA for one of these sections; zero: never. charon may not have
// listed that SA yet.
func (h *hangUps) saMadeAt(names []name) (at time.Time) {
	for _, l := range h.lacsNamed(names) {
		if made := l.progress.SAMadeAt(); made.After(at) {
			at = made
		}
	}
	return at
}

// answered returns when the peer of a silent link that has ended has answered recovery in another way; zero: not lately, and
// not in this silence without a later question that it has not answered. Then only the target is silent, and the silence is no
// reason for the link's end.
func (h *hangUps) answered(one news, now time.Time) (at time.Time) {
	for _, l := range h.lacsNamed(one.names) {
		if alive := l.progress.PeerAliveAt(one.silentSince, now); alive.After(at) {
			at = alive
		}
	}
	return at
}

// attributeEnd distinguishes a hang-up by recovery from one by the operator. Recovery announces its hang-ups to the
// Hello guard, so the guard names the operator only where it was the operator. If several LACs can't be told apart, the
// operator may have hung up any of them. Then recovery leaves all of them to xl2tpd.
func (h *hangUps) attributeEnd(c *end, now time.Time) {
	switch n, ok := c.identity.lac(); {
	case ok:
		h.attributeTo(h.ensureLAC(n), c, now)
	case !c.identity.answers():
		h.attributeToAny(h.lacsNamed(c.identity.names), c, now)
	case c.Operator && !c.withXl2tpd:
		h.clearPossibleEnds(nil, c)
	}
}

// attributeTo decides about an end that was certainly this LAC's.
func (h *hangUps) attributeTo(l *lac, c *end, now time.Time) {
	cut := now.Sub(l.cutHangUpAt) < policy.ReasonTTL
	if l.lastEnd == c && (l.progress.IsHangingUp(now) || cut || l.cameInHangUp(c, now)) && !c.Operator {
		c.assumed = (!c.failed || c.inferred) && l.progress.Takes(policy.StepHangUp)
		c.failed, c.inferred = true, false
		h.planRedial(l, c)
	}
	if c.Operator && !c.withXl2tpd { // else the hung-up one may have been another one
		h.clearPossibleEnds(l, c)
	}
}

// attributeToAny decides about an end that may have been any of these LACs'.
func (h *hangUps) attributeToAny(lacs []*lac, c *end, now time.Time) {
	undecided := slices.ContainsFunc(lacs, c.awaitsStep)
	if c.inferred {
		c.failed = !undecided
	}
	hanging := slices.ContainsFunc(lacs, func(l *lac) bool { return l.progress.IsHangingUp(now) || l.cameInHangUp(c, now) })
	switch {
	case c.isFailure():
		return
	case c.Operator || !undecided && !hanging:
		h.mayHaveHungUp(lacs, c)
		return
	}
	if c.assumed = undecided; !undecided {
		return
	}
	for _, l := range lacs { // resolveEnd decides later
		if c.awaitsStep(l) {
			l.endsMeanwhile.add(c)
		} else {
			h.mayHaveHungUp([]*lac{l}, c)
		}
	}
}

// awaitsStep reports whether the result of the step that recovery takes for a LAC shows whether the operator has hung up.
// StepAsk does, and StepRenew: it asks the peer first.
func (e *end) awaitsStep(l *lac) bool {
	return l.progress.Takes(policy.StepHangUp) || e.inferred && l.progress.Takes(policy.StepAsk, policy.StepRenew)
}

// cameInHangUp reports whether the link that has ended came up in the moment in which recovery made xl2tpd hang up.
func (l *lac) cameInHangUp(c *end, now time.Time) bool {
	up := c.Time.Add(-c.after)
	return now.Sub(l.hangUpDoneAt) < policy.ReasonTTL && !up.Before(l.hangUpAt) && up.Sub(l.hangUpAt) <= policy.TimerDelay
}

// mayHaveHungUp notes that the operator may have hung up any of these LACs.
func (h *hangUps) mayHaveHungUp(lacs []*lac, c *end) {
	for _, l := range lacs {
		l.possibleEnds.add(c)
		h.agenda.mark(l)
	}
}

// forgetPossibleEnd notes that the operator has hung up none of these LACs.
func (h *hangUps) forgetPossibleEnd(lacs []*lac, c *end) {
	for _, l := range lacs {
		if l.possibleEnds.remove(func(one *end) bool { return one == c }) {
			h.agenda.mark(l)
		}
	}
}

// resolveEnds decides about the ends of links that may have been the LAC's, and that came while recovery took a step for
// the LAC.
func (h *hangUps) resolveEnds(l *lac, hungUp, alive bool) {
	all := l.endsMeanwhile
	all.remove(func(c *end) bool { return !c.assumed || c.isFailure() })
	l.endsMeanwhile = nil
	for _, c := range all {
		h.resolveEnd(c, hungUp && len(all) == 1, alive) // one hang-up explains one end, and nobody knows which
	}
}

// resolveEnd decides about one of them. If recovery has hung up none of the LACs that the link may have been of, the operator
// may have. If the link was silent, that is so only if its peer has answered.
func (h *hangUps) resolveEnd(c *end, hungUp, alive bool) {
	lacs := h.lacsNamed(c.identity.names)
	c.inferred = c.inferred && !alive
	waits := slices.ContainsFunc(lacs, func(other *lac) bool { return slices.Contains(other.endsMeanwhile, c) })
	switch {
	case hungUp || c.inferred && !waits:
		c.assumed = false
		h.forgetPossibleEnd(lacs, c)
	case !waits:
		h.mayHaveHungUp(lacs, c)
	}
}

// clearPossibleEnds notes that the hung-up tunnel was this LAC's, or a caller's (nil). So it was not the tunnel of any
// other LAC.
func (h *hangUps) clearPossibleEnds(l *lac, c *end) {
	for _, other := range h.byKey {
		if other != l && other.possibleEnds.remove(func(one *end) bool { return one.OwnedConnection == c.OwnedConnection }) {
			h.agenda.mark(other)
		}
	}
}

// mayBeHungUp reports whether a LAC was hung up on this host, or may have been.
func (l *lac) mayBeHungUp() bool {
	return l.lastEnd.mayBeHangUp() || slices.ContainsFunc(l.possibleEnds, (*end).mayBeHangUp)
}

// operatorHungUp notes that the operator has hung up an attempt, or a tunnel that has no link yet. For a tunnel with a
// link, attributeEnd does that.
func (h *hangUps) operatorHungUp(c helloguard.OwnedConnection) {
	all := h.lacsOf(c.Owner, c.Peer.Addr())
	known := len(all) > 0
	if !known {
		all = h.unresolvedLACs(c.Owner)
	}
	if links, certain := h.tunnels.tunnelIndex().links.Of(c); certain {
		n, ok := links[0].identity.lac()
		switch {
		case slices.ContainsFunc(links, (*tunnel).linked):
			return
		case ok: // of a call without addresses
			all = []*lac{h.ensureLAC(n)}
		}
	}
	lacs := slices.DeleteFunc(slices.Clone(all), func(l *lac) bool {
		return slices.ContainsFunc(h.candidates(l).exact, (*tunnel).linked)
	})
	if len(lacs) > 0 && (len(all) > 1 || !known || h.mayBeCaller(c)) {
		h.operatorMayHaveHungUp(lacs, c)
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
	h.agenda.mark(l)
	h.logLAC(l, slog.LevelInfo, "tunnel left down", slog.String("reason", "hung up on this host"))
}

// mayBeCaller reports whether a control connection may be that of a caller whose link is up.
func (h *hangUps) mayBeCaller(c helloguard.OwnedConnection) bool {
	index := h.tunnels.tunnelIndex()
	links, _ := index.links.Of(c)
	return slices.ContainsFunc(slices.Concat(links, index.far), func(t *tunnel) bool {
		return t.linked() && t.identity.answers() && canBelongTo(c.Owner, t.identity.daemon)
	})
}

// operatorMayHaveHungUp notes that the operator has hung up an attempt of one of these LACs. If it was the tunnel of
// another LAC, or of a caller, with a link, clearPossibleEnds corrects that once the link has gone.
func (h *hangUps) operatorMayHaveHungUp(lacs []*lac, c helloguard.OwnedConnection) {
	for _, l := range lacs {
		known := l.mayBeHungUp()
		if l.possibleEnds.add(endByOperator(c)); known {
			continue
		}
		h.agenda.mark(l)
		h.logLAC(l, slog.LevelInfo, "tunnel left down", slog.String("reason", "it, or another one to this LNS, was hung up on this host"))
	}
}

// callWithoutLinkClosed notes that xl2tpd has closed a call that never got addresses, and not its tunnel.
func (h *hangUps) callWithoutLinkClosed(e Ending, now time.Time) {
	isCall := func(l *lac) bool {
		return slices.ContainsFunc(h.candidates(l).exact, func(t *tunnel) bool { return !t.linked() && h.daemons.of(l).Pid == t.link.Xl2tpdPid })
	}
	lacs := h.lacsOf(e.Owner, e.Peer.Addr())
	if links, certain := h.tunnels.tunnelIndex().links.Of(e.OwnedConnection); certain {
		lacs = h.lacsNamed(links[0].identity.names)
	}
	calling := slices.DeleteFunc(slices.Clone(lacs), func(l *lac) bool { return !isCall(l) })
	if len(calling) != 1 || calling[0].mayBeHungUp() {
		return
	}
	l := calling[0]
	l.lastEnd = &end{Ending: e, Time: now, sure: true}
	h.agenda.mark(l)
}

// mayHaveEndedAt returns when the tunnel ended that may have been hung up; zero: none may have, or nobody knows when.
func (l *lac) mayHaveEndedAt() (at time.Time) {
	for _, c := range append(endList{l.lastEnd}, l.possibleEnds...) {
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
	case l.silentAt.IsZero():
		return time.Time{}
	case l.lastEnd != nil && l.lastEnd.StopAcked:
		return l.silentAt.Add(ackedClosingTime)
	}
	return l.silentAt.Add(closingTime)
}

// forgetTunnel forgets how a LAC's tunnel ended, because its xl2tpd has ended. hungUp says that the LAC may have been hung
// up: that is not forgotten.
func (l *lac) forgetTunnel(now time.Time) (hungUp bool) {
	if l.had == hadBefore {
		l.had = hadOne
	}
	if l.lastEnd != nil && !l.lastEnd.sure && now.Sub(l.lastEnd.Time) <= policy.ReasonDelay {
		l.lastEnd.failed, l.lastEnd.Reason = true, xl2tpdEnded // the links were seen to go before their xl2tpd
	}
	l.possibleEnds.remove(func(c *end) bool { return !c.sure && now.Sub(c.Time) <= policy.ReasonDelay })
	if hungUp = l.mayBeHungUp(); hungUp || l.had != hadOne {
		l.had = hadNone
	}
	if !hungUp {
		l.lastEnd, l.possibleEnds = nil, nil
	}
	return hungUp
}
