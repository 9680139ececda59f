package ppp

import (
	"io/fs"
	"net/netip"
	"path"
	"strconv"
	"strings"
	"time"

	"xl2tpd-keepalive/internal/procfs"
)

// pppdFinder finds the pppd of each PPP device, from pppd's pid files and /proc.
type pppdFinder struct {
	root fs.FS // the host's root directory
	// known maps device indexes to the processes found so far. A device that is
	// renamed keeps its pppd, and the pid file keeps the old name.
	known map[int]pppd
	boot  time.Time // of the host, in the look under way; zero: not read yet
}

// pppd is a pppd that runs.
type pppd struct {
	procfs.ID
	parent     int
	parentName string
	started    time.Time
	args       arguments
}

// ofXl2tpd reports whether the pppd's parent is an xl2tpd.
func (p pppd) ofXl2tpd() bool { return p.parentName == "xl2tpd" }

// arguments are the pppd arguments that identify its tunnel.
type arguments struct {
	optFile string
	ipparam netip.Addr
	tty     string
}

// find returns the pppds that run the devices, by index. One may be missing because
// its pid file is not written yet.
func (f *pppdFinder) find(devices []device) map[int]pppd {
	found := make(map[int]pppd, len(devices))
	f.boot = time.Time{}
	for _, d := range devices {
		old, ok := f.known[d.index]
		var p pppd
		if ok { // while that pppd lives it owns the device, and its pid file need not be read again
			p, ok = f.process(old.Pid, old)
			ok = ok && p.ID == old.ID
		}
		if !ok {
			p, ok = f.readPidFile(d.name)
		}
		if ok {
			found[d.index] = p
		}
	}
	f.known = found
	return found
}

// readPidFile returns the pppd that the device's pid file names.
func (f *pppdFinder) readPidFile(device string) (pppd, bool) {
	for _, dir := range []string{"run", "var/run", "run/pppd", "var/run/pppd"} { // pppd 2.5 may be built for these
		b, err := fs.ReadFile(f.root, path.Join(dir, device+".pid"))
		if err != nil {
			continue
		}
		pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
		if err != nil {
			continue
		}
		if p, ok := f.process(pid, pppd{}); ok {
			return p, true
		}
	}
	return pppd{}, false
}

// process reads a live pppd from /proc. A pid file outlives a killed pppd, so a
// zombie and another program with that pid do not count. old is the process as it
// was read before; only its parent can have changed.
func (f *pppdFinder) process(pid int, old pppd) (pppd, bool) {
	dir := path.Join("proc", strconv.Itoa(pid))
	b, err := fs.ReadFile(f.root, path.Join(dir, "stat"))
	if err != nil {
		return pppd{}, false
	}
	s, err := procfs.ParseStat(b)
	if err != nil || s.Name != "pppd" || s.Dead() {
		return pppd{}, false
	}
	id := procfs.ID{Pid: pid, Start: s.Ticks}
	same := old.ID == id
	if same && old.parent == s.Parent {
		return old, true
	}
	if !same && !f.sameNetwork(pid) {
		return pppd{}, false
	}
	p := pppd{ID: id, parent: s.Parent}
	if b, err = fs.ReadFile(f.root, path.Join("proc", strconv.Itoa(s.Parent), "comm")); err == nil {
		p.parentName = strings.TrimSpace(string(b))
	}
	if b, err = fs.ReadFile(f.root, path.Join(dir, "cmdline")); err != nil {
		return pppd{}, false
	}
	p.args = parseArguments(b)
	if p.started = old.started; !same { // the time of boot moves when the clock is set
		p.started = f.startTime(s.Ticks)
	}
	return p, true
}

// sameNetwork reports whether a process is in this network namespace, as far as is known. Another namespace may have a
// device of the same name and share /run with this host.
func (f *pppdFinder) sameNetwork(pid int) bool {
	stat := func(name string) (fs.FileInfo, error) { return fs.Stat(f.root, name) }
	same, known := procfs.SameNetwork(stat, "proc", pid)
	return same || !known
}

// startTime returns the time that is that many ticks after boot; zero: the time of boot is unknown.
func (f *pppdFinder) startTime(ticks uint64) time.Time {
	if f.boot.IsZero() {
		b, err := fs.ReadFile(f.root, "proc/stat")
		if err != nil {
			return time.Time{}
		}
		var ok bool
		if f.boot, ok = procfs.BootTime(b); !ok {
			return time.Time{}
		}
	}
	return f.boot.Add(time.Duration(ticks) * procfs.Tick)
}

// parseArguments reads /proc/PID/cmdline of a pppd that xl2tpd has started.
func parseArguments(cmdline []byte) (a arguments) {
	var args []string
	if len(cmdline) > 0 {
		args = strings.Split(strings.TrimSuffix(string(cmdline), "\x00"), "\x00")[1:]
	}
	for len(args) > 0 {
		arg, value := args[0], ""
		args = args[1:]
		// xl2tpd passes these options with a value. The value is never taken for
		// an option, even if it looks like one.
		switch arg {
		case "file", "ipparam", "name", "plugin", "passwordfd",
			"pppol2tp", "pppol2tp_tunnel_id", "pppol2tp_session_id":
			if len(args) == 0 {
				return a
			}
			value, args = args[0], args[1:]
		}
		switch {
		case arg == "file":
			a.optFile = value
		case arg == "ipparam":
			a.ipparam, _ = netip.ParseAddr(value)
		case strings.HasPrefix(arg, "/dev/"):
			a.tty = arg
		}
	}
	return a
}
