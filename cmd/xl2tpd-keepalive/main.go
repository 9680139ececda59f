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
                [-json] [-watch]
  ping NAME     tell which half of a tunnel's path is slow, or loses packets
                [-c COUNT] [-i SECONDS] [-s BYTES] [-M do] [-json]
  doctor        look for what closes tunnels
                [-json]
  check-config  tell what is wrong with keepalive.conf
                [-config FILE] [-xl2tpd-config FILE]
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
	flags.SetOutput(stderr)
	flags.Usage = func() {} // see below
	var command func() int
	switch args[0] {
	case "run":
		o.define(flags)
		flags.BoolVar(&o.debug, "debug", false, "")
		command = func() int { return keepalive(o, stderr) }
	case "status":
		flags.BoolVar(&o.json, "json", false, "")
		flags.BoolVar(&o.watch, "watch", false, "")
		command = func() int { return show(o, stdout, stderr) }
	case "ping":
		p.define(flags)
		command = func() int { return ping(p, stdout, stderr) }
	case "doctor":
		flags.BoolVar(&o.json, "json", false, "")
		command = func() int { return examine(o, stdout, stderr) }
	case "check-config":
		o.define(flags)
		command = func() int { return check(o, stdout, stderr) }
	case "remove-table":
		command = func() int { return removeTable(stderr) }
	case "control":
		command = func() int { return helpDial(os.Stdin, stdout, stderr) }
	case "version":
		command = func() int {
			fmt.Fprintln(stdout, "xl2tpd-keepalive", version)
			return exitOK
		}
	case "help", "-h", "-help", "--help":
		fmt.Fprint(stdout, usage)
		return exitOK
	default:
		fmt.Fprintf(stderr, "xl2tpd-keepalive: there is no command %q\n%s", args[0], usage)
		return exitUsage
	}
	words, err := parse(flags, args[1:])
	if args[0] == "ping" {
		p.name, words = strings.Join(words, " "), nil
	}
	switch {
	case err == flag.ErrHelp:
		fmt.Fprint(stdout, usage)
		return exitOK
	case err != nil:
		fmt.Fprint(stderr, usage) // Parse has told what is wrong
		return exitUsage
	case len(words) > 0:
		fmt.Fprintf(stderr, "xl2tpd-keepalive: %s does not take %q\n%s", args[0], words[0], usage)
		return exitUsage
	case args[0] == "ping" && p.name == "":
		fmt.Fprintf(stderr, "xl2tpd-keepalive: ping needs the name of a tunnel, as status has it\n%s", usage)
		return exitUsage
	}
	return command()
}

// parse parses flags that may stand before, between and behind words, and returns the words.
func parse(flags *flag.FlagSet, args []string) (words []string, err error) {
	for {
		if err := flags.Parse(args); err != nil {
			return nil, err
		}
		rest := flags.Args()
		read := len(args) - len(rest)
		if len(rest) == 0 || read > 0 && args[read-1] == "--" {
			return append(words, rest...), nil
		}
		words, args = append(words, rest[0]), rest[1:]
	}
}

// options are what the flags say.
type options struct {
	config     string // keepalive.conf; empty: the default, which need not be there
	xl2tpdConf string // empty: the one xl2tpd was started with, or its default
	debug      bool
	json       bool
	watch      bool
}

func (o *options) define(flags *flag.FlagSet) {
	flags.StringVar(&o.config, "config", "", "")
	flags.StringVar(&o.xl2tpdConf, "xl2tpd-config", "", "")
}
