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
func (ts *tunnelTable) refresh(t *tunnel, now time.Time) {
	if !ts.started {
		return
	}
	t.hadSA = t.hadSA || t.identity.sa.Child
	ts.anyHadSA = ts.anyHadSA || t.hadSA
	t.noteSALost(ts.topology.sas[t.identity.outer].there(), now)
	old := t.settings
	var sure bool
	t.settings, sure = ts.topology.settings(t.identity)
	source, target := t.link.Local, t.link.Peer
	if t.settings.Target.IsValid() {
		target = t.settings.Target
	}

	switch {
	case t.presence == gone:
		ts.unwatch(t, Down, "the link is gone", now)
	case !t.link.Up || !source.IsValid() || !target.IsValid():
		ts.unwatch(t, Down, "the link is down", now)
	case !t.watched() && t.waitsForSession(ts.topology.byID != nil, now):
		ts.due.Set(t, t.sessionUntil)
	case !t.settings.Keepalive:
		ts.unwatch(t, Off, "keepalive = no", now)
	case !t.watched():
		ts.watch(t, source, target, "", now)
		if !sure {
			ts.logTunnel(t, slog.LevelWarn, "can't tell which section the link belongs to, [global] of keepalive.conf counts",
				slog.String("hint", "give the sections different pppoptfiles or `pass peer = yes`"))
		}
	case t.source != source || t.target != target:
		ts.watch(t, source, target, "the address has changed", now)
	case old.Interval != t.settings.Interval:
		ts.rearm(t)
	}
}

// noteSALost notes since when a tunnel is without the SA that it had. there is true if there is an SA.
func (t *tunnel) noteSALost(there bool, now time.Time) {
	switch {
	case !t.hadSA || there:
		t.saLostAt = time.Time{}
	case t.saLostAt.IsZero():
		t.saLostAt = now
	}
}

// waitsForSession reports whether a link that is up has to wait: its xl2tpd, or in kernel mode its session, may soon be
// known. watched is false if no xl2tpds are watched; then there is no xl2tpd to wait for.
func (t *tunnel) waitsForSession(watched bool, now time.Time) bool {
	hasSession := t.link.TTY != "" || t.identity.session != (xl2tpd.Session{}) // in userspace mode there is none
	if hasSession && (t.identity.known || !watched) {
		return false
	}
	if t.sessionUntil.IsZero() {
		t.sessionUntil = now.Add(sessionWait)
	}
	return now.Before(t.sessionUntil)
}

// settings returns the settings of an identity. If sections that can't be told apart have different settings, it
// returns those of [global], and sure is false.
func (t *topology) settings(id identity) (s config.Settings, sure bool) {
	if len(id.names) == 0 {
		return t.config.Global, true
	}
	s = t.configured(id.names[0])
	for _, n := range id.names[1:] {
		if t.configured(n) != s {
			return t.config.Global, false
		}
	}
	return s, true
}

// configured returns the settings of a section in keepalive.conf.
func (t *topology) configured(n name) config.Settings {
	path := ""
	if in := t.byID[n.instance]; in != nil {
		path = in.Path
	}
	return t.config.For(path, n.kind, n.name)
}

// watch starts to watch a link that came up, or that has other addresses now.
func (ts *tunnelTable) watch(t *tunnel, source, target netip.Addr, reason message.Text, now time.Time) {
	ts.unqueue(t)
	ts.cancel(t)
	t.source, t.target = source, target
	t.evidence, t.echoes = Evidence{}, echoes{}
	t.up = now
	if t.presence == foundAtStart && !t.link.Started.IsZero() {
		t.up = now.Add(-max(now.Sub(t.link.Started), 0)) // it was up before this service started
	}
	t.presence = present
	t.replied, t.lostInARow, t.counted = false, 0, false
	ts.setState(t, Up, now)
	attrs := []slog.Attr{slog.String("target", target.String())}
	if reason != "" {
		attrs = append(attrs, slog.String("reason", reason.String()))
	}
	ts.logTunnel(t, slog.LevelInfo, "tunnel up", attrs...)
	ts.callHook(t, hook.Up, reason.String())
	ts.news = append(ts.news, news{names: t.identity.names, came: true, outer: t.identity.outer})
	ts.hurry(t, now)
}

// unwatch ends watching a link.
func (ts *tunnelTable) unwatch(t *tunnel, to State, reason message.Text, now time.Time) {
	if t.state == to {
		return
	}
	ts.unqueue(t)
	ts.cancel(t)
	was := t.state
	ts.setState(t, to, now)
	switch {
	case to == Off:
		ts.logTunnel(t, slog.LevelInfo, "tunnel left alone", slog.String("reason", reason.String()))
	case was != Off: // nobody wants to know about the end of a tunnel that was not watched
		reason = ts.recordClose(t, reason, was, now)
		level := slog.LevelWarn
		if ts.ends.last[t.origin()].Operator {
			level = slog.LevelInfo // the operator wanted that
		}
		ts.logTunnel(t, level, "tunnel down", slog.String("reason", reason.String()))
		ts.callHook(t, hook.Down, reason.String())
	}
}

// cancel makes sure that the answer in flight, if there is one, is ignored.
func (ts *tunnelTable) cancel(t *tunnel) {
	if t.inFlight == none || t.stale {
		return
	}
	t.stale = true
	if t.inFlight == echoing {
		ts.out.emit(CancelEcho{Link: t.key})
	}
}

// setState changes a tunnel's state and marks its LACs.
func (ts *tunnelTable) setState(t *tunnel, to State, now time.Time) {
	ts.count[t.state]--
	ts.count[to]++
	t.state, t.since = to, now
	ts.changed(t.identity)
}

// callHook calls the tunnel's hook, if it has one.
func (ts *tunnelTable) callHook(t *tunnel, event, reason string) {
	if t.settings.Hook == "" {
		return
	}
	ts.out.emit(CallHook{hook.Event{
		Path: t.settings.Hook, Name: event, Tunnel: t.identity.section(), Instance: ts.topology.displayName(t.identity), Peer: t.identity.outer, Link: t.key.Name,
		Local: t.link.Local, Remote: t.link.Peer, Reason: reason,
	}})
}

// logTunnel emits a log line about a tunnel.
func (ts *tunnelTable) logTunnel(t *tunnel, level slog.Level, text string, more ...slog.Attr) {
	attrs := make([]slog.Attr, 0, 4+len(more))
	if s := t.identity.section(); s != "" {
		attrs = append(attrs, slog.String("tunnel", s))
	}
	if called := ts.topology.displayName(t.identity); called != "" {
		attrs = append(attrs, slog.String("instance", called))
	}
	if t.identity.outer.IsValid() {
		attrs = append(attrs, slog.String("peer", t.identity.outer.String()))
	}
	attrs = append(attrs, slog.String("link", t.key.Name))
	ts.out.log(level, text, append(attrs, more...)...)
}
