package supervisor

import (
	"errors"
	"slices"
	"time"

	"xl2tpd-keepalive/internal/message"
)

// Step is one step of recovery, the gentlest first.
type Step int

const (
	StepNone   Step = iota
	StepSecure      // initiate the CHILD SA
	StepDial        // make xl2tpd dial
	StepRedial      // make xl2tpd drop an attempt that can't succeed, and dial
	StepRenew       // terminate the IKE SA and initiate a new one
	StepHangUp      // make xl2tpd close a tunnel that is of no use any more
	StepLook        // send the LNS an echo request outside the tunnel; changes nothing
	StepAsk         // ask the peer of a silent link for a control message; changes nothing
)

// asks reports whether a step only asks: it changes nothing and needs no slot.
func (s Step) asks() bool { return s == StepLook || s == StepAsk }

func (s Step) String() string { return s.text().String() }

func (s Step) text() message.Text {
	return [...]message.Text{"", "initiate the IPsec SA", "dial", "dial anew", "renew the IPsec SA", "hang up", "look for the LNS", "ask the peer"}[s]
}

// Errors of a step that the core treats differently from all others.
var (
	// ErrNoRoute says that this host has no route to the LNS: nothing was tried.
	ErrNoRoute = errors.New("no route to the LNS")
	// ErrNoConnection says that strongSwan has no connection for the LNS.
	ErrNoConnection = errors.New("strongSwan has no connection for the LNS")
	// ErrRedialsLater says that xl2tpd is not dialling now: it will, after its redial timeout.
	ErrRedialsLater = errors.New("xl2tpd waits before it redials")
	// ErrAnswered says that the LNS has answered xl2tpd's attempt: its link may come up.
	ErrAnswered = errors.New("the LNS has answered xl2tpd's attempt")
	// ErrPeerDead says that xl2tpd has hung up, and that the peer does not answer. A peer that has restarted has lost
	// the tunnel and the SA.
	ErrPeerDead = errors.New("the peer does not listen")
	// ErrAnswers says that the LNS has answered the latest attempt: the SA is not the reason why the attempt failed.
	ErrAnswers = errors.New("the LNS answers, and refuses the tunnel or call")
	// ErrSAInUse says that the SA was not ended: it may carry another tunnel that is alive.
	ErrSAInUse = errors.New("the LNS still speaks to another tunnel")
	// ErrHungUp says that xl2tpd has hung up before the step failed.
	ErrHungUp = errors.New("xl2tpd has hung up")
	// ErrGaveUp says that an attempt had ended before xl2tpd was made to hang up. xl2tpd has planned a redial, which a dial
	// would allow again.
	ErrGaveUp = errors.New("the attempt had ended before")
	// ErrAlive says that the peer still sends control messages: nothing was done to the tunnel.
	ErrAlive = errors.New("the peer's control messages still come in")
)

const (
	// grace is how long to wait before the first step: charon may already be retrying, and the close reason may arrive
	// late.
	grace = reasonDelay + time.Second
	// connectTime is grace while charon is negotiating. Initiating the same CHILD SA then would make a second pair of
	// SAs.
	connectTime = 10 * time.Second
	// attemptLasts is after how long xl2tpd gives up an attempt that nobody answers: SCCRQ and its retransmissions
	// (network.c, control_xmit).
	attemptLasts = 31 * time.Second
	// attemptTime is how long such an attempt takes at most. A second request in that time does nothing.
	attemptTime = attemptLasts + 4*time.Second
	// deadAfter is the silence after which a tunnel counts as dead without proof. It is longer than the time between
	// two Hellos, which a living peer answers.
	deadAfter = 65 * time.Second
	// stuckAfter is the silence after which xl2tpd should have closed the tunnel: evidence stays fresh for a while,
	// then a Hello passes and goes unanswered.
	stuckAfter = 150 * time.Second
	// callTime is how long a call may be without addresses: pppd gives LCP and authentication 30 s each. xl2tpd starts
	// pppd with `passive`, so after that pppd waits for ever. As long as it waits, xl2tpd refuses to dial.
	callTime = 75 * time.Second
	// callStart is how long xl2tpd may take to make a call in a tunnel without one. While xl2tpd waits for the
	// acknowledgement of an earlier call's end, it makes none. It takes that acknowledgement only under the session id
	// of the call (control.c, handle_control). RFC 2661 does not require that session id in a ZLB.
	callStart = 10 * time.Second
	// stableAfter is how long a tunnel must be up to count as recovered.
	stableAfter = time.Minute
	// noConnectionTime is for how long an answer of charon's that it has no connection for the LNS is enough to dial in the
	// clear. charon may have been asked before it had loaded its connections.
	noConnectionTime = 30 * time.Second
	// unlistedTime is how long an initiated SA counts while charon does not list its SAs. The SA may be lost after
	// that, and then a dial would go out in the clear.
	unlistedTime = 10 * time.Second
	// helpTime is how long after a new SA a tunnel may take to show that it lives again.
	helpTime = 10 * time.Second
	// routeLook and lnsLook are how often, in the pauses between steps, recovery looks for a route and for the LNS.
	routeLook = 2 * time.Second
	lnsLook   = 5 * time.Second
	// aliveLook is how long to wait after the peer of a silent link was found alive. After other answers it is lnsLook.
	aliveLook = 10 * time.Second
	// aliveTime is how long such an answer counts. It leaves the next question time to be answered.
	aliveTime = aliveLook + 5*time.Second
	// deadTime is how long it counts that the peer of a silent link has left a question unanswered. The peer may answer
	// again by then, although the target of the echo requests does not.
	deadTime = 15 * time.Second

	// The backoff between steps.
	minPause    = 5 * time.Second // after the first step that failed or did not help
	jitterAfter = time.Minute     // pauses up to this one double
	maxPause    = 5 * time.Minute // and later ones are random, from jitterAfter to at most this
)

// progress is how far the recovery of one LAC's tunnel has come.
type progress struct {
	since        time.Time // when the trouble was first seen; zero: there is none
	well         time.Time // when the tunnel was up again
	next         time.Time // no step before this time; zero: as the situation says
	busy         Step      // the step under way
	last         Step      // the latest step
	failed       int       // steps in a row that failed or did not help
	dials        int       // since the trouble was first seen
	saRenewed    bool      // recovery has made a new SA since then, or has tried to
	noConnection bool      // strongSwan had no connection for the LNS when it was last asked
	lookAt       time.Time // when to look for the LNS again
	lnsSilent    bool      // the LNS did not answer the latest look
	waitsForSlot bool      // a step is due, and all slots are taken
	askAt        time.Time // when to ask the peer of the silent link again
	peer         peerAnswer
	peerAt       time.Time // when that became known
	aliveAt      time.Time // when recovery last learned that the peer of the silent link lives
	err          error     // why the latest step failed
	hungUpAt     time.Time // when recovery has hung up, if the tunnel was neither up nor dialled since; zero: it was, or recovery has not
	doneAt       time.Time // when charon last answered a request for an SA
	sa           saAnswer  // what it said
	awaits       awaited   // what makes the next step due earlier than next
	rule         string    // the rule that has decided in the latest advance; empty: none
	pause        string    // the pause that has decided when
}

// peerAnswer is what came of asking the peer of the silent link.
type peerAnswer int

const (
	peerUnknown  peerAnswer = iota // it has answered, or was not asked, or the answer no longer counts
	peerOutdated                   // the link may have got a new SA: the answer to an earlier question does not count
	peerSilent                     // it did not answer, although its host, or the LNS elsewhere, can be reached
)

// awaited is what makes the next step due immediately.
type awaited int

const (
	nothing      awaited = iota
	endOfCall            // there is no call any more: it may be one that only ends
	endOfRedials         // xl2tpd does not redial any more
)

// saAnswer is what came of the latest request for an SA.
type saAnswer int

const (
	saUnconfirmed saAnswer = iota // there is none
	saConfirmed                   // there is one
	saSettling                    // there is one, and until next it has its time to help a link
)

// isIdle reports whether no step is under way that may change something.
func (p *progress) isIdle() bool { return p.busy == StepNone || p.busy.asks() }

// commands reports whether a step with a command to xl2tpd is under way: what xl2tpd does may be due to that.
func (p *progress) commands() bool {
	return p.busy == StepDial || p.busy == StepRedial || p.busy == StepHangUp
}

// takes reports whether one of these steps is under way.
func (p *progress) takes(these ...Step) bool { return slices.Contains(these, p.busy) }

// underWay returns the step under way; StepNone: none is.
func (p *progress) underWay() Step { return p.busy }

// abandon forgets the step under way: its result says nothing any more.
func (p *progress) abandon() { p.busy = StepNone }

// xl2tpdEnded notes that xl2tpd has ended, and its attempt with it. So a missing answer to that attempt says nothing about
// the SA, and nothing is left to wait for.
func (p *progress) xl2tpdEnded() {
	if p.busy == StepNone && (p.last == StepDial || p.last == StepRedial) {
		p.last = StepNone
	}
	p.next = time.Time{}
}

// dialled begins anew for a LAC that somebody has just dialled. A step under way goes on.
func (p *progress) dialled(now time.Time) {
	*p = progress{busy: p.busy, since: now, last: StepDial, dials: 1, next: now.Add(attemptTime)}
}

// troubleSince returns when the trouble was first seen; zero: there is none.
func (p *progress) troubleSince() time.Time { return p.since }

// needsSlot reports whether a step is due, and all slots are taken.
func (p *progress) needsSlot() bool { return p.waitsForSlot }

// decision returns the rule that has decided in the latest advance, and the pause that has decided when; no rule: none has.
func (p *progress) decision() (rule, pause string) { return p.rule, p.pause }

// waitText returns what recovery waits for between two steps, for the status; empty: nothing of its own.
func (p *progress) waitText(now time.Time) message.Text {
	switch {
	case p.waitsForSlot:
		return "waits until it is its turn to be brought back"
	case errors.Is(p.err, ErrNoRoute):
		return "waits for a route to the LNS"
	case (p.last == StepDial || p.last == StepRedial) && p.err == nil:
		return "waits for the LNS to answer"
	case p.failed > 0:
		return message.Sprintf("tries again in %v (%d failed)", max(p.next.Sub(now), 0).Round(time.Second), p.failed)
	}
	return ""
}

// advance returns the step to take now, or when to look again; zero: when something has changed. Unless a slot is free, it
// takes only steps that ask. jitter is in [0, 1).
//
// In every pause the peer of a silent link is asked, until it leaves a question unanswered. So when the link ends, the
// latest answer says whether the peer was dead. It is asked once more before a step, if that answer is old by then. A LAC that
// is just asking may miss a free slot. Then it gets the next one.
func (p *progress) advance(s situation, slotFree bool, jitter float64, now time.Time) (Step, time.Time) {
	step, at := p.nextStep(s, slotFree, jitter, now)
	if step == StepNone && p.busy == StepNone && s.silent() && p.peer != peerSilent && s.goal != goalNone && s.daemon {
		return p.askPeer(at, now)
	}
	return step, at
}

// nextStep is advance, but for the questions to the peer of a silent link.
func (p *progress) nextStep(s situation, slotFree bool, jitter float64, now time.Time) (Step, time.Time) {
	p.waitsForSlot, p.rule = false, ""
	if s.isWell() {
		return StepNone, p.tunnelIsUp(now)
	}
	if p.since.IsZero() {
		p.begin(s, jitter, now)
	}
	if p.awaits == endOfCall && s.callingUntil.IsZero() || p.awaits == endOfRedials && s.redialsFor == 0 {
		p.awaits, p.next = nothing, time.Time{}
	}
	if s.goal == goalNone || !s.daemon || p.busy != StepNone {
		return StepNone, time.Time{}
	}
	if s.silent() && p.peer != peerSilent {
		if left := p.silenceLimit(s) - s.quiet; left > 0 {
			return StepNone, now.Add(left)
		}
	}
	if at := p.dueAt(s, now); now.Before(at) {
		return p.lookForLNS(at, now)
	}
	if !slotFree {
		return p.waitForSlot(now)
	}
	if s.silent() && p.peer == peerSilent && !p.peerIsDead(now) {
		p.busy = StepAsk // until the peer answers, its silence still explains an end of the link
		return StepAsk, time.Time{}
	}
	switch step, at := p.decide(s, jitter, now); {
	case step != StepNone:
		p.busy = step
		return step, time.Time{}
	case at.IsZero():
		return StepNone, at // the situation says until when, or the end of another LAC's step marks this one
	default:
		p.next = at
		return StepNone, at
	}
}

// waitForSlot waits, and looks meanwhile whether the LNS answers.
func (p *progress) waitForSlot(now time.Time) (Step, time.Time) {
	p.waitsForSlot = true
	if !p.lookAt.IsZero() && !p.lnsSilent {
		return StepNone, time.Time{} // the LNS is there, so nothing is to be looked for
	}
	return p.lookForLNS(now.Add(2*lnsLook), now)
}

// begin notes that there is trouble.
func (p *progress) begin(s situation, jitter float64, now time.Time) {
	p.since, p.dials, p.noConnection, p.saRenewed = now, 0, false, false
	p.lookAt, p.lnsSilent = time.Time{}, false
	switch {
	case s.trying:
		p.last, p.next = StepDial, now.Add(attemptTime)
	case p.last != StepNone: // the tunnel was up, but not for stableAfter
		p.failed++
		p.last, p.next = StepNone, now.Add(pause(p.failed, jitter))
	}
}

// goesBefore reports whether this LAC gets a slot before the other one. The one with fewer failures goes first, so many
// hopeless LACs do not delay the others.
func (p *progress) goesBefore(other *progress) bool {
	if a, b := p.failures(), other.failures(); a != b {
		return a < b
	}
	return p.since.Before(other.since)
}

// failures returns how many steps in a row failed or did not help. If the LNS does not answer, it returns more: the
// next step will probably fail too.
func (p *progress) failures() int {
	if p.lnsSilent {
		return p.failed + 3
	}
	return p.failed
}

// lookForLNS returns StepLook when it is time to look for the LNS, and otherwise when to look, at most until. The LNS
// may have been out of reach and be back.
func (p *progress) lookForLNS(until, now time.Time) (Step, time.Time) {
	if p.failed == 0 && !p.waitsForSlot {
		return StepNone, until
	}
	switch {
	case !p.lookAt.Before(until):
		return StepNone, until
	case now.Before(p.lookAt):
		return StepNone, p.lookAt
	}
	p.busy = StepLook
	return StepLook, time.Time{}
}

// silenceLimit returns the silence after which the next step needs no proof that the peer is dead.
func (p *progress) silenceLimit(s situation) time.Duration {
	if p.renewed() || !(&ruleInput{p: p, s: s}).renews() {
		return stuckAfter
	}
	return deadAfter
}

// renewed reports whether the silent link has a new SA already, or was hung up last.
func (p *progress) renewed() bool { return p.last == StepRenew && p.err == nil || p.last == StepHangUp }

// askPeer returns StepAsk when it is time to ask the peer of a silent link, and otherwise when to look, at most until.
func (p *progress) askPeer(until, now time.Time) (Step, time.Time) {
	if now.Before(p.askAt) {
		return StepNone, earlier(p.askAt, until)
	}
	p.busy, p.peer = StepAsk, peerUnknown
	return StepAsk, time.Time{}
}

// peerIsDead reports whether the peer of the silent link has just left a question unanswered. A step needs to ask it no more.
func (p *progress) peerIsDead(now time.Time) bool {
	return p.peer == peerSilent && now.Sub(p.peerAt) <= deadTime
}

// renewedByOthers notes that the silent link has a new SA that recovery has not made for this LAC. The peer's earlier
// answer, over the old SA, says nothing about the new one.
func (p *progress) renewedByOthers(now time.Time) {
	p.outdateAnswer()
	if p.busy == StepSecure || p.busy == StepRenew || p.since.IsZero() {
		return
	}
	p.last, p.err, p.next = StepRenew, nil, now.Add(grace)
}

// peerSilentSince reports whether the peer of the silent link has left a question unanswered at that time or later, and
// has not answered since.
func (p *progress) peerSilentSince(at time.Time) bool { return p.peer == peerSilent && !p.peerAt.Before(at) }

// peerMayBeSilent reports whether the peer of the silent link has left a question unanswered, or is being asked.
func (p *progress) peerMayBeSilent() bool { return p.peer == peerSilent || p.busy == StepAsk }

// peerAliveAt returns when recovery last learned that the peer of a silent link lives; zero: not lately, and not in this
// silence without a later question that the peer has not answered. silentSince is the begin of that silence; zero: there is
// none.
func (p *progress) peerAliveAt(silentSince, now time.Time) time.Time {
	inSilence := !silentSince.IsZero() && p.aliveAt.After(silentSince) && p.peer != peerSilent
	if inSilence || now.Sub(p.aliveAt) < aliveTime {
		return p.aliveAt
	}
	return time.Time{}
}

// outdateAnswer notes that the peer of the silent link has to be asked again: it may be reached through a new SA by now.
func (p *progress) outdateAnswer() { p.peer, p.askAt = peerOutdated, time.Time{} }

// isHangingUp reports whether recovery hangs up, or has hung up a moment ago and the tunnel was not up since. The link may
// go some time after the hang-up, and another step may begin before that.
func (p *progress) isHangingUp(now time.Time) bool {
	return p.busy == StepHangUp || now.Sub(p.hungUpAt) < reasonTTL
}

// tunnelIsUp notes that the tunnel is up. Earlier failures are forgotten only after stableAfter; it returns when that
// is.
func (p *progress) tunnelIsUp(now time.Time) time.Time {
	if p.well.IsZero() || !p.since.IsZero() {
		p.well = now
	}
	p.since, p.next, p.hungUpAt, p.err = time.Time{}, time.Time{}, time.Time{}, nil
	p.askAt, p.awaits = time.Time{}, nothing
	if p.peer == peerSilent {
		p.peer = peerUnknown
	}
	if p.last == StepNone && p.failed == 0 {
		return time.Time{}
	}
	if at := p.well.Add(stableAfter); now.Before(at) {
		return at
	}
	p.last, p.failed = StepNone, 0
	return time.Time{}
}

// fruitless reports whether the latest step succeeded, and its time is over, but it did not help.
func (p *progress) fruitless(s situation) bool {
	return p.last != StepNone && p.err == nil && !p.next.IsZero() && !p.readyToDial(s)
}

// readyToDial reports whether the latest step has made an SA, so that a dial can succeed.
func (p *progress) readyToDial(s situation) bool {
	return !s.up && s.hasSA && p.err == nil && (p.last == StepSecure || p.last == StepRenew)
}

// stepDone takes the result of the step under way.
func (p *progress) stepDone(err error, s situation, jitter float64, now time.Time) {
	switch p.busy {
	case StepLook:
		p.looked(err, jitter, now)
	case StepAsk:
		p.asked(err, jitter, now)
	default:
		p.acted(err, s, jitter, now)
	}
}

// looked takes the result of StepLook. An error says that the LNS has not answered.
func (p *progress) looked(err error, jitter float64, now time.Time) {
	if p.lnsSilent && err == nil {
		p.next = now
	}
	p.busy, p.lookAt, p.lnsSilent = StepNone, now.Add(spread(lnsLook, jitter)), err != nil
}

// asked takes the result of StepAsk. Without an error the peer has not answered.
func (p *progress) asked(err error, jitter float64, now time.Time) {
	silent := err == nil && p.peer != peerOutdated
	p.busy, p.peer, p.askAt = StepNone, peerUnknown, now.Add(spread(lnsLook, jitter))
	switch {
	case silent:
		p.peer, p.peerAt = peerSilent, now
	case errors.Is(err, ErrAlive):
		p.peerAlive(jitter, now)
	}
}

// acted takes the result of a step that may have changed something. Earlier answers of the peer no longer count then.
func (p *progress) acted(err error, s situation, jitter float64, now time.Time) {
	step := p.busy
	p.busy, p.askAt, p.peer = StepNone, time.Time{}, peerUnknown
	if p.sa == saSettling {
		p.sa = saConfirmed
	}
	if errors.Is(err, ErrAlive) {
		p.next = now.Add(aliveLook)
		p.peerAlive(jitter, now)
		return
	}
	p.last, p.err = step, err
	p.noteHangUp(step, err, now)
	p.noteSA(step, err, now)
	if errors.Is(err, ErrAnswered) {
		p.err, p.next = nil, now.Add(attemptTime)
		return
	}
	if errors.Is(err, ErrRedialsLater) {
		p.err, p.next = nil, now.Add(max(s.redialPause+attemptTime, pause(p.failed+1, jitter)))
		if s.redialsFor == 0 { // xl2tpd does not redial
			p.next = now
		}
		return
	}
	p.waitAfter(step, s, jitter, now)
}

// peerAlive notes that the peer of the silent link has shown that it lives.
func (p *progress) peerAlive(jitter float64, now time.Time) {
	p.aliveAt, p.askAt = now, now.Add(spread(aliveLook, jitter))
}

// saMadeAt returns when charon has confirmed an SA that recovery has requested for this LAC; zero: its latest answer was
// another one.
func (p *progress) saMadeAt() time.Time {
	if p.sa == saUnconfirmed {
		return time.Time{}
	}
	return p.doneAt
}

// saRequestedAt returns when charon last answered a request for an SA in this trouble; zero: there was no such request.
func (p *progress) saRequestedAt() time.Time {
	if !p.saRenewed {
		return time.Time{}
	}
	return p.doneAt
}

// ownTrial returns until when the SA that recovery has made for this LAC has to bring a tunnel back. It is in the past if
// there is no such SA.
func (p *progress) ownTrial() time.Time {
	if p.sa == saUnconfirmed {
		return time.Time{}
	}
	return p.doneAt.Add(helpTime)
}

// leftSA reports whether a step has left the SA alone, because it works.
func leftSA(err error) bool { return errors.Is(err, ErrAnswers) || errors.Is(err, ErrSAInUse) }

// noteHangUp notes whether a step has hung up, or has dialled after that.
func (p *progress) noteHangUp(step Step, err error, now time.Time) {
	switch {
	case step == StepHangUp && !p.since.IsZero() && (err == nil || errors.Is(err, ErrHungUp)):
		p.hungUpAt = now
	case (step == StepDial || step == StepRedial) && err == nil:
		p.hungUpAt = time.Time{}
	}
}

// noteSA notes what a step shows about the SA.
func (p *progress) noteSA(step Step, err error, now time.Time) {
	if step == StepSecure || step == StepRenew {
		p.doneAt, p.sa = now, saUnconfirmed
		if err == nil {
			p.sa = saSettling
		}
		p.saRenewed = p.saRenewed || !errors.Is(err, ErrNoRoute)
	}
	if leftSA(err) {
		p.last, p.saRenewed = StepNone, true // the SA works and was left alone
	}
}

// waitAfter sets the time of the next step.
func (p *progress) waitAfter(step Step, s situation, jitter float64, now time.Time) {
	switch {
	case p.since.IsZero(): // the tunnel is up already
	case errors.Is(p.err, ErrNoRoute):
		p.next = now.Add(routeLook)
	case leftSA(p.err) && !s.up && !now.Before(p.since.Add(s.redialsFor)):
		p.err, p.next = nil, now // the SA was left alone, so a dial comes next: the pause before this step was the dial's too
	case errors.Is(p.err, ErrNoConnection):
		p.noConnection, p.last, p.err, p.next = true, StepNone, nil, time.Time{} // nothing was tried
	case p.err != nil:
		p.failed++
		p.next = now.Add(pause(p.failed, jitter))
	case step == StepRenew && s.up:
		p.next = now.Add(grace)
	case step == StepDial, step == StepRedial:
		p.dials++
		p.next = now.Add(max(attemptTime, pause(p.failed+1, jitter)))
	case step == StepHangUp && !s.up && !s.stuck && !s.endedSilent:
		p.next = now.Add(grace) // the tunnel had no call, and its peer answers
	case step == StepHangUp:
		p.next = now.Add(attemptTime)
	default:
		p.next = now.Add(pause(p.failed+1, jitter))
	}
}

// spread shortens a wait by up to a fifth, so that many LACs do not look at the same time.
func spread(d time.Duration, jitter float64) time.Duration {
	return d - time.Duration(jitter*float64(d)/5)
}

// pause returns how long to wait after that many failures in a row. jitter is in [0, 1).
func pause(failed int, jitter float64) time.Duration {
	d := minPause << min(failed-1, 16)
	if d <= jitterAfter {
		return d
	}
	return jitterAfter + time.Duration(jitter*float64(min(d, maxPause)-jitterAfter))
}
