package helloguard

import (
	"context"
	"log/slog"
	"time"
)

// repeatAfter is for how long the log does not repeat a line that packets can cause. The
// next one says how many were left out.
const repeatAfter = time.Minute

// packetLog writes what single packets cause. Its texts are constants, so it is bounded.
type packetLog struct {
	*slog.Logger
	said map[string]saying
}

type saying struct {
	at     time.Time
	missed int
}

func newPacketLog(l *slog.Logger) packetLog { return packetLog{l, map[string]saying{}} }

// seldom writes a line unless it has just been written. args makes the rest of it.
func (l packetLog) seldom(ctx context.Context, now time.Time, level slog.Level, text string, args func() []any) {
	if !l.Enabled(ctx, level) {
		return
	}
	last, again := l.said[text]
	if since := now.Sub(last.at); again && since >= 0 && since < repeatAfter {
		last.missed++
		l.said[text] = last
		return
	}
	rest := args()
	if last.missed > 0 {
		rest = append(rest, "left_out", last.missed)
	}
	l.Log(ctx, level, text, rest...)
	l.said[text] = saying{at: now}
}
