package policy

import "time"

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

func (in *ruleInput) readyAmongRedials() bool { return in.readyForXl2tpd() && in.redialPlanned() }

// readyBeforeARedial is readyAmongRedials until the first redial after the SA was made.
func (in *ruleInput) readyBeforeARedial() bool {
	return in.readyAmongRedials() && in.now.Before(in.untilRedialledOnce())
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
