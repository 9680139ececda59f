package xl2tpd

import (
	"path/filepath"
	"strings"
	"time"

	"xl2tpd-keepalive/internal/procfs"
)

// searchAtLeast is the longest time between two searches through all of /proc.
const searchAtLeast = time.Minute

// forks says whether an xl2tpd may have been started since the last search through /proc. A search on a host with a
// hundred processes takes 300 system calls, and reading the latest pid takes four.
type forks struct {
	latest string // pid
	forked bool   // it was another one at the look before
}

// possible takes the latest pid, and the time since the last search. A process may have called fork before that search
// and exec after it, so there is another search after the next look. A process may also wait for longer before it
// calls exec, and nothing else may be started meanwhile. Therefore there is a search at least every minute.
func (f *forks) possible(latest string, age time.Duration) bool {
	is := latest == "" || latest != f.latest
	was := f.forked
	f.latest, f.forked = latest, is
	return is || was || age >= searchAtLeast
}

// latestPid returns the pid of the latest process in this pid namespace (proc(5), /proc/loadavg); empty: not known.
func (p procs) latestPid() string {
	text, err := procfs.ReadFile(filepath.Join(p.root, "loadavg"))
	fields := strings.Fields(string(text))
	if err != nil || len(fields) < 5 {
		return ""
	}
	return fields[4]
}
