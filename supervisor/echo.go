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
	"xl2tpd-keepalive/internal/message"
	"xl2tpd-keepalive/probe"
)

const (
	maxJitter = 0.1 // of the interval, added to it

	tick = 100 * time.Millisecond // echoes are due at multiples of this, so several need one wake-up

	looks = 4 // how often the counter is read in each interval
)

// retries are the waits after the first losses in a row. After them the interval is the wait again. So a single lost
// packet does not look like a dead tunnel for a whole interval.
var retries = [...]time.Duration{time.Second, 2 * time.Second}

// check does what is due for a tunnel. It asks for the receive counter first. If the counter was read a moment ago, it
// sends the echo request.
func (core *Core) check(t *tunnel, now time.Time) {
	if !t.watched() {
		core.refresh(t, now) // the time to wait for its session is over
		return
	}
	if t.counted && now.Sub(t.looked) < t.lookEvery() && !now.Before(t.echoAt()) {
		core.echo(t, now)
		return
	}
	t.inFlight = counting
	core.emit(ReadCounter{Link: t.key})
}

// echo sends a tunnel's echo request. With keepalive = observe it sends none, and only the counter is read.
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

// takeCounter takes the receive counter of a tunnel that was due.
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

// takeResult takes the result of an echo request.
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
		t.packets++ // the reply itself does not count as data
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

// notSent records why a link's echo requests can't be sent, and forgets that once one can. Each link counts by itself: a
// filter may refuse the echo requests of one link only.
func (core *Core) notSent(link Key, err error) {
	if !probe.Unsent(err) {
		core.forgetUnsent(link)
		return
	}
	if len(core.unsent) == 0 {
		core.log(slog.LevelWarn, "echo requests can't be sent: no tunnel counts as silent meanwhile",
			slog.String("link", link.Name), slog.String("reason", err.Error()))
	}
	core.unsent[link] = message.TextOf(err)
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

// unsentText returns the first link whose echo requests can't be sent, the reason, and how many more there are.
func (core *Core) unsentText() message.Text {
	if len(core.unsent) == 0 {
		return ""
	}
	first := slices.MinFunc(slices.Collect(maps.Keys(core.unsent)), func(a, b Key) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), a.Index-b.Index)
	})
	text := message.Sprintf("%s: %s", first.Name, core.unsent[first])
	if more := len(core.unsent) - 1; more > 0 {
		text = message.Sprintf("%s (and %d more links)", text, more)
	}
	return text
}

// faultEcho is the name of the fault that echo requests can't be sent.
const faultEcho = "echo requests"

// jitterFactor returns by how much to stretch an interval: from 1 to 1 + maxJitter. So tunnels drift apart.
func (core *Core) jitterFactor() float64 { return 1 + maxJitter*core.jitter() }

// spread is jitterFactor for the first interval after a tunnel became alive or silent. Many tunnels may do so at the
// same moment, so the range is wider: it begins at the time between two readings of the counter.
func (core *Core) spread() float64 {
	const shortest = 1.0 / looks
	return shortest + (1+maxJitter-shortest)*core.jitter()
}

// takeAnswer returns the tunnel that has waited for this answer, or nil if the answer no longer matters.
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
		core.hurry(t, now) // the link changed after the question
		return nil
	}
	return t
}

// takeSign takes a sign of life. sign is the reason in the log.
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

// takeSilence decides whether lost echoes make a tunnel silent, and reports whether they have just done so. They do not
// on a link that shows signs of life but has never answered an echo request: many routers drop echo requests.
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
