package main

import (
	"fmt"
	"io"

	"xl2tpd-keepalive/internal/helloguard"
)

// removeTable is for an operator who stops the service and does not start it again. A stop leaves the
// table behind for the next start if a tunnel needs the guard.
func removeTable(stderr io.Writer) int {
	if err := helloguard.RemoveTable(); err != nil {
		fmt.Fprintln(stderr, "xl2tpd-keepalive:", withSudo(err))
		return exitError
	}
	return exitOK
}
