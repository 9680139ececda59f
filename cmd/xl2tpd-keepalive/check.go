package main

import (
	"context"
	"fmt"
	"io"

	"xl2tpd-keepalive/internal/status"
)

func checkCommand() command {
	return command{
		name: "check", args: "[NAME...]", words: -1, brief: "one line and an exit status for Nagios, Icinga, Zabbix or monit",
		about: "The exit status is 0 (OK), 1 (WARNING), 2 (CRITICAL) or 3 (UNKNOWN). With NAME, that tunnel has to be up,\n" +
			"and its round trips and losses follow. It is for root, and for users in the group adm.",
		example: "xl2tpd-keepalive check office",
		// 2 would be CRITICAL.
		exitUsage: int(status.LevelUnknown),
		run:       func(o options, stdout, _ io.Writer) int { return runCheck(o, stdout) },
	}
}

// runCheck is a Nagios plugin: it prints one line on standard output, for errors too.
func runCheck(o options, stdout io.Writer) int {
	r, err := status.Read(context.Background(), status.DefaultSocket)
	level, line := status.Check(r, err, o.names, o.lang)
	fmt.Fprintln(stdout, line)
	return int(level)
}
