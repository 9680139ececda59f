package supervisor

import (
	"maps"
	"slices"
	"time"

	"xl2tpd-keepalive/internal/config"
	"xl2tpd-keepalive/internal/xl2tpd"
)

// watchGuard notes since when the Hello guard sees what xl2tpd sends.
func (core *Core) watchGuard(now time.Time) {
	switch sees := core.reported[TaskGuard] && !core.blind(); {
	case !sees:
		core.guardAt = time.Time{}
	case core.guardAt.IsZero():
		core.guardAt, core.changed = now, true
	}
}

// blind reports whether no Hello guard sees what xl2tpd sends.
func (core *Core) blind() bool {
	return core.config.Guard() == config.GuardOff || core.faults[TaskGuard] != "" || core.failing[TaskGuard] != nil
}

// noteHidden notes whether xl2tpd may be dialling a LAC while nobody would see that. That is so while there is a call,
// and while the LNS's name can't be looked up.
func (core *Core) noteHidden(l *lac, s *xl2tpd.Section, now time.Time) {
	hidden := core.candidates(l).any() || len(s.LNSIPs) == 0 || s.Unresolved
	if hidden || l.hidden {
		l.hiddenAt = now
	}
	l.hidden = hidden
	if len(s.LNSIPs) == 0 || s.Unresolved || core.newLinks(l) {
		l.downAt = time.Time{}
	}
}

// certainlyDown reports whether a LAC is down although a link may be its: recovery has hung it up, and the Hello guard has
// seen no dial since that may be its.
func (core *Core) certainlyDown(l *lac) bool {
	return !l.downAt.IsZero() && !core.guardAt.IsZero() && !l.downAt.Before(core.guardAt)
}

// newLinks reports whether more links have come up since a LAC was hung up than the other LACs like it can have.
func (core *Core) newLinks(l *lac) bool {
	return slices.ContainsFunc(core.candidates(l).ambiguous, func(group *[]*tunnel) bool {
		return len(*group) > 0 && count(*group, func(t *tunnel) bool { return t.linked() && t.up.After(l.downAt) }) >= len((*group)[0].identity.names)
	})
}

// mayBeUp notes that xl2tpd dials one of these LACs. Unless it is one that recovery has just dialled, it may be any of them.
// A dial of an address that is no LAC's may be any LAC's too: a name may have another address by now.
func (core *Core) mayBeUp(lacs []*lac, now time.Time) {
	if slices.ContainsFunc(lacs, func(l *lac) bool { return l.progress.busy == StepDial || now.Sub(l.dialled) < answerTime }) {
		return
	}
	if len(lacs) == 0 {
		lacs = slices.Collect(maps.Values(core.lacs))
	}
	for _, l := range lacs {
		l.downAt = time.Time{}
	}
}

// revive notes that xl2tpd dials one of these LACs, although it should redial none and recovery has dialled none. Somebody
// else has dialled, or xl2tpd could not look up their LNS before. So xl2tpd may redial any of them. An ambiguous link does
// not prove that a LAC is up.
func (core *Core) revive(lacs []*lac) {
	var down, unsure []*lac
	for _, l := range lacs {
		switch {
		case l.progress.busy == StepDial || l.progress.busy == StepRedial:
			return
		case core.candidates(l).hasExact(core.process(l).Pid):
		case core.candidates(l).up():
			unsure = append(unsure, l)
		default:
			down = append(down, l)
		}
	}
	if slices.ContainsFunc(down, func(l *lac) bool { return !l.idle && !l.hungUp() }) {
		down = nil
	}
	for _, l := range append(down, unsure...) {
		if s := core.section(l); s != nil && s.Redial && !l.mayBeHungUp() {
			l.idle = false
			core.markLAC(l)
		}
	}
}

// redialDue returns when xl2tpd should have redialled a LAC that is down; zero: it does not redial, or nobody would see
// it. xl2tpd can stop redialling: before 1.3.18 it stops after a failed name lookup (xl2tpd.c, magic_lac_tunnel), and
// after `max redials` it gives up (magic_lac_dial). If nobody acknowledges xl2tpd's StopCCN, an attempt takes two
// answerTimes.
func (core *Core) redialDue(l *lac, s *xl2tpd.Section) time.Time {
	since := l.progress.since
	if !s.Redial || l.idle || l.hidden || l.mayBeHungUp() || core.mayBeDialled(l, s) || since.IsZero() || core.guardAt.IsZero() {
		return time.Time{}
	}
	for _, at := range []time.Time{core.guardAt, l.asked, l.attempt, l.hiddenAt, l.planned} {
		if at.After(since) {
			since = at
		}
	}
	return since.Add(s.RedialTimeout + 2*answerTime)
}
