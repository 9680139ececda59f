package main

import (
	"context"
	"io"
	"log/slog"
)

// newLogger writes one line of text per record. For the journal the line begins
// with its priority, as sd-daemon(3) has it, and leaves out time and level,
// which the journal knows.
func newLogger(w io.Writer, journal, debug bool) *slog.Logger {
	level := slog.LevelInfo
	if debug {
		level = slog.LevelDebug
	}
	if !journal {
		return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: level}))
	}
	o := &slog.HandlerOptions{Level: level, ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
		if len(groups) == 0 && (a.Key == slog.TimeKey || a.Key == slog.LevelKey) {
			return slog.Attr{}
		}
		return a
	}}
	return slog.New(journalHandler{
		slog.LevelDebug: slog.NewTextHandler(prefixer{w, "<7>"}, o),
		slog.LevelInfo:  slog.NewTextHandler(prefixer{w, "<6>"}, o),
		slog.LevelWarn:  slog.NewTextHandler(prefixer{w, "<4>"}, o),
		slog.LevelError: slog.NewTextHandler(prefixer{w, "<3>"}, o),
	})
}

// journalHandler has a handler for each level.
type journalHandler map[slog.Level]slog.Handler

func (h journalHandler) Enabled(ctx context.Context, l slog.Level) bool {
	return h[slog.LevelInfo].Enabled(ctx, l)
}

func (h journalHandler) Handle(ctx context.Context, r slog.Record) error {
	for _, l := range []slog.Level{slog.LevelError, slog.LevelWarn, slog.LevelInfo} {
		if r.Level >= l {
			return h[l].Handle(ctx, r)
		}
	}
	return h[slog.LevelDebug].Handle(ctx, r)
}

func (h journalHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return h.each(func(h slog.Handler) slog.Handler { return h.WithAttrs(attrs) })
}

func (h journalHandler) WithGroup(name string) slog.Handler {
	return h.each(func(h slog.Handler) slog.Handler { return h.WithGroup(name) })
}

func (h journalHandler) each(f func(slog.Handler) slog.Handler) slog.Handler {
	n := make(journalHandler, len(h))
	for l, old := range h {
		n[l] = f(old)
	}
	return n
}

// prefixer puts a prefix before each write. slog writes each record at once.
type prefixer struct {
	w      io.Writer
	prefix string
}

func (p prefixer) Write(line []byte) (int, error) {
	if _, err := p.w.Write(append([]byte(p.prefix), line...)); err != nil {
		return 0, err
	}
	return len(line), nil
}
