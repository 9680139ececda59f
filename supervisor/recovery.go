package supervisor

import (
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"time"

	"xl2tpd-keepalive/internal/config"
	"xl2tpd-keepalive/internal/message"
	"xl2tpd-keepalive/internal/xl2tpd"
)

// maxSlots is how many recovery steps may be under way at the same time. For each SA that recovery initiates, one of
// charon's 16 threads waits.
const maxSlots = 8

// evaluateLACs evaluates the LACs that something has happened to, or that are due. Then it gives free slots to those
// that wait.
func (ls *lacTable) evaluateLACs(now time.Time) {
	if ls.changed {
		for _, in := range ls.topology.instances {
			for _, s := range in.lacs {
				ls.agenda.mark(ls.ensureLAC(in.name(s)))
			}
		}
	}
	ls.changed = false
	for _, l := range ls.agenda.take(now) {
		if ls.ready {
			ls.evaluate(l, now)
		}
	}
	for l := ls.agenda.nextWaiting(); l != nil; l = ls.agenda.nextWaiting() {
		ls.evaluate(l, now)
	}
}

// before reports whether this LAC gets a slot before the other one.
func (l *lac) before(other *lac) bool {
	switch {
	case l.progress.goesBefore(&other.progress):
		return true
	case other.progress.goesBefore(&l.progress):
		return false
	}
	return l.key < other.key // any order, but always the same one
}

// evaluate decides what to do about a LAC, and notes what to save.
func (ls *lacTable) evaluate(l *lac, now time.Time) {
	if s := ls.topology.section(l); s != nil && s.Name != "default" && s.Name != "" {
		ls.advance(l, s, now)
	} else {
		ls.agenda.drop(l)
	}
	ls.save(l)
}

// advance takes the next step of a LAC's recovery, if one is due, and notes when to evaluate the LAC again.
func (ls *lacTable) advance(l *lac, s *xl2tpd.Section, now time.Time) {
	l.capPlanned(s, now)
	c := ls.candidates(l)
	l.noteHidden(c, s, now)
	// If nobody acknowledges xl2tpd's StopCCN, an attempt takes two answerTimes.
	if !l.notDiallingSince.IsZero() && !now.Before(l.notDiallingSince.Add(s.RedialTimeout+2*answerTime)) {
		l.notRedialled, l.notDiallingSince = true, time.Time{} // xl2tpd should have redialled by now
	}
	redialDue := ls.noteDeadRedial(l, s, now)
	l.noteCall(c, ls.daemons.of(l).Pid, now)
	l.takeAmbiguousLinks(c, ls.daemons.of(l).Pid)
	l.noteGroup(c, s, now)
	missingDue := ls.noteMissing(l, s, c, now)
	is, at := ls.situation(l, s, now)
	if is.isWell() && c.hasExact(ls.daemons.of(l).Pid) {
		l.had, l.notRedialled, l.lastEnd, l.lastLogged = hadOne, false, nil, ""
		l.silent, l.attempt, l.notDiallingSince = time.Time{}, time.Time{}, time.Time{}
		l.ike, l.ikeTo = ls.topology.lnsSA(c, s).Name, lnsHost(s)
	}
	step, again := l.progress.advance(is, ls.agenda.slotFree(), ls.jitter(), now)
	ls.agenda.set(l, earlier(earlier(at, again), earlier(redialDue, missingDue)), l.progress.waitsForSlot)
	ls.logRule(l, step)
	if step == StepNone {
		return
	}
	if !step.asks() {
		ls.agenda.slotsTaken++
	}
	if step == StepHangUp {
		if is.dialIgnored {
			l.ignoredAt = now
		}
		// If several LACs have one LNS, or its name can't be looked up, nobody sees whether xl2tpd dials this one. So the
		// half-closed tunnel may be gone.
		unseen := is.sharesLNS || now.Sub(l.hiddenAt) <= s.RedialTimeout+timerDelay
		l.guessed = is.up && len(c.exact) == 0 || is.noCall && unseen
		l.hangUpAt, l.redialsMeanwhile = now, false
		l.dialledMeanwhile = is.hangUpCut && !is.up // by xl2tpd itself, it may be
	}
	if step == StepDial {
		l.dialBegan = now
	}
	l.awaitsDial = l.awaitsDial || step == StepDial || step == StepRedial
	ls.out.emit(ls.request(l, s, c, is, step))
}

// request returns what the executor needs to know for a step.
func (ls *lacTable) request(l *lac, s *xl2tpd.Section, c *candidates, is situation, step Step) Recover {
	r := Recover{
		LAC: LAC{l.instance, s.Name}, To: ls.target(l), Step: step, Up: is.up, Dead: l.progress.peer == peerSilent,
		SA: ls.health.uniqueID(ls.topology.lnsSA(c, s)), LNS: ls.topology.lns(l), From: ls.topology.localAddr(l), Host: lnsHost(s), LastAttempt: l.lastAttempt(),
	}
	r.Inside, r.Beside = ls.farEndRequests(l.possibleLinks(c, ls.health.guardAt), r.SA)
	if step == StepHangUp && is.moved && l.progress.saRenewed {
		r.Since = l.progress.doneAt
	}
	if l.ikeTo == r.Host { // xl2tpd.conf still has the same LNS
		r.IKE = l.ike
	}
	r.Peer = r.LNS
	if l.dialledLNS.IsValid() {
		r.Peer = l.dialledLNS
	}
	for t := range c.links {
		if t.identity.outer.IsValid() {
			r.Peer = t.identity.outer
		}
		break
	}
	if only := c.exact; len(only) == 1 {
		r.TunnelID = only[0].identity.session.LocalTunnel
	}
	return r
}

// saRenewed notes that a silent tunnel of one of these sections has a new SA.
func (ls *lacTable) saRenewed(names []name, now time.Time) {
	for _, n := range names {
		if n.kind == "lac" {
			ls.ensureLAC(n).progress.renewedByOthers(now)
		}
	}
}

// noteCall notes that a call of the LAC has begun: xl2tpd was made to dial it. If that was after an end without a known
// reason, the LAC was not hung up: xl2tpd dials no LAC that was. The call has its time like any dial. pid is that of the
// LAC's xl2tpd.
func (l *lac) noteCall(c *candidates, pid int, now time.Time) {
	began := func(t *tunnel) bool { return t.presence != foundAtStart && t.link.Xl2tpdPid == pid }
	if !l.mayBeHungUp() && slices.ContainsFunc(c.exact, began) {
		l.had = hadOne
	}
	if !l.lastEnd.mayBeHangUp() || l.lastEnd.sure {
		return
	}
	told := l.lastEnd.Time.Add(reasonDelay)
	if slices.ContainsFunc(c.exact, func(t *tunnel) bool { return began(t) && t.since.After(told) }) {
		l.startAgain(now)
	}
}

// takeAmbiguousLinks notes what ambiguous links show about a LAC. If a group has as many links as LACs, each LAC has
// one.
func (l *lac) takeAmbiguousLinks(c *candidates, pid int) {
	for _, group := range c.ambiguous {
		of := func(t *tunnel) bool { return t.linked() && t.link.Xl2tpdPid == pid }
		if slices.ContainsFunc(*group, of) {
			l.had = max(l.had, mayHaveHad)
		}
		if l.mayBeHungUp() && count(*group, of) >= len((*group)[0].identity.names) {
			l.lastEnd, l.possibleEnd, l.silent = nil, nil, time.Time{}
		}
	}
	if l.possibleEnd != nil && c.hasExact(pid) {
		l.possibleEnd = nil
	}
}

// count returns how many of the tunnels a func holds for.
func count(all []*tunnel, is func(*tunnel) bool) (n int) {
	for _, t := range all {
		if is(t) {
			n++
		}
	}
	return n
}

// logRule writes to the debug log which rule has decided.
func (ls *lacTable) logRule(l *lac, step Step) {
	if l.progress.rule == "" {
		return
	}
	ls.logLAC(l, slog.LevelDebug, "recovery has decided",
		slog.String("step", does(step)), slog.String("rule", l.progress.rule), slog.String("pause", l.progress.pause))
}

// lastAttempt returns when xl2tpd last asked the LNS for a tunnel that may be this LAC's; zero: it has not.
func (l *lac) lastAttempt() time.Time {
	if l.attempt.IsZero() || l.sccrqAt.Before(l.attempt) {
		return l.attempt
	}
	return l.sccrqAt
}

// situation returns the situation of a LAC, and when it will change even if nothing happens; zero: it won't.
func (ls *lacTable) situation(l *lac, s *xl2tpd.Section, now time.Time) (is situation, until time.Time) {
	c, index := ls.candidates(l), ls.tunnels.tunnelIndex()
	sa := ls.topology.lnsSA(c, s)
	is = situation{
		goal: ls.goal(l, s), daemon: ls.daemons.of(l).Pid != 0,
		hasSA: sa.Child, connecting: sa.State == "CONNECTING" && ls.health.failing[WatcherVICI] == nil, closingUntil: l.closedAt(),
		endedSilent: !l.silent.IsZero(),
		trying:      !l.attempt.IsZero() && now.Sub(l.attempt) < answerTime, tryingUntil: l.attempt.Add(answerTime),
		sccrqAt: l.sccrqAt, redialPlannedUntil: l.planned, redialDue: l.redialDue(ls.topology, s, ls.health.guardAt),
		mayBeHungUp: l.mayBeHungUp() || l.mayBeDialled(ls.topology, s),
		saWorks:     index.proves(sa, l), sharesLNS: ls.topology.sharesLNS(l, s),
	}
	for _, c := range []*end{l.lastEnd, l.possibleEnd} {
		if c.mayBeHangUp() && c.Time.After(is.endedAt) {
			is.endedAt = c.Time
		}
	}
	until = ls.readNeighbours(&is, l, s, now)
	if own := l.progress.ownTrial(); now.Before(own) {
		until = earlier(until, own)
	}
	is.saInUse = sa.Others || index.carriesOthers(sa, l) ||
		ls.health.blind(ls.topology.config) && index.mayCarryOthers(l)
	if slices.ContainsFunc(c.exact, func(t *tunnel) bool { return t.state == Alive }) {
		l.cutHangUpAt = time.Time{}
	}
	is.hangUpCut = !l.cutHangUpAt.IsZero() && ls.health.blind(ls.topology.config)
	is.redialsFor, is.redialPause = l.redials(s)
	if is.redialPause == 0 && l.lastEnd.mayBeHangUp() && ls.leftToXl2tpd(l, s) {
		is.redialPause = s.RedialTimeout // nobody would see an operator's dial
	}
	c = l.possibleLinks(c, ls.health.guardAt)
	ls.readLinks(&is, c, s, now)
	if is.up && len(c.exact) == 0 {
		is.neighbourDialledUntil = l.sccrqAt.Add(answerTime)
	}
	if ls.health.failing[WatcherVICI] != nil {
		is.hasSA = l.confirmedSA(is.trying, ls.topology.listedAt, now)
	}
	is.callingUntil = ls.callingUntil(c, ls.daemons.of(l).Pid, now)
	until = earlier(l.readEnd(&is, c, now), until)
	if at := ls.dialIgnoredAt(l, c, now); now.Before(at) {
		until = earlier(at, until)
	} else if !at.IsZero() {
		is.noCall, is.dialIgnored = true, true
	}
	return is, until
}

// ignoredPause is how long after a hang-up for an ignored dial there is no other one: it may not be what helps.
const ignoredPause = 15 * time.Minute

// dialIgnoredAt returns when it is certain that xl2tpd has ignored the latest dial; zero: it has not. xl2tpd makes no call of
// a LAC that has one, and logs "already active". If both ends close a call at once, xl2tpd may keep it for ever.
func (ls *lacTable) dialIgnoredAt(l *lac, c *candidates, now time.Time) time.Time {
	done := !l.dialBegan.IsZero() && !l.dialled.Before(l.dialBegan) && l.progress.busy != StepDial
	since := func(at time.Time) bool { return !at.Before(l.dialBegan) }
	sees := !ls.health.guardAt.IsZero() && !ls.health.guardAt.After(l.dialBegan) && !l.hidden && !since(l.hiddenAt)
	if !done || !sees || c.any() || since(l.askedAt) || since(l.hangUpAt) || since(l.xl2tpdAt) || now.Sub(l.ignoredAt) < ignoredPause {
		return time.Time{}
	}
	return l.dialled.Add(callStart)
}

// readEnd notes what a LAC's links that are not up, and its last end, show. It returns when that will change.
func (l *lac) readEnd(is *situation, c *candidates, now time.Time) (at time.Time) {
	switch {
	case is.up:
	case slices.ContainsFunc(c.exact, func(t *tunnel) bool { return t.link.Raised }):
		is.up = true // the link carries only IPv6
	case len(c.exact) > 0:
		is.stuck, at = stuck(c.exact, now)
	case l.lastEnd != nil && l.lastEnd.CallOnly:
		if at = l.callDue(is.redialPause); !now.Before(at) {
			is.noCall, at = true, time.Time{}
		}
	}
	if l.lastEnd != nil && !l.lastEnd.sure {
		if told := l.lastEnd.Time.Add(reasonDelay); now.Before(told) { // a hang-up by the operator may still be reported
			is.goal, at = goalNone, earlier(at, told)
		}
	}
	return at
}

// callDue returns when xl2tpd should have made a call in a tunnel without one. If recovery has made it dial since, its request
// may come in a moment. If it was for a tunnel, it may have been for this LAC.
func (l *lac) callDue(redialPause time.Duration) time.Time {
	at := l.lastEnd.Time.Add(redialPause + callStart)
	switch soon := l.dialled.Add(grace); {
	case !l.dialBegan.After(l.lastEnd.Time):
	case !l.sccrqAt.Before(l.dialBegan):
		return l.dialled.Add(answerTime)
	case soon.After(at):
		return soon
	}
	return at
}

// redials returns how long xl2tpd continues to redial a LAC by itself, from the start of the trouble, and its pause before
// each redial; 0: it does not redial.
func (l *lac) redials(s *xl2tpd.Section) (redialsFor, pause time.Duration) {
	switch {
	case l.notRedialled:
	case s.Redial && (l.had >= mayHaveHad || s.Autodial): // the LAC was dialled, or may have been
		redialsFor, pause = redialTime(s), s.RedialTimeout
		if since := l.progress.since; !since.IsZero() && l.dialled.After(since) {
			redialsFor += l.dialled.Sub(since)
		}
	case s.Autodial && l.had != hadOne:
		redialsFor = answerTime // xl2tpd may have just begun
	}
	return redialsFor, pause
}

// readLinks notes what a LAC's links show: whether one is up, for how long all are silent, and whether one has lost its SA.
func (ls *lacTable) readLinks(is *situation, c *candidates, s *xl2tpd.Section, now time.Time) {
	if ls.tunnels.everHadSA() && !is.hasSA {
		for t := range c.links {
			is.withoutSA = is.withoutSA || t.hadSA
		}
		is.moved = is.withoutSA && slices.ContainsFunc(s.LNSIPs, func(ip netip.Addr) bool { return ls.topology.sas[ip].Child })
	}
	for t := range c.links {
		is.up = true
		if t.state != Silent || t.evidence.Last().IsZero() {
			is.quiet = 0
			return // one link that is alive is enough
		}
		if quiet := now.Sub(t.firstLostAt); is.quiet == 0 || quiet < is.quiet {
			is.quiet = quiet
		}
	}
}

// confirmedSA reports whether charon has confirmed an SA in its answer to a step. While charon can't be asked, its latest
// list no longer counts, but such an answer does: a script or RADIUS may delay the list for longer than a step takes.
func (l *lac) confirmedSA(trying bool, listedAt, now time.Time) bool {
	at := now
	if trying { // only an SA from before the attempt counts
		at = l.attempt
	}
	p := &l.progress
	return p.sa != saUnconfirmed && p.doneAt.After(listedAt) && at.Sub(p.doneAt) < unlistedTime
}

// stuck reports whether one of the calls has been without addresses for callTime. If not, at is when that will be so.
func stuck(calls []*tunnel, now time.Time) (is bool, at time.Time) {
	for _, t := range calls {
		at = t.since.Add(callTime)
		if !now.Before(at) {
			return true, time.Time{}
		}
	}
	return false, at
}

// callingUntil returns until when a call of that xl2tpd may still become a link; zero: it has no such call.
func (ls *lacTable) callingUntil(c *candidates, pid int, now time.Time) (until time.Time) {
	for _, calls := range append([]*[]*tunnel{&c.exact}, c.ambiguous...) {
		for _, t := range *calls {
			if at := t.since.Add(callTime); !t.linked() && t.link.Xl2tpdPid == pid && at.After(until) && !ls.callClosed(t, now) {
				until = at
			}
		}
	}
	return until
}

// callClosed reports whether xl2tpd has closed the call of a link that was up. Only its pppd is left: pppd waits up to 6 s
// for an answer of the peer, and xl2tpd can dial meanwhile.
func (ls *lacTable) callClosed(t *tunnel, now time.Time) bool {
	c := ls.tunnels.endOf(t)
	return c != nil && (c.sure || slices.ContainsFunc(t.identity.names, func(n name) bool { return ls.isHangingUp(n, now) }))
}

// redialTime returns for how long xl2tpd continues to redial an LNS that never answers.
func redialTime(s *xl2tpd.Section) time.Duration {
	const forever = 100 * 365 * 24 * time.Hour
	// The pause, SCCRQ and its retransmissions, and those of StopCCN.
	each := s.RedialTimeout + 2*answerTime
	if n := time.Duration(s.MaxRedials); n > 0 && n < forever/each {
		return n * each
	}
	return forever
}

// goal returns what the configuration and the operator want for a LAC.
func (ls *lacTable) goal(l *lac, s *xl2tpd.Section) goal {
	a := ls.topology
	in := a.byID[l.instance]
	if in == nil || in.NetworkManager() || a.ambiguousInstance(in) || l.lastEnd.mayBeHangUp() && !ls.leftToXl2tpd(l, s) {
		return goalNone
	}
	switch a.config.For(in.Path, s.Kind, s.Name).Recovery(s.Autodial || s.Redial && l.had >= mayHaveHad) {
	case config.RecoverFull:
		return goalFull
	case config.RecoverRedial:
		return goalRedial
	}
	return goalNone
}

// leftToXl2tpd reports whether xl2tpd may redial a LAC whose latest end nobody can explain, because no Hello guard works.
// Recovery then keeps its SA in order, and nothing more.
func (ls *lacTable) leftToXl2tpd(l *lac, s *xl2tpd.Section) bool {
	return s.Redial && !l.notRedialled && !l.lastEnd.sure && ls.health.blind(ls.topology.config)
}

// mayBeDialled reports whether a LAC is wanted only if it was dialled, and nobody knows whether it was.
func (l *lac) mayBeDialled(a *topology, s *xl2tpd.Section) bool {
	return l.had == mayHaveHad && !s.Autodial && a.ifDialled(l)
}

// ifDialled reports whether keepalive.conf wants a LAC recovered only if it was dialled (recover = auto).
func (a *topology) ifDialled(l *lac) bool {
	recovery := a.configured(name{"lac", l.name, l.instance}).Recovery
	return recovery(true) != recovery(false)
}

// recoveryText returns what recovery does for a LAC without a tunnel, for the status; empty: nothing.
func (ls *lacTable) recoveryText(l *lac, s *xl2tpd.Section, now time.Time) message.Text {
	d := &l.progress
	switch {
	case ls.goal(l, s) == goalNone || d.since.IsZero():
		return ""
	case d.busy != StepNone:
		return d.busy.text()
	case l.lastEnd.mayBeHangUp():
		return "" // xl2tpd redials, unless it was hung up
	case l.mayBeHungUp():
		return "left to xl2tpd: it, or another LAC like it, was hung up"
	case d.waitsForSlot:
		return "waits until it is its turn to be brought back"
	case errors.Is(d.err, ErrNoRoute):
		return "waits for a route to the LNS"
	case (d.last == StepDial || d.last == StepRedial) && d.err == nil:
		return "waits for the LNS to answer"
	case d.failed > 0:
		return message.Sprintf("tries again in %v (%d failed)", max(d.next.Sub(now), 0).Round(time.Second), d.failed)
	case lookupText(s) != "":
		return lookupText(s)
	case s.Redial && !l.notRedialled:
		return "xl2tpd redials"
	}
	return "about to bring it back"
}
