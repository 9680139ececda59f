package supervisor

import (
	"log/slog"
	"net/netip"
	"time"

	"xl2tpd-keepalive/internal/config"
	"xl2tpd-keepalive/internal/hook"
	"xl2tpd-keepalive/internal/xl2tpd"
)

// meeting is how long a link that is up waits at most for the kernel's table of sessions to
// tell which section it belongs to: its settings and its name depend on that. The table is
// read the less often the more tunnels there are.
const meeting = time.Second

// settle brings a tunnel's state in line with its link, its place and the
// configuration, all of which may have changed.
func (b *Brain) settle(t *tunnel, now time.Time) {
	if !b.open {
		return
	}
	t.secured = t.secured || t.place.sa.Child
	b.secured = b.secured || t.secured
	old := t.settings
	var sure bool
	t.settings, sure = b.settings(t.place)
	source, target := t.link.Local, t.link.Peer
	if t.settings.Target.IsValid() {
		target = t.settings.Target
	}

	switch {
	case t.gone:
		b.stop(t, Down, "the link is gone", now)
	case !t.link.Up || !source.IsValid() || !target.IsValid():
		b.stop(t, Down, "the link is down", now)
	case !t.watched() && t.unmet(b.atlas.byID != nil, now):
		b.due.Set(t, t.met)
	case !t.settings.Keepalive:
		b.stop(t, Off, "keepalive = no", now)
	case !t.watched():
		b.begin(t, source, target, "", now)
		if !sure {
			b.noteTunnel(t, slog.LevelWarn, "can't tell which section the link belongs to, [global] of keepalive.conf counts",
				slog.String("hint", "give the sections different pppoptfiles or `pass peer = yes`"))
		}
	case t.source != source || t.target != target:
		b.begin(t, source, target, "the address has changed", now)
	case old.Interval != t.settings.Interval:
		b.rearm(t)
	}
}

// unmet reports whether more is to be known of a link that is up: its xl2tpd, if those are
// watched, and in kernel mode its session.
func (t *tunnel) unmet(watched bool, now time.Time) bool {
	met := t.link.TTY != "" || t.place.session != (xl2tpd.Session{})
	if met && (t.place.known || !watched) {
		return false
	}
	if t.met.IsZero() {
		t.met = now.Add(meeting)
	}
	return now.Before(t.met)
}

// settings returns what the configuration says of a place. Where sections that
// can't be told apart disagree, [global] counts and sure is false.
func (b *Brain) settings(p place) (s config.Settings, sure bool) {
	if len(p.names) == 0 {
		return b.config.Global, true
	}
	s = b.configured(p.names[0])
	for _, n := range p.names[1:] {
		if b.configured(n) != s {
			return b.config.Global, false
		}
	}
	return s, true
}

// configured is what keepalive.conf says of a section.
func (b *Brain) configured(n name) config.Settings {
	path := ""
	if in := b.atlas.byID[n.instance]; in != nil {
		path = in.Path
	}
	return b.config.For(path, n.kind, n.name)
}

// begin starts to watch a link that is up, or up with other addresses.
func (b *Brain) begin(t *tunnel, source, target netip.Addr, reason string, now time.Time) {
	b.unqueue(t)
	b.cancel(t)
	t.source, t.target = source, target
	t.evidence, t.echoes = Evidence{}, echoes{}
	t.up = now
	if t.found && !t.link.Started.IsZero() {
		t.up = now.Add(-max(now.Sub(t.link.Started), 0)) // before us
	}
	t.found = false
	t.replied, t.lost, t.counted = false, 0, false
	b.set(t, Up, now)
	attrs := []slog.Attr{slog.String("target", target.String())}
	if reason != "" {
		attrs = append(attrs, slog.String("reason", reason))
	}
	b.noteTunnel(t, slog.LevelInfo, "tunnel up", attrs...)
	b.tell(t, hook.Up, reason)
	b.hurry(t, now)
}

// stop ends watching a link.
func (b *Brain) stop(t *tunnel, to State, reason string, now time.Time) {
	if t.state == to {
		return
	}
	b.unqueue(t)
	b.cancel(t)
	was := t.state
	b.set(t, to, now)
	switch {
	case to == Off:
		b.noteTunnel(t, slog.LevelInfo, "tunnel left alone", slog.String("reason", reason))
	case was != Off: // one that was never watched: its end is no news
		reason = b.closed(t, reason, was, now)
		level := slog.LevelWarn
		if b.closes.last[t.origin()].operator {
			level = slog.LevelInfo // as somebody wanted
		}
		b.noteTunnel(t, level, "tunnel down", slog.String("reason", reason))
		b.tell(t, hook.Down, reason)
	}
}

// cancel makes what is in flight count for nothing.
func (b *Brain) cancel(t *tunnel) {
	if t.inFlight == none || t.stale {
		return
	}
	t.stale = true
	if t.inFlight == echoing {
		b.do(CancelEcho{Link: t.key})
	}
}

// hurry makes a tunnel due now.
func (b *Brain) hurry(t *tunnel, now time.Time) {
	b.retry(t, now, 0)
}

// retry makes an echo due after a wait of its own, whatever comes in.
func (b *Brain) retry(t *tunnel, now time.Time, wait time.Duration) {
	t.retry = true
	b.arm(t, now, wait, 1)
}

// idle makes an echo due if nothing comes in for the interval, times stretch.
func (b *Brain) idle(t *tunnel, now time.Time, stretch float64) {
	t.retry = false
	b.arm(t, now, t.settings.Interval, stretch)
}

func (b *Brain) arm(t *tunnel, now time.Time, wait time.Duration, stretch float64) {
	t.armed, t.wait, t.stretch = now, wait, stretch
	b.looked(t, now)
	b.enqueue(t)
}

// rearm applies a new interval to a wait that has begun.
func (b *Brain) rearm(t *tunnel) {
	if !t.retry || t.wait > t.settings.Interval {
		t.wait = t.settings.Interval
	}
	b.looked(t, t.looked)
	b.enqueue(t)
}

// looked notes when the tunnel's counter was read. It is to be read again at the
// same moment as all others with that interval, so that they cost one request.
func (b *Brain) looked(t *tunnel, at time.Time) {
	t.looked, t.lookAt = at, at
	if every := t.lookEvery(); every > 0 {
		t.lookAt = at.Add(every - at.Sub(b.began)%every)
	}
}

func (b *Brain) enqueue(t *tunnel) {
	if t.inFlight == none {
		b.due.Set(t, t.due(b.began))
	}
}

func (b *Brain) unqueue(t *tunnel) { b.due.Set(t, time.Time{}) }

func (b *Brain) set(t *tunnel, to State, now time.Time) {
	b.count[t.state]--
	b.count[to]++
	t.state, t.since = to, now
	b.touch(t.place)
}

// tell calls the tunnel's hook, if it has one.
func (b *Brain) tell(t *tunnel, event, reason string) {
	if t.settings.Hook == "" {
		return
	}
	b.do(CallHook{hook.Event{
		Path: t.settings.Hook, Name: event, Tunnel: t.place.section(), Instance: b.atlas.calls(t.place), Peer: t.place.outer, Link: t.key.Name,
		Local: t.link.Local, Remote: t.link.Peer, Reason: reason,
	}})
}

// noteTunnel is a line for the log about one tunnel.
func (b *Brain) noteTunnel(t *tunnel, level slog.Level, text string, more ...slog.Attr) {
	attrs := make([]slog.Attr, 0, 4+len(more))
	if s := t.place.section(); s != "" {
		attrs = append(attrs, slog.String("tunnel", s))
	}
	if called := b.atlas.calls(t.place); called != "" {
		attrs = append(attrs, slog.String("instance", called))
	}
	if t.place.outer.IsValid() {
		attrs = append(attrs, slog.String("peer", t.place.outer.String()))
	}
	attrs = append(attrs, slog.String("link", t.key.Name))
	b.note(level, text, append(attrs, more...)...)
}
