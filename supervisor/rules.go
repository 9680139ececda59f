package supervisor

import "time"

// ruleInput is what a rule looks at: how far a LAC's recovery has come, and how it is about the LAC.
type ruleInput struct {
	l      *progress
	s      situation
	jitter float64 // in [0, 1)
	now    time.Time
}

// rule is a step of recovery and when it is the right one. Of the rules the first one that holds
// decides.
type rule struct {
	name  string // in the log
	holds func(*ruleInput) bool
	step  Step                       // StepNone: wait
	until func(*ruleInput) time.Time // when to look again; nil for a step
	notes func(*progress)            // what waiting changes; nil: nothing
	why   string
}

// rules are the escalation policy: which step is taken once one is due. The order is: what may
// have been hung up, tunnels with a link, what is in the way of a dial, the IKE SA, xl2tpd's own
// dials, and dials that recovery asks for.
// docs/recovery.md has the same table.
var rules = []rule{
	{name: "perhaps hung up, and no SA", holds: (*ruleInput).mayBeHungUpWithoutSA, step: StepSecure,
		why: "Of several LACs nobody knows which was hung up. xl2tpd may redial it, and needs the SA."},
	{name: "perhaps hung up, and an old SA", holds: (*ruleInput).mayBeHungUpWithOldSA, step: StepRenew,
		why: "The same, and the peer may have forgotten the SA. Unless xl2tpd dials, a new one is made less and less often."},
	{name: "perhaps hung up, and the SA has to stay", holds: (*ruleInput).unclearOverKept, step: StepSecure,
		why: "The same. If the peer has forgotten the SA, charon finds that out in its own negotiation."},
	{name: "perhaps hung up", holds: (*ruleInput).mayBeHungUp, step: StepNone, until: (*ruleInput).afterMaxPause, notes: (*progress).countAsDial,
		why: "What an operator has hung up stays down, so it is neither dialled nor hung up: that is left to xl2tpd."},
	{name: "silent for too long", holds: (*ruleInput).overdue, step: StepHangUp,
		why: "A Hello of xl2tpd's should have found by now that the peer is dead."},
	{name: "dead, and nothing to renew", holds: (*ruleInput).deadAndNotRenewable, step: StepHangUp,
		why: "The peer answers nothing, and its SA is new, or has to stay."},
	{name: "the LNS has moved", holds: (*ruleInput).movedAway, step: StepHangUp,
		why: "The new SA is with another address of the LNS: it is of no use to this tunnel."},
	{name: "up without its SA", holds: (*ruleInput).upWithoutSA, step: StepSecure,
		why: "The tunnel would go on in the clear, or die."},
	{name: "up without its SA, and IPsec is left alone", holds: (*ruleInput).upWithoutForeignSA, step: StepNone, until: (*ruleInput).afterLasting,
		why: "A new call would not bring the SA back."},
	{name: "silent", holds: (*ruleInput).silentAndRenewable, step: StepRenew,
		why: "The peer may have lost the SA; a new one saves the tunnel."},
	{name: "silent, and nothing to renew", holds: (*ruleInput).linked, step: StepNone, until: (*ruleInput).untilOverdue,
		why: "xl2tpd's next Hello finds out whether the peer is dead."},
	{name: "a call without link", holds: (*ruleInput).stuckCall, step: StepHangUp,
		why: "xl2tpd dials no other call while this one waits for PPP."},
	{name: "no SA", holds: (*ruleInput).unsecured, step: StepSecure,
		why: "Nothing is dialled in the clear where strongSwan has a connection."},
	{name: "a tunnel without call", holds: (*ruleInput).halfClosed, step: StepHangUp,
		why: "xl2tpd waits for an acknowledgement, and makes no call in this tunnel."},
	{name: "ended in silence", holds: (*ruleInput).lostWithOldSA, step: StepRenew,
		why: "The peer may have restarted and forgotten the SA."},
	{name: "dialled without answer", holds: (*ruleInput).dialUnanswered, step: StepRenew,
		why: "The peer may have forgotten the SA; every third dial is followed by a new one."},
	{name: "dialled without answer, and the SA has to stay", holds: (*ruleInput).dialUnansweredAndSAInUse, step: StepSecure,
		why: "If the peer has forgotten the SA, charon finds that out in its own negotiation."},
	{name: "xl2tpd redials one of several", holds: (*ruleInput).readyForOneOfSeveral, step: StepNone,
		until: (*ruleInput).afterXl2tpdsAttempt, notes: (*progress).countAsDial,
		why: "LACs with one LNS can't be told apart while xl2tpd dials, so its own attempt has its time."},
	{name: "xl2tpd dials from before the SA", holds: (*ruleInput).readyForXl2tpd, step: StepRedial,
		why: "An attempt that began without the SA can't succeed any more."},
	{name: "xl2tpd has redialled without success", holds: (*ruleInput).xl2tpdRedialsAndRenewable, step: StepRenew,
		why: "xl2tpd has had its time, and the SA may be what fails."},
	{name: "xl2tpd has redialled, and the SA has to stay", holds: (*ruleInput).xl2tpdRedialsAndSAInUse, step: StepSecure,
		why: "The same, if no other tunnel shows that the SA works."},
	{name: "xl2tpd redials", holds: (*ruleInput).xl2tpdRedials, step: StepNone, until: (*ruleInput).untilXl2tpdGivesUp, notes: (*progress).askForConnectionAgain,
		why: "Made to dial meanwhile, xl2tpd would call twice."},
	{name: "the last tunnel still closes", holds: (*ruleInput).closing, step: StepNone, until: (*ruleInput).untilFree,
		why: "xl2tpd would dial inside the tunnel that it closes."},
	{name: "hung up while xl2tpd may redial", holds: (*ruleInput).redialPlanned, step: StepNone, until: (*ruleInput).untilPlanned,
		why: "The silent link may have been another LAC's. xl2tpd keeps to its next redial, and would call twice."},
	{name: "xl2tpd dials one of several already", holds: (*ruleInput).tryingOneOfSeveral, step: StepNone, until: (*ruleInput).untilTried,
		why: "The attempt is not given up: xl2tpd's own redial of another LAC would be taken for it."},
	{name: "xl2tpd dials already", holds: (*ruleInput).trying, step: StepRedial,
		why: "A second dial does nothing while the first one lasts."},
	{name: "nobody dials", holds: (*ruleInput).always, step: StepDial,
		why: "Nothing is in the way, and xl2tpd does not redial."},
}

// does is what a rule with that step does.
func does(s Step) string {
	if s == StepNone {
		return "wait"
	}
	return s.String()
}

// pauseRule is a time of the next step and when it is the right one. Of the pauses the first one
// that holds decides.
type pauseRule struct {
	name  string
	holds func(*ruleInput) bool
	until func(*ruleInput) time.Time
	why   string
}

// pauses say when the next step is due. docs/recovery.md has the same table.
var pauses = []pauseRule{
	{"a new SA", (*ruleInput).readyToDial, (*ruleInput).untilNow,
		"Now: nothing is in the way of a dial."},
	{"in the way of a dial", (*ruleInput).blocked, (*ruleInput).untilNow,
		"Now: a call without link, or a tunnel without call, does not recover by itself."},
	{"hung up, and the peer was dead", (*ruleInput).hungUpDead, (*ruleInput).untilFree,
		"Until xl2tpd has finished with the tunnel: up to 33 s, or 1 s if the Hello guard acknowledged the StopCCN."},
	{"the LNS has moved", (*ruleInput).justMovedAway, (*ruleInput).untilNow,
		"Now: the new SA can't help this tunnel. Its peer is asked once more before the tunnel is hung up."},
	{"dialled without SA", (*ruleInput).dialsWithoutSA, (*ruleInput).untilGraceOrNext,
		"3 s, or 10 s while charon negotiates: the attempt fails, or is in the clear."},
	{"after a step", (*ruleInput).stepped, (*ruleInput).untilNext,
		"As long as the step may take to help; after failures, ever longer."},
	{"a silent link", (*ruleInput).linkedWithSA, (*ruleInput).untilNow,
		"Now: the peer has been asked already, or has been silent for long."},
	{"xl2tpd redials", (*ruleInput).redialsFirst, (*ruleInput).afterFirstRedial,
		"`redial timeout` and 35 s: xl2tpd tries first."},
	{"the tunnel has just ended", (*ruleInput).always, (*ruleInput).untilGrace,
		"3 s, or 10 s while charon negotiates: charon may try by itself, and the reason may come late."},
}

// decide takes the step of the first rule that holds.
func (l *progress) decide(s situation, jitter float64, now time.Time) (Step, time.Time) {
	m := &ruleInput{l, s, jitter, now}
	r := rules[len(rules)-1]
	for _, one := range rules {
		if one.holds(m) {
			r = one
			break
		}
	}
	l.rule = r.name
	at := now
	if r.until != nil {
		at = r.until(m)
	}
	if r.notes != nil {
		r.notes(l)
	}
	return r.step, at
}

// dueAt is the time of the next step.
func (l *progress) dueAt(s situation, now time.Time) time.Time {
	m := &ruleInput{l: l, s: s, now: now}
	for _, p := range pauses {
		if p.holds(m) {
			l.pause = p.name
			return p.until(m)
		}
	}
	return now
}

// ipsec reports whether there may be an SA that recovery can bring back.
func (m *ruleInput) ipsec() bool { return m.s.goal == goalFull && !m.l.noConnection }

// renews reports whether recovery may end the IKE SA.
func (m *ruleInput) renews() bool { return m.ipsec() && !m.s.saInUse }

func (m *ruleInput) always() bool { return true }

// redialled reports whether the tunnel is up, or xl2tpd may redial it.
func (m *ruleInput) redialled() bool { return m.s.up || m.s.redial > 0 }

func (m *ruleInput) mayBeHungUp() bool { return m.s.mayBeHungUp }

func (m *ruleInput) mayBeHungUpWithoutSA() bool {
	return m.s.mayBeHungUp && m.unsecured() && m.redialled()
}

func (m *ruleInput) mayBeHungUpWithOldSA() bool {
	return m.s.mayBeHungUp && m.renews() && m.redialled() && m.unclearFor()
}

// unclearOverKept reports whether an SA that has to stay is to be tried.
func (m *ruleInput) unclearOverKept() bool {
	return m.s.mayBeHungUp && m.saInUseAndUnproven() && m.redialled() && m.unclearFor()
}

// unclearFor reports whether the latest new SA has had its time.
func (m *ruleInput) unclearFor() bool {
	return !m.l.saRenewed || m.now.Sub(m.l.doneAt) >= m.unclearPause()
}

// unclearPause is how long a new SA has its time. If nobody asks for a tunnel, each pause is as long as all before together.
func (m *ruleInput) unclearPause() time.Duration {
	if m.s.asked.After(m.l.doneAt) {
		return maxPause
	}
	return max(maxPause, m.l.doneAt.Sub(m.l.since))
}

func (m *ruleInput) linked() bool { return m.s.up }

func (m *ruleInput) overdue() bool { return m.s.up && m.s.quiet >= stuckAfter }

func (m *ruleInput) deadAndNotRenewable() bool {
	return m.s.silent() && m.l.peerSilent && (!m.renews() || m.l.renewed())
}

func (m *ruleInput) movedAway() bool { return m.s.moved && m.ipsec() && m.l.saRenewed && m.s.quiet > 0 }

// justMovedAway reports the same right after the SA was made.
func (m *ruleInput) justMovedAway() bool { return m.movedAway() && m.l.settling }

func (m *ruleInput) upWithoutSA() bool { return m.s.withoutSA && m.ipsec() }

func (m *ruleInput) upWithoutForeignSA() bool { return m.s.withoutSA && m.s.quiet < deadAfter }

func (m *ruleInput) silentAndRenewable() bool { return m.s.up && m.renews() }

func (m *ruleInput) stuckCall() bool { return m.s.stuck }

func (m *ruleInput) unsecured() bool { return m.ipsec() && !m.s.secured }

// halfClosed reports whether the tunnel stands without a call, and nothing else is wrong.
func (m *ruleInput) halfClosed() bool {
	return m.s.half && (m.s.secured || m.l.noConnection || m.s.goal == goalRedial)
}

func (m *ruleInput) lostWithOldSA() bool { return m.renews() && m.s.lost && !m.l.saRenewed }

func (m *ruleInput) dialUnanswered() bool {
	return m.renews() && m.l.last == StepDial && m.l.dials%3 == 1
}

// saInUseAndUnproven reports whether the SA has to stay, though nothing shows that it works.
func (m *ruleInput) saInUseAndUnproven() bool { return m.ipsec() && m.s.saInUse && !m.s.saWorks }

func (m *ruleInput) dialUnansweredAndSAInUse() bool {
	return m.saInUseAndUnproven() && m.l.last == StepDial && m.l.dials%3 == 1
}

func (m *ruleInput) xl2tpdRedialsAndSAInUse() bool {
	return m.xl2tpdRedials() && m.saInUseAndUnproven()
}

// xl2tpdRedials reports whether dialling is xl2tpd's own business.
func (m *ruleInput) xl2tpdRedials() bool { return m.now.Before(m.l.since.Add(m.s.owner)) }

func (m *ruleInput) readyToDial() bool { return m.l.readyToDial(m.s) }

func (m *ruleInput) readyForXl2tpd() bool { return m.xl2tpdRedials() && m.readyToDial() }

func (m *ruleInput) readyForOneOfSeveral() bool { return m.readyForXl2tpd() && m.s.sharesLNS }

func (m *ruleInput) xl2tpdRedialsAndRenewable() bool { return m.xl2tpdRedials() && m.renews() }

func (m *ruleInput) closing() bool { return m.now.Before(m.s.closedAt) }

func (m *ruleInput) redialPlanned() bool { return m.now.Before(m.s.planned) }

func (m *ruleInput) trying() bool { return m.s.trying }

func (m *ruleInput) tryingOneOfSeveral() bool { return m.s.trying && m.s.sharesLNS }

func (m *ruleInput) blocked() bool {
	return (m.s.stuck || m.halfClosed()) && m.l.last != StepHangUp && m.l.err == nil
}

func (m *ruleInput) hungUpDead() bool {
	return m.l.last == StepHangUp && m.l.err == nil && !m.s.up && !m.s.stuck && m.s.lost
}

func (m *ruleInput) dialsWithoutSA() bool {
	return m.s.trying && m.l.last == StepDial && m.l.err == nil && m.unsecured()
}

func (m *ruleInput) stepped() bool { return !m.l.next.IsZero() }

func (m *ruleInput) linkedWithSA() bool { return m.s.up && !m.s.withoutSA }

func (m *ruleInput) redialsFirst() bool {
	return m.s.owner > 0 && !m.s.lost && (m.s.secured || m.l.noConnection || m.s.goal == goalRedial)
}

func (m *ruleInput) afterLasting() time.Time { return m.now.Add(stableAfter) }

func (m *ruleInput) afterMaxPause() time.Time { return m.now.Add(maxPause) }

func (m *ruleInput) untilOverdue() time.Time { return m.now.Add(stuckAfter - m.s.quiet) }

func (m *ruleInput) afterXl2tpdsAttempt() time.Time {
	return m.now.Add(max(m.s.redial+answerTime, pause(m.l.failed+1, m.jitter)))
}

func (m *ruleInput) untilXl2tpdGivesUp() time.Time {
	return earlier(earlier(m.l.since.Add(m.s.owner), m.now.Add(maxPause)), m.s.redialDue)
}

func (m *ruleInput) untilTried() time.Time { return m.s.tried }

func (m *ruleInput) untilFree() time.Time { return m.s.closedAt }

func (m *ruleInput) untilPlanned() time.Time { return m.s.planned }

func (m *ruleInput) untilNow() time.Time { return m.l.since }

func (m *ruleInput) untilNext() time.Time { return m.l.next }

func (m *ruleInput) untilGrace() time.Time { return m.l.since.Add(m.s.grace()) }

func (m *ruleInput) untilGraceOrNext() time.Time { return earlier(m.untilGrace(), m.l.next) }

func (m *ruleInput) afterFirstRedial() time.Time { return m.l.since.Add(m.s.redial + answerTime) }

// countAsDial has xl2tpd's own next attempt count as the latest dial.
func (l *progress) countAsDial() { l.last = StepDial }

// askForConnectionAgain has charon be asked again whether it has a connection.
func (l *progress) askForConnectionAgain() { l.noConnection = false }
