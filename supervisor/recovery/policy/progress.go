package policy

import (
	"errors"
	"slices"
	"time"

	"xl2tpd-keepalive/internal/message"
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

// GoesBefore reports whether this LAC gets a slot before the other one. The one with fewer failures goes first. So the
// others do not wait for a large number of hopeless LACs.
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
