package supervisor

import (
	"log/slog"
	"maps"
	"slices"
	"time"

	"xl2tpd-keepalive/internal/config"
	"xl2tpd-keepalive/internal/message"
	"xl2tpd-keepalive/internal/procfs"
	"xl2tpd-keepalive/internal/status"
	"xl2tpd-keepalive/internal/xl2tpd"
)

// watchGuard notes since when the Hello guard sees what xl2tpd sends. news is true if it has just begun to.
func (h *health) watchGuard(c *config.Config, now time.Time) (news bool) {
	switch sees := h.reported[TaskGuard] && !h.blind(c); {
	case !sees:
		h.guardAt = time.Time{}
	case h.guardAt.IsZero():
		h.guardAt, news = now, true
	}
	return news
}

// blind reports whether no Hello guard sees what xl2tpd sends.
func (h *health) blind(c *config.Config) bool {
	return c.Guard() == config.GuardOff || h.faults[TaskGuard] != (status.Problem{}) || h.failing[TaskGuard] != nil
}

// noteHidden notes whether xl2tpd may be dialling a LAC while nobody would see that. That is so while it has a link or
// call, and while the LNS's name can't be looked up.
func (l *lac) noteHidden(c *candidates, s *xl2tpd.Section, now time.Time) {
	hidden := c.any() || len(s.LNSIPs) == 0 || s.Unresolved
	if hidden || l.hidden {
		l.hiddenAt = now
		if !l.notDiallingSince.IsZero() {
			l.notDiallingSince = now
		}
	}
	l.hidden = hidden
	if len(s.LNSIPs) == 0 || s.Unresolved || l.newLinks(c) {
		l.downAt = time.Time{}
	}
}

// certainlyDown reports whether a LAC is down although a link may be its: recovery has hung it up, and the Hello guard has
// seen no dial since that may be its. guardAt is since when the guard sees what xl2tpd sends; zero: it does not.
func (l *lac) certainlyDown(guardAt time.Time) bool {
	return !l.downAt.IsZero() && !guardAt.IsZero() && !l.downAt.Before(guardAt)
}

// possibleLinks returns those of the candidates that may be the LAC's now.
func (l *lac) possibleLinks(c *candidates, guardAt time.Time) *candidates {
	if l.certainlyDown(guardAt) {
		return &candidates{exact: c.exact}
	}
	return c
}

// newLinks reports whether more links have come up since a LAC was hung up than the other LACs like it can have.
func (l *lac) newLinks(c *candidates) bool {
	return slices.ContainsFunc(c.ambiguous, func(group *[]*tunnel) bool {
		return len(*group) > 0 && count(*group, func(t *tunnel) bool { return t.linked() && t.up.After(l.downAt) }) >= len((*group)[0].identity.names)
	})
}

// takeOwnDial reports whether the dial that was seen is the one that recovery has just asked for.
func takeOwnDial(lacs []*lac, now time.Time) bool {
	for _, l := range lacs {
		own := l.progress.busy == StepDial || l.progress.busy == StepRedial || now.Sub(l.dialled) < answerTime
		if own && l.awaitsDial {
			l.awaitsDial = false
			return true
		}
	}
	return false
}

// clearDownAt notes that xl2tpd dials one of these LACs, and not for recovery. A dial of an address that is no LAC's may be
// any LAC's too: a name may have another address by now.
func (ls *lacTable) clearDownAt(lacs []*lac) {
	if len(lacs) == 0 {
		lacs = slices.Collect(maps.Values(ls.byKey))
	}
	for _, l := range lacs {
		l.downAt, l.dialledMeanwhile = time.Time{}, true
	}
}

// mayRedialAgain notes that xl2tpd dials one of these LACs, although it should redial none and recovery has dialled none.
// Somebody else has dialled, or xl2tpd could not look up their LNS before. So xl2tpd may redial any of them. An ambiguous link does
// not prove that a LAC is up.
func (ls *lacTable) mayRedialAgain(lacs []*lac, now time.Time) {
	var down, unsure []*lac
	for _, l := range lacs {
		switch {
		case l.progress.busy == StepHangUp:
			down = append(down, l)
		case ls.candidates(l).hasExact(ls.daemons.of(l).Pid):
		case ls.candidates(l).up():
			unsure = append(unsure, l)
		default:
			down = append(down, l)
		}
	}
	if slices.ContainsFunc(down, func(l *lac) bool { return ls.isRedialled(l, now) }) {
		down = nil
	}
	for _, l := range append(down, unsure...) {
		s := ls.topology.section(l)
		if s == nil || !s.Redial {
			continue
		}
		l.notRedialled = false // of one that may be hung up too: xl2tpd needs the SA
		if !l.mayBeHungUp() {
			l.redialsMeanwhile, l.had = true, max(l.had, mayHaveHad)
		}
		ls.agenda.mark(l)
	}
}

// noteAsked notes that an xl2tpd, or one of all if it is not known (zero), asks somebody for a tunnel or a call.
func (ls *lacTable) noteAsked(daemon procfs.ID, now time.Time) {
	for _, l := range ls.byKey {
		if daemon == (procfs.ID{}) || ls.daemons.of(l) == daemon {
			l.askedAt = now
		}
	}
}

// takeCall notes that xl2tpd calls in a tunnel that stands: it has not stopped redialling the LAC of that tunnel. If nobody
// knows which LAC that is, it may be any with that LNS.
func (ls *lacTable) takeCall(ev Calls, now time.Time) {
	ls.noteAsked(ev.Owner, now)
	lacs := ls.lacsOf(ev.Owner, ev.Peer.Addr())
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
		ls.mayRedialAgain(lacs, now)
	}
}

// isRedialled reports whether xl2tpd redials a LAC that is down, as far as is known.
func (ls *lacTable) isRedialled(l *lac, now time.Time) bool {
	s := ls.topology.section(l)
	return s != nil && s.Redial && !l.notRedialled && !l.mayBeHungUp() && !l.mayBeDialled(ls.topology, s) && !l.progress.isHangingUp(now) && (s.Autodial || l.had >= mayHaveHad)
}

// redialDue returns when xl2tpd should have redialled a LAC that is down; zero: it does not redial, or nobody would see
// it. xl2tpd can stop redialling: before 1.3.18 it stops after a failed name lookup (xl2tpd.c, magic_lac_tunnel), and
// after `max redials` it gives up (magic_lac_dial). If nobody acknowledges xl2tpd's StopCCN, an attempt takes two
// answerTimes. guardAt is since when the Hello guard sees what xl2tpd sends; zero: it does not.
func (l *lac) redialDue(a *topology, s *xl2tpd.Section, guardAt time.Time) time.Time {
	since := l.progress.since
	if !s.Redial || l.notRedialled || l.hidden || l.mayBeHungUp() || l.mayBeDialled(a, s) || since.IsZero() || guardAt.IsZero() {
		return time.Time{}
	}
	for _, at := range []time.Time{guardAt, l.sccrqAt, l.calledAt, l.attempt, l.hiddenAt, l.planned} {
		if at.After(since) {
			since = at
		}
	}
	return since.Add(s.RedialTimeout + 2*answerTime)
}

// lookupTime is how long before that the name of the LNS is looked up once more: nobody sees an xl2tpd that dials, and
// can't look it up. The lookup may begin 15 s later, if one has just failed, and take 5 s.
const lookupTime = 20 * time.Second

// noteDeadRedial notes that xl2tpd should have redialled a LAC by now, and has not. It returns when to look again; zero:
// xl2tpd does not redial, or nobody would see it.
func (ls *lacTable) noteDeadRedial(l *lac, s *xl2tpd.Section, now time.Time) time.Time {
	switch due := l.redialDue(ls.topology, s, ls.health.guardAt); {
	case due.IsZero():
		return due
	case now.Before(due.Add(-lookupTime)):
		return due.Add(-lookupTime)
	case now.Before(due):
		if host := lnsHost(s); !l.lookedUpFor.Equal(due) && host != "" {
			l.lookedUpFor = due
			if _, address := xl2tpd.ParseAddr(host); !address {
				ls.out.emit(LookUp{host})
			}
		}
		return due
	}
	l.notRedialled, l.notDiallingSince = true, time.Time{}
	if l.had >= mayHaveHad {
		ls.logLAC(l, slog.LevelWarn, "xl2tpd does not redial any more")
	}
	return time.Time{}
}

// lookupText says what is wrong with the name of a LAC's LNS, for the status; empty: nothing.
func lookupText(s *xl2tpd.Section) message.Text {
	switch host := lnsHost(s); {
	case host == "":
		return ""
	case s.Unresolved:
		return message.Sprintf("%s can't be looked up", host)
	case len(s.LNSIPs) == 0:
		return message.Sprintf("waits for the lookup of %s", host)
	}
	return ""
}
