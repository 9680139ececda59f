// Command xl2tpd-keepalive keeps the L2TP/IPsec tunnels of strongSwan and xl2tpd
// from dropping. It stands beside them and changes none of their settings.
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
)

// version is set by the linker.
var version = "unknown"

const usage = `usage: xl2tpd-keepalive COMMAND [FLAG...]

  run           keep the tunnels up, as the service does
                [-config FILE] [-xl2tpd-config FILE] [-debug]
  status        show the tunnels of the running service
                [-json] [-short] [-watch] [NAME...]
  ping NAME     tell which half of a tunnel's path is slow, or loses packets
                [-c COUNT] [-i SECONDS] [-s BYTES] [-M do] [-json]
  doctor        look for what closes tunnels
                [-json]
  check-config  tell what is wrong with keepalive.conf
                [-config FILE] [-xl2tpd-config FILE] [FILE]
  remove-table  take away the nftables table that a stop may leave
  control       have xl2tpd dial or hang up, as standard input says
  version       print the version
  help          print this

See xl2tpd-keepalive(8) and keepalive.conf(5).
`

const (
	exitOK    = 0
	exitError = 1
	exitUsage = 2
)

func main() {
	runtime.GOMAXPROCS(1) // there is too little to do for two: they would only wake each other up
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

// run is the program; it returns the exit status.
func run(args []string, stdout, stderr io.Writer) int {
	if len(args) == 0 {
		fmt.Fprint(stderr, usage)
		return exitUsage
	}
	var o options
	var p pingOptions
	flags := flag.NewFlagSet(args[0], flag.ContinueOnError)
	flags.SetOutput(io.Discard) // its errors are told below, in one line
	var command func() int
	names := 0 // words that may follow the flags
	switch args[0] {
	case "run":
		o.define(flags)
		flags.BoolVar(&o.debug, "debug", false, "")
		command = func() int { return keepalive(o, stderr) }
	case "status":
		flags.BoolVar(&o.json, "json", false, "")
		flags.BoolVar(&o.watch, "watch", false, "")
		flags.BoolVar(&o.short, "short", false, "")
		names = len(args)
		command = func() int { return show(o, stdout, stderr) }
	case "ping":
		p.define(flags)
		names = len(args) // a tunnel's name may have a blank
		command = func() int {
			if p.name = strings.Join(o.names, " "); p.name == "" {
				return misused(stderr, "ping", "needs the name of a tunnel, as status has it")
			}
			return ping(p, stdout, stderr)
		}
	case "doctor":
		flags.BoolVar(&o.json, "json", false, "")
		command = func() int { return examine(o, stdout, stderr) }
	case "check-config":
		o.define(flags)
		names = 1
		command = func() int { return check(o, stdout, stderr) }
	case "remove-table":
		command = func() int { return removeTable(stderr) }
	case "control":
		command = func() int { return serveControl(os.Stdin, stdout, stderr) }
	case "version", "-version", "--version", "-V":
		command = func() int {
			fmt.Fprintln(stdout, "xl2tpd-keepalive", build())
			return exitOK
		}
	case "help", "-h", "-help", "--help":
		fmt.Fprint(stdout, usage)
		return exitOK
	default:
		return misused(stderr, "", "there is no command %q%s", args[0], meant(args[0], commands()))
	}
	switch err := parse(flags, args[1:], &o.names); {
	case err == flag.ErrHelp:
		fmt.Fprint(stdout, usage)
		return exitOK
	case err != nil:
		return misused(stderr, args[0], "%v", err)
	case len(o.names) > names:
		return misused(stderr, args[0], "does not take %q", o.names[names])
	}
	return command()
}

// options are what the flags say.
type options struct {
	config     string // keepalive.conf; empty: the default, which need not be there
	xl2tpdConf string // empty: the one xl2tpd was started with, or its default
	debug      bool
	json       bool
	watch      bool
	short      bool
	names      []string // words behind the flags, or between them
}

func (o *options) define(flags *flag.FlagSet) {
	flags.StringVar(&o.config, "config", "", "")
	flags.StringVar(&o.xl2tpdConf, "xl2tpd-config", "", "")
}
