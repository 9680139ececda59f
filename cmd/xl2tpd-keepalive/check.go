package main

import (
	"context"
	"fmt"
	"io"

	"xl2tpd-keepalive/internal/status"
)

// runCheck is a Nagios plugin: it prints one line on standard output, for errors too.
func runCheck(o options, stdout io.Writer) int {
	r, err := status.Read(context.Background(), status.DefaultSocket)
	level, line := status.Check(r, err, o.names, o.lang)
	fmt.Fprintln(stdout, line)
	return int(level)
}
