package supervisor

import (
	"slices"
	"time"

	"xl2tpd-keepalive/internal/xl2tpd"
	"xl2tpd-keepalive/supervisor/recovery/policy"
)

// noteGroup notes when the number of links that may be a LAC's has last changed. While the name of its LNS can't be looked
// up, that counts as a change: nobody knows what xl2tpd has planned meanwhile.
func (l *lac) noteGroup(c *candidates, s *xl2tpd.Section, now time.Time) {
	links := -1
	if len(s.LNSIPs) > 0 && !s.Unresolved {
		links = len(c.exact)
		for _, group := range c.ambiguous {
			links += len(*group)
		}
	}
	if links != l.groupLinks || links < 0 {
		l.groupLinks, l.groupChangedAt = links, now
	}
}

// noteMissing takes a LAC for down if it can't be told apart from others, and one of them is down. So recovery dials each
// of them: xl2tpd ignores the dial of one that is up (xl2tpd.c, control_handle_lac_connect). noteMissing returns when to
// look again; zero: when something has changed.
func (ls *lacTable) noteMissing(l *lac, s *xl2tpd.Section, c *candidates, now time.Time) time.Time {
	if !l.progress.Takes(policy.StepDial) && slices.ContainsFunc([]time.Time{l.groupChangedAt, l.sccrqAt, l.calledAt}, l.missingSince) {
		l.downAt, l.notRedialled, l.missingAt = time.Time{}, false, time.Time{} // so xl2tpd may redial it
	}
	due := ls.situations.missingDue(l, s, c)
	if due.IsZero() || now.Before(due) {
		return due
	}
	l.missingAt, l.downAt, l.notRedialled = now, now, true
	l.lastEnd, l.silentAt, l.attemptAt, l.notDiallingSince = nil, time.Time{}, time.Time{}, time.Time{}
	return time.Time{}
}

// missingSince reports whether a LAC was taken for down by that time, and was not dialled since.
func (l *lac) missingSince(at time.Time) bool {
	return !l.missingAt.IsZero() && !at.Before(l.missingAt)
}

// missingDue returns when it is certain that one of the LACs that can't be told apart is down, and that xl2tpd redials
// none of them. By then the Hello guard has seen no request for a tunnel or call for longer than any redial takes. Zero:
// all are up, or one may have been hung up, or nobody would see a redial.
func (ss *situations) missingDue(l *lac, s *xl2tpd.Section, c *candidates) time.Time {
	if ss.health.guardAt.IsZero() || l.groupLinks < 1 || len(c.exact) > 0 || len(c.ambiguous) != 1 || !l.progress.TroubleSince().IsZero() {
		return time.Time{}
	}
	group := *c.ambiguous[0]
	if l.mayBeDialled(ss.topology, s) || ss.goal(l, s) == policy.GoalNone {
		return time.Time{}
	}
	wanted, pause := 0, policy.MaxPause
	for _, other := range ss.lacsNamed(group[0].identity.names) {
		section := ss.topology.section(other)
		if other.mayBeHungUp() || section == nil {
			return time.Time{}
		}
		if ss.goal(other, section) != policy.GoalNone {
			wanted++
		}
		pause = max(pause, section.RedialTimeout+2*policy.AttemptTime)
	}
	if len(group) >= wanted {
		return time.Time{}
	}
	since := slices.MaxFunc([]time.Time{ss.health.guardAt, l.groupChangedAt, l.sccrqAt, l.calledAt, l.dialledAt}, time.Time.Compare)
	return since.Add(pause)
}
