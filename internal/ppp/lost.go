package ppp

import (
	"io/fs"
	"slices"
	"strconv"
	"time"
)

// lost returns the pids of xl2tpd's pppds in this network namespace that run none of the devices
// whose owners are known: their pid files can't be seen from here.
func (o *owners) lost(now time.Time) []int {
	entries, err := fs.ReadDir(o.root, "proc")
	if err != nil {
		return nil
	}
	placed := map[int]bool{}
	for _, p := range o.known {
		placed[p.pid] = true
	}
	o.boot = time.Time{}
	var all []int
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil || placed[pid] {
			continue
		}
		if p, ok := o.process(pid, process{}); ok && p.belongs() && now.Sub(p.started) >= strangerTime {
			all = append(all, pid)
		}
	}
	slices.Sort(all)
	return all
}

// findLost looks for the pppds of devices that have had no owner for some time. Such devices may
// be another program's, and there may be many: all of /proc is searched now and then only.
func (l *loop) findLost(now time.Time) {
	waiting := false
	for _, seen := range l.strangers {
		waiting = waiting || now.Sub(seen) >= strangerTime
	}
	switch {
	case !waiting:
		l.lost, l.searched = nil, time.Time{}
	case now.Sub(l.searched) >= resync:
		l.lost, l.searched = l.search(now), now
	}
}
