package xl2tpd

import (
	"cmp"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"xl2tpd-keepalive/proc"
)

// Daemon is one running xl2tpd, whoever has started it.
type Daemon struct {
	proc.ID
	Cgroup uint32 // see CgroupID; 0: not known
	Conf   *Conf  // what its file says now; nil: it can't be read
}

// Daemons returns every xl2tpd of this network namespace, NetworkManager's too, by pid.
func Daemons() []Daemon {
	var all []Daemon
	p := theProcs()
	for _, x := range p.local() {
		all = append(all, Daemon{
			ID:     x.ID,
			Cgroup: cgroupOf(os.DirFS("/proc"), cgroupMounts[:], x.Pid),
			Conf:   p.confOf(x),
		})
	}
	slices.SortFunc(all, func(a, b Daemon) int { return cmp.Compare(a.Pid, b.Pid) })
	return all
}

// confOf reads a process's file, which may have changed since the process read it. A
// relative path counts from a folder that only root may know.
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

// CgroupID shortens the number that the kernel gives a cgroup: on a 32-bit kernel an inode
// number has no more bits.
func CgroupID(id uint64) uint32 { return uint32(id) }

// cgroupMounts are where systemd mounts the second version's hierarchy: alone, or beside
// those of the first.
var cgroupMounts = [...]string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"}

// cgroupOf returns the number of a process's cgroup, which is the inode number of its
// folder; 0: not known.
func cgroupOf(procs fs.FS, mounts []string, pid int) uint32 {
	b, err := fs.ReadFile(procs, strconv.Itoa(pid)+"/cgroup")
	if err != nil {
		return 0
	}
	path, ok := cgroupPath(string(b), "")
	if !ok {
		return 0
	}
	for _, mount := range mounts {
		var kind unix.Statfs_t
		if unix.Statfs(mount, &kind) != nil || kind.Type != unix.CGROUP2_SUPER_MAGIC {
			continue
		}
		info, err := os.Stat(filepath.Join(mount, path))
		if err != nil {
			return 0
		}
		return CgroupID(info.Sys().(*syscall.Stat_t).Ino)
	}
	return 0
}
