// Command xl2tpd-keepalive keeps the L2TP/IPsec tunnels of strongSwan and xl2tpd
// from dropping. It runs beside them and changes none of their settings.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"runtime"

	"xl2tpd-keepalive/internal/message"
	"xl2tpd-keepalive/internal/ping"
)

const (
	exitOK    = 0
	exitError = 1
	exitUsage = 2
	// exitRights is EX_NOPERM of sysexits.h. After it, systemd does not restart the service (RestartPreventExitStatus).
	exitRights = 77
)

func main() {
	runtime.GOMAXPROCS(1) // with so little work, more threads would only wake each other up
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

// run runs the program and returns the exit status.
func run(args []string, stdout, stderr io.Writer) int {
	o := defaults()
	o.lang = message.Of(os.Getenv)
	if len(args) == 0 {
		fmt.Fprint(stderr, help(o.lang))
		return exitUsage
	}
	c := find(args[0])
	if c == nil {
		return o.misused(stderr, "", "%s", unknownCommand(args[0]))
	}
	if c.exitUsage != 0 {
		stderr = stdout // what calls a monitoring plugin reads no other output
	}
	flags := c.flagSet(&o)
	switch err := parse(flags, args[1:], &o.names); {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(stdout, c.help(o.lang))
		return exitOK
	case err != nil:
		return c.misused(o, stderr, "%v", err)
	case c.words >= 0 && len(o.names) > c.words:
		return c.misused(o, stderr, "does not take %q", o.names[c.words])
	}
	return c.run(o, stdout, stderr)
}

// options are the values of the flags.
type options struct {
	config     string // keepalive.conf; empty: the default, which need not exist
	xl2tpdConf string // empty: the file that xl2tpd was started with, or its default
	debug      bool
	json       bool
	problems   bool
	anonymise  bool
	status     statusOptions
	ping       pingOptions
	trace      traceOptions
	lang       *message.Language // of the texts for people
	names      []string          // words behind the flags, or between them
}

func defaults() options {
	return options{ping: pingOptions{Options: ping.Options{Interval: defaultInterval, Size: defaultData}}}
}
