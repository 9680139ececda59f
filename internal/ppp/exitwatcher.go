package ppp

import (
	"errors"

	"golang.org/x/sys/unix"

	"xl2tpd-keepalive/internal/procfs"
)

// exitWatcher hints when an xl2tpd has ended. Its pppds may run on for a long time
// with their devices unchanged, so no other source reports the end.
type exitWatcher struct {
	hint  func()
	stops map[int]func() // by process
}

// follow waits for the ends of the xl2tpds of these links, and of no others.
func (w *exitWatcher) follow(links []Link) {
	old := w.stops
	w.stops = make(map[int]func())
	for _, l := range links {
		pid := l.Xl2tpdPid
		if w.stops[pid] != nil {
			continue
		}
		if stop := old[pid]; stop != nil {
			w.stops[pid] = stop
			delete(old, pid)
			continue
		}
		stop, err := procfs.OnExit(pid, w.hint)
		if errors.Is(err, unix.ESRCH) {
			w.hint()
		}
		if err == nil { // else the next slow look finds out
			w.stops[pid] = stop
		}
	}
	for _, stop := range old {
		stop()
	}
}

// close stops following.
func (w *exitWatcher) close() { w.follow(nil) }
