package supervisor

import (
	"cmp"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"xl2tpd-keepalive/internal/hook"
	"xl2tpd-keepalive/probe"
)

const (
	maxJitter = 0.1 // of the interval, added to it

	tick = 100 * time.Millisecond // several tunnels' echoes then cost one waking up

	looks = 4 // at the counter in each interval, or a bit more than one
)

// retries are the waits after the first losses in a row, before it is the
// interval again: a single lost packet should not look like a dead tunnel for
// a whole interval.
var retries = [...]time.Duration{time.Second, 2 * time.Second}

// check does what is due for a tunnel: has anything come in? If that was asked a
// moment ago, it gets its echo.
func (core *Core) check(t *tunnel, now time.Time) {
	if !t.watched() {
		core.refresh(t, now) // its session has not been seen in time
		return
	}
	if t.counted && now.Sub(t.looked) < t.lookEvery() && !now.Before(t.echoAt()) {
		core.echo(t, now)
		return
	}
	t.inFlight = counting
	core.emit(ReadCounter{Link: t.key})
}

// echo sends a tunnel's echo request. One that is watched only goes without: its counter is read on.
func (core *Core) echo(t *tunnel, now time.Time) {
	if t.settings.Observe {
		core.idle(t, now, core.jitterFactor())
		return
	}
	t.inFlight = echoing
	if t.lost == 0 {
		t.asked = now
	}
	core.emit(SendEcho{probe.Request{
		Link: t.key.Name, Index: t.key.Index,
		Source: t.source, Target: t.target, Timeout: t.settings.Timeout,
	}})
}

// takeCounter takes in the receive counter of a tunnel that was due.
func (core *Core) takeCounter(ev Counter, now time.Time) {
	t := core.takeAnswer(ev.Link, counting, now)
	if t == nil {
		return
	}
	news := ev.Err == nil && t.counted && ev.Packets > t.packets
	t.packets, t.counted = ev.Packets, ev.Err == nil
	if news {
		t.evidence.Data = now
		core.takeSign(t, "data received", now)
		return
	}
	if now.Before(t.echoAt()) {
		core.counterRead(t, now)
		core.enqueue(t)
		return
	}
	core.echo(t, now)
}

// takeResult takes in how an echo went.
func (core *Core) takeResult(ev probe.Result, now time.Time) {
	t := core.takeAnswer(key(ev.Link, ev.Index), echoing, now)
	if t == nil {
		return
	}
	core.notSent(t.key, ev.Err)
	if probe.Unsent(ev.Err) {
		core.idle(t, now, core.jitterFactor())
		return
	}
	t.echoes.add(ev)
	if ev.Err == nil {
		t.evidence.Reply = now
		t.replied = true
		t.packets++ // the reply itself is no data
		core.takeSign(t, fmt.Sprintf("echo reply in %v", ev.RTT.Round(100*time.Microsecond)), now)
		return
	}
	t.lost++
	stretch := core.jitterFactor()
	if core.takeSilence(t, ev.Err, now) {
		stretch = core.spread()
	}
	if t.lost <= len(retries) && retries[t.lost-1] < t.settings.Interval {
		core.retry(t, now, retries[t.lost-1])
		return
	}
	core.idle(t, now, stretch)
}

// notSent keeps for the operator why echo requests can't be sent through a link, until one can. Links are apart: a filter
// may refuse those of one link alone.
func (core *Core) notSent(link Key, err error) {
	if !probe.Unsent(err) {
		core.forgetUnsent(link)
		return
	}
	if len(core.unsent) == 0 {
		core.log(slog.LevelWarn, "echo requests can't be sent: no tunnel counts as silent meanwhile",
			slog.String("link", link.Name), slog.String("reason", err.Error()))
	}
	core.unsent[link] = err.Error()
	core.fault(faultEcho, true, core.unsentText())
}

// forgetUnsent notes that echo requests can be sent through a link, or that the link is gone.
func (core *Core) forgetUnsent(link Key) {
	if _, was := core.unsent[link]; !was {
		return
	}
	delete(core.unsent, link)
	if len(core.unsent) == 0 {
		core.log(slog.LevelInfo, "echo requests can be sent again")
	}
	core.fault(faultEcho, len(core.unsent) > 0, core.unsentText())
}

// unsentText says through which link echo requests can't be sent, and why.
func (core *Core) unsentText() string {
	if len(core.unsent) == 0 {
		return ""
	}
	first := slices.MinFunc(slices.Collect(maps.Keys(core.unsent)), func(a, b Key) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), a.Index-b.Index)
	})
	text := first.Name + ": " + core.unsent[first]
	if more := len(core.unsent) - 1; more > 0 {
		text += fmt.Sprintf(" (and %d more links)", more)
	}
	return text
}

// faultEcho is what an echo request that can't be sent is a fault of.
const faultEcho = "echo requests"

// jitterFactor stretches an interval a little, so that tunnels drift apart.
func (core *Core) jitterFactor() float64 { return 1 + maxJitter*core.jitter() }

// spread is the same for the first interval of a tunnel that shows its life, or none, as
// many may do at the same moment: no longer, and not shorter than from look to look.
func (core *Core) spread() float64 {
	const shortest = 1.0 / looks
	return shortest + (1+maxJitter-shortest)*core.jitter()
}

// takeAnswer returns the tunnel that waited for what has come in, or nil if it no
// longer matters.
func (core *Core) takeAnswer(k Key, what flight, now time.Time) *tunnel {
	t := core.tunnels[k]
	if t == nil || t.inFlight != what {
		return nil
	}
	stale := t.stale
	t.inFlight, t.stale = none, false
	switch {
	case t.gone:
		core.forget(t)
		return nil
	case !t.watched():
		return nil
	case stale:
		core.hurry(t, now) // the link has changed meanwhile
		return nil
	}
	return t
}

// takeSign takes note of a sign of life.
func (core *Core) takeSign(t *tunnel, sign string, now time.Time) {
	t.lost = 0
	stretch := core.jitterFactor()
	if t.state != Alive {
		stretch = core.spread()
		attrs := []slog.Attr{slog.String("reason", sign)}
		text := "tunnel alive"
		if t.state == Silent {
			text = "tunnel alive again"
			attrs = append(attrs, slog.Duration("silent", now.Sub(t.since).Round(time.Second)))
		}
		core.setState(t, Alive, now)
		core.logTunnel(t, slog.LevelInfo, text, attrs...)
		core.callHook(t, hook.Alive, sign)
	}
	core.idle(t, now, stretch)
}

// takeSilence decides whether lost echoes mean silence, and returns whether that is new. They
// don't on a link that shows signs of life but has never answered an echo: many a router
// drops them.
func (core *Core) takeSilence(t *tunnel, err error, now time.Time) bool {
	if t.state == Silent || t.lost < t.settings.Failures || !t.replied && !t.evidence.Last().IsZero() {
		return false
	}
	reason := fmt.Sprintf("%d echo requests unanswered: %v", t.lost, err)
	attrs := []slog.Attr{slog.String("reason", reason)}
	if !t.replied {
		attrs = append(attrs, slog.String("hint", "if the far end never answers, give its section another `target`"))
	}
	core.setState(t, Silent, now)
	core.logTunnel(t, slog.LevelWarn, "tunnel silent", attrs...)
	core.callHook(t, hook.Silent, reason)
	return true
}
