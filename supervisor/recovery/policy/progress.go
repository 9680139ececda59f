package policy

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

// Asks reports whether a step only asks: it changes nothing and needs no slot.
func (s Step) Asks() bool { return s == StepLook || s == StepAsk }

func (s Step) String() string { return s.Text().String() }

func (s Step) Text() message.Text {
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
	// ReasonTTL is how long after the reason of its end a link may go away: xl2tpd repeats a StopCCN for 31 s before it
	// ends the pppd.
	ReasonTTL = 40 * time.Second
	// ReasonDelay is how long after a tunnel's end its reason may become known.
	ReasonDelay = 2 * time.Second
	// TimerDelay is how late a redial of xl2tpd's may be.
	TimerDelay = time.Second
	// Grace is how long to wait before the first step: charon may already be retrying, and the close reason may arrive
	// late.
	Grace = ReasonDelay + time.Second
	// connectTime is grace while charon is negotiating. Initiating the same CHILD SA then would make a second pair of
	// SAs.
	connectTime = 10 * time.Second
	// attemptLasts is after how long xl2tpd gives up an attempt that nobody answers: SCCRQ and its retransmissions
	// (network.c, control_xmit).
	attemptLasts = 31 * time.Second
	// AttemptTime is how long such an attempt takes at most. A second request in that time does nothing.
	AttemptTime = attemptLasts + 4*time.Second
	// deadAfter is the silence after which a tunnel counts as dead without proof. It is longer than the time between
	// two Hellos, which a living peer answers.
	deadAfter = 65 * time.Second
	// stuckAfter is the silence after which xl2tpd should have closed the tunnel: evidence stays fresh for a while,
	// then a Hello passes and goes unanswered.
	stuckAfter = 150 * time.Second
	// stableAfter is how long a tunnel must be up to count as recovered.
	stableAfter = time.Minute
	// noConnectionTime is for how long an answer of charon's that it has no connection for the LNS is enough to dial in the
	// clear. charon may have been asked before it had loaded its connections.
	noConnectionTime = 30 * time.Second
	// HelpTime is how long after a new SA a tunnel may take to show that it lives again.
	HelpTime = 10 * time.Second
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
	MaxPause    = 5 * time.Minute // and later ones are random, from jitterAfter to at most this
)

// Progress is how far the recovery of one LAC's tunnel has come.
type Progress struct {
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

// IsIdle reports whether no step is under way that may change something.
func (p *Progress) IsIdle() bool { return p.busy == StepNone || p.busy.Asks() }

// Commands reports whether a step with a command to xl2tpd is under way: what xl2tpd does may be due to that.
func (p *Progress) Commands() bool {
	return p.busy == StepDial || p.busy == StepRedial || p.busy == StepHangUp
}

// Takes reports whether one of these steps is under way.
func (p *Progress) Takes(these ...Step) bool { return slices.Contains(these, p.busy) }

// UnderWay returns the step under way; StepNone: none is.
func (p *Progress) UnderWay() Step { return p.busy }

// Abandon forgets the step under way: its result says nothing any more.
func (p *Progress) Abandon() { p.busy = StepNone }

// Xl2tpdEnded notes that xl2tpd has ended, and its attempt with it. So a missing answer to that attempt says nothing about
// the SA, and nothing is left to wait for.
func (p *Progress) Xl2tpdEnded() {
	if p.busy == StepNone && (p.last == StepDial || p.last == StepRedial) {
		p.last = StepNone
	}
	p.next = time.Time{}
}

// Dialled begins anew for a LAC that somebody has just dialled. A step under way goes on.
func (p *Progress) Dialled(now time.Time) {
	*p = Progress{busy: p.busy, since: now, last: StepDial, dials: 1, next: now.Add(AttemptTime)}
}

// TroubleSince returns when the trouble was first seen; zero: there is none.
func (p *Progress) TroubleSince() time.Time { return p.since }

// NeedsSlot reports whether a step is due, and all slots are taken.
func (p *Progress) NeedsSlot() bool { return p.waitsForSlot }

// Decision returns the rule that has decided in the latest advance, and the pause that has decided when; no rule: none has.
func (p *Progress) Decision() (rule, pause string) { return p.rule, p.pause }

// WaitText returns what recovery waits for between two steps, for the status; empty: nothing of its own.
func (p *Progress) WaitText(now time.Time) message.Text {
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

// Advance returns the step to take now, or when to look again; zero: when something has changed. Unless a slot is free, it
// takes only steps that ask. jitter is in [0, 1).
//
// In every pause the peer of a silent link is asked, until it leaves a question unanswered. So when the link ends, the
// latest answer says whether the peer was dead. It is asked once more before a step, if that answer is old by then. A LAC that
// is just asking may miss a free slot. Then it gets the next one.
func (p *Progress) Advance(s Situation, slotFree bool, jitter float64, now time.Time) (Step, time.Time) {
	step, at := p.nextStep(s, slotFree, jitter, now)
	if step == StepNone && p.busy == StepNone && s.silent() && p.peer != peerSilent && s.Goal != GoalNone && s.Daemon {
		return p.askPeer(at, now)
	}
	return step, at
}

// nextStep is advance, but for the questions to the peer of a silent link.
func (p *Progress) nextStep(s Situation, slotFree bool, jitter float64, now time.Time) (Step, time.Time) {
	p.waitsForSlot, p.rule = false, ""
	if s.IsWell() {
		return StepNone, p.tunnelIsUp(now)
	}
	if p.since.IsZero() {
		p.begin(s, jitter, now)
	}
	if p.awaits == endOfCall && s.CallingUntil.IsZero() || p.awaits == endOfRedials && s.RedialsFor == 0 {
		p.awaits, p.next = nothing, time.Time{}
	}
	if s.Goal == GoalNone || !s.Daemon || p.busy != StepNone {
		return StepNone, time.Time{}
	}
	if s.silent() && p.peer != peerSilent {
		if left := p.silenceLimit(s) - s.Quiet; left > 0 {
			return StepNone, now.Add(left)
		}
	}
	if at := p.dueAt(s, now); now.Before(at) {
		return p.lookForLNS(at, now)
	}
	if !slotFree {
		return p.waitForSlot(now)
	}
	if s.silent() && p.peer == peerSilent && !p.PeerIsDead(now) {
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
func (p *Progress) waitForSlot(now time.Time) (Step, time.Time) {
	p.waitsForSlot = true
	if !p.lookAt.IsZero() && !p.lnsSilent {
		return StepNone, time.Time{} // the LNS is there, so nothing is to be looked for
	}
	return p.lookForLNS(now.Add(2*lnsLook), now)
}

// begin notes that there is trouble.
func (p *Progress) begin(s Situation, jitter float64, now time.Time) {
	p.since, p.dials, p.noConnection, p.saRenewed = now, 0, false, false
	p.lookAt, p.lnsSilent = time.Time{}, false
	switch {
	case s.Trying:
		p.last, p.next = StepDial, now.Add(AttemptTime)
	case p.last != StepNone: // the tunnel was up, but not for stableAfter
		p.failed++
		p.last, p.next = StepNone, now.Add(pause(p.failed, jitter))
	}
}

// GoesBefore reports whether this LAC gets a slot before the other one. The one with fewer failures goes first, so many
// hopeless LACs do not delay the others.
func (p *Progress) GoesBefore(other *Progress) bool {
	if a, b := p.failures(), other.failures(); a != b {
		return a < b
	}
	return p.since.Before(other.since)
}

// failures returns how many steps in a row failed or did not help. If the LNS does not answer, it returns more: the
// next step will probably fail too.
func (p *Progress) failures() int {
	if p.lnsSilent {
		return p.failed + 3
	}
	return p.failed
}

// lookForLNS returns StepLook when it is time to look for the LNS, and otherwise when to look, at most until. The LNS
// may have been out of reach and be back.
func (p *Progress) lookForLNS(until, now time.Time) (Step, time.Time) {
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
func (p *Progress) silenceLimit(s Situation) time.Duration {
	if p.renewed() || !(&ruleInput{p: p, s: s}).renews() {
		return stuckAfter
	}
	return deadAfter
}

// renewed reports whether the silent link has a new SA already, or was hung up last.
func (p *Progress) renewed() bool { return p.last == StepRenew && p.err == nil || p.last == StepHangUp }

// askPeer returns StepAsk when it is time to ask the peer of a silent link, and otherwise when to look, at most until.
func (p *Progress) askPeer(until, now time.Time) (Step, time.Time) {
	if now.Before(p.askAt) {
		return StepNone, earlier(p.askAt, until)
	}
	p.busy, p.peer = StepAsk, peerUnknown
	return StepAsk, time.Time{}
}

// PeerIsDead reports whether the peer of the silent link has just left a question unanswered. A step needs to ask it no more.
func (p *Progress) PeerIsDead(now time.Time) bool {
	return p.peer == peerSilent && now.Sub(p.peerAt) <= deadTime
}

// RenewedByOthers notes that the silent link has a new SA that recovery has not made for this LAC. The peer's earlier
// answer, over the old SA, says nothing about the new one.
func (p *Progress) RenewedByOthers(now time.Time) {
	p.OutdateAnswer()
	if p.busy == StepSecure || p.busy == StepRenew || p.since.IsZero() {
		return
	}
	p.last, p.err, p.next = StepRenew, nil, now.Add(Grace)
}

// PeerSilentSince reports whether the peer of the silent link has left a question unanswered at that time or later, and
// has not answered since.
func (p *Progress) PeerSilentSince(at time.Time) bool {
	return p.peer == peerSilent && !p.peerAt.Before(at)
}

// PeerMayBeSilent reports whether the peer of the silent link has left a question unanswered, or is being asked.
func (p *Progress) PeerMayBeSilent() bool { return p.peer == peerSilent || p.busy == StepAsk }

// PeerAliveAt returns when recovery last learned that the peer of a silent link lives; zero: not lately, and not in this
// silence without a later question that the peer has not answered. silentSince is the begin of that silence; zero: there is
// none.
func (p *Progress) PeerAliveAt(silentSince, now time.Time) time.Time {
	inSilence := !silentSince.IsZero() && p.aliveAt.After(silentSince) && p.peer != peerSilent
	if inSilence || now.Sub(p.aliveAt) < aliveTime {
		return p.aliveAt
	}
	return time.Time{}
}

// OutdateAnswer notes that the peer of the silent link has to be asked again: it may be reached through a new SA by now.
func (p *Progress) OutdateAnswer() { p.peer, p.askAt = peerOutdated, time.Time{} }

// IsHangingUp reports whether recovery hangs up, or has hung up a moment ago and the tunnel was not up since. The link may
// go some time after the hang-up, and another step may begin before that.
func (p *Progress) IsHangingUp(now time.Time) bool {
	return p.busy == StepHangUp || now.Sub(p.hungUpAt) < ReasonTTL
}

// tunnelIsUp notes that the tunnel is up. Earlier failures are forgotten only after stableAfter; it returns when that
// is.
func (p *Progress) tunnelIsUp(now time.Time) time.Time {
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
func (p *Progress) fruitless(s Situation) bool {
	return p.last != StepNone && p.err == nil && !p.next.IsZero() && !p.readyToDial(s)
}

// readyToDial reports whether the latest step has made an SA, so that a dial can succeed.
func (p *Progress) readyToDial(s Situation) bool {
	return !s.Up && s.HasSA && p.err == nil && (p.last == StepSecure || p.last == StepRenew)
}

// StepDone takes the result of the step under way.
func (p *Progress) StepDone(err error, s Situation, jitter float64, now time.Time) {
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
func (p *Progress) looked(err error, jitter float64, now time.Time) {
	if p.lnsSilent && err == nil {
		p.next = now
	}
	p.busy, p.lookAt, p.lnsSilent = StepNone, now.Add(spread(lnsLook, jitter)), err != nil
}

// asked takes the result of StepAsk. Without an error the peer has not answered.
func (p *Progress) asked(err error, jitter float64, now time.Time) {
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
func (p *Progress) acted(err error, s Situation, jitter float64, now time.Time) {
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
		p.err, p.next = nil, now.Add(AttemptTime)
		return
	}
	if errors.Is(err, ErrRedialsLater) {
		p.err, p.next = nil, now.Add(max(s.RedialPause+AttemptTime, pause(p.failed+1, jitter)))
		if s.RedialsFor == 0 { // xl2tpd does not redial
			p.next = now
		}
		return
	}
	p.waitAfter(step, s, jitter, now)
}

// peerAlive notes that the peer of the silent link has shown that it lives.
func (p *Progress) peerAlive(jitter float64, now time.Time) {
	p.aliveAt, p.askAt = now, now.Add(spread(aliveLook, jitter))
}

// SAMadeAt returns when charon has confirmed an SA that recovery has requested for this LAC; zero: its latest answer was
// another one.
func (p *Progress) SAMadeAt() time.Time {
	if p.sa == saUnconfirmed {
		return time.Time{}
	}
	return p.doneAt
}

// SARequestedAt returns when charon last answered a request for an SA in this trouble; zero: there was no such request.
func (p *Progress) SARequestedAt() time.Time {
	if !p.saRenewed {
		return time.Time{}
	}
	return p.doneAt
}

// OwnTrial returns until when the SA that recovery has made for this LAC has to bring a tunnel back. It is in the past if
// there is no such SA.
func (p *Progress) OwnTrial() time.Time {
	if p.sa == saUnconfirmed {
		return time.Time{}
	}
	return p.doneAt.Add(HelpTime)
}

// leftSA reports whether a step has left the SA alone, because it works.
func leftSA(err error) bool { return errors.Is(err, ErrAnswers) || errors.Is(err, ErrSAInUse) }

// noteHangUp notes whether a step has hung up, or has dialled after that.
func (p *Progress) noteHangUp(step Step, err error, now time.Time) {
	switch {
	case step == StepHangUp && !p.since.IsZero() && (err == nil || errors.Is(err, ErrHungUp)):
		p.hungUpAt = now
	case (step == StepDial || step == StepRedial) && err == nil:
		p.hungUpAt = time.Time{}
	}
}

// noteSA notes what a step shows about the SA.
func (p *Progress) noteSA(step Step, err error, now time.Time) {
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
func (p *Progress) waitAfter(step Step, s Situation, jitter float64, now time.Time) {
	switch {
	case p.since.IsZero(): // the tunnel is up already
	case errors.Is(p.err, ErrNoRoute):
		p.next = now.Add(routeLook)
	case leftSA(p.err) && !s.Up && !now.Before(p.since.Add(s.RedialsFor)):
		p.err, p.next = nil, now // the SA was left alone, so a dial comes next: the pause before this step was the dial's too
	case errors.Is(p.err, ErrNoConnection):
		p.noConnection, p.last, p.err, p.next = true, StepNone, nil, time.Time{} // nothing was tried
	case p.err != nil:
		p.failed++
		p.next = now.Add(pause(p.failed, jitter))
	case step == StepRenew && s.Up:
		p.next = now.Add(Grace)
	case step == StepDial, step == StepRedial:
		p.dials++
		p.next = now.Add(max(AttemptTime, pause(p.failed+1, jitter)))
	case step == StepHangUp && !s.Up && !s.Stuck && !s.EndedSilent:
		p.next = now.Add(Grace) // the tunnel had no call, and its peer answers
	case step == StepHangUp:
		p.next = now.Add(AttemptTime)
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
	return jitterAfter + time.Duration(jitter*float64(min(d, MaxPause)-jitterAfter))
}

// earlier returns the earlier of two times. A zero time means that there is none.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
