package main

import (
	"io"

	"xl2tpd-keepalive/internal/helloguard"
)

func removeTableCommand() command {
	return command{
		name: "remove-table", brief: "take away the nftables table that a stop may leave",
		about:   "A tunnel that the Hello guard holds closes within 91 seconds without it.",
		example: "sudo systemctl disable --now xl2tpd-keepalive && sudo xl2tpd-keepalive remove-table",
		run:     func(o options, _, stderr io.Writer) int { return runRemoveTable(o, stderr) },
	}
}

// runRemoveTable is for an operator who stops the service and does not start it again. A stop leaves the
// table behind for the next start if a tunnel needs the guard.
func runRemoveTable(o options, stderr io.Writer) int {
	if err := helloguard.RemoveTable(); err != nil {
		return o.fail(stderr, withSudo(err))
	}
	return exitOK
}
