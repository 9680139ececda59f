package main

import (
	"fmt"
	"io"

	"xl2tpd-keepalive/internal/checkconfig"
)

func checkConfigCommand() command {
	return command{
		name: "check-config", args: "[FILE]", words: 1, brief: "show what is wrong with keepalive.conf",
		about:   "It reads xl2tpd.conf too, and compares the names of the sections.",
		example: "sudo xl2tpd-keepalive check-config ./keepalive.conf",
		flags:   defineFiles,
		run:     runCheckConfig,
	}
}

// runCheckConfig reads both files and prints what is wrong.
func runCheckConfig(o options, stdout, stderr io.Writer) int {
	files := checkconfig.Files{Config: o.config, Xl2tpd: o.xl2tpdConf}
	if len(o.names) > 0 {
		if o.config != "" {
			return o.misused(stderr, "check-config", "two files: %s and %s", o.config, o.names[0])
		}
		files.Config = o.names[0]
	}
	outcome, err := checkconfig.Check(files)
	for _, f := range outcome.Remarks {
		if f.Warning {
			fmt.Fprintln(stderr, o.lang.Sprintf("warning: %s", f.Text))
		} else {
			fmt.Fprintln(stderr, o.lang.Text(f.Text))
		}
	}
	switch {
	case err != nil:
		return o.fail(stderr, err)
	case !outcome.Valid():
		return exitError
	case outcome.Missing:
		fmt.Fprintln(stdout, o.lang.Sprintf("no %s: the defaults hold", outcome.Path))
	case len(outcome.Remarks) > 0:
		fmt.Fprintln(stdout, o.lang.Sprintf("%s is valid, but see the warnings", outcome.Path))
	default:
		fmt.Fprintln(stdout, o.lang.Sprintf("%s is good", outcome.Path))
	}
	return exitOK
}
