package supervisor

import (
	"log/slog"
	"slices"
	"time"

	"xl2tpd-keepalive/internal/message"
	"xl2tpd-keepalive/internal/xl2tpd"
	"xl2tpd-keepalive/supervisor/recovery/policy"
)

// noteHidden notes whether xl2tpd may be dialling a LAC while nobody would see that. That is so while it has a link or
// call, and while the LNS's name can't be looked up. noteHidden also notes when the name could not be looked up.
func (l *lac) noteHidden(c *candidates, s *xl2tpd.Section, now time.Time) {
	unresolved := len(s.LNSIPs) == 0 || s.Unresolved
	if unresolved || l.unresolved {
		l.unresolvedAt = now
	}
	hidden := c.any() || unresolved
	if hidden || l.hidden {
		l.hiddenAt = now
		if !l.notDiallingSince.IsZero() {
			l.notDiallingSince = now
		}
	}
	l.hidden, l.unresolved = hidden, unresolved
	if unresolved || l.newLinks(c) {
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

// isRedialled reports whether xl2tpd redials a LAC that is down, as far as is known.
func (d *dials) isRedialled(l *lac, now time.Time) bool {
	s := d.topology.section(l)
	return s != nil && s.Redial && !l.notRedialled && !l.mayBeHungUp() && !l.mayBeDialled(d.topology, s) && !l.progress.IsHangingUp(now) && (s.Autodial || l.had >= mayHaveHad)
}

// redialDue returns when xl2tpd should have redialled a LAC that is down; zero: it does not redial, or nobody would see
// it. xl2tpd can stop redialling: before 1.3.18 it stops after a failed name lookup (xl2tpd.c, magic_lac_tunnel), and
// after `max redials` it gives up (magic_lac_dial). If nobody acknowledges xl2tpd's StopCCN, an attempt takes two
// AttemptTimes. guardAt is since when the Hello guard sees what xl2tpd sends; zero: it does not.
func (l *lac) redialDue(a *topology, s *xl2tpd.Section, guardAt time.Time) time.Time {
	since := l.progress.TroubleSince()
	if !s.Redial || l.notRedialled || l.hidden || l.mayBeHungUp() || l.mayBeDialled(a, s) || since.IsZero() || guardAt.IsZero() {
		return time.Time{}
	}
	for _, at := range []time.Time{guardAt, l.sccrqAt, l.calledAt, l.attemptAt, l.hiddenAt, l.plannedUntil} {
		if at.After(since) {
			since = at
		}
	}
	return since.Add(s.RedialTimeout + 2*policy.AttemptTime)
}

// lookupTime is how long before that the name of the LNS is looked up once more: nobody sees an xl2tpd that dials, and
// can't look it up. The lookup may begin 15 s later, if one has just failed, and take 5 s.
const lookupTime = 20 * time.Second

// noteDeadRedial notes that xl2tpd should have redialled a LAC by now, and has not. It returns when to look again; zero:
// xl2tpd does not redial, or nobody would see it.
func (d *dials) noteDeadRedial(l *lac, s *xl2tpd.Section, now time.Time) time.Time {
	switch due := l.redialDue(d.topology, s, d.health.guardAt); {
	case due.IsZero():
		return due
	case now.Before(due.Add(-lookupTime)):
		return due.Add(-lookupTime)
	case now.Before(due):
		if host := lnsHost(s); !l.lookedUpFor.Equal(due) && host != "" {
			l.lookedUpFor = due
			if _, address := xl2tpd.ParseAddr(host); !address {
				d.out.emit(LookUp{host})
			}
		}
		return due
	}
	l.notRedialled, l.notDiallingSince = true, time.Time{}
	if l.had >= mayHaveHad {
		d.logLAC(l, slog.LevelWarn, "xl2tpd does not redial any more")
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
