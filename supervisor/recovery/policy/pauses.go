package policy

import (
	"time"

	"xl2tpd-keepalive/internal/wake"
)

// pauseRule is a time of the next step and the condition for it. The first pause that holds decides.
type pauseRule struct {
	name  string
	holds func(*ruleInput) bool
	until func(*ruleInput) time.Time
	why   string
}

// pauses say when the next step is due. docs/recovery.md has the same table.
var pauses = []pauseRule{
	{"a new SA", (*ruleInput).readyToDial, (*ruleInput).noWait,
		"Now: nothing is in the way of a dial."},
	{"in the way of a dial", (*ruleInput).blocked, (*ruleInput).noWait,
		"Now: a call without link, or a tunnel without call, does not recover by itself."},
	{"hung up, and the peer was dead", (*ruleInput).hungUpDead, (*ruleInput).untilClosed,
		"Until xl2tpd has finished with the tunnel: up to 33 s, or 1 s if the Hello guard acknowledged the StopCCN."},
	{"the LNS has moved", (*ruleInput).justMovedAway, (*ruleInput).noWait,
		"Now: the new SA can't help this tunnel. Its peer is asked once more before the tunnel is hung up."},
	{"dialled without SA", (*ruleInput).dialsWithoutSA, (*ruleInput).untilGraceOrNext,
		"3 s, or 10 s while charon negotiates: the attempt fails, or is in the clear."},
	{"after a step", (*ruleInput).stepped, (*ruleInput).untilNext,
		"As long as the step may take to help; after failures, ever longer."},
	{"a silent link", (*ruleInput).linkedWithSA, (*ruleInput).noWait,
		"Now: the peer has been asked already, or has been silent for long."},
	{"xl2tpd redials", (*ruleInput).redialsFirst, (*ruleInput).afterFirstRedial,
		"`redial timeout` and 35 s: xl2tpd tries first."},
	{"the tunnel has just ended", (*ruleInput).always, (*ruleInput).untilGrace,
		"3 s, or 10 s while charon negotiates: charon may try by itself, and the reason may come late."},
}

// dueAt returns when the next step is due, as the first pause that holds says.
func (p *Progress) dueAt(s Situation, now time.Time) time.Time {
	in := &ruleInput{p: p, s: s, now: now}
	for _, one := range pauses {
		if one.holds(in) {
			p.pause = one.name
			return one.until(in)
		}
	}
	return now
}

func (in *ruleInput) afterMaxPause() time.Time { return in.now.Add(MaxPause) }

func (in *ruleInput) untilOverdue() time.Time { return in.now.Add(stuckAfter - in.s.Quiet) }

func (in *ruleInput) afterXl2tpdsAttempt() time.Time {
	return in.now.Add(max(in.s.RedialPause+AttemptTime, pause(in.p.failed+1, in.jitter)))
}

func (in *ruleInput) untilXl2tpdGivesUp() time.Time {
	return wake.Earlier(wake.Earlier(in.p.since.Add(in.s.RedialsFor), in.now.Add(MaxPause)), in.s.RedialDue)
}

func (in *ruleInput) untilCalled() time.Time { return in.s.CallingUntil }

func (in *ruleInput) untilNeighbourDialled() time.Time { return in.s.NeighbourDialledUntil }

func (in *ruleInput) untilTried() time.Time { return in.s.TryingUntil }

func (in *ruleInput) untilClosed() time.Time { return in.s.ClosingUntil }

func (in *ruleInput) untilPlanned() time.Time { return in.s.RedialPlannedUntil }

// untilRedialledOnce returns when xl2tpd has redialled once since the SA was made, and the pause after that step is over.
func (in *ruleInput) untilRedialledOnce() time.Time {
	paused := in.p.doneAt.Add(pause(in.p.failed+1, in.jitter))
	redialled := wake.Earlier(in.s.RedialPlannedUntil, in.p.doneAt.Add(in.s.RedialPause+TimerDelay))
	if redialled.After(paused) {
		return redialled
	}
	return paused
}

func (in *ruleInput) noWait() time.Time { return in.p.since }

func (in *ruleInput) untilNext() time.Time { return in.p.next }

func (in *ruleInput) untilGrace() time.Time { return in.p.since.Add(in.s.grace()) }

func (in *ruleInput) untilGraceOrNext() time.Time { return wake.Earlier(in.untilGrace(), in.p.next) }

func (in *ruleInput) afterFirstRedial() time.Time {
	return in.p.since.Add(in.s.RedialPause + AttemptTime)
}
