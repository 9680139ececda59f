package supervisor

import (
	"net/netip"
	"slices"
	"time"

	"xl2tpd-keepalive/internal/config"
	"xl2tpd-keepalive/internal/xl2tpd"
)

// goal is how much recovery may do for a LAC.
type goal int

const (
	goalNone   goal = iota // nothing
	goalRedial             // dial and hang up
	goalFull               // dial and hang up, and initiate and renew IPsec SAs
)

// situation is what recovery knows about a LAC at one time.
type situation struct {
	goal         goal
	daemon       bool          // xl2tpd is running
	up           bool          // there is a link with addresses
	quiet        time.Duration // for how long a silent link has not answered; 0: it is not silent
	hasSA        bool          // an SA with the LNS carries the LAC's packets
	connecting   bool          // charon is negotiating with the LNS
	withoutSA    bool          // the link is up, and its tunnel has lost the SA that it had
	moved        bool          // with withoutSA: there is an SA with another address of the LNS
	stuck        bool          // there is a call that has had no addresses for callTime
	callingUntil time.Time     // until then a link may come of a call that may be this LAC's; zero: there is no call
	hangUpCut    bool          // nobody knows whether recovery has hung up, or whether xl2tpd redials
	noCall       bool          // the tunnel has no call, and the time for xl2tpd to make one is over
	dialIgnored  bool          // noCall is true because xl2tpd has ignored the latest dial
	// redialsFor is how long xl2tpd continues to redial by itself, from the start of the trouble; 0: it does not redial.
	// redialPause is the pause before each redial. If recovery made xl2tpd dial in that time, xl2tpd would call twice
	// (xl2tpd.c, control_handle_lac_connect).
	redialsFor, redialPause time.Duration
	endedSilent             bool      // the last tunnel ended because the peer was silent
	endedAt                 time.Time // when the last tunnel ended, if it may have been hung up; zero: not known
	closingUntil            time.Time // until then xl2tpd may still be closing the last tunnel
	trying                  bool      // xl2tpd may be dialling
	tryingUntil             time.Time // with trying: until then
	neighbourDialledUntil   time.Time // until then xl2tpd may be dialling another LAC that may have the link; zero: no other LAC may have it
	sccrqAt                 time.Time // when xl2tpd last asked the LNS for a tunnel, for this LAC or another one
	redialDue               time.Time // by then xl2tpd should have redialled; zero: it does not redial, or nobody would see it
	redialPlannedUntil      time.Time // until then xl2tpd may redial, as it had planned before the hang-up
	saInUse                 bool      // the IKE SA may carry something else that is alive, and must not be ended
	saWorks                 bool      // another tunnel shows that the SA works
	mayBeHungUp             bool      // this LAC, or one that can't be told apart from it, may have been hung up on this host
	renewing                bool      // the IKE SA is being renewed for another LAC: for a moment there is none
	saOnTrial               bool      // an SA with the LNS is being made for another LAC, or was just made, or xl2tpd is new
	sharesLNS               bool      // other LACs have the same LNS, so nobody can tell which one xl2tpd dials
}

func (s situation) isWell() bool { return s.up && s.quiet == 0 && !s.withoutSA }

// silent reports whether the link is up and has its SA, and nothing comes from its peer.
func (s situation) silent() bool { return s.up && s.quiet > 0 && !s.withoutSA }

// grace returns how long to wait before the first step.
func (s situation) grace() time.Duration {
	if s.connecting {
		return connectTime
	}
	return grace
}

// situations reads the situations of LACs from what is known of them, and of the links, SAs and daemons. It changes nothing.
type situations struct{ *lacSet }

// of returns the situation of a LAC, and when it will change even if nothing happens; zero: it won't.
func (ss *situations) of(l *lac, s *xl2tpd.Section, now time.Time) (is situation, until time.Time) {
	c := ss.candidates(l)
	is = situation{
		goal: ss.goal(l, s), daemon: ss.daemons.of(l).Pid != 0, closingUntil: l.closedAt(), endedSilent: !l.silentAt.IsZero(),
		trying: !l.attemptAt.IsZero() && now.Sub(l.attemptAt) < attemptTime, tryingUntil: l.attemptAt.Add(attemptTime),
		sccrqAt: l.sccrqAt, redialPlannedUntil: l.plannedUntil, redialDue: l.redialDue(ss.topology, s, ss.health.guardAt),
		mayBeHungUp: l.mayBeHungUp() || l.mayBeDialled(ss.topology, s), sharesLNS: ss.topology.sharesLNS(l, s),
		endedAt: l.mayHaveEndedAt(),
	}
	ss.readSA(&is, l, c, s)
	until = ss.readNeighbours(&is, l, s, now)
	if own := l.progress.ownTrial(); now.Before(own) {
		until = earlier(until, own)
	}
	is.hangUpCut = !l.cutHangUpAt.IsZero() && ss.health.blind(ss.topology.config)
	is.redialsFor, is.redialPause = l.redials(s)
	if is.redialPause == 0 && l.lastEnd.mayBeHangUp() && ss.leftToXl2tpd(l, s) {
		is.redialPause = s.RedialTimeout // nobody would see an operator's dial
	}
	c = l.possibleLinks(c, ss.health.guardAt)
	ss.readLinks(&is, c, s, now)
	if is.up && len(c.exact) == 0 {
		is.neighbourDialledUntil = l.sccrqAt.Add(attemptTime)
	}
	if ss.health.failing[WatcherVICI] != nil {
		is.hasSA = l.confirmedSA(is.trying, ss.topology.listedAt, now)
	}
	is.callingUntil = ss.callingUntil(c, ss.daemons.of(l).Pid, now)
	until = earlier(l.readEnd(&is, c, now), until)
	if at := ss.dialIgnoredAt(l, c, now); now.Before(at) {
		until = earlier(at, until)
	} else if !at.IsZero() {
		is.noCall, is.dialIgnored = true, true
	}
	return is, until
}

// readSA notes what is known of the SA with a LAC's LNS.
func (ss *situations) readSA(is *situation, l *lac, c *candidates, s *xl2tpd.Section) {
	sa, index := ss.topology.lnsSA(c, s), ss.tunnels.tunnelIndex()
	is.hasSA, is.connecting = sa.Child, sa.State == "CONNECTING" && ss.health.failing[WatcherVICI] == nil
	is.saWorks = index.proves(sa, l)
	is.saInUse = sa.Others || index.carriesOthers(sa, l) || ss.health.blind(ss.topology.config) && index.mayCarryOthers(l)
}

// ignoredPause is how long after a hang-up for an ignored dial recovery makes no other such hang-up: it may not help.
const ignoredPause = 15 * time.Minute

// dialIgnoredAt returns when it is certain that xl2tpd has ignored the latest dial; zero: it has not. xl2tpd makes no
// second call for a LAC, and logs "already active". If both ends close a call at the same time, xl2tpd may keep that call
// for ever.
func (ss *situations) dialIgnoredAt(l *lac, c *candidates, now time.Time) time.Time {
	done := !l.dialBegan.IsZero() && !l.dialledAt.Before(l.dialBegan) && !l.progress.takes(StepDial)
	since := func(at time.Time) bool { return !at.Before(l.dialBegan) }
	sees := !ss.health.guardAt.IsZero() && !ss.health.guardAt.After(l.dialBegan) && !l.hidden && !since(l.hiddenAt)
	if !done || !sees || c.any() || since(l.askedAt) || since(l.hangUpAt) || since(l.xl2tpdAt) || now.Sub(l.ignoredAt) < ignoredPause {
		return time.Time{}
	}
	return l.dialledAt.Add(callStart)
}

// readEnd notes what a LAC's calls (links that are not up) and its last end show. It returns when that will change.
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

// callDue returns when xl2tpd should have made a call in a tunnel without one. If recovery has made xl2tpd dial since,
// xl2tpd's request for the call may come a moment later. A request for a tunnel may have been for this LAC: then the
// attempt has its time.
func (l *lac) callDue(redialPause time.Duration) time.Time {
	at := l.lastEnd.Time.Add(redialPause + callStart)
	switch soon := l.dialledAt.Add(grace); {
	case !l.dialBegan.After(l.lastEnd.Time):
	case !l.sccrqAt.Before(l.dialBegan):
		return l.dialledAt.Add(attemptTime)
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
		if since := l.progress.troubleSince(); !since.IsZero() && l.dialledAt.After(since) {
			redialsFor += l.dialledAt.Sub(since)
		}
	case s.Autodial && l.had != hadOne:
		redialsFor = attemptTime // xl2tpd may have just begun
	}
	return redialsFor, pause
}

// readLinks notes what a LAC's links show: whether one is up, for how long all are silent, and whether one has lost its
// SA.
func (ss *situations) readLinks(is *situation, c *candidates, s *xl2tpd.Section, now time.Time) {
	if ss.tunnels.everHadSA() && !is.hasSA {
		for t := range c.links {
			is.withoutSA = is.withoutSA || t.hadSA
		}
		is.moved = is.withoutSA && slices.ContainsFunc(s.LNSIPs, func(ip netip.Addr) bool { return ss.topology.sas[ip].Child })
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
		at = l.attemptAt
	}
	made := l.progress.saMadeAt()
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
	each := s.RedialTimeout + 2*attemptTime
	if n := time.Duration(s.MaxRedials); n > 0 && n < forever/each {
		return n * each
	}
	return forever
}

// goal returns what the configuration and the operator want for a LAC.
func (ss *situations) goal(l *lac, s *xl2tpd.Section) goal {
	a := ss.topology
	in := a.byID[l.instance]
	if in == nil || in.NetworkManager() || a.ambiguousInstance(in) || l.lastEnd.mayBeHangUp() && !ss.leftToXl2tpd(l, s) {
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
func (ss *situations) readNeighbours(is *situation, l *lac, s *xl2tpd.Section, now time.Time) (until time.Time) {
	for _, other := range ss.neighbours(l, s) {
		switch p := &other.progress; {
		case p.takes(StepRenew):
			is.renewing = true
		case p.takes(StepSecure):
			is.saOnTrial = true
		case now.Sub(p.saMadeAt()) < ss.trialTime(other): // also if xl2tpd was made to dial over it since
			is.saOnTrial, until = true, earlier(until, p.saMadeAt().Add(ss.trialTime(other)))
		}
	}
	if tried := l.xl2tpdAt.Add(attemptTime); is.mayBeHungUp && !l.xl2tpdAt.IsZero() && now.Before(tried) {
		is.saOnTrial, until = true, earlier(until, tried)
	}
	return until
}

// trialTime returns how much time a new SA for a LAC has to bring its tunnel back. If xl2tpd redials the LAC, and no Hello
// guard sees that, the SA has as much time as that attempt.
func (ss *situations) trialTime(l *lac) time.Duration {
	if s := ss.topology.section(l); s != nil && ss.health.blind(ss.topology.config) {
		if _, pause := l.redials(s); pause > 0 {
			return max(helpTime, pause+attemptTime)
		}
	}
	return helpTime
}
