package xl2tpd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"xl2tpd-keepalive/internal/procfs"
)

const (
	// DefaultConfPath is the file xl2tpd reads unless started with -c.
	DefaultConfPath = "/etc/xl2tpd/xl2tpd.conf"

	// OldConfPath is the file it reads instead if there is no other (file.c, init_config).
	OldConfPath = "/etc/l2tp/l2tpd.conf"

	// DefaultPipe is the control pipe xl2tpd makes unless started with -C.
	DefaultPipe = "/run/xl2tpd/l2tp-control"

	defaultPidFile = "/run/xl2tpd.pid"

	// maxPath is how much of a path xl2tpd keeps: STRLEN (file.h) less the NUL.
	maxPath = 99
)

// process is one running xl2tpd.
type process struct {
	procfs.ID
	parent  int
	conf    string // configuration file; may be relative to the working directory
	pipe    string // control pipe, likewise
	pidFile string // likewise
}

// procs finds every xl2tpd in a /proc. Any user may read what it needs, so it works without
// CAP_SYS_PTRACE.
type procs struct {
	root    string
	unitDir func(ctx context.Context, unit string) (string, error)
}

// theProcs is this host's /proc.
func theProcs() procs { return procs{root: "/proc", unitDir: unitWorkingDir} }

func (p procs) file(pid int, name string) string {
	return filepath.Join(p.root, strconv.Itoa(pid), name)
}

// all returns every xl2tpd, in the order of their starts.
func (p procs) all() []process {
	dir, err := os.Open(p.root)
	if err != nil {
		return nil
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil
	}
	named := map[int]process{}
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		if x, ok := p.read(pid); ok {
			named[pid] = x
		}
	}
	var found []process
	for _, x := range named {
		// Between fork and exec a pppd still has xl2tpd's name.
		if _, child := named[x.parent]; !child {
			found = append(found, x)
		}
	}
	slices.SortFunc(found, byStart)
	return found
}

// local returns every xl2tpd of this network namespace.
func (p procs) local() []process {
	return slices.DeleteFunc(p.all(), func(x process) bool { return !p.sameNetwork(x.Pid) })
}

func byStart(a, b process) int {
	return cmp.Or(cmp.Compare(a.Start, b.Start), cmp.Compare(a.Pid, b.Pid))
}

func (p procs) sameNetwork(pid int) bool {
	same, _ := procfs.SameNetwork(os.Stat, p.root, pid)
	return same
}

// alive reports whether the process still runs as xl2tpd.
func (p procs) alive(id procfs.ID) bool {
	s, ok := p.stat(id.Pid)
	return ok && s.Ticks == id.Start
}

// stat returns the state of a live process called xl2tpd; ok is false if there is none.
func (p procs) stat(pid int) (procfs.Stat, bool) {
	s, ok := p.anyStat(pid)
	return s, ok && s.Name == "xl2tpd" && !s.Dead()
}

func (p procs) anyStat(pid int) (procfs.Stat, bool) {
	b, err := procfs.ReadFile(p.file(pid, "stat"))
	if err != nil {
		return procfs.Stat{}, false
	}
	s, err := procfs.ParseStat(b)
	return s, err == nil
}

// read returns a live process called xl2tpd of root or of this process's user. Other users may give
// any program that name.
func (p procs) read(pid int) (process, bool) {
	if pid <= 0 || !p.called(pid) {
		return process{}, false
	}
	s, ok := p.stat(pid)
	if !ok {
		return process{}, false
	}
	b, err := procfs.ReadFile(p.file(pid, "status"))
	if err != nil {
		return process{}, false
	}
	if uid, err := procfs.User(b); err != nil || uid != 0 && uid != os.Getuid() {
		return process{}, false
	}
	b, err = procfs.ReadFile(p.file(pid, "cmdline"))
	if err != nil {
		return process{}, false
	}
	args := strings.Split(strings.TrimSuffix(string(b), "\x00"), "\x00")
	// The shell that runs /etc/init.d/xl2tpd has the name too.
	if filepath.Base(args[0]) != "xl2tpd" {
		return process{}, false
	}
	x := parseArgs(args[1:])
	x.ID, x.parent = procfs.ID{Pid: pid, Start: s.Ticks}, s.Parent
	return x, true
}

// called reports whether a process has xl2tpd's name. The search asks this of every process of the
// host, and `comm` costs the kernel a third of what `stat` does.
func (p procs) called(pid int) bool {
	fd, err := unix.Open(p.file(pid, "comm"), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	var name [16]byte // TASK_COMM_LEN
	n, err := unix.Read(fd, name[:])
	return err == nil && string(name[:n]) == "xl2tpd\n"
}

// parseArgs reads a command line as xl2tpd does (xl2tpd.c, init_args). xl2tpd compares two characters
// of an option, and takes the next argument for its value.
func parseArgs(args []string) process {
	x := process{conf: DefaultConfPath, pipe: DefaultPipe, pidFile: defaultPidFile}
	for len(args) > 0 {
		var value string
		option := args[0][:min(2, len(args[0]))]
		args = args[1:]
		if slices.Contains([]string{"-c", "-C", "-p", "-s", "-q"}, option) && len(args) > 0 {
			value, args = args[0][:min(maxPath, len(args[0]))], args[1:]
		}
		switch {
		case value == "":
		case option == "-c":
			x.conf = value
		case option == "-C":
			x.pipe = value
		case option == "-p":
			x.pidFile = value
		}
	}
	return x
}

// errNoDir is the error when a process's working directory is not known.
var errNoDir = errors.New("no systemd unit runs it, and only root may see its folder")

// locate makes a process's paths absolute. On an error, relative paths stay relative.
func (p procs) locate(ctx context.Context, x process) (process, error) {
	var dir string
	var err error
	if !filepath.IsAbs(x.conf) || !filepath.IsAbs(x.pipe) {
		dir, err = p.workingDir(ctx, x.Pid)
	}
	x.conf, x.pipe, x.pidFile = from(dir, x.conf), from(dir, x.pipe), from(dir, x.pidFile)
	return x, err
}

// workingDir returns a process's working directory. xl2tpd never changes the one that it was started
// in. Only root may read it from /proc; systemd reports the one in which it starts a unit.
func (p procs) workingDir(ctx context.Context, pid int) (string, error) {
	if dir, err := os.Readlink(p.file(pid, "cwd")); err == nil && filepath.IsAbs(dir) {
		return dir, nil
	}
	unit := p.unit(pid)
	if unit == "" {
		return "", errNoDir
	}
	dir, err := p.unitDir(ctx, unit)
	if err != nil {
		return "", fmt.Errorf("WorkingDirectory of %s: %w", unit, err)
	}
	return dir, nil
}

// from makes a path that is relative to dir absolute; with an empty dir a relative path stays.
func from(dir, path string) string {
	if dir == "" && !filepath.IsAbs(path) {
		return path
	}
	if !filepath.IsAbs(path) {
		path = filepath.Join(dir, path)
	}
	return normal(path)
}

// normal returns one spelling for an absolute path: /var/run is a link to /run.
func normal(path string) string {
	path = filepath.Clean(path)
	if rest, ok := strings.CutPrefix(path, "/var/run/"); ok {
		return "/run/" + rest
	}
	return path
}
