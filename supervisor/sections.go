package supervisor

import (
	"log/slog"
	"slices"

	"xl2tpd-keepalive/internal/xl2tpd"
)

// checkSections finds sections of keepalive.conf that are for no LAC and no LNS: a wrong name
// in one would do nothing without a word.
func (b *Brain) checkSections() {
	if !b.eyes[EyeXl2tpd] || !b.eyes[EyeConfig] {
		return
	}
	var s xl2tpd.Snapshot
	for _, in := range b.atlas.instances {
		s.Instances = append(s.Instances, in.Instance)
	}
	unknown := b.config.Unknown(s.Headers)
	for _, text := range b.unknown {
		b.fault(text, slices.Contains(unknown, text), text)
	}
	for _, text := range unknown {
		if !slices.Contains(b.unknown, text) {
			b.note(slog.LevelWarn, text)
			b.fault(text, true, text)
		}
	}
	b.unknown = unknown
}
