// Package savedstate saves in a file what the supervisor knows about LACs without a tunnel. The next process continues
// from there. The Hello guard has a store of its own (internal/helloguard/store.go).
package savedstate

import (
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"time"

	"xl2tpd-keepalive/internal/statefile"
	"xl2tpd-keepalive/supervisor"
)

// DefaultPath is where the service has the file.
const DefaultPath = "/run/xl2tpd-keepalive/lacs"

// stateFile is the file.
type stateFile struct {
	path   string
	log    *slog.Logger
	failed string // why the latest save failed; empty: it did not
}

// load reads the file. If there is no file, or it can't be used, the state is empty.
func (f *stateFile) load() (m supervisor.SavedState) {
	data, err := statefile.Read(f.path)
	if errors.Is(err, fs.ErrNotExist) {
		return supervisor.SavedState{}
	}
	if err == nil {
		err = json.Unmarshal(data, &m)
	}
	if err != nil {
		f.log.Warn("saved state can't be read: nobody knows which LACs were hung up, or have to be brought back", "file", f.path, "err", err)
		return supervisor.SavedState{}
	}
	return m
}

// save writes the file. The log says once that this fails, and once that it works again.
func (f *stateFile) save(m supervisor.SavedState) {
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
		f.log.Warn("state can't be saved: a restart will forget which LACs were hung up, or have to be brought back", "file", f.path, "err", err)
	default:
		f.log.Info("state is saved again", "file", f.path)
	}
	f.failed = why
}

// Saver saves in a goroutine of its own: with thousands of LACs it takes milliseconds.
type Saver struct {
	file   stateFile
	latest chan supervisor.SavedState
	done   chan struct{}
}

// NewSaver starts a saver. The caller must close it.
func NewSaver(path string, log *slog.Logger) *Saver {
	s := &Saver{file: stateFile{path: path, log: log}, latest: make(chan supervisor.SavedState, 1), done: make(chan struct{})}
	go func() {
		defer close(s.done)
		for m := range s.latest {
			s.file.save(m)
		}
	}()
	return s
}

// Load reads what the last process has saved. It must be called before Keep.
func (s *Saver) Load() supervisor.SavedState { return s.file.load() }

// Keep saves a state soon. The state replaces an earlier one that still waits. Only one goroutine may call Keep.
func (s *Saver) Keep(m supervisor.SavedState) {
	select {
	case <-s.latest:
	default:
	}
	s.latest <- m
}

// Close saves the state that waits, for limit at most: a disk may stall. Keep must not be called after it.
func (s *Saver) Close(limit time.Duration) {
	close(s.latest)
	select {
	case <-s.done:
	case <-time.After(limit):
		s.file.log.Warn("state could not be saved in time", "file", s.file.path)
	}
}
