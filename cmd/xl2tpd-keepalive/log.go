package main

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"strconv"
	"strings"

	"github.com/coreos/go-systemd/v22/journal"
)

// newLogger writes one line of text per record to w, or, if send is not nil, to
// the journal.
func newLogger(w io.Writer, send sendFunc, debug bool) *slog.Logger {
	level := slog.LevelInfo
	if debug {
		level = slog.LevelDebug
	}
	if send == nil {
		return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: level}))
	}
	return slog.New(&journalHandler{send: send, level: level})
}

// sendFunc is journal.Send.
type sendFunc func(message string, p journal.Priority, fields map[string]string) error

// journalHandler gives each record to the journal: as a line for people, and its
// attributes as fields of their own, such as TUNNEL=, PEER= and REASON=.
type journalHandler struct {
	send  sendFunc
	level slog.Level
	attrs []slog.Attr
	group string // of the attributes to come, with a dot
}

func (h *journalHandler) Enabled(_ context.Context, l slog.Level) bool { return l >= h.level }

func (h *journalHandler) Handle(_ context.Context, r slog.Record) error {
	all := h.attrs[:len(h.attrs):len(h.attrs)]
	r.Attrs(func(a slog.Attr) bool {
		all = append(all, h.named(a))
		return true
	})
	var line bytes.Buffer
	line.WriteString(r.Message)
	fields := map[string]string{"SYSLOG_IDENTIFIER": "xl2tpd-keepalive"} // else it is cut to 15 bytes
	for _, a := range all {
		line.WriteByte(' ')
		line.WriteString(attrText(a))
		if name := fieldName(a.Key); name != "" {
			fields[name] = a.Value.Resolve().String()
		}
	}
	return h.send(line.String(), priority(r.Level), fields)
}

func (h *journalHandler) named(a slog.Attr) slog.Attr {
	return slog.Attr{Key: h.group + a.Key, Value: a.Value}
}

func (h *journalHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	n := *h
	n.attrs = h.attrs[:len(h.attrs):len(h.attrs)]
	for _, a := range attrs {
		n.attrs = append(n.attrs, h.named(a))
	}
	return &n
}

func (h *journalHandler) WithGroup(name string) slog.Handler {
	n := *h
	n.group += name + "."
	return &n
}

// attrText is an attribute as slog's own text has it: key=value, quoted if need be.
func attrText(a slog.Attr) string {
	v := a.Value.Resolve().String()
	if q := strconv.Quote(v); v == "" || len(q) != len(v)+2 || strings.ContainsAny(v, " =") {
		v = q
	}
	return a.Key + "=" + v
}

// fieldName is an attribute's name as the journal allows it: letters, digits and
// underscores, not an underscore first. It is empty if nothing is left, or if
// it is one of the journal's own.
func fieldName(key string) string {
	name := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z':
			return r - 'a' + 'A'
		case r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
			return r
		}
		return '_'
	}, key)
	name = strings.TrimLeft(name, "_0123456789")
	if name == "MESSAGE" || name == "PRIORITY" {
		return ""
	}
	return name
}

func priority(l slog.Level) journal.Priority {
	switch {
	case l >= slog.LevelError:
		return journal.PriErr
	case l >= slog.LevelWarn:
		return journal.PriWarning
	case l >= slog.LevelInfo:
		return journal.PriInfo
	}
	return journal.PriDebug
}
