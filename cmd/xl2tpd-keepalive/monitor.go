package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"xl2tpd-keepalive/internal/message"
	"xl2tpd-keepalive/internal/status"
)

// monitor is a Nagios plugin: it prints one line on standard output, for errors too.
func monitor(o options, stdout io.Writer) int {
	r, err := status.Read(context.Background(), status.DefaultSocket)
	level, line := assess(r, err, o.names, o.lang)
	fmt.Fprintln(stdout, line)
	return int(level)
}

// assess returns the level and the line for a report, or for the failure to read one. By the guidelines
// a service that does not run is CRITICAL. Without permission, or for an unknown tunnel, it is UNKNOWN.
func assess(r status.Report, err error, names []string, lang *message.Language) (status.Level, string) {
	level := status.LevelCritical
	if errors.Is(err, fs.ErrPermission) {
		level = status.LevelUnknown
	}
	if err == nil {
		level = status.LevelUnknown
		r.Tunnels, err = status.Named(r.Tunnels, names)
	}
	if err != nil {
		return level, status.CheckLine(level, lang.Error(err))
	}
	return status.Check(r, len(names) > 0, lang)
}
