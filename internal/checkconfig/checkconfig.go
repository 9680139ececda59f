// Package checkconfig finds what is wrong with keepalive.conf. It compares the sections with those of xl2tpd.conf.
package checkconfig

import (
	"cmp"
	"errors"
	"io/fs"
	"os"
	"slices"

	"xl2tpd-keepalive/internal/config"
	"xl2tpd-keepalive/internal/hook"
	"xl2tpd-keepalive/internal/message"
	"xl2tpd-keepalive/internal/serviceuser"
	"xl2tpd-keepalive/internal/xl2tpd"
	"xl2tpd-keepalive/internal/xl2tpdconf"
)

// Files are the files to check. Only files that the user has named must exist.
type Files struct {
	Config string // keepalive.conf; empty: that of the host
	Xl2tpd string // xl2tpd.conf; empty: that of the host, and those of the running xl2tpds
}

// A Remark is something about the files.
type Remark struct {
	Text    message.Text
	Warning bool // the files are valid all the same
}

// Outcome is what a check finds.
type Outcome struct {
	Path    string // of keepalive.conf
	Missing bool   // there is no keepalive.conf, so the defaults hold
	Remarks []Remark
}

// Valid reports whether nothing is wrong.
func (o *Outcome) Valid() bool {
	return !slices.ContainsFunc(o.Remarks, func(f Remark) bool { return !f.Warning })
}

// round is a check in progress.
type round struct {
	Outcome
	files  Files
	config *config.Config
	xl2tpd *xl2tpd.Conf // nil: there is none to compare with
}

// Check reads the files. The error says why one of them can't be read; the remarks up to then come with it.
func Check(files Files) (Outcome, error) {
	c := &round{files: files, Outcome: Outcome{Path: cmp.Or(files.Config, config.DefaultPath)}}
	if err := c.readConfig(); err != nil || !c.Valid() {
		return c.Outcome, err
	}
	if err := c.readXl2tpd(); err != nil || !c.Valid() {
		return c.Outcome, err
	}
	if c.xl2tpd != nil {
		c.keys()
		c.sections()
	}
	c.permissions()
	c.settings()
	return c.Outcome, nil
}

func (r *round) problem(text message.Text) { r.Remarks = append(r.Remarks, Remark{Text: text}) }

func (r *round) warn(text message.Text) {
	r.Remarks = append(r.Remarks, Remark{Text: text, Warning: true})
}

// readConfig reads keepalive.conf. Its mistakes are remarks.
func (r *round) readConfig() error {
	r.config = config.Default(r.Path)
	data, err := xl2tpdconf.Read(r.Path)
	if r.files.Config == "" && errors.Is(err, fs.ErrNotExist) {
		r.Missing = true
		return nil
	}
	if err != nil {
		return r.unread(r.Path, err)
	}
	if r.config, err = config.Parse(r.Path, data); err != nil {
		for _, mistake := range config.Mistakes(r.Path, data) {
			r.problem(message.TextOf(mistake))
		}
	}
	return nil
}

// readXl2tpd reads xl2tpd.conf. Without the host's own, the sections can't be compared.
func (r *round) readXl2tpd() error {
	path := cmp.Or(r.files.Xl2tpd, xl2tpd.DefaultConfPath)
	x, err := xl2tpd.ReadConf(path)
	switch {
	case r.files.Xl2tpd == "" && errors.Is(err, fs.ErrNotExist):
		r.warn(message.Sprintf("no %s, so section names can't be compared; name it with --xl2tpd-config", xl2tpd.DefaultConfPath))
	case r.files.Xl2tpd == "" && errors.Is(err, fs.ErrPermission):
		r.warn(message.Sprintf("%s can't be read, so section names can't be compared: permission denied", path))
	case err != nil:
		return r.unread(path, err)
	}
	r.xl2tpd = x
	return nil
}

// unread returns why a file can't be read. A mistake in it is not an error here, but a remark. The remedy that
// xl2tpdconf.Read names is for the service; another user needs another one.
func (r *round) unread(path string, err error) error {
	var wrong *xl2tpdconf.Error
	switch {
	case errors.As(err, &wrong):
		r.problem(message.TextOf(err))
		return nil
	case errors.Is(err, fs.ErrPermission) && os.Geteuid() != 0 && os.Geteuid() != serviceuser.User():
		return message.Errorf("%s can't be read: permission denied; run this with sudo", path)
	}
	return err // has the path
}

// keys checks the keys of xl2tpd.conf.
func (r *round) keys() {
	executable, _ := os.ReadFile(xl2tpd.Executable) // without one, nobody knows its keys
	for _, k := range r.xl2tpd.UnknownKeys(executable) {
		r.Remarks = append(r.Remarks, Remark{Text: k.Text, Warning: !k.Certain})
	}
}

// permissions checks whether the service can read the host's own files.
func (r *round) permissions() {
	readable := func(path string) {
		if !serviceuser.Can("r", path) {
			r.warn(message.Sprintf("%s can't be read by the service; %s", path, xl2tpdconf.Grant(path)))
		}
	}
	if r.files.Config == "" && !r.Missing {
		readable(r.Path)
	}
	if r.files.Xl2tpd == "" && r.xl2tpd != nil {
		readable(r.xl2tpd.Path)
	}
}

// settings checks values that are valid, but have no effect or a bad one.
func (r *round) settings() {
	if r.files.Xl2tpd == "" { // it is about this host
		for _, line := range tooRare(r.config) {
			r.warn(line)
		}
	}
	if fault := r.config.MetricsFault(); fault != "" {
		r.warn(fault)
	}
	for _, path := range r.config.Hooks() {
		if err := hook.CheckForService(path); err != nil {
			r.warn(r.config.HookFault(path, err))
		}
	}
}
