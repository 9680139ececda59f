package helloguard

import (
	"cmp"
	"context"
	"log/slog"
	"net/netip"
	"time"

	"xl2tpd-keepalive/internal/helloguard/translator"
)

// repeatAfter is for how long the log does not repeat a line that packets can cause. The
// next one says how many were left out.
const repeatAfter = time.Minute

// packetLog writes what single packets cause. Its texts are constants, so it is bounded.
type packetLog struct {
	*slog.Logger
	ctx  context.Context
	said map[string]saying
}

type saying struct {
	at      time.Time
	leftOut int
}

// seldom writes a line unless it has just been written. args makes the rest of it.
func (l *packetLog) seldom(now time.Time, level slog.Level, text string, args func() []any) {
	if !l.Enabled(l.ctx, level) {
		return
	}
	last, again := l.said[text]
	if since := now.Sub(last.at); again && since >= 0 && since < repeatAfter {
		last.leftOut++
		l.said[text] = last
		return
	}
	rest := args()
	if last.leftOut > 0 {
		rest = append(rest, "left_out", last.leftOut)
	}
	l.Log(l.ctx, level, text, rest...)
	l.said[text] = saying{at: now}
}

// verdict writes to the log what was done. That a tunnel is held, or is no longer, is news;
// each Hello is not.
func (l *packetLog) verdict(c *channel, why translator.Reason, now time.Time) {
	if why == translator.Nothing {
		return
	}
	text, level := c.lastLogged, slog.LevelDebug
	switch why {
	case translator.HelloAcked, translator.HelloAckedForPeer, translator.HelloNotCounted:
		text = "hello guard holds the tunnel"
	case translator.HelloWaits:
		text = "hello guard finds no sign of life"
	case translator.OutOfReach, translator.Foreign:
		l.seldom(now, slog.LevelDebug, "hello guard: packets that can't be the tunnel's",
			func() []any { return append(c.name(), "reason", why.String()) })
		return
	}
	if text != c.lastLogged {
		c.lastLogged, level = text, slog.LevelInfo
	}
	if l.Enabled(l.ctx, level) {
		l.Log(l.ctx, level, cmp.Or(text, "hello guard"), append(c.name(), "reason", why.String())...)
	}
}

// failed logs that something about a channel has failed.
func (l *packetLog) failed(c *channel, now time.Time, level slog.Level, text string, err error) {
	l.seldom(now, level, text, func() []any { return append(c.name(), "err", err) })
}

// peerFailed is failed for what belongs to no channel.
func (l *packetLog) peerFailed(peer netip.AddrPort, now time.Time, level slog.Level, text string, err error) {
	l.seldom(now, level, text, func() []any { return []any{"peer", peer.String(), "err", err} })
}

func (c *channel) name() []any {
	t := c.translator.Connection()
	return []any{"peer", t.Peer.String(), "id", t.LocalID}
}
