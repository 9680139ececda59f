package supervisor

import (
	"errors"
	"time"
)

// Step is one rung of the ladder on which a LAC's tunnel is brought back, the
// gentlest first.
type Step int

const (
	StepNone   Step = iota
	StepSecure      // initiate the CHILD SA
	StepDial        // have xl2tpd dial
	StepRedial      // have xl2tpd give up an attempt that began when it could not succeed, and dial
	StepRenew       // terminate the IKE SA and initiate it anew
	StepHangUp      // have xl2tpd close a tunnel that is of no use any more
	StepLook        // ask the LNS for an echo outside the tunnel, which changes nothing
	StepAsk         // ask the peer of a silent link for a control message, which changes nothing either
)

// asks reports whether a step only asks: it changes nothing, and needs no turn.
func (s Step) asks() bool { return s == StepLook || s == StepAsk }

func (s Step) String() string {
	return [...]string{"", "initiate the IPsec SA", "dial", "dial anew", "renew the IPsec SA", "hang up", "look for the LNS", "ask the peer"}[s]
}

// What a step can come to, beside other errors.
var (
	// ErrNoRoute says that the LNS can't be reached from here at all: nothing
	// was tried.
	ErrNoRoute = errors.New("no route to the LNS")
	// ErrNoConnection says that strongSwan has no connection for the LNS.
	ErrNoConnection = errors.New("strongSwan has no connection for the LNS")
	// ErrRedialsLater says that xl2tpd is not dialling: it will, after its redial timeout.
	ErrRedialsLater = errors.New("xl2tpd waits before it redials")
	// ErrPeerDead says that xl2tpd has hung up, and that its peer does not listen:
	// one that has restarted has lost the tunnel, and the SA too.
	ErrPeerDead = errors.New("the peer does not listen")
	// ErrAnswers says that the LNS has answered the latest attempt: it is no fault of the SA that
	// nothing came of that.
	ErrAnswers = errors.New("the LNS answers, and refuses the tunnel or call")
	// ErrSAInUse says that the SA was not ended: another tunnel that lives may be carried by it.
	ErrSAInUse = errors.New("the LNS still speaks to another tunnel")
	// ErrHungUp says that xl2tpd has hung up before the step failed.
	ErrHungUp = errors.New("xl2tpd has hung up")
	// ErrAlive says that the peer's control messages still come in: nothing was
	// done to the tunnel.
	ErrAlive = errors.New("the peer's control messages still come in")
)

const (
	// grace is for what is on its way already, such as charon's own new try, and
	// the reason of a close, which may come late.
	grace = late + time.Second
	// connectTime is grace while charon is negotiating: to initiate the same CHILD then makes a
	// second pair of SAs.
	connectTime = 10 * time.Second
	// answerTime is how long xl2tpd tries to reach an LNS: SCCRQ and its
	// retransmissions take 31 s (network.c, control_xmit). A second request in
	// that time does nothing.
	answerTime = 35 * time.Second
	// deadAfter is the silence after which a tunnel counts as dead without proof:
	// more than the time between two Hellos, which a living peer answers.
	deadAfter = 65 * time.Second
	// stuckAfter is the silence after which xl2tpd should have closed the tunnel:
	// evidence stays fresh for a while, then a Hello passes and goes unanswered.
	stuckAfter = 150 * time.Second
	// callTime is how long a call may be without addresses: pppd gives LCP and
	// authentication 30 s each. Started with `passive`, as xl2tpd does, it then
	// waits for ever, and xl2tpd refuses to dial as long as it does.
	callTime = 75 * time.Second
	// callStart is how long xl2tpd may take to make a call in a tunnel that stands.
	// It never does while it waits for the end of an earlier one, and that is
	// acknowledged under the call's own session id alone (control.c,
	// handle_control): RFC 2661 does not ask that of a ZLB.
	callStart = 10 * time.Second
	// stableAfter is how long a tunnel has to be up to count as brought back.
	stableAfter = time.Minute
	// unlistedTime is how long an initiated SA counts while charon lists nothing: it may be gone
	// since, and then a dial would go out in the clear.
	unlistedTime = 10 * time.Second
	// routeLook is how often a route is looked for, and lnsLook how often the LNS,
	// in the pauses between steps.
	routeLook = 2 * time.Second
	lnsLook   = 5 * time.Second
	// aliveLook is how often the peer of a silent link is asked, if that says
	// anything about it; otherwise lnsLook.
	aliveLook = 10 * time.Second

	minPause    = 5 * time.Second // after the first step that was in vain
	jitterAfter = time.Minute     // pauses up to this one double
	maxPause    = 5 * time.Minute // and later ones are random, from jitterAfter to at most this
)

// goal is how far a LAC's tunnel is to be brought back.
type goal int

const (
	goalNone goal = iota
	goalRedial
	goalFull
)

// situation is how it is about a LAC.
type situation struct {
	goal       goal
	daemon     bool          // xl2tpd is running
	up         bool          // there is a link with addresses
	quiet      time.Duration // for how long a link that is silent has been asked in vain; 0: it is not silent
	secured    bool          // an SA with the LNS carries its packets
	connecting bool          // charon is negotiating with the LNS
	withoutSA  bool          // the link is up, and its tunnel has lost the SA that it had
	moved      bool          // and there is one with another address of the LNS
	stuck      bool          // there is a call of which no link comes
	half       bool          // the tunnel stands without a call, and xl2tpd has had its time to make one
	// owner is how long xl2tpd goes on redialling by itself, 0: it does not; redial
	// is the pause before each time. Made to dial meanwhile, it would call twice
	// (xl2tpd.c, control_handle_lac_connect).
	owner, redial time.Duration
	lost          bool      // the last tunnel ended because the peer was silent
	closedAt      time.Time // until then xl2tpd may still be closing the last tunnel
	trying        bool      // xl2tpd may be dialling
	tried         time.Time // until then
	asked         time.Time // when xl2tpd has asked the LNS for a tunnel last, for this LAC or another one
	redialDue     time.Time // then xl2tpd should have redialled; zero: nobody would see it
	planned       time.Time // until then xl2tpd may redial, as it had planned before it was hung up
	saInUse       bool      // the IKE SA carries something else that lives, and must not be ended
	saWorks       bool      // that is another tunnel, so the SA works
	mayBeHungUp   bool      // it may have been hung up on this host, or another one like it
	renewing      bool      // the IKE SA is being made anew for another LAC
	sharesLNS     bool      // other LACs have the same LNS, so nobody can tell which one xl2tpd dials
}

func (s situation) isWell() bool { return s.up && s.quiet == 0 && !s.withoutSA }

// silent reports whether the link is up, and nothing comes from it.
func (s situation) silent() bool { return s.up && s.quiet > 0 && !s.withoutSA }

// progress is how far the recovery of one LAC's tunnel has come.
type progress struct {
	since        time.Time // when the trouble was first seen; zero: there is none
	well         time.Time // when all was well again
	next         time.Time // no step before; zero: as the situation says
	busy         Step      // the step under way
	last         Step      // the latest one
	failed       int       // tries in a row that failed
	dials        int       // since the trouble was first seen
	saRenewed    bool      // there is a new SA since then, or that was tried
	noConnection bool      // strongSwan had no connection for the LNS when it was asked last
	lookAt       time.Time // when the LNS is to be looked for again
	lnsSilent    bool      // it did not answer then
	waitsForSlot bool      // for its turn to take a step
	askAt        time.Time // when the peer of the silent link is to be asked again
	peerSilent   bool      // it did not answer last, though the LNS itself can be reached
	outdated     bool      // it is being asked, and has had a new SA since
	err          error     // why the latest step failed
	doneAt       time.Time // when charon was last asked for an SA
	secured      bool      // and it said that there is one
	settling     bool      // next is the time that this SA has to help a link
	rule         string    // that has decided in the latest climb; empty: none
	pause        string    // and the one that said when
}

// dialling is the ladder of a LAC that somebody has just had dialled.
func dialling(now time.Time) progress {
	return progress{since: now, last: StepDial, dials: 1, next: now.Add(answerTime)}
}

// advance returns the step to take now, or when to look again; zero: when something
// has changed. Without its turn it waits with any but those that ask. jitter is in [0, 1).
func (l *progress) advance(s situation, turn bool, jitter float64, now time.Time) (Step, time.Time) {
	l.waitsForSlot, l.rule = false, ""
	if s.isWell() {
		return StepNone, l.recovered(s, now)
	}
	if l.since.IsZero() {
		l.since, l.dials, l.noConnection, l.saRenewed = now, 0, false, false
		l.lookAt, l.lnsSilent = time.Time{}, false
		switch {
		case s.trying:
			l.last, l.next = StepDial, now.Add(answerTime)
		case l.last != StepNone: // what was brought back has not lasted
			l.failed++
			l.last, l.next = StepNone, now.Add(pause(l.failed, jitter))
		}
	}
	if s.goal == goalNone || !s.daemon || l.busy != StepNone {
		return StepNone, time.Time{}
	}
	if s.silent() && !l.peerSilent {
		if left := l.silenceLimit() - s.quiet; left > 0 {
			return l.askPeer(now.Add(left), now)
		}
	}
	if at := l.dueAt(s, now); now.Before(at) {
		return l.lookForLNS(at, now)
	}
	switch l.waitsForSlot = !turn; {
	case l.waitsForSlot && !l.lookAt.IsZero() && !l.lnsSilent:
		return StepNone, time.Time{} // it is not to be out when its turn comes
	case l.waitsForSlot:
		return l.lookForLNS(now.Add(2*lnsLook), now)
	}
	if s.renewing {
		return StepNone, time.Time{} // the end of that step is looked at
	}
	if l.fruitless(s, now) {
		l.failed++
		l.noConnection = false // a charon that has just started may not have known its connections
	}
	step, at := l.decide(s, jitter, now)
	if step == StepNone {
		l.next = at
		return StepNone, at
	}
	l.busy = step
	return step, time.Time{}
}

// goesBefore reports whether the turn is this one's if both wait for it. Who has tried less
// goes first, so that many that are tried in vain hold up no other.
func (l *progress) goesBefore(other *progress) bool {
	if a, b := l.failures(), other.failures(); a != b {
		return a < b
	}
	return l.since.Before(other.since)
}

// failures is how often it was tried in vain, and more if the LNS does not answer: the step
// would be too, as a rule.
func (l *progress) failures() int {
	if l.lnsSilent {
		return l.failed + 3
	}
	return l.failed
}

// lookForLNS looks for the LNS until that time: it may have been out of reach, and be back.
func (l *progress) lookForLNS(until, now time.Time) (Step, time.Time) {
	if l.failed == 0 && !l.waitsForSlot {
		return StepNone, until
	}
	switch {
	case !l.lookAt.Before(until):
		return StepNone, until
	case now.Before(l.lookAt):
		return StepNone, l.lookAt
	}
	l.busy = StepLook
	return StepLook, time.Time{}
}

// silenceLimit is the silence after which there is no need of proof.
func (l *progress) silenceLimit() time.Duration {
	if l.renewed() {
		return stuckAfter
	}
	return deadAfter
}

// renewed reports whether the silent link's SA is a new one already.
func (l *progress) renewed() bool { return l.last == StepRenew && l.err == nil || l.last == StepHangUp }

// askPeer asks the peer of a silent link, now and then until that time.
func (l *progress) askPeer(until, now time.Time) (Step, time.Time) {
	if now.Before(l.askAt) {
		return StepNone, earlier(l.askAt, until)
	}
	l.busy, l.outdated = StepAsk, false
	return StepAsk, time.Time{}
}

// renewedByOthers notes that the silent link has a new SA, which recovery has not made for this LAC.
// What was found out over the old one says nothing of it.
func (l *progress) renewedByOthers(now time.Time) {
	l.peerSilent, l.outdated, l.askAt = false, true, time.Time{}
	if l.busy == StepSecure || l.busy == StepRenew || l.since.IsZero() {
		return
	}
	l.last, l.err, l.next = StepRenew, nil, now.Add(grace)
}

// isHangingUp reports whether recovery hangs up, or has done so last.
func (l *progress) isHangingUp() bool {
	return l.busy == StepHangUp || l.last == StepHangUp && l.err == nil
}

// recovered notes that all is well. What was in vain before is forgotten only when that
// has lasted; rest returns when.
func (l *progress) recovered(s situation, now time.Time) time.Time {
	if l.well.IsZero() || !l.since.IsZero() {
		l.well = now
	}
	l.since, l.next, l.err = time.Time{}, time.Time{}, nil
	l.askAt, l.peerSilent = time.Time{}, false
	if l.last == StepNone && l.failed == 0 {
		return time.Time{}
	}
	if at := l.well.Add(stableAfter); now.Before(at) {
		return at
	}
	l.last, l.failed = StepNone, 0
	return time.Time{}
}

// fruitless reports whether the latest step has gone well and had its time, and
// nothing has come of it.
func (l *progress) fruitless(s situation, now time.Time) bool {
	return l.last != StepNone && l.err == nil && !l.next.IsZero() && !l.readyToDial(s)
}

// readyToDial reports whether the latest step has made way for a dial.
func (l *progress) readyToDial(s situation) bool {
	return !s.up && s.secured && l.err == nil && (l.last == StepSecure || l.last == StepRenew)
}

// grace is how long to wait before the first step.
func (s situation) grace() time.Duration {
	if s.connecting {
		return connectTime
	}
	return grace
}

// stepDone takes in what the step under way has come to.
func (l *progress) stepDone(err error, s situation, jitter float64, now time.Time) {
	step := l.busy
	if step == StepLook {
		if l.lnsSilent && err == nil {
			l.next = now
		}
		l.busy, l.lookAt, l.lnsSilent = StepNone, now.Add(spread(lnsLook, jitter)), err != nil
		return
	}
	if step == StepAsk {
		l.busy, l.askAt, l.peerSilent = StepNone, now.Add(spread(lnsLook, jitter)), err == nil && !l.outdated
		if errors.Is(err, ErrAlive) {
			l.askAt = now.Add(spread(aliveLook, jitter))
		}
		return
	}
	l.askAt, l.peerSilent, l.settling = time.Time{}, false, false // it is another question now
	if errors.Is(err, ErrAlive) {
		l.busy, l.next = StepNone, now.Add(aliveLook)
		return
	}
	l.busy, l.last, l.err = StepNone, step, err
	if step == StepSecure || step == StepRenew {
		l.doneAt, l.secured, l.settling = now, err == nil, err == nil
	}
	l.saRenewed = l.saRenewed || (step == StepSecure || step == StepRenew) && !errors.Is(err, ErrNoRoute)
	if errors.Is(err, ErrRedialsLater) {
		l.err, l.next = nil, now.Add(max(s.redial+answerTime, pause(l.failed+1, jitter)))
		if s.owner == 0 { // it does not redial
			l.next = now
		}
		return
	}
	if errors.Is(err, ErrAnswers) || errors.Is(err, ErrSAInUse) {
		l.last, l.saRenewed = StepNone, true // the SA works, and was not touched
	}
	switch {
	case l.since.IsZero(): // all is well already
	case errors.Is(err, ErrNoRoute):
		l.next = now.Add(routeLook)
	case errors.Is(err, ErrNoConnection):
		l.noConnection, l.last, l.err, l.next = true, StepNone, nil, time.Time{} // nothing was tried
	case err != nil:
		l.failed++
		l.next = now.Add(pause(l.failed, jitter))
	case step == StepRenew && s.up:
		l.next = now.Add(grace)
	case step == StepDial, step == StepRedial:
		l.dials++
		l.next = now.Add(max(answerTime, pause(l.failed+1, jitter)))
	case step == StepHangUp && !s.up && !s.stuck && !s.lost:
		l.next = now.Add(grace) // the tunnel was half closed, and its peer answers
	case step == StepHangUp:
		l.next = now.Add(answerTime)
	default:
		l.next = now.Add(pause(l.failed+1, jitter))
	}
}

// spread shortens a wait by up to a fifth, so that many do not look at the same time.
func spread(d time.Duration, jitter float64) time.Duration {
	return d - time.Duration(jitter*float64(d)/5)
}

// pause is how long to wait after so many failures in a row.
func pause(failed int, jitter float64) time.Duration {
	d := minPause << min(failed-1, 16)
	if d <= jitterAfter {
		return d
	}
	return jitterAfter + time.Duration(jitter*float64(min(d, maxPause)-jitterAfter))
}
