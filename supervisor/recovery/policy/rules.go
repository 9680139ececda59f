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
	{name: "xl2tpd dials, and may redial besides", holds: (*ruleInput).readyBeforeARedial, step: StepNone, until: (*ruleInput).untilRedialledOnce,
		why: "Somebody else has dialled. Made to dial anew, xl2tpd would keep to its next redial all the same, and call twice."},
	{name: "xl2tpd redials twice in each redial timeout", holds: (*ruleInput).readyAmongRedials, step: StepNone,
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

// countAsDial makes xl2tpd's own next attempt count as the latest dial.
func (p *Progress) countAsDial() { p.last = StepDial }

// countAsRedial does the same as if recovery had made xl2tpd dial anew.
func (p *Progress) countAsRedial() { p.last = StepRedial }

// awaitCall makes the next step due at the end of the call.
func (p *Progress) awaitCall() { p.awaits = endOfCall }

// awaitRedial makes the next step due as soon as xl2tpd does not redial any more. That step asks charon again whether it
// has a connection for the LNS.
func (p *Progress) awaitRedial() { p.awaits, p.noConnection = endOfRedials, false }
