package supervisor

import (
	"log/slog"
	"net/netip"
	"time"

	"xl2tpd-keepalive/internal/config"
	"xl2tpd-keepalive/internal/hook"
	"xl2tpd-keepalive/internal/message"
	"xl2tpd-keepalive/internal/xl2tpd"
)

// sessionWait is how long a link that is up waits at most for its session in the kernel's table. The session shows its
// section, and so its settings and its name. The more tunnels there are, the less often the table is read.
const sessionWait = time.Second

// refresh updates a tunnel's state after its link, its identity or the configuration may have changed.
func (core *Core) refresh(t *tunnel, now time.Time) {
	if !core.started {
		return
	}
	t.secured = t.secured || t.identity.sa.Child
	core.secured = core.secured || t.secured
	core.noteSALost(t, now)
	old := t.settings
	var sure bool
	t.settings, sure = core.settings(t.identity)
	source, target := t.link.Local, t.link.Peer
	if t.settings.Target.IsValid() {
		target = t.settings.Target
	}

	switch {
	case t.gone:
		core.unwatch(t, Down, "the link is gone", now)
	case !t.link.Up || !source.IsValid() || !target.IsValid():
		core.unwatch(t, Down, "the link is down", now)
	case !t.watched() && t.waitsForSession(core.topology.byID != nil, now):
		core.due.Set(t, t.sessionUntil)
	case !t.settings.Keepalive:
		core.unwatch(t, Off, "keepalive = no", now)
	case !t.watched():
		core.watch(t, source, target, "", now)
		if !sure {
			core.logTunnel(t, slog.LevelWarn, "can't tell which section the link belongs to, [global] of keepalive.conf counts",
				slog.String("hint", "give the sections different pppoptfiles or `pass peer = yes`"))
		}
	case t.source != source || t.target != target:
		core.watch(t, source, target, "the address has changed", now)
	case old.Interval != t.settings.Interval:
		core.rearm(t)
	}
}

// noteSALost notes since when a tunnel is without the SA that it had.
func (core *Core) noteSALost(t *tunnel, now time.Time) {
	switch {
	case !t.secured || core.topology.sas[t.identity.outer].there():
		t.saLostAt = time.Time{}
	case t.saLostAt.IsZero():
		t.saLostAt = now
	}
}

// waitsForSession reports whether the xl2tpd of a link that is up, or its session in kernel mode, may still become
// known. The xl2tpd only matters if xl2tpds are watched.
func (t *tunnel) waitsForSession(watched bool, now time.Time) bool {
	met := t.link.TTY != "" || t.identity.session != (xl2tpd.Session{})
	if met && (t.identity.known || !watched) {
		return false
	}
	if t.sessionUntil.IsZero() {
		t.sessionUntil = now.Add(sessionWait)
	}
	return now.Before(t.sessionUntil)
}

// settings returns the settings of an identity. If sections that can't be told apart have different settings, it
// returns those of [global], and sure is false.
func (core *Core) settings(p identity) (s config.Settings, sure bool) {
	if len(p.names) == 0 {
		return core.config.Global, true
	}
	s = core.configured(p.names[0])
	for _, n := range p.names[1:] {
		if core.configured(n) != s {
			return core.config.Global, false
		}
	}
	return s, true
}

// configured returns the settings of a section in keepalive.conf.
func (core *Core) configured(n name) config.Settings {
	path := ""
	if in := core.topology.byID[n.instance]; in != nil {
		path = in.Path
	}
	return core.config.For(path, n.kind, n.name)
}

// watch starts to watch a link that came up, or that has other addresses now.
func (core *Core) watch(t *tunnel, source, target netip.Addr, reason message.Text, now time.Time) {
	core.unqueue(t)
	core.cancel(t)
	t.source, t.target = source, target
	t.evidence, t.echoes = Evidence{}, echoes{}
	t.up = now
	if t.found && !t.link.Started.IsZero() {
		t.up = now.Add(-max(now.Sub(t.link.Started), 0)) // it was up before this service started
	}
	t.found = false
	t.replied, t.lost, t.counted = false, 0, false
	core.setState(t, Up, now)
	attrs := []slog.Attr{slog.String("target", target.String())}
	if reason != "" {
		attrs = append(attrs, slog.String("reason", reason.String()))
	}
	core.logTunnel(t, slog.LevelInfo, "tunnel up", attrs...)
	core.callHook(t, hook.Up, reason.String())
	core.hurry(t, now)
}

// unwatch ends watching a link.
func (core *Core) unwatch(t *tunnel, to State, reason message.Text, now time.Time) {
	if t.state == to {
		return
	}
	core.unqueue(t)
	core.cancel(t)
	was := t.state
	core.setState(t, to, now)
	switch {
	case to == Off:
		core.logTunnel(t, slog.LevelInfo, "tunnel left alone", slog.String("reason", reason.String()))
	case was != Off: // nobody wants to know about the end of a tunnel that was not watched
		reason = core.recordClose(t, reason, was, now)
		level := slog.LevelWarn
		if core.ends.last[t.origin()].operator {
			level = slog.LevelInfo // the operator wanted that
		}
		core.logTunnel(t, level, "tunnel down", slog.String("reason", reason.String()))
		core.callHook(t, hook.Down, reason.String())
	}
}

// cancel makes sure that the answer in flight, if there is one, is ignored.
func (core *Core) cancel(t *tunnel) {
	if t.inFlight == none || t.stale {
		return
	}
	t.stale = true
	if t.inFlight == echoing {
		core.emit(CancelEcho{Link: t.key})
	}
}

// hurry makes a tunnel's echo due now.
func (core *Core) hurry(t *tunnel, now time.Time) {
	core.retry(t, now, 0)
}

// retry makes an echo due after a wait, even if data comes in meanwhile.
func (core *Core) retry(t *tunnel, now time.Time, wait time.Duration) {
	t.retry = true
	core.arm(t, now, wait, 1)
}

// idle makes an echo due if nothing comes in for the interval, times stretch.
func (core *Core) idle(t *tunnel, now time.Time, stretch float64) {
	t.retry = false
	core.arm(t, now, t.settings.Interval, stretch)
}

func (core *Core) arm(t *tunnel, now time.Time, wait time.Duration, stretch float64) {
	t.armed, t.wait, t.stretch = now, wait, stretch
	core.counterRead(t, now)
	core.enqueue(t)
}

// rearm applies a new interval to a wait that has begun.
func (core *Core) rearm(t *tunnel) {
	if !t.retry || t.wait > t.settings.Interval {
		t.wait = t.settings.Interval
	}
	core.counterRead(t, t.looked)
	core.enqueue(t)
}

// counterRead notes when the tunnel's counter was read, and when to read it again. The counters of all tunnels with one
// interval are read at the same moment, so that they need one request.
func (core *Core) counterRead(t *tunnel, at time.Time) {
	t.looked, t.lookAt = at, at
	if every := t.lookEvery(); every > 0 {
		t.lookAt = at.Add(every - at.Sub(core.began)%every)
	}
}

func (core *Core) enqueue(t *tunnel) {
	if t.inFlight == none {
		core.due.Set(t, t.due(core.began))
	}
}

func (core *Core) unqueue(t *tunnel) { core.due.Set(t, time.Time{}) }

// setState changes a tunnel's state and marks its LACs.
func (core *Core) setState(t *tunnel, to State, now time.Time) {
	core.count[t.state]--
	core.count[to]++
	t.state, t.since = to, now
	core.markLACs(t.identity)
}

// callHook calls the tunnel's hook, if it has one.
func (core *Core) callHook(t *tunnel, event, reason string) {
	if t.settings.Hook == "" {
		return
	}
	core.emit(CallHook{hook.Event{
		Path: t.settings.Hook, Name: event, Tunnel: t.identity.section(), Instance: core.topology.displayName(t.identity), Peer: t.identity.outer, Link: t.key.Name,
		Local: t.link.Local, Remote: t.link.Peer, Reason: reason,
	}})
}

// logTunnel emits a log line about a tunnel.
func (core *Core) logTunnel(t *tunnel, level slog.Level, text string, more ...slog.Attr) {
	attrs := make([]slog.Attr, 0, 4+len(more))
	if s := t.identity.section(); s != "" {
		attrs = append(attrs, slog.String("tunnel", s))
	}
	if called := core.topology.displayName(t.identity); called != "" {
		attrs = append(attrs, slog.String("instance", called))
	}
	if t.identity.outer.IsValid() {
		attrs = append(attrs, slog.String("peer", t.identity.outer.String()))
	}
	attrs = append(attrs, slog.String("link", t.key.Name))
	core.log(level, text, append(attrs, more...)...)
}
