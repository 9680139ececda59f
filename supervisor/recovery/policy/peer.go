package policy

import (
	"time"

	"xl2tpd-keepalive/internal/wake"
)

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
		return StepNone, wake.Earlier(p.askAt, until)
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

// peerAlive notes that the peer of the silent link has shown that it lives.
func (p *Progress) peerAlive(jitter float64, now time.Time) {
	p.aliveAt, p.askAt = now, now.Add(spread(aliveLook, jitter))
}
