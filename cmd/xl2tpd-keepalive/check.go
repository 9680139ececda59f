package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"xl2tpd-keepalive/account"
	"xl2tpd-keepalive/config"
	"xl2tpd-keepalive/hook"
	"xl2tpd-keepalive/xl2tpd"
	"xl2tpd-keepalive/xl2tpd/conf"
)

// check reads both files and says what is wrong. Files that are not named need
// not be there.
func check(o options, stdout, stderr io.Writer) int {
	if len(o.names) > 0 {
		if o.config != "" {
			return misused(stderr, "check-config", "two files: %s and %s", o.config, o.names[0])
		}
		o.config = o.names[0]
	}
	path := cmp.Or(o.config, config.DefaultPath)
	data, err := conf.Read(path)
	missing := o.config == "" && errors.Is(err, fs.ErrNotExist)
	if err != nil && !missing {
		cantRead(stderr, path, err)
		return exitError
	}
	c := config.Default(path)
	if !missing {
		if c, err = config.Parse(path, data); err != nil {
			for _, e := range config.Mistakes(path, data) {
				fmt.Fprintln(stderr, e)
			}
			return exitError
		}
	}

	xl2tpdConf := cmp.Or(o.xl2tpdConf, xl2tpd.DefaultConfPath)
	x, err := loadXl2tpd(xl2tpdConf)
	switch {
	case o.xl2tpdConf == "" && errors.Is(err, fs.ErrNotExist):
		fmt.Fprintf(stderr, "warning: no %s, so section names can't be compared; name it with -xl2tpd-config\n", xl2tpd.DefaultConfPath)
	case err != nil:
		cantRead(stderr, xl2tpdConf, err)
		return exitError
	case !missing:
		has := func(path, kind, name string) bool {
			if path == "" {
				return x.Has(kind, name)
			}
			other, err := loadXl2tpd(path)
			if err != nil {
				fmt.Fprintln(stderr, "warning: section names can't be compared:", err)
				return true
			}
			return other.Has(kind, name)
		}
		for _, w := range c.Unknown(has) {
			fmt.Fprintln(stderr, "warning:", w)
		}
	}

	if x != nil {
		for _, s := range x.Sections {
			if s.Kind != "lac" || s.Name == "default" || c.For(x.Path, "lac", s.Name).Recover == config.RecoverOff {
				continue
			}
			if err := xl2tpd.CheckLAC(s.Name); err != nil {
				fmt.Fprintln(stderr, "warning: recover can't help:", err)
			}
		}
	}
	readable := func(path string) {
		if !account.Can("r", path) {
			fmt.Fprintf(stderr, "warning: %s can't be read by the service; %s\n", path, conf.Grant(path))
		}
	}
	if o.config == "" && !missing {
		readable(path)
	}
	if o.xl2tpdConf == "" && x != nil {
		readable(xl2tpdConf)
	}
	for _, path := range c.Hooks() {
		if err := hook.CheckForService(path); err != nil {
			fmt.Fprintln(stderr, "warning: hook will not be run:", err)
		}
	}

	if missing {
		fmt.Fprintf(stdout, "no %s: the defaults hold\n", path)
	} else {
		fmt.Fprintf(stdout, "%s is good\n", path)
	}
	return exitOK
}

// cantRead says why a file can't be read, or what is wrong in it. The advice of conf.Read is
// for the service; another user lacks rights of their own.
func cantRead(stderr io.Writer, path string, err error) {
	var wrong *conf.Error
	switch {
	case errors.As(err, &wrong):
		fmt.Fprintln(stderr, err)
	case errors.Is(err, fs.ErrPermission) && os.Geteuid() != 0:
		fmt.Fprintf(stderr, "xl2tpd-keepalive: %s can't be read: permission denied; run this with sudo\n", path)
	case errors.Is(err, fs.ErrNotExist):
		fmt.Fprintf(stderr, "xl2tpd-keepalive: there is no file %s\n", path)
	default:
		fmt.Fprintf(stderr, "xl2tpd-keepalive: %s can't be read: %v\n", path, err)
	}
}

func loadXl2tpd(path string) (*xl2tpd.Conf, error) {
	data, err := conf.Read(path)
	if err != nil {
		return nil, err
	}
	return xl2tpd.ParseConf(path, data)
}
