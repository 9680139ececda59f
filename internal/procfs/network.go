package procfs

import (
	"io/fs"
	"path"
	"strconv"
	"syscall"
)

// SameNetwork reports whether a process is in this process's network namespace. Each namespace has its own
// /proc/PID/net/dev; reading /proc/PID/ns/net would take CAP_SYS_PTRACE. known is false if this process's file can't be
// found.
func SameNetwork(stat func(name string) (fs.FileInfo, error), proc string, pid int) (same, known bool) {
	own, known := inodeOf(stat, path.Join(proc, "self/net/dev"))
	other, ok := inodeOf(stat, path.Join(proc, strconv.Itoa(pid), "net/dev"))
	return known && ok && own == other, known
}

type inode struct{ device, number uint64 }

func inodeOf(stat func(name string) (fs.FileInfo, error), name string) (inode, bool) {
	info, err := stat(name)
	if err != nil {
		return inode{}, false
	}
	s, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return inode{}, false
	}
	return inode{uint64(s.Dev), s.Ino}, true // Dev has 32 bits on some machines
}
