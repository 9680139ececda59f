package main

import (
	"flag"
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"

	"xl2tpd-keepalive/internal/message"
)

// help returns the help of the whole program.
func help(lang *message.Language) string {
	var s strings.Builder
	s.WriteString(lang.Sprintf("usage: %s", "xl2tpd-keepalive COMMAND [FLAG...] [NAME...]") + "\n\n")
	for _, c := range commands() {
		if !c.hidden {
			fmt.Fprintf(&s, "  %-13s %s\n", c.name, lang.Text(c.brief))
		}
	}
	s.WriteString("\n" + lang.Text("xl2tpd-keepalive COMMAND --help has the flags and an example of each.\n"+
		"See xl2tpd-keepalive(8) and keepalive.conf(5).") + "\n")
	return s.String()
}

// help returns the help of one command.
func (c *command) help(lang *message.Language) string {
	var s strings.Builder
	o := defaults()
	flags := c.flagSet(&o)
	width := 0
	flags.VisitAll(func(f *flag.Flag) { width = max(width, len(spelled(f))) })
	usage := "xl2tpd-keepalive " + c.name
	if width > 0 {
		usage += " [FLAG...]"
	}
	if c.args != "" {
		usage += " " + c.args
	}
	fmt.Fprintf(&s, "%s\n\n%s\n%s\n\n", lang.Sprintf("usage: %s", usage), sentence(c.brief, lang), lang.Text(c.about))
	flags.VisitAll(func(f *flag.Flag) {
		translated := *f
		translated.Usage = lang.Text(message.Text(f.Usage))
		_, text := flag.UnquoteUsage(&translated)
		fmt.Fprintf(&s, "  %-*s  %s\n", width, spelled(f), text)
	})
	if width > 0 {
		s.WriteByte('\n')
	}
	fmt.Fprintf(&s, "%s\n  %s\n", lang.Text("Example:"), c.example)
	return s.String()
}

// sentence makes a sentence of what a command does.
func sentence(brief message.Text, lang *message.Language) string {
	text := lang.Text(brief)
	first, n := utf8.DecodeRuneInString(text)
	return lang.Sprintf("%s.", string(unicode.ToUpper(first))+text[n:])
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

func helpCommand() command {
	return command{
		name: "help", args: "[COMMAND]", words: 1, brief: "print this, or more about one command",
		about:   "COMMAND --help prints the same.",
		example: "xl2tpd-keepalive help status",
		run:     runHelp,
	}
}

// runHelp runs the command help.
func runHelp(o options, stdout, stderr io.Writer) int {
	if len(o.names) == 0 {
		fmt.Fprint(stdout, help(o.lang))
		return exitOK
	}
	c := find(o.names[0])
	if c == nil {
		return o.misused(stderr, "", "%s", unknownCommand(o.names[0]))
	}
	fmt.Fprint(stdout, c.help(o.lang))
	return exitOK
}
