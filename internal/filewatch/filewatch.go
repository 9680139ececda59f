// Package filewatch notices by inotify when a few files have changed.
package filewatch

import (
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/fsnotify/fsnotify"

	"xl2tpd-keepalive/internal/wake"
)

// When those who watch look at the files.
const (
	WriteDelay = 100 * time.Millisecond // after a notice: editors and daemons write in several steps
	SlowLook   = time.Minute            // for changes that cause no notice
	BlindLook  = 10 * time.Second       // where the kernel gives none
)

// Watch reports when one of a few files may have changed: written in place,
// replaced by rename, created, removed. It consists of funcs so that a test can
// replace them.
type Watch struct {
	C <-chan struct{} // a file may have changed; holds one pending notice

	// Check sets the files to watch and renews watches that were lost. Callers
	// also call it on a slow timer. It costs one stat per directory. It is not
	// safe for concurrent use, nor after Close.
	Check func(paths ...string)

	// Close frees everything and returns when nothing is left running.
	Close func()
}

// New starts watching. The error is the system's: out of inotify
// instances or file descriptors.
func New() (Watch, error) {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return Watch{}, err
	}
	n := &watch{w: w, set: make(chan map[string]bool), gone: make(chan struct{}), dirs: map[string]os.FileInfo{}}
	go n.run()
	return Watch{C: n.changed.C(), Check: n.check, Close: n.close}, nil
}

// watch watches directories: after a rename, a watch on the old file would not see
// the new one. The kernel drops the watch of a replaced directory, and a directory that
// does not exist yet can't be watched: then the nearest one above it is. check handles both.
type watch struct {
	w       *fsnotify.Watcher
	changed wake.Signal
	set     chan map[string]bool
	gone    chan struct{} // closed when the goroutine has returned
	dirs    map[string]os.FileInfo
}

func (w *watch) check(paths ...string) {
	names := map[string]bool{}
	dirs := map[string]os.FileInfo{}
	for _, p := range paths {
		dir, name := nearest(p)
		fi, err := os.Stat(dir)
		if err != nil {
			continue
		}
		dirs[dir] = fi
		names[dir], names[filepath.Join(dir, name)] = true, true
	}
	// Names first: an event between Add and the new names would be dropped.
	w.set <- names
	alive := w.w.WatchList() // the kernel drops the watch of a removed directory
	for dir, old := range w.dirs {
		switch fi, ok := dirs[dir]; {
		case !slices.Contains(alive, dir):
			delete(w.dirs, dir)
		case !ok || !os.SameFile(fi, old): // moved away, and the watch with it
			_ = w.w.Remove(dir) // fails when the kernel was quicker
			delete(w.dirs, dir)
		}
	}
	for dir, fi := range dirs {
		if _, ok := w.dirs[dir]; !ok && w.w.Add(dir) == nil {
			w.dirs[dir] = fi
		}
	}
}

// nearest returns the first directory above a path that exists, and what is looked for in it. Links are followed:
// /var/run is /run.
func nearest(path string) (dir, name string) {
	for {
		above := filepath.Dir(path)
		if dir, err := filepath.EvalSymlinks(above); err == nil || above == path {
			return dir, filepath.Base(path)
		}
		path = above
	}
}

func (w *watch) close() {
	w.w.Close()
	<-w.gone
}

func (w *watch) run() {
	defer close(w.gone)
	var names map[string]bool
	for {
		select {
		case names = <-w.set:
		case ev, ok := <-w.w.Events:
			if !ok {
				return
			}
			if names[filepath.Clean(ev.Name)] {
				w.changed.Send()
			}
		case _, ok := <-w.w.Errors:
			if !ok {
				return
			}
			w.changed.Send() // events were lost, so anything may have changed
		}
	}
}
