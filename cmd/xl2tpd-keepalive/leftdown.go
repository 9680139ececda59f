package main

import (
	"errors"
	"io/fs"
	"log/slog"
	"strings"

	"xl2tpd-keepalive/keep"
)

// leftDown is a file with the LACs that have been hung up on this host, a line each,
// for the next process.
type leftDown struct {
	path string
	log  *slog.Logger
}

const defaultLeftDown = "/run/xl2tpd-keepalive/left-down"

func (f leftDown) load() []string {
	data, err := keep.Read(f.path)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			f.log.Warn("state can't be used, what was hung up is not known", "file", f.path, "err", err)
		}
		return nil
	}
	return strings.FieldsFunc(string(data), func(r rune) bool { return r == '\n' })
}

func (f leftDown) save(lacs []string) {
	if err := keep.Save(f.path, []byte(strings.Join(lacs, "\n"))); err != nil {
		f.log.Warn("state can't be kept, a restart will forget what was hung up", "file", f.path, "err", err)
	}
}
