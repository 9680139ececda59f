package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"regexp"
	"runtime"
	"runtime/debug"
	"strings"

	"xl2tpd-keepalive/internal/typo"
)

// misused says in one line what is wrong with a command line.
func misused(stderr io.Writer, command, format string, args ...any) int {
	what := fmt.Sprintf(format, args...)
	if command != "" {
		what = command + ": " + what
	}
	fmt.Fprintf(stderr, "xl2tpd-keepalive: %s; see xl2tpd-keepalive --help\n", what)
	return exitUsage
}

// parse reads flags and names in any order. Its errors name the flag as it was typed and what
// would be right.
func parse(flags *flag.FlagSet, args []string, names *[]string) error {
	for {
		if err := flags.Parse(args); err != nil {
			return clearer(flags, args, err)
		}
		rest := flags.Args()
		if len(rest) == 0 {
			return nil
		}
		if at := len(args) - len(rest); at > 0 && args[at-1] == "--" {
			*names = append(*names, rest...)
			return nil
		}
		*names = append(*names, rest[0])
		args = rest[1:]
	}
}

var (
	noFlag  = regexp.MustCompile(`^flag provided but not defined: -(.*)$`)
	noValue = regexp.MustCompile(`^flag needs an argument: (-.*)$`)
	badBool = regexp.MustCompile(`^invalid boolean value "(.*)" for (-[^:]*): .*$`)
)

// clearer says what package flag has found in other words.
func clearer(flags *flag.FlagSet, args []string, err error) error {
	if errors.Is(err, flag.ErrHelp) {
		return err
	}
	text := err.Error()
	if m := noFlag.FindStringSubmatch(text); m != nil {
		var known []string
		flags.VisitAll(func(f *flag.Flag) { known = append(known, f.Name) })
		return fmt.Errorf("there is no flag -%s%s", m[1], meant(m[1], known))
	}
	if m := noValue.FindStringSubmatch(text); m != nil {
		return fmt.Errorf("%s needs a value", m[1])
	}
	if m := badBool.FindStringSubmatch(text); m != nil {
		return fmt.Errorf("%s takes no value, got %q", m[2], m[1])
	}
	return err
}

// commands are those of usage.
func commands() (names []string) {
	for _, m := range regexp.MustCompile(`(?m)^  (\S+) `).FindAllStringSubmatch(usage, -1) {
		names = append(names, m[1])
	}
	return names
}

// meant suggests the word that a mistyped one is closest to, if it is close.
func meant(typed string, words []string) string {
	best, least := "", 3
	for _, w := range words {
		if d := typo.Distance(typed, w); d < least && d < len(w) {
			best, least = w, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf(", did you mean %q?", best)
}

// build says which program this is: its version, the commit, Go's version and the platform.
func build() string {
	commit := ""
	if info, ok := debug.ReadBuildInfo(); ok {
		commit = revision(info.Settings)
	}
	parts := []string{version}
	if commit != "" {
		parts = append(parts, "commit "+commit)
	}
	return strings.Join(append(parts, runtime.Version(), runtime.GOOS+"/"+runtime.GOARCH), ", ")
}

// revision is the commit that a program was built from, as far as Go knows.
func revision(settings []debug.BuildSetting) (commit string) {
	dirty := ""
	for _, s := range settings {
		switch {
		case s.Key == "vcs.revision":
			commit = s.Value[:min(len(s.Value), 12)]
		case s.Key == "vcs.modified" && s.Value == "true":
			dirty = "+changes"
		}
	}
	if commit == "" {
		return ""
	}
	return commit + dirty
}
