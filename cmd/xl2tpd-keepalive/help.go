package main

import (
	"flag"
	"fmt"
	"io"
	"strings"
)

// help returns the help of the whole program.
func help() string {
	var s strings.Builder
	s.WriteString("usage: xl2tpd-keepalive COMMAND [FLAG...] [NAME...]\n\n")
	for _, c := range commands() {
		if !c.hidden {
			fmt.Fprintf(&s, "  %-13s %s\n", c.name, c.brief)
		}
	}
	s.WriteString("\nxl2tpd-keepalive COMMAND --help has the flags and an example of each.\n" +
		"See xl2tpd-keepalive(8) and keepalive.conf(5).\n")
	return s.String()
}

// help returns the help of one command.
func (c *command) help() string {
	var s strings.Builder
	o := defaults()
	flags := c.flagSet(&o)
	width := 0
	flags.VisitAll(func(f *flag.Flag) { width = max(width, len(spelled(f))) })
	s.WriteString("usage: xl2tpd-keepalive " + c.name)
	if width > 0 {
		s.WriteString(" [FLAG...]")
	}
	if c.args != "" {
		s.WriteString(" " + c.args)
	}
	fmt.Fprintf(&s, "\n\n%s%s.\n%s\n\n", strings.ToUpper(c.brief[:1]), c.brief[1:], c.about)
	flags.VisitAll(func(f *flag.Flag) {
		_, text := flag.UnquoteUsage(f)
		fmt.Fprintf(&s, "  %-*s  %s\n", width, spelled(f), text)
	})
	if width > 0 {
		s.WriteByte('\n')
	}
	fmt.Fprintf(&s, "Example:\n  %s\n", c.example)
	return s.String()
}

// spelled returns a flag as a user types it, with its value.
func spelled(f *flag.Flag) string {
	value, _ := flag.UnquoteUsage(f)
	return strings.TrimSpace(dashed(f.Name) + " " + value)
}

// dashed puts one dash before a letter, and two before a word. The parser accepts both.
func dashed(name string) string {
	if len(name) == 1 {
		return "-" + name
	}
	return "--" + name
}

// helpOf runs the command help.
func helpOf(o options, stdout, stderr io.Writer) int {
	if len(o.names) == 0 {
		fmt.Fprint(stdout, help())
		return exitOK
	}
	c := find(o.names[0])
	if c == nil {
		return misused(stderr, "", "there is no command %q%s", o.names[0], meant(o.names[0], commandNames()))
	}
	fmt.Fprint(stdout, c.help())
	return exitOK
}
