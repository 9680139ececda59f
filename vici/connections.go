package vici

import (
	"context"
	"fmt"
	"time"
)

// Connection is one of charon's configured connections.
type Connection struct {
	Name     string
	DPDDelay time.Duration // between checks of a silent peer; 0: none
}

// Connections asks charon once for its connections. Without sockets it tries the
// default ones.
func Connections(ctx context.Context, sockets ...string) ([]Connection, error) {
	w := &Watcher{Sockets: sockets}
	s, err := w.open(ctx, true)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	ctx, cancel := context.WithTimeoutCause(ctx, listTimeout,
		fmt.Errorf("charon has not answered within %s", listTimeout))
	defer cancel()
	var all []Connection
	for m, err := range s.CallStreaming(ctx, "list-conns", "list-conn", nil) {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		if err != nil {
			return nil, fmt.Errorf("vici: list-conns: %w", err)
		}
		s.conn.fetched()
		for name, c := range sections(m) {
			all = append(all, Connection{Name: name, DPDDelay: seconds(c, "dpd_delay")})
		}
	}
	return all, nil
}
