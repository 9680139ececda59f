package main

import (
	"flag"
	"io"
	"slices"

	"xl2tpd-keepalive/internal/message"
	"xl2tpd-keepalive/internal/status"
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
	return []command{{
		name: "run", brief: "keep the tunnels up, as the service does",
		about:   "The service xl2tpd-keepalive.service does this. It logs each change of a tunnel's state.",
		example: "sudo systemctl stop xl2tpd-keepalive && sudo xl2tpd-keepalive run --debug",
		flags: func(f *flag.FlagSet, o *options) {
			defineFiles(f, o)
			boolean(f, &o.debug, "debug", "log each echo request and each verdict on a Hello too")
		},
		run: func(o options, _, stderr io.Writer) int { return runService(o, stderr) },
	}, {
		name: "status", args: "[NAME...]", words: -1, brief: "show the tunnels of the running service",
		about:   "NAME is a section of xl2tpd.conf or the name of a link: \"lac office\", office or ppp0.",
		example: "sudo xl2tpd-keepalive status office --watch",
		flags: func(f *flag.FlagSet, o *options) {
			defineJSON(f, o)
			boolean(f, &o.short, "short", "print one line for each tunnel")
			boolean(f, &o.watch, "watch", "show it again each second, until Ctrl-C")
		},
		run: runStatus,
	}, {
		name: "check", args: "[NAME...]", words: -1, brief: "one line and an exit status for Nagios, Icinga, Zabbix or monit",
		about: "The exit status is 0 (OK), 1 (WARNING), 2 (CRITICAL) or 3 (UNKNOWN). With NAME, that tunnel has to be up,\n" +
			"and its round trips and losses follow. The user that runs this has to be in the group adm.",
		example: "xl2tpd-keepalive check office",
		// 2 would be CRITICAL.
		exitUsage: int(status.LevelUnknown),
		run:       func(o options, stdout, _ io.Writer) int { return runCheck(o, stdout) },
	}, {
		name: "ping", args: "NAME", words: -1, brief: "show which half of a tunnel's path is slow, or loses packets",
		about: "Two pings run side by side, one inside the tunnel and one outside. Ctrl-C ends both.\n" +
			"With --mtu it finds the largest packet that passes, and what to enter if pages hang.",
		example: "sudo xl2tpd-keepalive ping office -c 20",
		flags: func(f *flag.FlagSet, o *options) {
			o.ping.define(f)
			defineJSON(f, o)
		},
		run: runPing,
	}, {
		name: "trace", args: "[NAME]", words: -1, brief: "show the L2TP messages of tunnels, and what the Hello guard does",
		about: "One line is one message, as its sender numbers it and as its receiver gets it. Ctrl-C ends it.\n" +
			"NAME is a tunnel as status has it, or the peer's address. Without the guard the kernel logs the messages.",
		example: "sudo xl2tpd-keepalive trace office -w office.pcapng",
		flags:   func(f *flag.FlagSet, o *options) { o.trace.define(f) },
		run:     runTrace,
	}, {
		name: "doctor", brief: "look for what closes tunnels",
		about:   "It changes nothing. The exit status is 1 if there is a problem.",
		example: "sudo xl2tpd-keepalive doctor",
		flags: func(f *flag.FlagSet, o *options) {
			defineJSON(f, o)
			boolean(f, &o.problems, "problems", "print only what is wrong")
		},
		run: runDoctor,
	}, {
		name: "report", args: "[FILE]", words: 1, brief: "collect what others need to find out why tunnels close",
		about: "It writes a tar.gz file that only root may read, and prints what is in it and what was left out.\n" +
			"No password and no key is in it. Look at it before you send it.",
		example: "sudo xl2tpd-keepalive report --anonymise",
		flags: func(f *flag.FlagSet, o *options) {
			boolean(f, &o.anonymise, "anonymise", "replace names and addresses, each always by the same one")
		},
		run: runReport,
	}, {
		name: "check-config", args: "[FILE]", words: 1, brief: "show what is wrong with keepalive.conf",
		about:   "It reads xl2tpd.conf too, and compares the names of the sections.",
		example: "sudo xl2tpd-keepalive check-config ./keepalive.conf",
		flags:   defineFiles,
		run:     runCheckConfig,
	}, {
		name: "remove-table", brief: "take away the nftables table that a stop may leave",
		about:   "A tunnel that the Hello guard holds closes within 91 seconds without it.",
		example: "sudo systemctl disable --now xl2tpd-keepalive && sudo xl2tpd-keepalive remove-table",
		run:     func(o options, _, stderr io.Writer) int { return runRemoveTable(o, stderr) },
	}, {
		name: "control", brief: "make xl2tpd dial or hang up, as standard input says", hidden: true,
		about:   "The service asks for this through xl2tpd-keepalive-control.socket. It is no command for people.",
		example: "systemctl status xl2tpd-keepalive-control.socket",
		run:     runControl,
	}, {
		name: "version", brief: "print the version",
		about:   "The commit, the version of Go and the platform follow.",
		example: "xl2tpd-keepalive version",
		run:     runVersion,
	}, {
		name: "help", args: "[COMMAND]", words: 1, brief: "print this, or more about one command",
		about:   "COMMAND --help prints the same.",
		example: "xl2tpd-keepalive help status",
		run:     runHelp,
	}}
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
