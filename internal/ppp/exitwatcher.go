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
func (p *exitWatcher) follow(links []Link) {
	old := p.stops
	p.stops = make(map[int]func())
	for _, l := range links {
		pid := l.Xl2tpdPid
		if p.stops[pid] != nil {
			continue
		}
		if stop := old[pid]; stop != nil {
			p.stops[pid] = stop
			delete(old, pid)
			continue
		}
		stop, err := procfs.OnExit(pid, p.hint)
		if errors.Is(err, unix.ESRCH) {
			p.hint()
		}
		if err == nil { // else the next slow look finds out
			p.stops[pid] = stop
		}
	}
	for _, stop := range old {
		stop()
	}
}

// close stops following.
func (p *exitWatcher) close() { p.follow(nil) }
