package main

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"

	"xl2tpd-keepalive/internal/message"
	"xl2tpd-keepalive/internal/typo"
)

// misused prints in one line what is wrong with a command line.
func (o options) misused(stderr io.Writer, command string, format message.Format, args ...any) int {
	what, where := message.Sprintf(format, args...), "xl2tpd-keepalive --help"
	if command != "" {
		what, where = message.Sprintf("%s: %s", command, what), "xl2tpd-keepalive "+command+" --help"
	}
	fmt.Fprintf(stderr, "xl2tpd-keepalive: %s\n", o.lang.Sprintf("%s (see %s)", what, where))
	return exitUsage
}

func (c *command) misused(o options, stderr io.Writer, format message.Format, args ...any) int {
	o.misused(stderr, c.name, format, args...)
	return cmp.Or(c.exitUsage, exitUsage)
}

// fail prints an error.
func (o options) fail(stderr io.Writer, err error) int {
	fmt.Fprintf(stderr, "xl2tpd-keepalive: %s\n", o.lang.Error(err))
	return exitError
}

// parse reads flags and names in any order. Its errors name the flag as the user typed it, and the
// right use.
func parse(flags *flag.FlagSet, args []string, names *[]string) error {
	for {
		if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
			return err
		} else if err != nil {
			return clearer(flags, err)
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
	noFlag   = regexp.MustCompile(`^flag provided but not defined: -(.*)$`)
	noValue  = regexp.MustCompile(`^flag needs an argument: -(.*)$`)
	badBool  = regexp.MustCompile(`^invalid boolean value (".*") for -([^:]*): .*$`)
	badValue = regexp.MustCompile(`(?s)^invalid value (".*") for flag -([^:]*): (.*)$`)
)

// clearer rewords the errors of package flag.
func clearer(flags *flag.FlagSet, err error) error {
	text := err.Error()
	if m := noFlag.FindStringSubmatch(text); m != nil {
		var known []string
		flags.VisitAll(func(f *flag.Flag) { known = append(known, f.Name) })
		if name := typo.Nearest(m[1], known); name != "" {
			return message.Errorf("there is no flag %s, did you mean %s?", dashed(m[1]), dashed(name))
		}
		return message.Errorf("there is no flag %s", dashed(m[1]))
	}
	if m := noValue.FindStringSubmatch(text); m != nil {
		return message.Errorf("%s needs a value", dashed(m[1]))
	}
	if m := badBool.FindStringSubmatch(text); m != nil {
		return message.Errorf("%s takes no value, got %s", dashed(m[2]), m[1])
	}
	if m := badValue.FindStringSubmatch(text); m != nil {
		return message.Errorf("%s is %s, %s", dashed(m[2]), m[1], message.Text(m[3]))
	}
	return err
}

// ofSystemd are words that people know from systemctl. They are for the service, and systemd starts and ends it.
var ofSystemd = []string{"start", "stop", "restart", "reload", "enable", "disable"}

// unknownCommand says that there is no such command, and what was probably meant.
func unknownCommand(typed string) message.Text {
	if strings.HasPrefix(typed, "-") {
		return message.Sprintf("the command comes first, then %s", typed)
	}
	if slices.Contains(ofSystemd, typed) {
		return message.Sprintf("there is no command %q, use systemctl %s xl2tpd-keepalive", typed, typed)
	}
	if best := typo.Nearest(typed, commandNames()); best != "" {
		return message.Sprintf("there is no command %q, did you mean %q?", typed, best)
	}
	return message.Sprintf("there is no command %q", typed)
}

// unwritable rewords the error of a file that the user has named, and that a command was to write.
func unwritable(path string, err error) error {
	at, _ := os.Stat(path)
	switch {
	case errors.Is(err, syscall.EISDIR), at != nil && at.IsDir():
		return message.Errorf("%s is a directory; name a file", path)
	case errors.Is(err, fs.ErrExist):
		return message.Errorf("there is a file %s already; name another one", path)
	case errors.Is(err, fs.ErrNotExist):
		return message.Errorf("%s can't be written: there is no directory %s", path, filepath.Dir(path))
	}
	return withSudo(err)
}

// withSudo adds a remedy for a user who is not root and lacks permission.
func withSudo(err error) error {
	if errors.Is(err, fs.ErrPermission) && os.Geteuid() != 0 {
		return message.Errorf("%v; run this with sudo", err)
	}
	return err
}
