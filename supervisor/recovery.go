package supervisor

import (
	"log/slog"
	"slices"
	"time"

	"xl2tpd-keepalive/internal/wake"
	"xl2tpd-keepalive/internal/xl2tpd"
	"xl2tpd-keepalive/supervisor/recovery/policy"
)

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
	case l.progress.GoesBefore(&other.progress):
		return true
	case other.progress.GoesBefore(&l.progress):
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
	// If nobody acknowledges xl2tpd's StopCCN, an attempt takes two AttemptTimes.
	if !l.notDiallingSince.IsZero() && !now.Before(l.notDiallingSince.Add(s.RedialTimeout+2*policy.AttemptTime)) {
		l.notRedialled, l.notDiallingSince = true, time.Time{} // xl2tpd should have redialled by now
	}
	redialDue := ls.dials.noteDeadRedial(l, s, now)
	l.noteAlive(c)
	l.noteCall(c, ls.daemons.of(l).Pid, now)
	l.takeAmbiguousLinks(c, ls.daemons.of(l).Pid)
	l.noteGroup(c, s, now)
	missingDue := ls.noteMissing(l, s, c, now)
	is, at := ls.situations.of(l, s, now)
	well := is.IsWell() && c.hasExact(ls.daemons.of(l).Pid)
	ls.noteConnection(l, s, c, well, now)
	if well {
		l.had, l.notRedialled, l.lastEnd, l.lastLogged = hadOne, false, nil, ""
		l.silentAt, l.attemptAt, l.notDiallingSince = time.Time{}, time.Time{}, time.Time{}
	}
	step, again := l.progress.Advance(is, ls.agenda.slotFree(), ls.jitter(), now)
	ls.agenda.set(l, wake.Earlier(wake.Earlier(at, again), wake.Earlier(redialDue, missingDue)), l.progress.NeedsSlot())
	ls.logRule(l, step)
	if step == policy.StepNone {
		return
	}
	if !step.Asks() {
		ls.agenda.slotsTaken++
	}
	switch step {
	case policy.StepDial:
		l.dialBegan, l.ownDialAt = now, now
	case policy.StepRedial:
		l.ownDialAt = now
	case policy.StepHangUp:
		l.beginHangUp(s, c, is, now)
	}
	ls.out.emit(ls.request(l, s, c, is, step, now))
}

// beginHangUp notes that recovery hangs a LAC up.
func (l *lac) beginHangUp(s *xl2tpd.Section, c *candidates, is policy.Situation, now time.Time) {
	if is.DialIgnored {
		l.ignoredAt = now
	}
	// If several LACs have one LNS, or its name can't be looked up, nobody sees whether xl2tpd dials this one. So the
	// half-closed tunnel may be gone.
	unseen := is.SharesLNS || now.Sub(l.hiddenAt) <= s.RedialTimeout+policy.TimerDelay
	l.guessed = is.Up && len(c.exact) == 0 || is.NoCall && unseen
	l.hangUpAt, l.redialsMeanwhile = now, false
	l.dialledMeanwhile = is.HangUpCut && !is.Up // by xl2tpd itself, it may be
}

// request returns what the executor needs to know for a step.
func (ls *lacTable) request(l *lac, s *xl2tpd.Section, c *candidates, is policy.Situation, step policy.Step, now time.Time) Recover {
	sa := ls.topology.lnsSA(c, s)
	r := Recover{
		LAC: LAC{l.instance, s.Name}, To: ls.target(l), Step: step, Up: is.Up, Dead: l.progress.PeerIsDead(now),
		SA: ls.health.uniqueID(sa), SAName: sa.Name, SAPeer: sa.Peer, LNS: ls.topology.lns(l), From: ls.topology.localAddr(l), Host: lnsHost(s), LastAttempt: l.lastAttempt(),
	}
	r.Inside, r.Beside = ls.farEndRequests(l.possibleLinks(c, ls.health.guardAt), r.SA)
	if step == policy.StepHangUp && is.Moved {
		r.Since = l.progress.SARequestedAt()
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
			ls.ensureLAC(n).progress.RenewedByOthers(now)
		}
	}
}

// noteAlive notes whether a link of the LAC is alive. Then it does not matter any more what came of a hang-up that was cut.
func (l *lac) noteAlive(c *candidates) {
	if slices.ContainsFunc(c.exact, func(t *tunnel) bool { return t.state == Alive }) {
		l.cutHangUpAt = time.Time{}
	}
}

// noteCall notes that a call of the LAC has begun: xl2tpd has dialled it, and redials it from then on (xl2tpd.c,
// control_handle_lac_connect and magic_lac_dial). If its last tunnel had ended without a known reason, it was not hung up:
// xl2tpd dials no LAC that was. The call has as much time as any dial. pid is that of the LAC's xl2tpd.
func (l *lac) noteCall(c *candidates, pid int, now time.Time) {
	began := func(t *tunnel) bool { return t.presence != foundAtStart && t.link.Xl2tpdPid == pid }
	if !l.mayBeHungUp() && slices.ContainsFunc(c.exact, began) {
		l.had = hadOne
		if slices.ContainsFunc(c.exact, func(t *tunnel) bool { return began(t) && t.began.After(l.hangUpAt) }) {
			l.notRedialled = false
		}
	}
	if !l.lastEnd.mayBeHangUp() || l.lastEnd.sure {
		return
	}
	known := l.lastEnd.Time.Add(policy.ReasonDelay) // a reason would have been known by then
	if slices.ContainsFunc(c.exact, func(t *tunnel) bool { return began(t) && t.began.After(known) }) {
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
			l.lastEnd, l.possibleEnds, l.silentAt = nil, nil, time.Time{}
		}
	}
	if len(l.possibleEnds) > 0 && c.hasExact(pid) {
		l.possibleEnds = nil
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
func (ls *lacTable) logRule(l *lac, step policy.Step) {
	rule, pause := l.progress.Decision()
	if rule == "" {
		return
	}
	ls.logLAC(l, slog.LevelDebug, "recovery has decided",
		slog.String("step", policy.Does(step)), slog.String("rule", rule), slog.String("pause", pause))
}

// lastAttempt returns when xl2tpd last asked the LNS for a tunnel that may be this LAC's; zero: it has not.
func (l *lac) lastAttempt() time.Time {
	if l.attemptAt.IsZero() || l.sccrqAt.Before(l.attemptAt) {
		return l.attemptAt
	}
	return l.sccrqAt
}
