package supervisor

import "time"

// moment is what a rule looks at: how far a LAC's recovery has come, and how it is about the LAC.
type moment struct {
	l      *ladder
	s      situation
	jitter float64 // in [0, 1)
	now    time.Time
}

// rule is a step of recovery and when it is the right one. Of the rules the first one that holds
// decides.
type rule struct {
	name  string // in the log
	holds func(*moment) bool
	step  Step                    // StepNone: wait
	until func(*moment) time.Time // when to look again; nil for a step
	notes func(*ladder)           // what waiting changes; nil: nothing
	why   string
}

// rules are the escalation policy: which step is taken once one is due. The order is: what may
// have been hung up, tunnels with a link, what is in the way of a dial, the IKE SA, xl2tpd's own
// dials, and dials that recovery asks for.
// docs/recovery.md has the same table.
var rules = []rule{
	{name: "perhaps hung up, and no SA", holds: (*moment).unclearWithoutSA, step: StepSecure,
		why: "Of several LACs nobody knows which was hung up. xl2tpd may redial it, and needs the SA."},
	{name: "perhaps hung up, and an old SA", holds: (*moment).unclearWithOldSA, step: StepRenew,
		why: "The same, and the peer may have forgotten the SA. Unless xl2tpd dials, a new one is made less and less often."},
	{name: "perhaps hung up, and the SA has to stay", holds: (*moment).unclearOverKept, step: StepSecure,
		why: "The same. If the peer has forgotten the SA, charon finds that out in its own negotiation."},
	{name: "perhaps hung up", holds: (*moment).unclear, step: StepNone, until: (*moment).afterMaxPause, notes: (*ladder).countsAsDial,
		why: "What an operator has hung up stays down, so it is neither dialled nor hung up: that is left to xl2tpd."},
	{name: "silent for too long", holds: (*moment).overdue, step: StepHangUp,
		why: "A Hello of xl2tpd's should have found by now that the peer is dead."},
	{name: "dead, and nothing to renew", holds: (*moment).deadForGood, step: StepHangUp,
		why: "The peer answers nothing, and its SA is new, or has to stay."},
	{name: "the LNS has moved", holds: (*moment).movedAway, step: StepHangUp,
		why: "The new SA is with another address of the LNS: it is of no use to this tunnel."},
	{name: "up without its SA", holds: (*moment).bareAndSecurable, step: StepSecure,
		why: "The tunnel would go on in the clear, or die."},
	{name: "up without its SA, IPsec not ours", holds: (*moment).bareAndFresh, step: StepNone, until: (*moment).afterLasting,
		why: "A new call would not bring the SA back."},
	{name: "silent", holds: (*moment).silentAndRenewable, step: StepRenew,
		why: "The peer may have lost the SA; a new one saves the tunnel."},
	{name: "silent, and the SA has to stay", holds: (*moment).linked, step: StepNone, until: (*moment).untilOverdue,
		why: "xl2tpd's next Hello finds out whether the peer is dead."},
	{name: "a call without link", holds: (*moment).stuckCall, step: StepHangUp,
		why: "xl2tpd dials no other call while this one waits for PPP."},
	{name: "no SA", holds: (*moment).unsecured, step: StepSecure,
		why: "Nothing is dialled in the clear where strongSwan has a connection."},
	{name: "a tunnel without call", holds: (*moment).halfClosed, step: StepHangUp,
		why: "xl2tpd waits for an acknowledgement, and makes no call in this tunnel."},
	{name: "ended in silence", holds: (*moment).lostWithOldSA, step: StepRenew,
		why: "The peer may have restarted and forgotten the SA."},
	{name: "dialled without answer", holds: (*moment).dialledInVain, step: StepRenew,
		why: "The peer may have forgotten the SA; every third dial is followed by a new one."},
	{name: "dialled without answer, and the SA has to stay", holds: (*moment).dialledOverKept, step: StepSecure,
		why: "If the peer has forgotten the SA, charon finds that out in its own negotiation."},
	{name: "xl2tpd redials one of several", holds: (*moment).pavedForOneOfSeveral, step: StepNone,
		until: (*moment).afterOwnAttempt, notes: (*ladder).countsAsDial,
		why: "LACs with one LNS can't be told apart while xl2tpd dials, so its own attempt has its time."},
	{name: "xl2tpd dials from before the SA", holds: (*moment).pavedForXl2tpd, step: StepRedial,
		why: "An attempt that began without the SA can't succeed any more."},
	{name: "xl2tpd has redialled without success", holds: (*moment).ownedAndRenewable, step: StepRenew,
		why: "xl2tpd has had its time, and the SA may be what fails."},
	{name: "xl2tpd has redialled, and the SA has to stay", holds: (*moment).ownedOverKept, step: StepSecure,
		why: "The same, if no other tunnel shows that the SA works."},
	{name: "xl2tpd redials", holds: (*moment).owned, step: StepNone, until: (*moment).untilOwnerEnds, notes: (*ladder).forgetsPlain,
		why: "Made to dial meanwhile, xl2tpd would call twice."},
	{name: "the last tunnel still closes", holds: (*moment).closing, step: StepNone, until: (*moment).untilFree,
		why: "xl2tpd would dial inside the tunnel that it closes."},
	{name: "hung up while xl2tpd may redial", holds: (*moment).redialPlanned, step: StepNone, until: (*moment).untilPlanned,
		why: "The silent link may have been another LAC's. xl2tpd keeps to its next redial, and would call twice."},
	{name: "xl2tpd dials one of several already", holds: (*moment).tryingOneOfSeveral, step: StepNone, until: (*moment).untilTried,
		why: "The attempt is not given up: xl2tpd's own redial of another LAC would be taken for it."},
	{name: "xl2tpd dials already", holds: (*moment).trying, step: StepRedial,
		why: "A second dial does nothing while the first one lasts."},
	{name: "nobody dials", holds: (*moment).always, step: StepDial,
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
	holds func(*moment) bool
	until func(*moment) time.Time
	why   string
}

// pauses say when the next step is due. docs/recovery.md has the same table.
var pauses = []pauseRule{
	{"a new SA", (*moment).paved, (*moment).untilNow,
		"None: the way is free for a dial."},
	{"in the way of a dial", (*moment).blocked, (*moment).untilNow,
		"None: neither a call without link nor a tunnel without call mends itself."},
	{"hung up, and the peer was dead", (*moment).hungUpDead, (*moment).untilFree,
		"Until xl2tpd has finished with the tunnel: up to 33 s, or 1 s if the Hello guard acknowledged the StopCCN."},
	{"the LNS has moved", (*moment).justMovedAway, (*moment).untilNow,
		"None: the new SA can't help this tunnel, and its peer is asked once more before it is hung up."},
	{"dialled without SA", (*moment).dialsWithoutSA, (*moment).untilGraceOrNext,
		"3 s, or 10 s while charon negotiates: the attempt fails, or is in the clear."},
	{"after a step", (*moment).stepped, (*moment).untilNext,
		"As long as the step may take to help; after failures, ever longer."},
	{"a silent link", (*moment).linkedWithSA, (*moment).untilNow,
		"None: the peer has been asked already, or has been silent for long."},
	{"xl2tpd redials", (*moment).redialsFirst, (*moment).afterFirstRedial,
		"`redial timeout` and 35 s: xl2tpd tries first."},
	{"the tunnel has just ended", (*moment).always, (*moment).untilGrace,
		"3 s, or 10 s while charon negotiates: charon may try by itself, and the reason may come late."},
}

// choose takes the step of the first rule that holds.
func (l *ladder) choose(s situation, jitter float64, now time.Time) (Step, time.Time) {
	m := &moment{l, s, jitter, now}
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

// when is the time of the next step.
func (l *ladder) when(s situation, now time.Time) time.Time {
	m := &moment{l: l, s: s, now: now}
	for _, p := range pauses {
		if p.holds(m) {
			l.pause = p.name
			return p.until(m)
		}
	}
	return now
}

// ipsec reports whether there may be an SA that recovery can bring back.
func (m *moment) ipsec() bool { return m.s.wish == wishFull && !m.l.plain }

// renews reports whether recovery may end the IKE SA.
func (m *moment) renews() bool { return m.ipsec() && !m.s.kept }

func (m *moment) always() bool { return true }

// redialled reports whether the tunnel is up, or xl2tpd may redial it.
func (m *moment) redialled() bool { return m.s.up || m.s.redial > 0 }

func (m *moment) unclear() bool { return m.s.unclear }

func (m *moment) unclearWithoutSA() bool { return m.s.unclear && m.unsecured() && m.redialled() }

func (m *moment) unclearWithOldSA() bool {
	return m.s.unclear && m.renews() && m.redialled() && m.unclearFor()
}

// unclearOverKept reports whether an SA that has to stay is to be tried.
func (m *moment) unclearOverKept() bool {
	return m.s.unclear && m.doubtful() && m.redialled() && m.unclearFor()
}

// unclearFor reports whether the latest new SA has had its time.
func (m *moment) unclearFor() bool { return !m.l.fresh || m.now.Sub(m.l.doneAt) >= m.unclearPause() }

// unclearPause is how long a new SA has its time. If nobody asks for a tunnel, each pause is as long as all before together.
func (m *moment) unclearPause() time.Duration {
	if m.s.asked.After(m.l.doneAt) {
		return maxPause
	}
	return max(maxPause, m.l.doneAt.Sub(m.l.since))
}

func (m *moment) linked() bool { return m.s.up }

func (m *moment) overdue() bool { return m.s.up && m.s.quiet >= stuckAfter }

func (m *moment) deadForGood() bool {
	return m.s.silent() && m.l.dead && (!m.renews() || m.l.renewed())
}

func (m *moment) movedAway() bool { return m.s.moved && m.ipsec() && m.l.fresh && m.s.quiet > 0 }

// justMovedAway reports the same right after the SA was made.
func (m *moment) justMovedAway() bool { return m.movedAway() && m.l.settling }

func (m *moment) bareAndSecurable() bool { return m.s.bare && m.ipsec() }

func (m *moment) bareAndFresh() bool { return m.s.bare && m.s.quiet < deadAfter }

func (m *moment) silentAndRenewable() bool { return m.s.up && m.renews() }

func (m *moment) stuckCall() bool { return m.s.stuck }

func (m *moment) unsecured() bool { return m.ipsec() && !m.s.secured }

// halfClosed reports whether the tunnel stands without a call, and nothing else is wrong.
func (m *moment) halfClosed() bool {
	return m.s.half && (m.s.secured || m.l.plain || m.s.wish == wishRedial)
}

func (m *moment) lostWithOldSA() bool { return m.renews() && m.s.lost && !m.l.fresh }

func (m *moment) dialledInVain() bool {
	return m.renews() && m.l.last == StepDial && m.l.dials%3 == 1
}

// doubtful reports whether the SA has to stay, though nothing shows that it works.
func (m *moment) doubtful() bool { return m.ipsec() && m.s.kept && !m.s.proven }

func (m *moment) dialledOverKept() bool {
	return m.doubtful() && m.l.last == StepDial && m.l.dials%3 == 1
}

func (m *moment) ownedOverKept() bool { return m.owned() && m.doubtful() }

// owned reports whether dialling is xl2tpd's own business.
func (m *moment) owned() bool { return m.now.Before(m.l.since.Add(m.s.owner)) }

func (m *moment) paved() bool { return m.l.paved(m.s) }

func (m *moment) pavedForXl2tpd() bool { return m.owned() && m.paved() }

func (m *moment) pavedForOneOfSeveral() bool { return m.pavedForXl2tpd() && m.s.shared }

func (m *moment) ownedAndRenewable() bool { return m.owned() && m.renews() }

func (m *moment) closing() bool { return m.now.Before(m.s.free) }

func (m *moment) redialPlanned() bool { return m.now.Before(m.s.planned) }

func (m *moment) trying() bool { return m.s.trying }

func (m *moment) tryingOneOfSeveral() bool { return m.s.trying && m.s.shared }

func (m *moment) blocked() bool {
	return (m.s.stuck || m.halfClosed()) && m.l.last != StepHangUp && m.l.err == nil
}

func (m *moment) hungUpDead() bool {
	return m.l.last == StepHangUp && m.l.err == nil && !m.s.up && !m.s.stuck && m.s.lost
}

func (m *moment) dialsWithoutSA() bool {
	return m.s.trying && m.l.last == StepDial && m.l.err == nil && m.unsecured()
}

func (m *moment) stepped() bool { return !m.l.next.IsZero() }

func (m *moment) linkedWithSA() bool { return m.s.up && !m.s.bare }

func (m *moment) redialsFirst() bool {
	return m.s.owner > 0 && !m.s.lost && (m.s.secured || m.l.plain || m.s.wish == wishRedial)
}

func (m *moment) afterLasting() time.Time { return m.now.Add(lasting) }

func (m *moment) afterMaxPause() time.Time { return m.now.Add(maxPause) }

func (m *moment) untilOverdue() time.Time { return m.now.Add(stuckAfter - m.s.quiet) }

func (m *moment) afterOwnAttempt() time.Time {
	return m.now.Add(max(m.s.redial+answerTime, pause(m.l.failed+1, m.jitter)))
}

func (m *moment) untilOwnerEnds() time.Time {
	return earlier(earlier(m.l.since.Add(m.s.owner), m.now.Add(maxPause)), m.s.redialDue)
}

func (m *moment) untilTried() time.Time { return m.s.tried }

func (m *moment) untilFree() time.Time { return m.s.free }

func (m *moment) untilPlanned() time.Time { return m.s.planned }

func (m *moment) untilNow() time.Time { return m.l.since }

func (m *moment) untilNext() time.Time { return m.l.next }

func (m *moment) untilGrace() time.Time { return m.l.since.Add(m.s.grace()) }

func (m *moment) untilGraceOrNext() time.Time { return earlier(m.untilGrace(), m.l.next) }

func (m *moment) afterFirstRedial() time.Time { return m.l.since.Add(m.s.redial + answerTime) }

// countsAsDial has xl2tpd's own next attempt count as the latest dial.
func (l *ladder) countsAsDial() { l.last = StepDial }

// forgetsPlain has charon be asked again whether it has a connection.
func (l *ladder) forgetsPlain() { l.plain = false }
