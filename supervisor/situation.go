package supervisor

import (
	"net/netip"
	"slices"
	"time"

	"xl2tpd-keepalive/internal/config"
	"xl2tpd-keepalive/internal/wake"
	"xl2tpd-keepalive/internal/xl2tpd"
	"xl2tpd-keepalive/supervisor/recovery/policy"
)

const (
	// callTime is how long a call may be without addresses: pppd gives LCP and authentication 30 s each. xl2tpd starts
	// pppd with `passive`, so after that pppd waits for ever. As long as it waits, xl2tpd refuses to dial.
	callTime = 75 * time.Second
	// callStart is how long xl2tpd may take to make a call in a tunnel without one. While xl2tpd waits for the
	// acknowledgement of an earlier call's end, it makes none. It takes that acknowledgement only under the session id
	// of the call (control.c, handle_control). RFC 2661 does not require that session id in a ZLB.
	callStart = 10 * time.Second
	// unlistedTime is how long an initiated SA counts while charon does not list its SAs. The SA may be lost after
	// that, and then a dial would go out in the clear.
	unlistedTime = 10 * time.Second
)

// situations reads the situations of LACs from what is known of them, and of the links, SAs and daemons. It changes nothing.
type situations struct{ *lacSet }

// of returns the situation of a LAC, and when it will change even if nothing happens; zero: it won't.
func (ss *situations) of(l *lac, s *xl2tpd.Section, now time.Time) (is policy.Situation, until time.Time) {
	c := ss.candidates(l)
	is = policy.Situation{
		Goal: ss.goal(l, s), Daemon: ss.daemons.of(l).Pid != 0, ClosingUntil: l.closedAt(), EndedSilent: !l.silentAt.IsZero(),
		Trying: !l.attemptAt.IsZero() && now.Sub(l.attemptAt) < policy.AttemptTime, TryingUntil: l.attemptAt.Add(policy.AttemptTime),
		SCCRQAt: l.sccrqAt, RedialPlannedUntil: l.plannedUntil, RedialDue: l.redialDue(ss.topology, s, ss.health.guardAt),
		MayBeHungUp: l.mayBeHungUp() || l.mayBeDialled(ss.topology, s), SharesLNS: ss.topology.sharesLNS(l, s),
		EndedAt: l.mayHaveEndedAt(),
	}
	ss.readSA(&is, l, c, s)
	until = ss.readNeighbours(&is, l, s, now)
	if own := l.progress.OwnTrial(); now.Before(own) {
		until = wake.Earlier(until, own)
	}
	is.HangUpCut = !l.cutHangUpAt.IsZero() && ss.health.blind(ss.topology.config)
	is.RedialsFor, is.RedialPause = l.redials(s)
	if is.RedialPause == 0 && l.lastEnd.mayBeHangUp() && ss.leftToXl2tpd(l, s) {
		is.RedialPause = s.RedialTimeout // nobody would see an operator's dial
	}
	c = l.possibleLinks(c, ss.health.guardAt)
	ss.readLinks(&is, c, s, now)
	if is.Up && len(c.exact) == 0 {
		is.NeighbourDialledUntil = l.sccrqAt.Add(policy.AttemptTime)
	}
	if ss.health.failing[WatcherVICI] != nil {
		is.HasSA = l.confirmedSA(is.Trying, ss.topology.listedAt, now)
	}
	is.CallingUntil = ss.callingUntil(c, ss.daemons.of(l).Pid, now)
	until = wake.Earlier(l.readEnd(&is, c, now), until)
	if at := ss.dialIgnoredAt(l, c, now); now.Before(at) {
		until = wake.Earlier(at, until)
	} else if !at.IsZero() {
		is.NoCall, is.DialIgnored = true, true
	}
	return is, until
}

// readSA notes what is known of the SA with a LAC's LNS.
func (ss *situations) readSA(is *policy.Situation, l *lac, c *candidates, s *xl2tpd.Section) {
	sa, index := ss.topology.lnsSA(c, s), ss.tunnels.tunnelIndex()
	is.HasSA, is.Connecting = sa.Child, sa.State == "CONNECTING" && ss.health.failing[WatcherVICI] == nil
	is.SAWorks = index.proves(sa, l)
	is.SAInUse = sa.Others || index.carriesOthers(sa, l) || ss.health.blind(ss.topology.config) && index.mayCarryOthers(l)
}

// ignoredPause is how long after a hang-up for an ignored dial recovery makes no other such hang-up: it may not help.
const ignoredPause = 15 * time.Minute

// dialIgnoredAt returns when it is certain that xl2tpd has ignored the latest dial; zero: it has not. xl2tpd makes no
// second call for a LAC, and logs "already active". If both ends close a call at the same time, xl2tpd may keep that call
// for ever.
func (ss *situations) dialIgnoredAt(l *lac, c *candidates, now time.Time) time.Time {
	done := !l.dialBegan.IsZero() && !l.dialledAt.Before(l.dialBegan) && !l.progress.Takes(policy.StepDial)
	since := func(at time.Time) bool { return !at.Before(l.dialBegan) }
	sees := !ss.health.guardAt.IsZero() && !ss.health.guardAt.After(l.dialBegan) && !l.hidden && !since(l.hiddenAt)
	if !done || !sees || c.any() || since(l.askedAt) || since(l.hangUpAt) || since(l.xl2tpdAt) || now.Sub(l.ignoredAt) < ignoredPause {
		return time.Time{}
	}
	return l.dialledAt.Add(callStart)
}

// readEnd notes what a LAC's calls (links that are not up) and its last end show. It returns when that will change.
func (l *lac) readEnd(is *policy.Situation, c *candidates, now time.Time) (at time.Time) {
	switch {
	case is.Up:
	case slices.ContainsFunc(c.exact, func(t *tunnel) bool { return t.link.Raised }):
		is.Up = true // the link carries only IPv6
	case len(c.exact) > 0:
		is.Stuck, at = stuck(c.exact, now)
	case l.lastEnd != nil && l.lastEnd.CallOnly:
		if at = l.callDue(is.RedialPause); !now.Before(at) {
			is.NoCall, at = true, time.Time{}
		}
	}
	if l.lastEnd != nil && !l.lastEnd.sure {
		if told := l.lastEnd.Time.Add(policy.ReasonDelay); now.Before(told) { // a hang-up by the operator may still be reported
			is.Goal, at = policy.GoalNone, wake.Earlier(at, told)
		}
	}
	return at
}

// callDue returns when xl2tpd should have made a call in a tunnel without one. If recovery has made xl2tpd dial since,
// xl2tpd's request for the call may come a moment later. A request for a tunnel may have been for this LAC: then the
// attempt has its time.
func (l *lac) callDue(redialPause time.Duration) time.Time {
	at := l.lastEnd.Time.Add(redialPause + callStart)
	switch soon := l.dialledAt.Add(policy.Grace); {
	case !l.dialBegan.After(l.lastEnd.Time):
	case !l.sccrqAt.Before(l.dialBegan):
		return l.dialledAt.Add(policy.AttemptTime)
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
		if since := l.progress.TroubleSince(); !since.IsZero() && l.dialledAt.After(since) {
			redialsFor += l.dialledAt.Sub(since)
		}
	case s.Autodial && l.had != hadOne:
		redialsFor = policy.AttemptTime // xl2tpd may have just begun
	}
	return redialsFor, pause
}

// readLinks notes what a LAC's links show: whether one is up, for how long all are silent, and whether one has lost its
// SA.
func (ss *situations) readLinks(is *policy.Situation, c *candidates, s *xl2tpd.Section, now time.Time) {
	if ss.tunnels.everHadSA() && !is.HasSA {
		for t := range c.links {
			is.WithoutSA = is.WithoutSA || t.hadSA
		}
		is.Moved = is.WithoutSA && slices.ContainsFunc(s.LNSIPs, func(ip netip.Addr) bool { return ss.topology.sas[ip].Child })
	}
	for t := range c.links {
		is.Up = true
		if t.state != Silent || t.evidence.Last().IsZero() {
			is.Quiet = 0
			return // one link that is alive is enough
		}
		if quiet := now.Sub(t.firstLostAt); is.Quiet == 0 || quiet < is.Quiet {
			is.Quiet = quiet
		}
	}
}

// confirmedSA reports whether charon has confirmed an SA in its answer to a step. While charon can't be asked, its latest
// list no longer counts, but such an answer does: a script or RADIUS may delay the list for longer than a step takes.
func (l *lac) confirmedSA(trying bool, listedAt, now time.Time) bool {
	at := now
	if trying { // only an SA from before the attempt counts
		at = l.attemptAt
	}
	made := l.progress.SAMadeAt()
	return made.After(listedAt) && at.Sub(made) < unlistedTime
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
func (ss *situations) callingUntil(c *candidates, pid int, now time.Time) (until time.Time) {
	for _, calls := range append([]*[]*tunnel{&c.exact}, c.ambiguous...) {
		for _, t := range *calls {
			if at := t.since.Add(callTime); !t.linked() && t.link.Xl2tpdPid == pid && at.After(until) && !ss.callClosed(t, now) {
				until = at
			}
		}
	}
	return until
}

// callClosed reports whether xl2tpd has closed the call of a link that was up, and only its pppd is left. pppd waits up to
// 6 s for an answer of the peer. xl2tpd can dial meanwhile.
func (ss *situations) callClosed(t *tunnel, now time.Time) bool {
	c := ss.tunnels.endOf(t)
	return c != nil && (c.sure || slices.ContainsFunc(t.identity.names, func(n name) bool { return ss.isHangingUp(n, now) }))
}

// redialTime returns for how long xl2tpd continues to redial an LNS that never answers.
func redialTime(s *xl2tpd.Section) time.Duration {
	const forever = 100 * 365 * 24 * time.Hour
	// The pause, SCCRQ and its retransmissions, and those of StopCCN.
	each := s.RedialTimeout + 2*policy.AttemptTime
	if n := time.Duration(s.MaxRedials); n > 0 && n < forever/each {
		return n * each
	}
	return forever
}

// goal returns what the configuration and the operator want for a LAC.
func (ss *situations) goal(l *lac, s *xl2tpd.Section) policy.Goal {
	a := ss.topology
	in := a.byID[l.instance]
	if in == nil || in.NetworkManager() || a.ambiguousInstance(in) || l.lastEnd.mayBeHangUp() && !ss.leftToXl2tpd(l, s) {
		return policy.GoalNone
	}
	switch a.config.For(in.Path, s.Kind, s.Name).Recovery(s.Autodial || s.Redial && l.had >= mayHaveHad) {
	case config.RecoverFull:
		return policy.GoalFull
	case config.RecoverRedial:
		return policy.GoalRedial
	}
	return policy.GoalNone
}

// leftToXl2tpd reports whether xl2tpd may redial a LAC whose latest end nobody can explain, because no Hello guard works.
// Recovery then keeps its SA in order, and nothing more.
func (ss *situations) leftToXl2tpd(l *lac, s *xl2tpd.Section) bool {
	return s.Redial && !l.notRedialled && !l.lastEnd.sure && ss.health.blind(ss.topology.config)
}

// mayBeDialled reports whether a LAC is wanted only if it was dialled, and nobody knows whether it was.
func (l *lac) mayBeDialled(a *topology, s *xl2tpd.Section) bool {
	return l.had == mayHaveHad && !s.Autodial && a.ifDialled(l)
}

// ifDialled reports whether keepalive.conf wants a LAC recovered only if it was dialled (recover = auto).
func (t *topology) ifDialled(l *lac) bool {
	recovery := t.configured(name{"lac", l.name, l.instance}).Recovery
	return recovery(true) != recovery(false)
}

// readNeighbours notes what recovery does about the SA with a LAC's LNS for other LACs. A new SA, or the first dials of a
// new xl2tpd, may have brought a tunnel back of which nobody has heard yet. readNeighbours returns until when that can be
// so; zero: not known.
func (ss *situations) readNeighbours(is *policy.Situation, l *lac, s *xl2tpd.Section, now time.Time) (until time.Time) {
	for _, other := range ss.neighbours(l, s) {
		switch p := &other.progress; {
		case p.Takes(policy.StepRenew):
			is.Renewing = true
		case p.Takes(policy.StepSecure):
			is.SAOnTrial = true
		case now.Sub(p.SAMadeAt()) < ss.trialTime(other): // also if xl2tpd was made to dial over it since
			is.SAOnTrial, until = true, wake.Earlier(until, p.SAMadeAt().Add(ss.trialTime(other)))
		}
	}
	if tried := l.xl2tpdAt.Add(policy.AttemptTime); is.MayBeHungUp && !l.xl2tpdAt.IsZero() && now.Before(tried) {
		is.SAOnTrial, until = true, wake.Earlier(until, tried)
	}
	return until
}

// trialTime returns how much time a new SA for a LAC has to bring its tunnel back. If xl2tpd redials the LAC, and no Hello
// guard sees that, the SA has as much time as that attempt.
func (ss *situations) trialTime(l *lac) time.Duration {
	if s := ss.topology.section(l); s != nil && ss.health.blind(ss.topology.config) {
		if _, pause := l.redials(s); pause > 0 {
			return max(policy.HelpTime, pause+policy.AttemptTime)
		}
	}
	return policy.HelpTime
}
