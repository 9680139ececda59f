package supervisor

import (
	"errors"
	"log/slog"
	"slices"
	"time"

	"xl2tpd-keepalive/internal/hook"
)

// recovered takes in what a step has come to.
func (b *Brain) recovered(ev Recovered, now time.Time) {
	if !ev.Step.asks() {
		b.turns--
	}
	l := b.lac(name{"lac", ev.LAC.Name, ev.LAC.Instance})
	b.touchLAC(l)
	if l.ladder.busy != ev.Step {
		return
	}
	if ev.Step == StepRenew {
		b.touchNeighbours(l)
	}
	if l.stale {
		l.ladder.busy, l.stale = StepNone, false
		return
	}
	err := ev.Err
	if errors.Is(err, ErrUnheard) { // xl2tpd has hung up all the same
		err = nil
		l.unheard(now)
	}
	var is situation
	if s := b.section(l); s != nil {
		is, _ = b.situation(l, s, now)
	}
	l.ladder.done(err, is, b.jitter(), now)
	switch ev.Step {
	case StepDial:
		l.afterDial(err, now)
	case StepRedial:
		l.afterRedial(err, now)
	case StepHangUp:
		b.afterHangUp(l, err, now)
	case StepAsk:
		b.noteAsked(l, err)
	}
	if ev.Step.asks() || isAny(err, ErrPlain, ErrAlive, ErrWaits, ErrCarries) {
		return // nothing was done
	}
	b.callRecoverHook(l, ev.Step, err)
	b.noteStep(l, ev.Step, err)
}

// isAny reports whether an error is one of those.
func isAny(err error, those ...error) bool {
	return slices.ContainsFunc(those, func(one error) bool { return errors.Is(err, one) })
}

// afterDial takes in whether xl2tpd was told to dial. From then on it redials.
func (l *lac) afterDial(err error, now time.Time) {
	if err != nil {
		return
	}
	l.seen, l.idle, l.dialled = true, false, now
	l.attempt, l.rests = now, time.Time{}
}

// afterRedial takes in whether xl2tpd was told to drop its attempt and to dial anew.
func (l *lac) afterRedial(err error, now time.Time) {
	switch {
	case err == nil:
		l.attempt, l.rests = now, time.Time{}
	case errors.Is(err, ErrWaits):
		l.attempt = time.Time{}
		if l.rests.IsZero() {
			l.rests = now
		}
	case errors.Is(err, ErrDropped):
		l.noRedial()
	}
}

// afterHangUp takes in whether xl2tpd was told to hang up.
func (b *Brain) afterHangUp(l *lac, err error, now time.Time) {
	if err != nil && !errors.Is(err, ErrDropped) {
		return
	}
	if s := b.section(l); l.guessed && s != nil && s.Redial {
		l.planned = now.Add(s.RedialTimeout)
	}
	l.noRedial()
}

// noRedial notes that xl2tpd has hung up and does not redial.
func (l *lac) noRedial() {
	l.idle, l.attempt = true, time.Time{}
	if l.last != nil {
		l.last.half = false
	}
}

// noteAsked logs what the peer of a silent link has answered.
func (b *Brain) noteAsked(l *lac, err error) {
	came := "no answer, but from the LNS itself: it is dead"
	if err != nil {
		came = err.Error()
	}
	b.noteLAC(l, slog.LevelDebug, "the peer of the silent link was asked", slog.String("reason", came))
}

// callRecoverHook tells the operator's hook about a step that was taken.
func (b *Brain) callRecoverHook(l *lac, step Step, err error) {
	path := b.configured(name{"lac", l.name, l.instance}).Hook
	if path == "" || err != nil {
		return
	}
	b.do(CallHook{hook.Event{
		Path: path, Name: hook.Recover, Tunnel: "lac " + l.name, Instance: b.atlas.called[l.instance],
		Peer: b.lns(l), Reason: step.String(),
	}})
}

// noteStep logs a step. A repetition is no news.
func (b *Brain) noteStep(l *lac, step Step, err error) {
	level, text, attr := slog.LevelInfo, "bringing the tunnel back", slog.String("step", step.String())
	if err != nil {
		level, text, attr = slog.LevelWarn, "can't "+step.String()+", trying again", slog.String("reason", err.Error())
	}
	if errors.Is(err, ErrAnswers) {
		text = "the tunnel is refused: look at the user name and password, or at the LNS's own log"
	}
	if said := text + attr.String(); said != l.said {
		l.said = said
		b.noteLAC(l, level, text, attr)
	}
}
