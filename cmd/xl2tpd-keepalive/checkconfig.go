package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"xl2tpd-keepalive/internal/config"
	"xl2tpd-keepalive/internal/hook"
	"xl2tpd-keepalive/internal/message"
	"xl2tpd-keepalive/internal/serviceuser"
	"xl2tpd-keepalive/internal/status"
	"xl2tpd-keepalive/internal/xl2tpd"
	"xl2tpd-keepalive/internal/xl2tpdconf"
)

// checkConfig reads both files and prints what is wrong. Only files that the user has
// named must exist.
func checkConfig(o options, stdout, stderr io.Writer) int {
	if len(o.names) > 0 {
		if o.config != "" {
			return o.misused(stderr, "check-config", "two files: %s and %s", o.config, o.names[0])
		}
		o.config = o.names[0]
	}
	path := cmp.Or(o.config, config.DefaultPath)
	data, err := xl2tpdconf.Read(path)
	missing := o.config == "" && errors.Is(err, fs.ErrNotExist)
	if err != nil && !missing {
		o.cantRead(stderr, path, err)
		return exitError
	}
	c := config.Default(path)
	if !missing {
		if c, err = config.Parse(path, data); err != nil {
			for _, e := range config.Mistakes(path, data) {
				fmt.Fprintln(stderr, o.lang.Error(e))
			}
			return exitError
		}
	}

	xl2tpdConf := cmp.Or(o.xl2tpdConf, xl2tpd.DefaultConfPath)
	x, err := xl2tpd.ReadConf(xl2tpdConf)
	switch {
	case o.xl2tpdConf == "" && errors.Is(err, fs.ErrNotExist):
		o.warn(stderr, message.Sprintf("no %s, so section names can't be compared; name it with --xl2tpd-config", xl2tpd.DefaultConfPath))
	case o.xl2tpdConf == "" && errors.Is(err, fs.ErrPermission):
		o.warn(stderr, message.Sprintf("%s can't be read, so section names can't be compared: permission denied", xl2tpdConf))
	case err != nil:
		o.cantRead(stderr, xl2tpdConf, err)
		return exitError
	}

	problems := 0
	problem := func(text message.Text) {
		fmt.Fprintln(stderr, o.lang.Text(text))
		problems++
	}
	if x != nil {
		executable, _ := os.ReadFile(xl2tpd.Executable) // without one, nobody knows its keys
		for _, k := range x.UnknownKeys(executable) {
			if k.Certain {
				problem(k.Text)
			} else {
				o.warn(stderr, k.Text)
			}
		}
		for _, line := range c.Unknown(headers(o, x, stderr)) {
			problem(line)
		}
		for _, s := range x.Sections {
			if fault := s.LNSFault(); fault != "" {
				problem(message.Sprintf("%s:%d: [lac %s] can't be dialled: %s", x.Path, s.LNSLine, s.Name, fault))
			}
			if s.Kind != "lac" || s.Name == "default" || c.For(x.Path, "lac", s.Name).Recover == config.RecoverOff {
				continue
			}
			if err := xl2tpd.CheckLAC(s.Name); err != nil {
				o.warn(stderr, message.Sprintf("recover can't help: %v", err))
			}
		}
	}
	readable := func(path string) {
		if !serviceuser.Can("r", path) {
			o.warn(stderr, message.Sprintf("%s can't be read by the service; %s", path, xl2tpdconf.Grant(path)))
		}
	}
	if o.config == "" && !missing {
		readable(path)
	}
	if o.xl2tpdConf == "" && x != nil {
		readable(x.Path)
	}
	if o.config == "" {
		for _, line := range tooRare(c) {
			o.warn(stderr, line)
		}
	}
	if fault := c.MetricsFault(); fault != "" {
		o.warn(stderr, fault)
	}
	for _, path := range c.Hooks() {
		if err := hook.CheckForService(path); err != nil {
			o.warn(stderr, message.Sprintf("hook will not be run: %v", err))
		}
	}

	if problems > 0 {
		return exitError
	}
	if missing {
		fmt.Fprintln(stdout, o.lang.Sprintf("no %s: the defaults hold", path))
	} else {
		fmt.Fprintln(stdout, o.lang.Sprintf("%s is good", path))
	}
	return exitOK
}

// tooRare returns warnings about echo requests that are too rare for a far end, if the running service knows its vendor.
func tooRare(c *config.Config) (lines []message.Text) {
	r, err := status.Read(context.Background(), status.DefaultSocket)
	if err != nil {
		return nil
	}
	for _, t := range r.Tunnels {
		kind, section, _ := strings.Cut(t.Name, " ")
		path := ""
		if filepath.IsAbs(t.Instance) {
			path = t.Instance
		}
		if text := c.For(path, kind, section).TooRare(); t.Yamaha() && text != "" {
			lines = append(lines, message.Sprintf("[%s] %s", t.Name, text))
		}
	}
	return lines
}

// cantRead prints why a file can't be read, or what is wrong in it. The remedy of xl2tpdconf.Read is
// for the service; another user needs another one.
func (o options) cantRead(stderr io.Writer, path string, err error) {
	var wrong *xl2tpdconf.Error
	switch {
	case errors.As(err, &wrong):
		fmt.Fprintln(stderr, o.lang.Error(err))
	case errors.Is(err, fs.ErrPermission) && os.Geteuid() != 0 && os.Geteuid() != serviceuser.User():
		o.fail(stderr, message.Errorf("%s can't be read: permission denied; run this with sudo", path))
	case errors.Is(err, fs.ErrNotExist):
		o.fail(stderr, message.Errorf("there is no file %s", path))
	default:
		o.fail(stderr, message.Errorf("%s can't be read: %v", path, err))
	}
}

func (o options) warn(stderr io.Writer, text message.Text) {
	fmt.Fprintln(stderr, o.lang.Sprintf("warning: %s", text))
}

// headers returns a function that returns the sections of xl2tpd's files: those of the file that was
// read. If that is the host's own, also those of the running xl2tpds.
func headers(o options, x *xl2tpd.Conf, stderr io.Writer) func(path string) ([]xl2tpdconf.Header, bool) {
	host := xl2tpd.Snapshot{Instances: []xl2tpd.Instance{{Conf: x}}}
	if o.xl2tpdConf == "" {
		for _, d := range xl2tpd.Daemons() {
			host.Instances = append(host.Instances, xl2tpd.Instance{Process: d.ID, Conf: d.Conf})
		}
	}
	return func(path string) ([]xl2tpdconf.Header, bool) {
		if path == "" {
			all, known := host.Headers("")
			if !known {
				o.warn(stderr, "section names can't be compared: the file of an xl2tpd that runs can't be read")
			}
			return all, known
		}
		other, err := xl2tpd.ReadConf(path)
		if err != nil {
			o.warn(stderr, message.TextOf(err))
			return nil, errors.Is(err, fs.ErrNotExist) // then no section for that file has an effect
		}
		return other.Headers(), true
	}
}
