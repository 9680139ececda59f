package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"xl2tpd-keepalive/internal/status"
)

// monitor is a plugin of Nagios: one line on standard output, also for what goes wrong.
func monitor(o options, stdout io.Writer) int {
	r, err := status.Read(context.Background(), status.DefaultSocket)
	level, line := judge(r, err, o.names)
	fmt.Fprintln(stdout, line)
	return int(level)
}

// judge says what came of asking for a report. The guidelines call a service that does not run
// CRITICAL. UNKNOWN is for a plugin that may not look, or was asked for what there is not.
func judge(r status.Report, err error, names []string) (status.Level, string) {
	level := status.LevelCritical
	if errors.Is(err, fs.ErrPermission) {
		level = status.LevelUnknown
	}
	if err == nil {
		level = status.LevelUnknown
		r.Tunnels, err = status.Named(r.Tunnels, names)
	}
	if err != nil {
		return level, status.CheckLine(level, err.Error())
	}
	return status.Check(r, len(names) > 0)
}
