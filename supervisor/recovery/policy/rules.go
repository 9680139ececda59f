package policy

import (
	"slices"
	"time"
)

// ruleInput is what a rule looks at: the progress of a LAC's recovery, and the LAC's situation.
type ruleInput struct {
	p      *Progress
	s      Situation
	jitter float64 // in [0, 1)
	now    time.Time
}

// rule is a step of recovery and the condition for it. The first rule that holds decides.
type rule struct {
	name  string // in the log
	holds func(*ruleInput) bool
	step  Step                       // StepNone: wait
	until func(*ruleInput) time.Time // when to look again; nil for a step, and where the situation or another LAC says when
	notes func(*Progress)            // what waiting changes; nil: nothing
	why   string
}

// holdBacks are the rules that come before all others: another LAC's step has to end, or an SA to have its time.
var holdBacks = []rule{
	{name: "the SA is made anew for another LAC", holds: (*ruleInput).renewing, step: StepNone,
		why: "For a moment there is no SA. The end of that step is what comes next."},
	{name: "a new SA has its time", holds: (*ruleInput).endsOnTrial, step: StepNone,
		why: "A new SA has 10 s to bring any tunnel back. If this LAC may have been hung up, a new xl2tpd has 35 s."},
}

// rules are the escalation policy: which step is taken once one is due. First come LACs that may have been hung up,
// tunnels with a link, and what prevents a dial. Then come the IKE SA, xl2tpd's own dials, and dials that recovery asks
// for. docs/recovery.md has the same table.
var rules = []rule{
	{name: "perhaps hung up, and no SA", holds: (*ruleInput).mayBeHungUpWithoutSA, step: StepSecure,
		why: "Of several LACs nobody knows which was hung up. xl2tpd may redial it, and needs the SA."},
	{name: "perhaps hung up, and an old SA", holds: (*ruleInput).mayBeHungUpWithOldSA, step: StepRenew,
		why: "The same, and the peer may have forgotten the SA. Unless xl2tpd dials, a new one is made less and less often."},
	{name: "perhaps hung up, and the SA has to stay", holds: (*ruleInput).mayBeHungUpAndSAInUse, step: StepSecure,
		why: "The same. If the peer has forgotten the SA, charon finds that out in its own negotiation."},
	{name: "perhaps hung up", holds: (*ruleInput).mayBeHungUp, step: StepNone, until: (*ruleInput).afterMaxPause, notes: (*Progress).countAsDial,
		why: "What an operator has hung up stays down, so it is neither dialled nor hung up: that is left to xl2tpd."},
	{name: "silent for too long", holds: (*ruleInput).overdue, step: StepHangUp,
		why: "A Hello of xl2tpd's should have found by now that the peer is dead."},
	{name: "dead, and xl2tpd dials a neighbour", holds: (*ruleInput).deadBesideADial, step: StepNone, until: (*ruleInput).untilNeighbourDialled,
		why: "Nobody can tell which LAC has the dead link, and both would be hung up. xl2tpd may be dialling the other one."},
	{name: "dead, and nothing to renew", holds: (*ruleInput).deadAndNotRenewable, step: StepHangUp,
		why: "The peer answers nothing, and its SA is new, or has to stay."},
	{name: "the LNS has moved", holds: (*ruleInput).movedAway, step: StepHangUp,
		why: "The new SA is with another address of the LNS: it is of no use to this tunnel."},
	{name: "up without its SA", holds: (*ruleInput).upWithoutSA, step: StepSecure,
		why: "The tunnel would go on in the clear, or die."},
	{name: "silent", holds: (*ruleInput).silentAndRenewable, step: StepRenew,
		why: "The peer may have lost the SA; a new one saves the tunnel."},
	{name: "silent, and nothing to renew", holds: (*ruleInput).isUp, step: StepNone, until: (*ruleInput).untilOverdue,
		why: "xl2tpd's next Hello finds out whether the peer is dead."},
	{name: "a call without link", holds: (*ruleInput).stuckCall, step: StepHangUp,
		why: "xl2tpd dials no other call while this one waits for PPP."},
	{name: "no SA", holds: (*ruleInput).unsecured, step: StepSecure,
		why: "Nothing is dialled in the clear where strongSwan has a connection."},
	{name: "a tunnel without call", holds: (*ruleInput).halfClosed, step: StepHangUp,
		why: "xl2tpd waits for an acknowledgement, or keeps a call that has ended, and makes no call in this tunnel."},
	{name: "a hang-up was cut short", holds: (*ruleInput).hangUpCut, step: StepHangUp,
		why: "The service was restarted in it. Without the Hello guard nobody sees whether xl2tpd redials. Hung up once more, it does not."},
	{name: "ended in silence", holds: (*ruleInput).lostWithOldSA, step: StepRenew,
		why: "The peer may have restarted and forgotten the SA."},
	{name: "dialled without answer", holds: (*ruleInput).dialUnanswered, step: StepRenew,
		why: "The peer may have forgotten the SA; every third dial is followed by a new one."},
	{name: "dialled without answer, and the SA has to stay", holds: (*ruleInput).dialUnansweredAndSAInUse, step: StepSecure,
		why: "If the peer has forgotten the SA, charon finds that out in its own negotiation."},
	{name: "xl2tpd redials one of several", holds: (*ruleInput).readyForOneOfSeveral, step: StepNone,
		until: (*ruleInput).afterXl2tpdsAttempt, notes: (*Progress).countAsDial,
		why: "LACs with one LNS can't be told apart while xl2tpd dials, so its own attempt has its time."},
	{name: "xl2tpd dials, and may redial besides", holds: (*ruleInput).readyBesideARedial, step: StepNone, until: (*ruleInput).untilPlannedOnce,
		why: "Somebody else has dialled. Made to dial anew, xl2tpd would keep to its next redial all the same, and call twice."},
	{name: "xl2tpd redials twice in each redial timeout", holds: (*ruleInput).readyBesideRedials, step: StepNone,
		until: (*ruleInput).afterXl2tpdsAttempt, notes: (*Progress).countAsRedial,
		why: "The same, and it does not end. xl2tpd's attempts over the new SA have their time, as after a dial anew."},
	{name: "xl2tpd dials from before the SA", holds: (*ruleInput).readyForXl2tpd, step: StepRedial,
		why: "An attempt that began without the SA can't succeed any more."},
	{name: "xl2tpd has redialled without success", holds: (*ruleInput).xl2tpdRedialsAndRenewable, step: StepRenew,
		why: "xl2tpd has had its time, and the SA may be what fails."},
	{name: "xl2tpd has redialled, and the SA has to stay", holds: (*ruleInput).xl2tpdRedialsAndSAInUse, step: StepSecure,
		why: "The same, if no other tunnel shows that the SA works."},
	{name: "xl2tpd redials", holds: (*ruleInput).xl2tpdRedials, step: StepNone, until: (*ruleInput).untilXl2tpdGivesUp, notes: (*Progress).awaitRedial,
		why: "Made to dial meanwhile, xl2tpd would call twice."},
	{name: "the last tunnel still closes", holds: (*ruleInput).closing, step: StepNone, until: (*ruleInput).untilClosed,
		why: "xl2tpd would dial inside the tunnel that it closes."},
	{name: "hung up while xl2tpd may redial", holds: (*ruleInput).redialPlanned, step: StepNone, until: (*ruleInput).untilPlanned,
		why: "What was hung up may have been another LAC's, or gone already. xl2tpd keeps to its next redial, and would call twice."},
	{name: "a call waits for PPP", holds: (*ruleInput).calling, step: StepNone, until: (*ruleInput).untilCalled, notes: (*Progress).awaitCall,
		why: "xl2tpd has a call already, and a second one must not be made."},
	{name: "xl2tpd dials one of several already", holds: (*ruleInput).tryingOneOfSeveral, step: StepNone, until: (*ruleInput).untilTried,
		why: "The attempt is not given up: xl2tpd's own redial of another LAC would be taken for it."},
	{name: "xl2tpd dials already", holds: (*ruleInput).trying, step: StepRedial,
		why: "A second dial does nothing while the first one lasts."},
	{name: "nobody dials", holds: (*ruleInput).always, step: StepDial,
		why: "Nothing is in the way, and xl2tpd does not redial."},
}

// Does returns what a rule with that step does, for the log and docs/recovery.md.
func Does(s Step) string {
	if s == StepNone {
		return "wait"
	}
	return s.String()
}

// pauseRule is a time of the next step and the condition for it. The first pause that holds decides.
type pauseRule struct {
	name  string
	holds func(*ruleInput) bool
	until func(*ruleInput) time.Time
	why   string
}

// pauses say when the next step is due. docs/recovery.md has the same table.
var pauses = []pauseRule{
	{"a new SA", (*ruleInput).readyToDial, (*ruleInput).noWait,
		"Now: nothing is in the way of a dial."},
	{"in the way of a dial", (*ruleInput).blocked, (*ruleInput).noWait,
		"Now: a call without link, or a tunnel without call, does not recover by itself."},
	{"hung up, and the peer was dead", (*ruleInput).hungUpDead, (*ruleInput).untilClosed,
		"Until xl2tpd has finished with the tunnel: up to 33 s, or 1 s if the Hello guard acknowledged the StopCCN."},
	{"the LNS has moved", (*ruleInput).justMovedAway, (*ruleInput).noWait,
		"Now: the new SA can't help this tunnel. Its peer is asked once more before the tunnel is hung up."},
	{"dialled without SA", (*ruleInput).dialsWithoutSA, (*ruleInput).untilGraceOrNext,
		"3 s, or 10 s while charon negotiates: the attempt fails, or is in the clear."},
	{"after a step", (*ruleInput).stepped, (*ruleInput).untilNext,
		"As long as the step may take to help; after failures, ever longer."},
	{"a silent link", (*ruleInput).linkedWithSA, (*ruleInput).noWait,
		"Now: the peer has been asked already, or has been silent for long."},
	{"xl2tpd redials", (*ruleInput).redialsFirst, (*ruleInput).afterFirstRedial,
		"`redial timeout` and 35 s: xl2tpd tries first."},
	{"the tunnel has just ended", (*ruleInput).always, (*ruleInput).untilGrace,
		"3 s, or 10 s while charon negotiates: charon may try by itself, and the reason may come late."},
}

// decide returns the step of the first rule that holds, and when to look again if that step is StepNone; zero: when
// something has changed.
func (p *Progress) decide(s Situation, jitter float64, now time.Time) (Step, time.Time) {
	in := &ruleInput{p, s, jitter, now}
	fruitless := p.fruitless(s)
	if fruitless {
		p.noConnection = false // charon may have been asked before it had loaded its connections
	}
	r := in.rule()
	if r.step == StepDial && p.noConnection && now.Sub(p.doneAt) > noConnectionTime {
		p.noConnection = false
		r = in.rule()
	}
	p.rule = r.name
	if r.step == StepNone && r.until == nil {
		return StepNone, time.Time{}
	}
	p.awaits = nothing
	if fruitless {
		p.failed++
	}
	at := now
	if r.until != nil {
		at = r.until(in)
	}
	if r.notes != nil {
		r.notes(p)
	}
	return r.step, at
}

// rule returns the first rule that holds.
func (in *ruleInput) rule() rule {
	if r, holds := in.firstOf(holdBacks); holds {
		return r
	}
	r, _ := in.firstOf(rules) // the last one always holds
	return r
}

// firstOf returns the first of these rules that holds.
func (in *ruleInput) firstOf(these []rule) (r rule, holds bool) {
	i := slices.IndexFunc(these, func(r rule) bool { return r.holds(in) })
	if i < 0 {
		return rule{}, false
	}
	return these[i], true
}

// dueAt returns when the next step is due, as the first pause that holds says.
func (p *Progress) dueAt(s Situation, now time.Time) time.Time {
	in := &ruleInput{p: p, s: s, now: now}
	for _, one := range pauses {
		if one.holds(in) {
			p.pause = one.name
			return one.until(in)
		}
	}
	return now
}

// ipsec reports whether there may be an SA that recovery can bring back.
func (in *ruleInput) ipsec() bool { return in.s.Goal == GoalFull && !in.p.noConnection }

// renews reports whether recovery may end the IKE SA.
func (in *ruleInput) renews() bool { return in.ipsec() && !in.s.SAInUse }

func (in *ruleInput) always() bool { return true }

// needsSA reports whether the tunnel has a link, or xl2tpd may redial it.
func (in *ruleInput) needsSA() bool { return in.s.Up || in.s.RedialPause > 0 }

func (in *ruleInput) renewing() bool { return in.s.Renewing }

// endsOnTrial reports whether the next step would end an SA that is on trial, or a tunnel that such an SA may bring back.
func (in *ruleInput) endsOnTrial() bool {
	own := in.now.Before(in.p.OwnTrial())
	if !in.s.SAOnTrial && !own {
		return false
	}
	r, _ := in.firstOf(rules)
	return r.step == StepRenew || in.s.SAOnTrial && r.step == StepHangUp && in.s.silent()
}

func (in *ruleInput) mayBeHungUp() bool { return in.s.MayBeHungUp }

func (in *ruleInput) mayBeHungUpWithoutSA() bool {
	return in.s.MayBeHungUp && in.unsecured() && in.needsSA()
}

func (in *ruleInput) mayBeHungUpWithOldSA() bool {
	return in.s.MayBeHungUp && in.renews() && in.needsSA() && in.saTrialOver()
}

// mayBeHungUpAndSAInUse reports whether charon should try an SA that must stay.
func (in *ruleInput) mayBeHungUpAndSAInUse() bool {
	return in.s.MayBeHungUp && in.saInUseAndUnproven() && in.needsSA() && in.saTrialOver()
}

// saTrialOver reports whether the time in which the latest new SA may help is over.
func (in *ruleInput) saTrialOver() bool {
	return !in.p.saRenewed || in.now.Sub(in.p.doneAt) >= in.saTrialTime()
}

// saTrialTime returns the time in which a new SA may help. If xl2tpd asks for no tunnel, it is as long as the trouble
// had lasted when the SA was made. So it doubles with each new SA.
func (in *ruleInput) saTrialTime() time.Duration {
	if in.s.SCCRQAt.After(in.p.doneAt) {
		return MaxPause
	}
	since := in.p.since
	if in.s.EndedAt.After(since) { // the link was silent before
		since = in.s.EndedAt
	}
	return max(MaxPause, in.p.doneAt.Sub(since))
}

func (in *ruleInput) isUp() bool { return in.s.Up }

func (in *ruleInput) overdue() bool { return in.s.Up && in.s.Quiet >= stuckAfter }

func (in *ruleInput) deadAndNotRenewable() bool {
	return in.s.silent() && in.p.peer == peerSilent && (!in.renews() || in.p.renewed())
}

// deadBesideADial reports whether a dead link would be hung up that may be a neighbour's, while xl2tpd may be dialling that
// neighbour.
func (in *ruleInput) deadBesideADial() bool {
	return (in.deadAndNotRenewable() || in.movedAway()) && in.now.Before(in.s.NeighbourDialledUntil)
}

func (in *ruleInput) movedAway() bool {
	return in.s.Moved && in.ipsec() && in.p.saRenewed && in.s.Quiet > 0
}

// justMovedAway is movedAway right after the SA was made.
func (in *ruleInput) justMovedAway() bool { return in.movedAway() && in.p.sa == saSettling }

func (in *ruleInput) upWithoutSA() bool { return in.s.WithoutSA && in.ipsec() }

func (in *ruleInput) silentAndRenewable() bool { return in.s.Up && in.renews() }

func (in *ruleInput) stuckCall() bool { return in.s.Stuck }

func (in *ruleInput) unsecured() bool { return in.ipsec() && !in.s.HasSA }

// halfClosed reports whether the tunnel has no call, and its SA is not what prevents one.
func (in *ruleInput) halfClosed() bool {
	return in.s.NoCall && (in.s.HasSA || in.p.noConnection || in.s.Goal == GoalRedial)
}

func (in *ruleInput) hangUpCut() bool { return in.s.HangUpCut && !in.calling() }

func (in *ruleInput) lostWithOldSA() bool { return in.renews() && in.s.EndedSilent && !in.p.saRenewed }

func (in *ruleInput) dialUnanswered() bool {
	return in.renews() && in.p.last == StepDial && in.p.dials%3 == 1
}

// saInUseAndUnproven reports whether the SA must stay, although nothing shows that it works.
func (in *ruleInput) saInUseAndUnproven() bool { return in.ipsec() && in.s.SAInUse && !in.s.SAWorks }

func (in *ruleInput) dialUnansweredAndSAInUse() bool {
	return in.saInUseAndUnproven() && in.p.last == StepDial && in.p.dials%3 == 1
}

func (in *ruleInput) xl2tpdRedialsAndSAInUse() bool {
	return in.xl2tpdRedials() && in.saInUseAndUnproven()
}

// xl2tpdRedials reports whether xl2tpd still redials by itself.
func (in *ruleInput) xl2tpdRedials() bool { return in.now.Before(in.p.since.Add(in.s.RedialsFor)) }

func (in *ruleInput) readyToDial() bool { return in.p.readyToDial(in.s) }

func (in *ruleInput) readyForXl2tpd() bool { return in.xl2tpdRedials() && in.readyToDial() }

func (in *ruleInput) readyBesideRedials() bool { return in.readyForXl2tpd() && in.redialPlanned() }

// readyBesideARedial is readyBesideRedials until the first redial after the SA was made.
func (in *ruleInput) readyBesideARedial() bool {
	return in.readyBesideRedials() && in.now.Before(in.untilPlannedOnce())
}

func (in *ruleInput) readyForOneOfSeveral() bool { return in.readyForXl2tpd() && in.s.SharesLNS }

func (in *ruleInput) xl2tpdRedialsAndRenewable() bool { return in.xl2tpdRedials() && in.renews() }

func (in *ruleInput) closing() bool { return in.now.Before(in.s.ClosingUntil) }

func (in *ruleInput) redialPlanned() bool { return in.now.Before(in.s.RedialPlannedUntil) }

func (in *ruleInput) calling() bool { return in.now.Before(in.s.CallingUntil) }

func (in *ruleInput) trying() bool { return in.s.Trying }

func (in *ruleInput) tryingOneOfSeveral() bool { return in.s.Trying && in.s.SharesLNS }

func (in *ruleInput) blocked() bool {
	return (in.s.Stuck || in.halfClosed()) && in.p.last != StepHangUp && in.p.err == nil
}

func (in *ruleInput) hungUpDead() bool {
	return in.p.last == StepHangUp && in.p.err == nil && !in.s.Up && !in.s.Stuck && in.s.EndedSilent
}

func (in *ruleInput) dialsWithoutSA() bool {
	return in.s.Trying && in.p.last == StepDial && in.p.err == nil && in.unsecured()
}

func (in *ruleInput) stepped() bool { return !in.p.next.IsZero() }

func (in *ruleInput) linkedWithSA() bool { return in.s.Up && !in.s.WithoutSA }

func (in *ruleInput) redialsFirst() bool {
	return in.s.RedialsFor > 0 && !in.s.EndedSilent && (in.s.HasSA || in.p.noConnection || in.s.Goal == GoalRedial)
}

func (in *ruleInput) afterMaxPause() time.Time { return in.now.Add(MaxPause) }

func (in *ruleInput) untilOverdue() time.Time { return in.now.Add(stuckAfter - in.s.Quiet) }

func (in *ruleInput) afterXl2tpdsAttempt() time.Time {
	return in.now.Add(max(in.s.RedialPause+AttemptTime, pause(in.p.failed+1, in.jitter)))
}

func (in *ruleInput) untilXl2tpdGivesUp() time.Time {
	return earlier(earlier(in.p.since.Add(in.s.RedialsFor), in.now.Add(MaxPause)), in.s.RedialDue)
}

func (in *ruleInput) untilCalled() time.Time { return in.s.CallingUntil }

func (in *ruleInput) untilNeighbourDialled() time.Time { return in.s.NeighbourDialledUntil }

func (in *ruleInput) untilTried() time.Time { return in.s.TryingUntil }

func (in *ruleInput) untilClosed() time.Time { return in.s.ClosingUntil }

func (in *ruleInput) untilPlanned() time.Time { return in.s.RedialPlannedUntil }

// untilPlannedOnce returns when xl2tpd has redialled once since the SA was made, and the pause after that step is over.
func (in *ruleInput) untilPlannedOnce() time.Time {
	paused := in.p.doneAt.Add(pause(in.p.failed+1, in.jitter))
	redialled := earlier(in.s.RedialPlannedUntil, in.p.doneAt.Add(in.s.RedialPause+TimerDelay))
	if redialled.After(paused) {
		return redialled
	}
	return paused
}

func (in *ruleInput) noWait() time.Time { return in.p.since }

func (in *ruleInput) untilNext() time.Time { return in.p.next }

func (in *ruleInput) untilGrace() time.Time { return in.p.since.Add(in.s.grace()) }

func (in *ruleInput) untilGraceOrNext() time.Time { return earlier(in.untilGrace(), in.p.next) }

func (in *ruleInput) afterFirstRedial() time.Time {
	return in.p.since.Add(in.s.RedialPause + AttemptTime)
}

// countAsDial makes xl2tpd's own next attempt count as the latest dial.
func (p *Progress) countAsDial() { p.last = StepDial }

// countAsRedial does the same as if recovery had made xl2tpd dial anew.
func (p *Progress) countAsRedial() { p.last = StepRedial }

// awaitCall makes the next step due at the end of the call.
func (p *Progress) awaitCall() { p.awaits = endOfCall }

// awaitRedial makes the next step due as soon as xl2tpd does not redial any more. That step asks charon again whether it
// has a connection for the LNS.
func (p *Progress) awaitRedial() { p.awaits, p.noConnection = endOfRedials, false }
