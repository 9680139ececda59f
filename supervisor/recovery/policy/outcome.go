package policy

import (
	"errors"
	"time"
)

// IsHangingUp reports whether recovery hangs up, or has hung up a moment ago and the tunnel was not up since. The link may
// go some time after the hang-up, and another step may begin before that.
func (p *Progress) IsHangingUp(now time.Time) bool {
	return p.busy == StepHangUp || now.Sub(p.hungUpAt) < ReasonTTL
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
