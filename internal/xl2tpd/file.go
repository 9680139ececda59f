package xl2tpd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"xl2tpd-keepalive/internal/message"
	"xl2tpd-keepalive/internal/xl2tpdconf"
)

// file is a configuration file and the result of its last reading.
type file struct {
	seen string // its content, or the failure
	good *Conf  // the last that could be parsed
	err  error  // why good is not the file's present content
}

// confPaths are xl2tpd's default paths: without the usual file xl2tpd reads the old one (file.c,
// init_config).
type confPaths struct{ usual, old string }

func theConfPaths() confPaths { return confPaths{DefaultConfPath, OldConfPath} }

// read reads a configuration file, and returns at which path it was.
func (c confPaths) read(path string) (at string, data []byte, err error) {
	data, err = xl2tpdconf.Read(path)
	if path == c.usual && errors.Is(err, fs.ErrNotExist) {
		if old, other := xl2tpdconf.Read(c.old); !errors.Is(other, fs.ErrNotExist) {
			return c.old, old, other
		}
	}
	if connectionOf(path) != "" && errors.Is(err, fs.ErrPermission) {
		err = message.Errorf("%s: NetworkManager lets only root read it (%v)", path, fs.ErrPermission)
	}
	return path, data, err
}

// ReadConf reads the file that an xl2tpd started with that path would read. The error is a
// *xl2tpdconf.Error, or the system's.
func ReadConf(path string) (*Conf, error) { return theConfPaths().parse(path) }

func (c confPaths) parse(path string) (*Conf, error) {
	at, data, err := c.read(path)
	if err != nil {
		return nil, err
	}
	return ParseConf(at, data)
}

// read reads a file, and parses it when its content is new.
func (l *loop) read(path string) *file {
	f := l.files[path]
	if f == nil {
		f = &file{}
		l.files[path] = f
	}
	at, data, err := l.confs.read(path)
	seen := fmt.Sprintf("%s %v %s", at, err, data)
	if seen == f.seen {
		return f
	}
	var c *Conf
	if err == nil {
		c, err = ParseConf(at, data)
	}
	if err == nil {
		f.good = c
	}
	f.seen, f.err = seen, err
	l.complainOf(path, f)
	return f
}

func (w *Watcher) complainOf(path string, f *file) {
	msg := "xl2tpd.conf can't be used"
	if f.good != nil {
		msg += ", keeping what it said before"
	}
	err := f.err
	if connectionOf(path) != "" && errors.Is(err, fs.ErrPermission) {
		err = nil // no operator can fix that
	}
	w.complain("conf "+path, msg, err)
}

// forgetFiles drops the files that no instance uses.
func (w *Watcher) forgetFiles(all []Instance) {
	for path := range w.files {
		if !slices.ContainsFunc(all, func(i Instance) bool { return i.Path == path }) {
			delete(w.files, path)
			w.complain("conf "+path, "", nil)
		}
	}
}

// resolve returns the last good Conf with the addresses known now.
func (l *loop) resolve(ctx context.Context, f *file) *Conf {
	if f.good == nil {
		return nil
	}
	c := *f.good
	c.Sections = slices.Clone(c.Sections)
	now := time.Now()
	for i := range c.Sections {
		if s := &c.Sections[i]; len(s.LNS) > 0 {
			s.LNSIPs, s.Unresolved = l.resolver.addrs(ctx, s.LNS[0], now), l.resolver.failing(s.LNS[0])
		}
	}
	return &c
}
