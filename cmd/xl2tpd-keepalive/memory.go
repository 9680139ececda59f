package main

import (
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"

	"xl2tpd-keepalive/internal/statefile"
	"xl2tpd-keepalive/supervisor"
)

// memory is a file with what the next process is to be told of the LACs that have no
// tunnel.
type memory struct {
	path   string
	log    *slog.Logger
	failed string // why the latest save failed; empty: it did not
}

const defaultMemory = "/run/xl2tpd-keepalive/lacs"

func (f *memory) load() (m supervisor.Memory) {
	data, err := statefile.Read(f.path)
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

// save writes the file. The log says once that this fails, and once that it works again.
func (f *memory) save(m supervisor.Memory) {
	data, err := json.Marshal(m)
	if err == nil {
		err = statefile.Save(f.path, data)
	}
	why := ""
	if err != nil {
		why = err.Error()
	}
	switch {
	case why == f.failed:
	case err != nil:
		f.log.Warn("state can't be kept, a restart will forget which LACs were hung up, or are to be brought back", "file", f.path, "err", err)
	default:
		f.log.Info("state is kept again", "file", f.path)
	}
	f.failed = why
}

// saver saves in a goroutine of its own: with thousands of LACs it takes milliseconds.
type saver struct {
	memory
	latest chan supervisor.Memory
	done   chan struct{}
}

func newSaver(f memory) *saver {
	s := &saver{memory: f, latest: make(chan supervisor.Memory, 1), done: make(chan struct{})}
	go func() {
		defer close(s.done)
		for m := range s.latest {
			s.save(m)
		}
	}()
	return s
}

// keep has a memory saved, in place of an earlier one that still waits. One goroutine may call it.
func (s *saver) keep(m supervisor.Memory) {
	select {
	case <-s.latest:
	default:
	}
	s.latest <- m
}

// close saves what waits. keep must not be called any more.
func (s *saver) close() {
	close(s.latest)
	<-s.done
}
