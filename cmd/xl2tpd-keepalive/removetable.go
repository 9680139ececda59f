package main

import (
	"io"

	"xl2tpd-keepalive/internal/helloguard"
)

// runRemoveTable is for an operator who stops the service and does not start it again. A stop leaves the
// table behind for the next start if a tunnel needs the guard.
func runRemoveTable(o options, stderr io.Writer) int {
	if err := helloguard.RemoveTable(); err != nil {
		return o.fail(stderr, withSudo(err))
	}
	return exitOK
}
