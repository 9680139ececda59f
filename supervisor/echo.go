package supervisor

import (
	"fmt"
	"log/slog"
	"time"

	"xl2tpd-keepalive/internal/hook"
	"xl2tpd-keepalive/probe"
)

// retries are the waits after the first losses in a row. After them the interval is the wait again. So a single lost
// packet does not look like a dead tunnel for a whole interval.
var retries = [...]time.Duration{time.Second, 2 * time.Second}

// check does what is due for a tunnel. It asks for the receive counter first. If the counter was read a moment ago, it
// sends the echo request.
func (ts *tunnelTable) check(t *tunnel, now time.Time) {
	if !t.watched() {
		ts.refresh(t, now) // the time to wait for its session is over
		return
	}
	if t.counted && t.justLooked(now) {
		ts.echo(t, now)
		return
	}
	t.inFlight = counting
	ts.out.emit(ReadCounter{Link: t.key})
}

// echo sends a tunnel's echo request. With keepalive = observe it sends none, and only the counter is read.
func (ts *tunnelTable) echo(t *tunnel, now time.Time) {
	if t.settings.Observe {
		at := t.inTime(now)
		ts.armInterval(t, at, at, 1)
		return
	}
	t.inFlight = echoing
	t.sent, t.again = t.inTime(now), false
	if t.lostInARow == 0 {
		t.firstLostAt = now
	}
	ts.out.emit(SendEcho{probe.Request{
		Link: t.key.Name, Index: t.key.Index,
		Source: t.source, Target: t.target, Timeout: t.settings.Timeout,
	}})
}

// takeCounter takes the receive counter of a tunnel that was due.
func (ts *tunnelTable) takeCounter(ev Counter, now time.Time) {
	t := ts.takeAnswer(ev.Link, counting, now)
	if t == nil {
		return
	}
	news := ev.Err == nil && t.counted && ev.Packets > t.packets
	t.packets, t.counted = ev.Packets, ev.Err == nil
	if news {
		t.evidence.Data = now
		t.closely = true
		ts.takeSign(t, dataReceived, t.looked, t.inTime(now), ts.jitter.factor(), now)
		return
	}
	t.looked = t.inTime(now)
	if t.looked.Before(t.echoAt) {
		ts.enqueue(t)
		return
	}
	ts.echo(t, now)
}

// takeResult takes the result of an echo request.
func (ts *tunnelTable) takeResult(ev probe.Result, now time.Time) {
	t := ts.takeAnswer(key(ev.Link, ev.Index), echoing, now)
	if t == nil {
		return
	}
	ts.health.notSent(t.key, ev.Err)
	t.closely = ev.Err != nil || now.Sub(t.evidence.Data) < closelyFor*t.settings.Interval
	if probe.Unsent(ev.Err) {
		ts.armInterval(t, now, now, ts.jitter.factor())
		return
	}
	t.echoes.add(ev)
	if ev.Err == nil {
		t.evidence.Reply = now
		t.replied = true
		t.packets++ // the reply itself does not count as data
		ts.takeSign(t, sign(ev.RTT), t.sent, t.sent, 1, now)
		return
	}
	t.lostInARow++
	stretch := ts.jitter.factor()
	if ts.takeSilence(t, ev.Err, now) {
		stretch = ts.jitter.spread()
	}
	if t.lostInARow <= len(retries) && retries[t.lostInARow-1] < t.settings.Interval {
		ts.retry(t, now, retries[t.lostInARow-1])
		return
	}
	if t.again {
		ts.retry(t, now, t.untilSoon(now))
		return
	}
	ts.armInterval(t, now, now, stretch)
}

// jitter returns numbers in [0, 1).
type jitter func() float64

// factor returns by how much to stretch an interval: from 1 to 1 + maxJitter. So tunnels that had data at the same time
// drift apart.
func (j jitter) factor() float64 { return 1 + maxJitter*j() }

// spread returns by how much to stretch the first interval after a tunnel became alive or silent. Many tunnels may do so
// at the same moment. The range begins at the time between two readings of the counter.
func (j jitter) spread() float64 {
	const shortest = 1.0 / looks
	return shortest + (1-shortest)*j()
}

// takeAnswer returns the tunnel that has waited for this answer, or nil if the answer no longer matters.
func (ts *tunnelTable) takeAnswer(k LinkKey, what flight, now time.Time) *tunnel {
	t := ts.byKey[k]
	if t == nil || t.inFlight != what {
		return nil
	}
	stale := t.stale
	t.inFlight, t.stale = none, false
	switch {
	case t.presence == gone:
		ts.forget(t)
		return nil
	case !t.watched():
		return nil
	case stale:
		ts.hurry(t, now) // the link has changed since the reading or echo request began
		return nil
	}
	return t
}

// sign is a sign of life: dataReceived, or an echo reply that has taken this time.
type sign time.Duration

// dataReceived is the sign that the receive counter has grown.
const dataReceived sign = -1

// String returns the reason in the log.
func (s sign) String() string {
	if s == dataReceived {
		return "data received"
	}
	return fmt.Sprintf("echo reply in %v", time.Duration(s).Round(100*time.Microsecond))
}

// takeSign takes a sign of life that came in between after and by.
func (ts *tunnelTable) takeSign(t *tunnel, s sign, after, by time.Time, stretch float64, now time.Time) {
	t.lostInARow = 0
	if t.state != Alive {
		stretch = ts.jitter.spread()
		attrs := []slog.Attr{slog.String("reason", s.String())}
		text := "tunnel alive"
		if t.state == Silent {
			text = "tunnel alive again"
			attrs = append(attrs, slog.Duration("silent", now.Sub(t.since).Round(time.Second)))
		}
		ts.setState(t, Alive, now)
		ts.logTunnel(t, slog.LevelInfo, text, attrs...)
		ts.callHook(t, hook.Alive, s.String())
	}
	ts.armInterval(t, after, by, stretch)
}

// takeSilence decides when a tunnel is silent: after `failures` lost echo requests in a row. It reports whether the tunnel
// has just become so. A link that shows signs of life, and has never answered an echo request, is not silent: many routers
// drop echo requests.
func (ts *tunnelTable) takeSilence(t *tunnel, err error, now time.Time) bool {
	if t.state == Silent || t.lostInARow < t.settings.Failures || !t.replied && !t.evidence.Last().IsZero() {
		return false
	}
	reason := fmt.Sprintf("%d echo requests unanswered: %v", t.lostInARow, err)
	attrs := []slog.Attr{slog.String("reason", reason)}
	if !t.replied {
		attrs = append(attrs, slog.String("hint", "if the far end never answers, give its section another `target`"))
	}
	ts.setState(t, Silent, now)
	ts.logTunnel(t, slog.LevelWarn, "tunnel silent", attrs...)
	ts.callHook(t, hook.Silent, reason)
	return true
}
