package supervisor

import (
	"errors"
	"log/slog"
	"slices"
	"time"

	"xl2tpd-keepalive/internal/hook"
	"xl2tpd-keepalive/internal/xl2tpd"
	"xl2tpd-keepalive/supervisor/recovery/policy"
)

// takeOutcome takes the result of a step.
func (ls *lacTable) takeOutcome(ev StepDone, now time.Time) {
	if !ev.Step.Asks() {
		ls.agenda.slotsTaken--
	}
	l := ls.ensureLAC(name{"lac", ev.LAC.Name, ev.LAC.Instance})
	ls.agenda.mark(l)
	if l.progress.UnderWay() != ev.Step {
		return
	}
	if ev.Step == policy.StepRenew || ev.Step == policy.StepSecure {
		ls.takeNewSA(l, ev.Err)
	}
	if l.stale {
		l.progress.Abandon()
		l.stale, l.endsMeanwhile = false, nil
		return
	}
	err := ev.Err
	if errors.Is(err, policy.ErrPeerDead) { // xl2tpd has hung up, so the step has succeeded
		err = nil
		l.peerIsDead(now)
	}
	ls.stepDone(l, ev.Step, err, now)
	if ev.Step.Asks() || isAny(err, policy.ErrNoConnection, policy.ErrAlive, policy.ErrRedialsLater, policy.ErrAnswered, policy.ErrSAInUse) {
		return // nothing was done
	}
	ls.callRecoverHook(l, ev.Step, err)
	ls.logStep(l, ev.Step, err)
}

// stepDone notes what a step of recovery has changed, or has shown.
func (ls *lacTable) stepDone(l *lac, step policy.Step, err error, now time.Time) {
	var is policy.Situation // for a step that only asks, it does not matter
	if s := ls.topology.section(l); s != nil && !step.Asks() {
		is, _ = ls.situations.of(l, s, now)
	}
	if c := l.lastEnd; c != nil && !c.sure && (c.inferred && errors.Is(err, policy.ErrSAInUse) || (c.inferred || c.assumed) && errors.Is(err, policy.ErrAlive)) {
		c.failed = false // the LNS lives, so the silence was another's fault, and recovery has not hung up
	}
	hungUp := step == policy.StepHangUp && (err == nil || errors.Is(err, policy.ErrHungUp))
	ls.hangUps.resolveEnds(l, hungUp, errors.Is(err, policy.ErrAlive))
	l.progress.StepDone(err, is, ls.jitter(), now)
	if step == policy.StepDial || step == policy.StepRedial {
		l.endOwnDial(err, now)
	}
	switch step {
	case policy.StepDial:
		l.downAt, l.missingAt = time.Time{}, time.Time{}
		l.afterDial(err, now)
	case policy.StepRedial:
		l.downAt = time.Time{}
		l.afterRedial(err, ls.topology.section(l), now)
	case policy.StepHangUp:
		ls.afterHangUp(l, hungUp, now)
	case policy.StepAsk:
		ls.logAsked(l, err)
	}
}

// isAny reports whether an error is one of several.
func isAny(err error, those ...error) bool {
	return slices.ContainsFunc(those, func(one error) bool { return errors.Is(err, one) })
}

// endOwnDial notes that the step has ended that makes xl2tpd dial. If the step has failed, no dial is to be seen.
func (l *lac) endOwnDial(err error, now time.Time) {
	switch {
	case err != nil:
		l.ownDialAt = time.Time{}
	case !l.ownDialAt.IsZero(): // nobody has seen the dial yet
		l.ownDialAt = now
	}
}

// afterDial takes the result of StepDial. After a dial xl2tpd redials by itself.
func (l *lac) afterDial(err error, now time.Time) {
	if err != nil {
		return
	}
	l.had, l.notRedialled, l.dialledAt = hadOne, false, now
	l.attemptAt, l.notDiallingSince = now, time.Time{}
}

// afterRedial takes the result of StepRedial.
func (l *lac) afterRedial(err error, s *xl2tpd.Section, now time.Time) {
	switch {
	case err == nil, errors.Is(err, policy.ErrAnswered):
		l.attemptAt, l.notDiallingSince = now, time.Time{}
	case errors.Is(err, policy.ErrRedialsLater):
		l.attemptAt = time.Time{}
		if l.notDiallingSince.IsZero() {
			l.notDiallingSince = now
		}
	case errors.Is(err, policy.ErrHungUp):
		if l.noRedial(); errors.Is(err, policy.ErrGaveUp) && s != nil && s.Redial {
			l.plannedUntil = now.Add(s.RedialTimeout + policy.TimerDelay)
		}
	}
}

// afterHangUp takes the result of StepHangUp.
func (ls *lacTable) afterHangUp(l *lac, hungUp bool, now time.Time) {
	if !hungUp {
		return
	}
	l.cutHangUpAt, l.hangUpDoneAt = time.Time{}, now
	if !l.dialledMeanwhile {
		l.downAt = now
	}
	switch s := ls.topology.section(l); {
	case s == nil || !s.Redial:
	case l.dialledMeanwhile: // after the hang-up, it may be
		l.plannedUntil = now.Add(s.RedialTimeout + 2*policy.AttemptTime)
	case l.guessed:
		l.plannedUntil = now.Add(s.RedialTimeout + policy.TimerDelay)
	}
	if l.noRedial(); l.redialsMeanwhile {
		l.notRedialled = false
	}
}

// planRedial notes whether xl2tpd has planned a redial of a LAC that recovery hangs up, or has hung up. xl2tpd has planned
// one if the tunnel had ended by itself. A hang-up stops that redial, and the next dial allows it again (xl2tpd.c,
// control_handle_lac_disconnect and magic_lac_dial). The end and its reason may become known during StepHangUp or after
// it.
func (h *hangUps) planRedial(l *lac, c *end) {
	s := h.topology.section(l)
	if s == nil || !s.Redial {
		return
	}
	switch planned := c.Time.Add(s.RedialTimeout + policy.TimerDelay); {
	case c.mayBeByItself() && planned.After(l.plannedUntil):
		l.plannedUntil = planned
	case !c.mayBeByItself() && l.plannedUntil.Equal(planned): // as long as nobody had said why the tunnel has ended
		l.plannedUntil = time.Time{}
	}
}

// noRedial notes that xl2tpd has hung up and does not redial.
func (l *lac) noRedial() {
	l.notRedialled, l.attemptAt = true, time.Time{}
	if l.lastEnd != nil {
		l.lastEnd.CallOnly = false
	}
}

// logAsked logs the result of StepAsk.
func (ls *lacTable) logAsked(l *lac, err error) {
	came := "no answer, but from the LNS itself: it is dead"
	if err != nil {
		came = err.Error()
	}
	ls.logLAC(l, slog.LevelDebug, "the peer of the silent link was asked", slog.String("reason", came))
}

// callRecoverHook calls the operator's hook about a step that has succeeded.
func (ls *lacTable) callRecoverHook(l *lac, step policy.Step, err error) {
	path := ls.topology.configured(name{"lac", l.name, l.instance}).Hook
	if path == "" || err != nil {
		return
	}
	ls.out.emit(CallHook{hook.Event{
		Path: path, Name: hook.Recover, Tunnel: "lac " + l.name, Instance: ls.topology.displayNames[l.instance],
		Peer: ls.topology.lns(l), Reason: step.String(),
	}})
}

// logStep logs the result of a step, unless it is the same as in the last log line.
func (ls *lacTable) logStep(l *lac, step policy.Step, err error) {
	level, text, attr := slog.LevelInfo, "bringing the tunnel back", slog.String("step", step.String())
	if err != nil {
		level, text, attr = slog.LevelWarn, "can't "+step.String()+", trying again", slog.String("reason", err.Error())
	}
	if errors.Is(err, policy.ErrAnswers) {
		text = "the tunnel is refused: look at the user name and password, or at the LNS's own log"
	}
	if line := text + attr.String(); line != l.lastLogged {
		l.lastLogged = line
		ls.logLAC(l, level, text, attr)
	}
}
