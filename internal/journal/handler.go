// Package journal writes log records to the systemd journal, or as text, and never blocks the caller.
package journal

import (
	"bytes"
	"context"
	"log/slog"
	"strconv"
	"strings"

	"github.com/coreos/go-systemd/v22/journal"
)

// NewHandler returns a handler that sends each record to the journal: as a line of text, and its
// attributes also as fields such as TUNNEL=, PEER= and REASON=.
func NewHandler(send SendFunc, level slog.Level) slog.Handler {
	return &handler{send: send, level: level}
}

// SendFunc is journal.Send of go-systemd.
type SendFunc func(message string, p journal.Priority, fields map[string]string) error

type handler struct {
	send  SendFunc
	level slog.Level
	attrs []slog.Attr
	group string // prefix of further attributes, with a dot at its end
}

func (h *handler) Enabled(_ context.Context, l slog.Level) bool { return l >= h.level }

func (h *handler) Handle(_ context.Context, r slog.Record) error {
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

func (h *handler) named(a slog.Attr) slog.Attr {
	return slog.Attr{Key: h.group + a.Key, Value: a.Value}
}

func (h *handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	n := *h
	n.attrs = h.attrs[:len(h.attrs):len(h.attrs)]
	for _, a := range attrs {
		n.attrs = append(n.attrs, h.named(a))
	}
	return &n
}

func (h *handler) WithGroup(name string) slog.Handler {
	n := *h
	n.group += name + "."
	return &n
}

// attrText formats an attribute as slog's text handler does: key=value, quoted if necessary.
func attrText(a slog.Attr) string {
	v := a.Value.Resolve().String()
	if q := strconv.Quote(v); v == "" || len(q) != len(v)+2 || strings.ContainsAny(v, " =") {
		v = q
	}
	return a.Key + "=" + v
}

// fieldName returns an attribute's name as the journal allows it: letters, digits and
// underscores, not an underscore first. It is empty if nothing is left, or if the
// name is one of the journal's own.
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
