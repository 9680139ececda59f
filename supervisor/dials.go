package supervisor

import (
	"log/slog"
	"maps"
	"slices"
	"time"

	"xl2tpd-keepalive/internal/helloguard"
	"xl2tpd-keepalive/internal/procfs"
	"xl2tpd-keepalive/supervisor/recovery/policy"
)

// dials takes what xl2tpd asks the LNSs for: tunnels and calls.
type dials struct{ *lacSet }

// takeDial notes that an xl2tpd dials. xl2tpd does not redial a LAC that was hung up. So if it dials such a LAC,
// somebody wants it again, and that dial counts as recovery's.
//
// If several LACs have this LNS, nobody can see which one xl2tpd dials. A LAC that was hung up stays down. xl2tpd may
// be dialling any other LAC that is down.
func (d *dials) takeDial(ev Dials, now time.Time) {
	d.noteAsked(ev.Owner, now)
	lacs := d.lacsOf(ev.Owner, ev.Peer.Addr())
	for _, l := range lacs {
		l.sccrqAt = now
	}
	foreign := !ev.Again && !takeOwnDial(lacs, now)
	if foreign {
		d.clearDownAt(lacs)
		d.mayRedialAgain(lacs, now)
	}
	if len(lacs) != 1 {
		d.dialsHungUp(lacs)
		for _, l := range lacs {
			d.perhapsDialled(l, lacs, ev, now)
		}
		return
	}
	l := lacs[0]
	if !l.mayBeHungUp() && l.lastEnd == nil {
		l.had = hadOne
	}
	d.agenda.mark(l)
	if foreign {
		d.noteEarlyDial(l, now)
	}
	l.noteAttempt(ev, now)
	if l.mayBeHungUp() && !l.progress.Commands() {
		d.dialledAgain(l, now)
	}
}

// takeOwnDial reports whether the dial that was seen is the one that recovery has just asked for.
func takeOwnDial(lacs []*lac, now time.Time) bool {
	for _, l := range lacs {
		takes := l.progress.Takes(policy.StepDial, policy.StepRedial)
		if !l.ownDialAt.IsZero() && (takes || now.Sub(l.ownDialAt) < policy.AttemptTime) {
			l.ownDialAt = time.Time{}
			return true
		}
	}
	return false
}

// perhapsDialled notes that xl2tpd dials one of these LACs, perhaps this one.
func (d *dials) perhapsDialled(l *lac, lacs []*lac, ev Dials, now time.Time) {
	switch {
	case l.takeAutodial(now):
		d.dialledAgain(l, now)
		return
	case d.candidates(l).up():
		return
	case d.alone(l, lacs, now):
		d.noteDialOf(l, ev, now)
		if !l.mayBeHungUp() {
			l.had = hadOne // the links of all others are their own, so it is this one that somebody wants
		}
	}
	if !l.notDiallingSince.IsZero() {
		l.notDiallingSince = now
	}
	if l.had < mayHaveHad && !l.lastEnd.mayBeHangUp() && (l.mayBeHungUp() || d.topology.ifDialled(l)) {
		l.had = mayHaveHad
		d.agenda.mark(l)
	}
}

// noteEarlyDial notes that somebody else dials a LAC, if xl2tpd would not have redialled it yet. xl2tpd keeps to that redial
// all the same: a command to dial does not stop its timer (xl2tpd.c, control_handle_lac_connect and magic_lac_dial). While the
// LNS's name could not be looked up, nobody saw such commands: xl2tpd plans a redial after each lookup that fails.
func (d *dials) noteEarlyDial(l *lac, now time.Time) {
	s := d.topology.section(l)
	if s == nil || !s.Redial {
		return
	}
	for _, planned := range []time.Time{l.overAt.Add(s.RedialTimeout), l.unresolvedAt.Add(s.RedialTimeout)} {
		if now.Before(planned.Add(-policy.TimerDelay)) && planned.After(l.plannedUntil) {
			l.plannedUntil = planned.Add(policy.TimerDelay)
		}
	}
}

// takeEnding notes that a tunnel or attempt ends that may have been a LAC's: xl2tpd plans its next redial as soon as it has
// finished with that one (xl2tpd.c, destroy_tunnel). After a hang-up it plans none.
func (d *dials) takeEnding(e Ending, now time.Time) {
	switch {
	case !e.mayBeByItself():
		return
	case e.Unanswered && e.StopAcked:
		now = now.Add(ackedClosingTime)
	case e.Unanswered:
		now = now.Add(closingTime)
	}
	for _, l := range d.lacsOf(e.Owner, e.Peer.Addr()) {
		l.overAt = now
	}
}

// noteAttempt notes that xl2tpd dials this LAC. An attempt lasts no longer because its request is sent again.
func (l *lac) noteAttempt(ev Dials, now time.Time) {
	if !ev.Again || l.attemptAt.IsZero() {
		l.attemptAt = now
	}
	l.notDiallingSince, l.dialledLNS = time.Time{}, ev.Peer.Addr()
	if l.lastEnd != nil {
		l.lastEnd.CallOnly = false // with a tunnel that stands, xl2tpd would not ask for another
	}
}

// noteDialOf notes that xl2tpd dials this one of several LACs. While it redials, its attempts are left alone anyway.
func (d *dials) noteDialOf(l *lac, ev Dials, now time.Time) {
	if s := d.topology.section(l); s != nil && !s.Redial {
		l.noteAttempt(ev, now)
	} else if l.lastEnd != nil {
		l.lastEnd.CallOnly = false
	}
}

// dialledAgain notes that somebody wants a LAC again that was left down.
func (d *dials) dialledAgain(l *lac, now time.Time) {
	l.startAgain(now)
	d.agenda.mark(l)
	d.logLAC(l, slog.LevelInfo, "tunnel dialled again on this host")
}

// startAgain notes that a LAC is wanted, and that xl2tpd dials it. If recovery is taking a step, that step still counts.
func (l *lac) startAgain(now time.Time) {
	l.had, l.notRedialled, l.lastEnd, l.possibleEnds, l.silentAt = hadOne, false, nil, nil, time.Time{}
	l.attemptAt, l.notDiallingSince = now, time.Time{}
	if l.progress.IsIdle() {
		l.progress.Dialled(now)
	}
}

// takeAutodial reports whether a dial may come from `autodial`, and be for a LAC that was left down: an xl2tpd that has
// just started dials such LACs first. It returns true at most once for each start.
func (l *lac) takeAutodial(now time.Time) bool {
	began := l.startedAt
	l.startedAt = time.Time{}
	return !began.IsZero() && now.Sub(began) <= policy.ReasonDelay && l.mayBeHungUp() && !l.progress.Commands()
}

// dialsHungUp notes that xl2tpd dials one of these LACs, although each of them that is down was hung up, or may have
// been. So somebody wants one of them again, and nobody knows which. Recovery dials none of them, but keeps their SA in
// order.
func (d *dials) dialsHungUp(lacs []*lac) {
	down := slices.DeleteFunc(slices.Clone(lacs), func(l *lac) bool { return d.candidates(l).up() })
	if slices.ContainsFunc(down, func(l *lac) bool { return !l.mayBeHungUp() || l.progress.Commands() }) {
		return
	}
	for _, l := range down {
		l.lastEnd, l.possibleEnds, l.had = nil, endList{endByOperator(helloguard.OwnedConnection{})}, max(l.had, mayHaveHad)
		d.agenda.mark(l)
	}
}

// clearDownAt notes that xl2tpd dials one of these LACs, and not for recovery. If the address is no LAC's, any LAC may be
// meant: a name may have another address by now.
func (d *dials) clearDownAt(lacs []*lac) {
	if len(lacs) == 0 {
		lacs = slices.Collect(maps.Values(d.byKey))
	}
	for _, l := range lacs {
		l.downAt, l.dialledMeanwhile = time.Time{}, true
	}
}

// mayRedialAgain notes that xl2tpd dials one of these LACs, although it should redial none and recovery has dialled none.
// Either somebody else has dialled, or xl2tpd could not look up their LNS before. So xl2tpd may redial any of them that is
// down. An ambiguous link does not prove that a LAC is up.
func (d *dials) mayRedialAgain(lacs []*lac, now time.Time) {
	var down, unsure []*lac
	for _, l := range lacs {
		switch {
		case l.progress.Takes(policy.StepHangUp):
			down = append(down, l)
		case d.surelyUp(l, now):
		case d.candidates(l).up():
			unsure = append(unsure, l)
		default:
			down = append(down, l)
		}
	}
	if slices.ContainsFunc(down, func(l *lac) bool { return d.isRedialled(l, now) }) {
		down = nil
	}
	for _, l := range append(down, unsure...) {
		s := d.topology.section(l)
		if s == nil || !s.Redial {
			continue
		}
		l.notRedialled = false // of one that may be hung up too: xl2tpd needs the SA
		if !l.mayBeHungUp() {
			l.redialsMeanwhile, l.had = true, max(l.had, mayHaveHad)
		}
		d.agenda.mark(l)
	}
}

// noteAsked notes that an xl2tpd asks somebody for a tunnel or a call. If it is not known which xl2tpd (zero), that counts
// for all.
func (d *dials) noteAsked(daemon procfs.ID, now time.Time) {
	for _, l := range d.byKey {
		if daemon == (procfs.ID{}) || d.daemons.of(l) == daemon {
			l.askedAt = now
		}
	}
}

// takeCall notes that xl2tpd calls in a tunnel that stands: xl2tpd has not stopped redialling the LAC of that tunnel. If
// nobody knows which LAC that is, it may be any with that LNS.
func (d *dials) takeCall(ev Calls, now time.Time) {
	d.noteAsked(ev.Owner, now)
	lacs := d.lacsOf(ev.Owner, ev.Peer.Addr())
	if i := slices.IndexFunc(lacs, func(l *lac) bool { return l.lastEnd != nil && l.lastEnd.Connection == ev.Connection }); i >= 0 {
		lacs = lacs[i : i+1]
	}
	for _, l := range lacs {
		l.calledAt = now
		if !l.notDiallingSince.IsZero() {
			l.notDiallingSince = now
		}
	}
	if len(lacs) == 1 && !takeOwnDial(lacs, now) {
		d.mayRedialAgain(lacs, now)
	}
}
