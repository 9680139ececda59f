package supervisor

import (
	"log/slog"
	"slices"

	"xl2tpd-keepalive/internal/message"
	"xl2tpd-keepalive/internal/status"
	"xl2tpd-keepalive/internal/xl2tpd"
)

// unknownSections returns texts about the sections of keepalive.conf that match no LAC and no LNS.
func (t *topology) unknownSections() []message.Text {
	var s xl2tpd.Snapshot
	for _, in := range t.instances {
		s.Instances = append(s.Instances, in.Instance)
	}
	return t.config.Unknown(s.Headers)
}

// takeUnknown reports sections of keepalive.conf that match no LAC and no LNS. Otherwise nobody would notice a wrong
// name.
func (h *health) takeUnknown(unknown []message.Text) {
	for _, text := range h.unknown {
		h.fault(text.String(), slices.Contains(unknown, text), status.Problem{Code: status.CodeSection, Text: text})
	}
	for _, text := range unknown {
		if !slices.Contains(h.unknown, text) {
			h.out.log(slog.LevelWarn, text.String())
			h.fault(text.String(), true, status.Problem{Code: status.CodeSection, Text: text})
		}
	}
	h.unknown = unknown
}
