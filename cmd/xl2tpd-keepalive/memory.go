package main

import (
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"

	"xl2tpd-keepalive/keep"
	"xl2tpd-keepalive/supervisor"
)

// memory is a file with what the next process is to be told of the LACs that have no
// tunnel.
type memory struct {
	path string
	log  *slog.Logger
}

const defaultMemory = "/run/xl2tpd-keepalive/lacs"

func (f memory) load() (m supervisor.Memory) {
	data, err := keep.Read(f.path)
	if errors.Is(err, fs.ErrNotExist) {
		return supervisor.Memory{}
	}
	if err == nil {
		err = json.Unmarshal(data, &m)
	}
	if err != nil {
		f.log.Warn("state can't be used, which LACs were hung up, or are to be brought back, is not known", "file", f.path, "err", err)
		return supervisor.Memory{}
	}
	return m
}

func (f memory) save(m supervisor.Memory) {
	data, err := json.Marshal(m)
	if err == nil {
		err = keep.Save(f.path, data)
	}
	if err != nil {
		f.log.Warn("state can't be kept, a restart will forget which LACs were hung up, or are to be brought back", "file", f.path, "err", err)
	}
}
