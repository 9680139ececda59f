package main

import (
	"context"
	"fmt"
	"io"

	"xl2tpd-keepalive/internal/helloguard"
	"xl2tpd-keepalive/internal/status"
)

func removeTableCommand() command {
	return command{
		name: "remove-table", brief: "take away the nftables table that a stop may leave",
		about:   "A tunnel that the Hello guard holds closes within 91 seconds without it.",
		example: "sudo systemctl disable --now xl2tpd-keepalive && sudo xl2tpd-keepalive remove-table",
		run:     runRemoveTable,
	}
}

// runRemoveTable is for an operator who stops the service and does not start it again. A stop leaves the
// table behind for the next start if a tunnel needs the guard.
func runRemoveTable(o options, stdout, stderr io.Writer) int {
	was, err := helloguard.RemoveTable()
	if err != nil {
		return o.fail(stderr, withSudo(err))
	}
	said := o.lang.Sprintf("there is no nftables table ip %s", helloguard.TableName)
	if was {
		said = o.lang.Sprintf("the nftables table ip %s is removed", helloguard.TableName)
		if r, err := status.Read(context.Background(), status.DefaultSocket); err == nil {
			said = o.lang.Sprintf("the nftables table ip %s is removed, but the service, pid %d, makes it again: stop that first", helloguard.TableName, r.Pid)
		}
	}
	fmt.Fprintln(stdout, said)
	return exitOK
}
