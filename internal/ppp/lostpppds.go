package ppp

import (
	"io/fs"
	"slices"
	"strconv"
	"time"
)

// lost returns the pids of xl2tpd's pppds in this network namespace whose device is not known: the
// service cannot see their pid files.
func (f *pppdFinder) lost(now time.Time) []int {
	entries, err := fs.ReadDir(f.root, "proc")
	if err != nil {
		return nil
	}
	placed := map[int]bool{}
	for _, p := range f.known {
		placed[p.Pid] = true
	}
	f.boot = time.Time{}
	var all []int
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil || placed[pid] {
			continue
		}
		if p, ok := f.process(pid, pppd{}); ok && p.ofXl2tpd() && now.Sub(p.started) >= unownedTime {
			all = append(all, pid)
		}
	}
	slices.Sort(all)
	return all
}

// findLost looks for the pppds of devices that have had no known pppd for unownedTime. Such devices
// may belong to another program, and there may be many, so findLost searches /proc once per resync.
func (l *loop) findLost(now time.Time) {
	waiting := false
	for _, seen := range l.unowned {
		waiting = waiting || now.Sub(seen) >= unownedTime
	}
	switch {
	case !waiting:
		l.lost, l.searched = nil, time.Time{}
	case now.Sub(l.searched) >= resync:
		l.lost, l.searched = l.findPppds(now), now
	}
}
