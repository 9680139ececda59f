package config

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"time"

	"xl2tpd-keepalive/internal/filewatch"
	"xl2tpd-keepalive/internal/wake"
	"xl2tpd-keepalive/internal/xl2tpdconf"
)

// Watcher delivers the configuration at its start and after each change of the file.
// It logs a file that is wrong or can't be read once, and keeps the last good one.
// Without a file the defaults hold.
type Watcher struct {
	Path    string        // default DefaultPath
	Log     *slog.Logger  // default slog.Default()
	Deliver func(*Config) // called from Run: right after its start, then on each change
	// Fault, if not nil, is called with the reason why the file is not in use, or nil.
	Fault func(error)

	reload wake.Signal

	// State that a restart of Run keeps.
	good *Config // delivered last
	seen string  // result of the last reading: the content, or the failure

	watchFiles func() (filewatch.Watch, error) // replaced in tests
}

// Reload makes Run read the file again and log the result, even if nothing has
// changed. It is for SIGHUP, and never blocks.
func (w *Watcher) Reload() { w.reload.Send() }

// Run watches until ctx ends, then returns its error; nothing else ends it.
func (w *Watcher) Run(ctx context.Context) error {
	path := cmp.Or(w.Path, DefaultPath)
	log := w.Log
	if log == nil {
		log = slog.Default()
	}
	start := w.watchFiles
	if start == nil {
		start = filewatch.New
	}
	every := filewatch.SlowLook
	watch, err := start()
	if err != nil {
		every = filewatch.BlindLook
		log.Warn("changes of "+path+" will be seen up to 10 s late, inotify is unavailable", "err", err)
		watch = filewatch.Watch{Check: func(...string) {}, Close: func() {}}
	}
	defer watch.Close()
	slow := time.NewTicker(every)
	defer slow.Stop()

	first, asked := true, false
	var changed <-chan time.Time
	for {
		watch.Check(path) // watch before reading, so that no change is missed in between
		if w.read(log, path, asked) || first {
			w.Deliver(w.good)
		}
		first, asked = false, false
		for waiting := true; waiting; {
			waiting = false
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-watch.C:
				changed = time.After(filewatch.WriteDelay)
				waiting = true
			case <-changed:
				changed = nil
			case <-w.reload.C():
				asked = true
			case <-slow.C:
			}
		}
	}
}

// read reads the file and reports whether good has changed. It logs a new result;
// if asked, it logs in any case.
func (w *Watcher) read(log *slog.Logger, path string, asked bool) (changed bool) {
	data, err := xl2tpdconf.Read(path)
	c := Default(path)
	missing := errors.Is(err, fs.ErrNotExist)
	seen := fmt.Sprintf("%v %s", err, data)
	if seen == w.seen && !asked {
		return false
	}
	w.seen = seen
	if missing {
		err = nil
	} else if err == nil {
		c, err = Parse(path, data)
	}
	if w.Fault != nil {
		w.Fault(err)
	}
	switch {
	case err == nil && missing:
		log.Info("no " + path + ", the defaults hold")
	case err == nil:
		log.Info("configuration read", append([]any{"file", path}, c.summary()...)...)
	case w.good != nil:
		log.Error(err.Error() + "; keeping the previous configuration")
		return false
	default:
		log.Error(err.Error() + "; using the defaults until the file is fixed")
		c = Default(path)
	}
	w.good = c
	return true
}
