package supervisor

import (
	"log/slog"
	"slices"

	"xl2tpd-keepalive/internal/xl2tpd"
)

// checkSections reports sections of keepalive.conf that match no LAC and no LNS. Otherwise nobody would notice a wrong
// name.
func (core *Core) checkSections() {
	if !core.reported[WatcherXl2tpd] || !core.reported[WatcherConfig] {
		return
	}
	var s xl2tpd.Snapshot
	for _, in := range core.topology.instances {
		s.Instances = append(s.Instances, in.Instance)
	}
	unknown := core.config.Unknown(s.Headers)
	for _, text := range core.unknown {
		core.fault(text.String(), slices.Contains(unknown, text), text)
	}
	for _, text := range unknown {
		if !slices.Contains(core.unknown, text) {
			core.log(slog.LevelWarn, text.String())
			core.fault(text.String(), true, text)
		}
	}
	core.unknown = unknown
}
