package xl2tpd

import (
	"cmp"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"xl2tpd-keepalive/proc"
)

// process is one running xl2tpd.
type process struct {
	pid   int
	ppid  int
	start uint64 // clock ticks since boot; with pid, names the process for good
	conf  string // what its -c says, or DefaultConfPath
}

// findProcess returns the xl2tpd to watch, or ok = false.
//
// It has to be in our own network namespace. The daemon of the pid files wins.
// When they are missing or stale, any process called xl2tpd will do, the one
// that reads our file first, then the oldest. Left out are those whose file lies under /run:
// NetworkManager writes /run/nm-l2tp-UUID/xl2tpd.conf and starts an own xl2tpd
// per connection, dials through it and tears it down by itself.
//
// want is the file we were told to read, "" when we follow the daemon.
func findProcess(procRoot string, pidPaths []string, want string) (process, bool) {
	for _, path := range pidPaths {
		b, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		if p, ok := readProcess(procRoot, atoi(string(b))); ok && sameNet(procRoot, p.pid) {
			return p, true
		}
	}
	found := slices.DeleteFunc(processes(procRoot), func(p process) bool { return transient(p.conf) })
	if len(found) == 0 {
		return process{}, false
	}
	want = cmp.Or(want, DefaultConfPath)
	return slices.MinFunc(found, func(a, b process) int {
		if (a.conf == want) != (b.conf == want) {
			if a.conf == want {
				return -1
			}
			return 1
		}
		return cmp.Or(cmp.Compare(a.start, b.start), cmp.Compare(a.pid, b.pid))
	}), true
}

// processes returns every xl2tpd of this network namespace.
func processes(procRoot string) []process {
	entries, err := os.ReadDir(procRoot)
	if err != nil {
		return nil
	}
	all := map[int]process{}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if p, ok := readProcess(procRoot, pid); ok && sameNet(procRoot, pid) {
			all[pid] = p
		}
	}
	var found []process
	for _, p := range all {
		// Between fork and exec a pppd still bears xl2tpd's name.
		if _, child := all[p.ppid]; !child {
			found = append(found, p)
		}
	}
	return found
}

// readProcess tells whether pid is a living process called xl2tpd, and root's or our own
// user's: what another user calls so is none. All it reads is open to any user, so it works
// without CAP_SYS_PTRACE.
func readProcess(procRoot string, pid int) (process, bool) {
	if pid <= 0 {
		return process{}, false
	}
	dir := filepath.Join(procRoot, strconv.Itoa(pid))
	b, err := os.ReadFile(filepath.Join(dir, "stat"))
	if err != nil {
		return process{}, false
	}
	s, err := proc.ParseStat(b)
	if err != nil || s.Name != "xl2tpd" || s.Dead() {
		return process{}, false
	}
	if b, err = os.ReadFile(filepath.Join(dir, "status")); err != nil {
		return process{}, false
	}
	if uid, err := proc.User(b); err != nil || uid != 0 && uid != os.Getuid() {
		return process{}, false
	}
	p := process{pid: pid, ppid: s.Parent, start: s.Ticks, conf: DefaultConfPath}
	b, err = os.ReadFile(filepath.Join(dir, "cmdline"))
	if err != nil {
		return process{}, false
	}
	args := strings.Split(string(b), "\x00")
	// The shell that runs /etc/init.d/xl2tpd bears the name too.
	if filepath.Base(args[0]) != "xl2tpd" {
		return process{}, false
	}
	for i := 1; i+1 < len(args); i++ {
		if strings.HasPrefix(args[i], "-c") { // xl2tpd looks at two characters
			p.conf = args[i+1]
		}
	}
	return p, true
}

// sameNet compares a file that each network namespace has of its own: a look
// at /proc/PID/ns/net would take CAP_SYS_PTRACE.
func sameNet(procRoot string, pid int) bool {
	a, err1 := os.Stat(filepath.Join(procRoot, "self/net/dev"))
	b, err2 := os.Stat(filepath.Join(procRoot, strconv.Itoa(pid), "net/dev"))
	return err1 == nil && err2 == nil && os.SameFile(a, b)
}

func transient(path string) bool {
	return strings.HasPrefix(path, "/run/") || strings.HasPrefix(path, "/var/run/")
}

// exit is a wait for a process to end.
type exit struct {
	C    <-chan struct{} // closed when it has ended
	stop func()
}

func waitExit(pid int) (*exit, error) {
	ended := make(chan struct{})
	stop, err := proc.OnExit(pid, func() { close(ended) })
	if err != nil {
		return nil, err
	}
	return &exit{ended, stop}, nil
}
