package xl2tpd

import (
	"cmp"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"xl2tpd-keepalive/internal/procfs"
)

// Daemon is one running xl2tpd, no matter who has started it.
type Daemon struct {
	procfs.ID
	Cgroup uint32 // see procfs.CgroupID; 0: not known
	Alone  bool   // its cgroup holds only it and its descendants; not checked if its file names its port
	Conf   *Conf  // its file as of now; nil: it can't be read
}

// Daemons returns every xl2tpd of this network namespace, NetworkManager's too, by pid.
func Daemons() []Daemon {
	var all []Daemon
	p := theProcs()
	for _, x := range p.local() {
		d := Daemon{ID: x.ID, Conf: p.confOf(x)}
		if folder, id := cgroupOf(os.DirFS("/proc"), cgroupMounts[:], x.Pid); id != 0 {
			d.Cgroup = id
			d.Alone = (d.Conf == nil || d.Conf.Port == 0) && p.alone(folder, x.Pid)
		}
		all = append(all, d)
	}
	slices.SortFunc(all, func(a, b Daemon) int { return cmp.Compare(a.Pid, b.Pid) })
	return all
}

// confOf reads a process's file, which may have changed since the process read it. A relative path
// is relative to the working directory, which only root may know.
func (p procs) confOf(x process) *Conf {
	path := normal(x.conf)
	if !filepath.IsAbs(path) || !p.sameFile(strconv.Itoa(x.Pid), path) {
		return nil
	}
	c, err := ReadConf(path)
	if err != nil {
		return nil
	}
	return c
}

// cgroupMounts are where systemd mounts the cgroup v2 hierarchy: alone, or beside those of v1.
var cgroupMounts = [...]string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"}

// cgroupOf returns a process's cgroup: its folder, and its number, which is the inode number of
// the folder; 0: not known.
func cgroupOf(procs fs.FS, mounts []string, pid int) (folder string, id uint32) {
	b, err := fs.ReadFile(procs, strconv.Itoa(pid)+"/cgroup")
	if err != nil {
		return "", 0
	}
	path, ok := cgroupPath(string(b), "")
	if !ok {
		return "", 0
	}
	for _, mount := range mounts {
		var kind unix.Statfs_t
		if unix.Statfs(mount, &kind) != nil || kind.Type != unix.CGROUP2_SUPER_MAGIC {
			continue
		}
		folder = filepath.Join(mount, path)
		info, err := os.Stat(folder)
		if err != nil {
			return "", 0
		}
		return folder, procfs.CgroupID(info.Sys().(*syscall.Stat_t).Ino)
	}
	return "", 0
}

// alone reports whether the cgroup with that folder holds only this process and its descendants. Any
// user may read cgroup.procs (Documentation/admin-guide/cgroup-v2.rst of Linux).
func (p procs) alone(folder string, pid int) bool {
	b, err := os.ReadFile(filepath.Join(folder, "cgroup.procs"))
	if err != nil {
		return false
	}
	for member := range strings.FieldsSeq(string(b)) {
		other, err := strconv.Atoi(member)
		if err != nil || !p.descends(other, pid) {
			return false
		}
	}
	return true
}

// descends reports whether a process is from, or a descendant of from.
func (p procs) descends(pid, from int) bool {
	for pid > 1 && pid != from {
		s, ok := p.anyStat(pid)
		if !ok {
			return false
		}
		pid = s.Parent
	}
	return pid == from
}
