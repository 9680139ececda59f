package main

import (
	"context"
	"flag"
	"io"
	"os/signal"
	"slices"
	"syscall"

	"xl2tpd-keepalive/internal/message"
)

// command is one of the program's commands.
type command struct {
	name    string
	args    string       // the words behind its flags, for its synopsis
	words   int          // how many words it takes; -1: any number
	brief   message.Text // what it does, in a few words
	about   message.Text // further text of its help
	example string
	hidden  bool // for other programs: no help lists it
	// exitUsage is the exit status of a wrong command line; zero: exitUsage.
	exitUsage int
	flags     func(*flag.FlagSet, *options)
	run       func(o options, stdout, stderr io.Writer) int
}

// commands returns the commands in the order of the help. It is a func because help is one of them.
func commands() []command {
	return []command{
		runCommand(),
		statusCommand(),
		checkCommand(),
		pingCommand(),
		traceCommand(),
		doctorCommand(),
		reportCommand(),
		checkConfigCommand(),
		removeTableCommand(),
		controlCommand(),
		versionCommand(),
		helpCommand(),
	}
}

// boolean defines a flag without a value, word one with a value.
func boolean(f *flag.FlagSet, p *bool, name string, usage message.Text) {
	f.BoolVar(p, name, false, usage.Marked())
}

func word(f *flag.FlagSet, p *string, name string, usage message.Text) {
	f.StringVar(p, name, "", usage.Marked())
}

func defineFiles(f *flag.FlagSet, o *options) {
	word(f, &o.config, "config", "read this `FILE` instead of /etc/xl2tpd/keepalive.conf")
	word(f, &o.xl2tpdConf, "xl2tpd-config", "read this `FILE` instead of /etc/xl2tpd/xl2tpd.conf")
}

func defineJSON(f *flag.FlagSet, o *options) {
	boolean(f, &o.json, "json", "print JSON, for programs")
}

// untilSignal returns a context that ends at the signals that end a command.
func untilSignal() (context.Context, context.CancelFunc) {
	return signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
}

// aliases are other programs' names for version and help.
var aliases = map[string]string{
	"-version": "version", "--version": "version", "-V": "version", "-v": "version",
	"-help": "help", "--help": "help", "-h": "help",
}

// find returns the command with that name; nil: there is none.
func find(name string) *command {
	if is, ok := aliases[name]; ok {
		name = is
	}
	all := commands()
	i := slices.IndexFunc(all, func(c command) bool { return c.name == name })
	if i < 0 {
		return nil
	}
	return &all[i]
}

// commandNames returns the names of the commands that the help lists.
func commandNames() (names []string) {
	for _, c := range commands() {
		if !c.hidden {
			names = append(names, c.name)
		}
	}
	return names
}

// flagSet returns the flags of a command; parsing stores the values in o.
func (c *command) flagSet(o *options) *flag.FlagSet {
	f := flag.NewFlagSet(c.name, flag.ContinueOnError)
	f.SetOutput(io.Discard) // misused prints its errors, in one line
	if c.flags != nil {
		c.flags(f, o)
	}
	return f
}
