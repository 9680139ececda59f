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
	// ErrPlain says that strongSwan has no connection for the LNS.
	ErrPlain = errors.New("strongSwan has no connection for the LNS")
	// ErrWaits says that xl2tpd is not dialling: it will, after its redial timeout.
	ErrWaits = errors.New("xl2tpd waits before it redials")
	// ErrUnheard says that xl2tpd has hung up, and that its peer does not listen:
	// one that has restarted has lost the tunnel, and the SA too.
	ErrUnheard = errors.New("the peer does not listen")
	// ErrAnswers says that the LNS has answered the latest attempt: it is no fault of the SA that
	// nothing came of that.
	ErrAnswers = errors.New("the LNS answers, and refuses the tunnel or call")
	// ErrCarries says that the SA was not ended: another tunnel that lives may be carried by it.
	ErrCarries = errors.New("the LNS still speaks to another tunnel")
	// ErrDropped says that xl2tpd has hung up before the step failed.
	ErrDropped = errors.New("xl2tpd has hung up")
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
	// lasting is how long a tunnel has to be up to count as brought back.
	lasting = time.Minute
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

// wish is how far a LAC's tunnel is to be brought back.
type wish int

const (
	wishNothing wish = iota
	wishRedial
	wishFull
)

// situation is how it is about a LAC.
type situation struct {
	wish       wish
	daemon     bool          // xl2tpd is running
	up         bool          // there is a link with addresses
	quiet      time.Duration // for how long a link that is silent has been asked in vain; 0: it is not silent
	secured    bool          // an SA with the LNS carries its packets
	connecting bool          // charon is negotiating with the LNS
	bare       bool          // the link is up, and its tunnel has lost the SA that it had
	moved      bool          // and there is one with another address of the LNS
	stuck      bool          // there is a call of which no link comes
	half       bool          // the tunnel stands without a call, and xl2tpd has had its time to make one
	// owner is how long xl2tpd goes on redialling by itself, 0: it does not; redial
	// is the pause before each time. Made to dial meanwhile, it would call twice
	// (xl2tpd.c, control_handle_lac_connect).
	owner, redial time.Duration
	lost          bool      // the last tunnel ended because the peer was silent
	free          time.Time // until then xl2tpd may still be closing the last tunnel
	trying        bool      // xl2tpd may be dialling
	tried         time.Time // until then
	asked         time.Time // when xl2tpd has asked the LNS for a tunnel last, for this LAC or another one
	redialDue     time.Time // then xl2tpd should have redialled; zero: nobody would see it
	planned       time.Time // until then xl2tpd may redial, as it had planned before it was hung up
	kept          bool      // the IKE SA carries something else that lives, and must not be ended
	proven        bool      // that is another tunnel, so the SA works
	unclear       bool      // it may have been hung up on this host, or another one like it
	renewing      bool      // the IKE SA is being made anew for another LAC
	shared        bool      // other LACs have the same LNS, so nobody can tell which one xl2tpd dials
}

func (s situation) well() bool { return s.up && s.quiet == 0 && !s.bare }

// silent reports whether the link is up, and nothing comes from it.
func (s situation) silent() bool { return s.up && s.quiet > 0 && !s.bare }

// ladder is how far the recovery of one LAC's tunnel has come.
type ladder struct {
	since    time.Time // when the trouble was first seen; zero: there is none
	well     time.Time // when all was well again
	next     time.Time // no step before; zero: as the situation says
	busy     Step      // the step under way
	last     Step      // the latest one
	failed   int       // tries in a row that failed
	dials    int       // since the trouble was first seen
	fresh    bool      // there is a new SA since then, or that was tried
	plain    bool      // strongSwan had no connection for the LNS when it was asked last
	lookAt   time.Time // when the LNS is to be looked for again
	deaf     bool      // it did not answer then
	waits    bool      // for its turn to take a step
	askAt    time.Time // when the peer of the silent link is to be asked again
	dead     bool      // it did not answer last, though the LNS itself can be reached
	outdated bool      // it is being asked, and has had a new SA since
	err      error     // why the latest step failed
	doneAt   time.Time // when charon was last asked for an SA
	secured  bool      // and it said that there is one
	settling bool      // next is the time that this SA has to help a link
	rule     string    // that has decided in the latest climb; empty: none
	pause    string    // and the one that said when
}

// dialling is the ladder of a LAC that somebody has just had dialled.
func dialling(now time.Time) ladder {
	return ladder{since: now, last: StepDial, dials: 1, next: now.Add(answerTime)}
}

// climb returns the step to take now, or when to look again; zero: when something
// has changed. Without its turn it waits with any but those that ask. jitter is in [0, 1).
func (l *ladder) climb(s situation, turn bool, jitter float64, now time.Time) (Step, time.Time) {
	l.waits, l.rule = false, ""
	if s.well() {
		return StepNone, l.rest(s, now)
	}
	if l.since.IsZero() {
		l.since, l.dials, l.plain, l.fresh = now, 0, false, false
		l.lookAt, l.deaf = time.Time{}, false
		switch {
		case s.trying:
			l.last, l.next = StepDial, now.Add(answerTime)
		case l.last != StepNone: // what was brought back has not lasted
			l.failed++
			l.last, l.next = StepNone, now.Add(pause(l.failed, jitter))
		}
	}
	if s.wish == wishNothing || !s.daemon || l.busy != StepNone {
		return StepNone, time.Time{}
	}
	if s.silent() && !l.dead {
		if left := l.patience() - s.quiet; left > 0 {
			return l.ask(now.Add(left), now)
		}
	}
	if at := l.when(s, now); now.Before(at) {
		return l.look(at, now)
	}
	switch l.waits = !turn; {
	case l.waits && !l.lookAt.IsZero() && !l.deaf:
		return StepNone, time.Time{} // it is not to be out when its turn comes
	case l.waits:
		return l.look(now.Add(2*lnsLook), now)
	}
	if s.renewing {
		return StepNone, time.Time{} // the end of that step is looked at
	}
	if l.inVain(s, now) {
		l.failed++
		l.plain = false // a charon that has just started may not have known its connections
	}
	step, at := l.choose(s, jitter, now)
	if step == StepNone {
		l.next = at
		return StepNone, at
	}
	l.busy = step
	return step, time.Time{}
}

// before reports whether the turn is this one's if both wait for it. Who has tried less
// goes first, so that many that are tried in vain hold up no other.
func (l *ladder) before(other *ladder) bool {
	if a, b := l.vain(), other.vain(); a != b {
		return a < b
	}
	return l.since.Before(other.since)
}

// vain is how often it was tried in vain, and more if the LNS does not answer: the step
// would be too, as a rule.
func (l *ladder) vain() int {
	if l.deaf {
		return l.failed + 3
	}
	return l.failed
}

// look looks for the LNS until that time: it may have been out of reach, and be back.
func (l *ladder) look(until, now time.Time) (Step, time.Time) {
	if l.failed == 0 && !l.waits {
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

// patience is the silence after which there is no need of proof.
func (l *ladder) patience() time.Duration {
	if l.renewed() {
		return stuckAfter
	}
	return deadAfter
}

// renewed reports whether the silent link's SA is a new one already.
func (l *ladder) renewed() bool { return l.last == StepRenew && l.err == nil || l.last == StepHangUp }

// ask asks the peer of a silent link, now and then until that time.
func (l *ladder) ask(until, now time.Time) (Step, time.Time) {
	if now.Before(l.askAt) {
		return StepNone, earlier(l.askAt, until)
	}
	l.busy, l.outdated = StepAsk, false
	return StepAsk, time.Time{}
}

// renewedByOthers notes that the silent link has a new SA, which recovery has not made for this LAC.
// What was found out over the old one says nothing of it.
func (l *ladder) renewedByOthers(now time.Time) {
	l.dead, l.outdated, l.askAt = false, true, time.Time{}
	if l.busy == StepSecure || l.busy == StepRenew || l.since.IsZero() {
		return
	}
	l.last, l.err, l.next = StepRenew, nil, now.Add(grace)
}

// hangsUp reports whether recovery hangs up, or has done so last.
func (l *ladder) hangsUp() bool {
	return l.busy == StepHangUp || l.last == StepHangUp && l.err == nil
}

// rest notes that all is well. What was in vain before is forgotten only when that
// has lasted; rest returns when.
func (l *ladder) rest(s situation, now time.Time) time.Time {
	if l.well.IsZero() || !l.since.IsZero() {
		l.well = now
	}
	l.since, l.next, l.err = time.Time{}, time.Time{}, nil
	l.askAt, l.dead = time.Time{}, false
	if l.last == StepNone && l.failed == 0 {
		return time.Time{}
	}
	if at := l.well.Add(lasting); now.Before(at) {
		return at
	}
	l.last, l.failed = StepNone, 0
	return time.Time{}
}

// inVain reports whether the latest step has gone well and had its time, and
// nothing has come of it.
func (l *ladder) inVain(s situation, now time.Time) bool {
	return l.last != StepNone && l.err == nil && !l.next.IsZero() && !l.paved(s)
}

// paved reports whether the latest step has made way for a dial.
func (l *ladder) paved(s situation) bool {
	return !s.up && s.secured && l.err == nil && (l.last == StepSecure || l.last == StepRenew)
}

// grace is how long to wait before the first step.
func (s situation) grace() time.Duration {
	if s.connecting {
		return connectTime
	}
	return grace
}

// done takes in what the step under way has come to.
func (l *ladder) done(err error, s situation, jitter float64, now time.Time) {
	step := l.busy
	if step == StepLook {
		if l.deaf && err == nil {
			l.next = now
		}
		l.busy, l.lookAt, l.deaf = StepNone, now.Add(spread(lnsLook, jitter)), err != nil
		return
	}
	if step == StepAsk {
		l.busy, l.askAt, l.dead = StepNone, now.Add(spread(lnsLook, jitter)), err == nil && !l.outdated
		if errors.Is(err, ErrAlive) {
			l.askAt = now.Add(spread(aliveLook, jitter))
		}
		return
	}
	l.askAt, l.dead, l.settling = time.Time{}, false, false // it is another question now
	if errors.Is(err, ErrAlive) {
		l.busy, l.next = StepNone, now.Add(aliveLook)
		return
	}
	l.busy, l.last, l.err = StepNone, step, err
	if step == StepSecure || step == StepRenew {
		l.doneAt, l.secured, l.settling = now, err == nil, err == nil
	}
	l.fresh = l.fresh || (step == StepSecure || step == StepRenew) && !errors.Is(err, ErrNoRoute)
	if errors.Is(err, ErrWaits) {
		l.err, l.next = nil, now.Add(max(s.redial+answerTime, pause(l.failed+1, jitter)))
		if s.owner == 0 { // it does not redial
			l.next = now
		}
		return
	}
	if errors.Is(err, ErrAnswers) || errors.Is(err, ErrCarries) {
		l.last, l.fresh = StepNone, true // the SA works, and was not touched
	}
	switch {
	case l.since.IsZero(): // all is well already
	case errors.Is(err, ErrNoRoute):
		l.next = now.Add(routeLook)
	case errors.Is(err, ErrPlain):
		l.plain, l.last, l.err, l.next = true, StepNone, nil, time.Time{} // nothing was tried
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
