package main

import (
	"fmt"
	"log/slog"
	"os"
	"reflect"
	"runtime/debug"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"xl2tpd-keepalive/internal/procfs"
)

// afterStart is when most of the memory that the start has needed is not needed any more.
const afterStart = 5 * time.Second

// giveBack gives back what only the start has needed.
func giveBack(log *slog.Logger) {
	debug.FreeOSMemory()
	if err := unmapProgram(); err != nil {
		log.Debug("the pages of the program stay resident", "err", err)
	}
}

// unmapProgram gives back the pages of the program's own file. Most of them are needed at the start alone. What is
// used again the kernel maps again, from the page cache.
func unmapProgram() error {
	maps, err := procfs.ReadFile("/proc/self/maps")
	if err != nil {
		return err
	}
	for _, m := range programMappings(string(maps), reflect.ValueOf(unmapProgram).Pointer()) {
		if _, _, errno := unix.Syscall(unix.SYS_MADVISE, m.start, m.end-m.start, unix.MADV_DONTNEED); errno != 0 {
			return os.NewSyscallError("madvise", errno)
		}
	}
	return nil
}

type mapping struct{ start, end uintptr }

// programMappings returns the read-only mappings of the file that has the code at an address (proc(5), /proc/pid/maps).
func programMappings(maps string, code uintptr) []mapping {
	all := map[string][]mapping{} // by device and inode
	program := ""
	for line := range strings.Lines(maps) {
		var m mapping
		var perms, offset, device, inode string
		if n, _ := fmt.Sscanf(line, "%x-%x %s %s %s %s", &m.start, &m.end, &perms, &offset, &device, &inode); n < 6 || inode == "0" {
			continue
		}
		file := device + " " + inode
		if m.start <= code && code < m.end {
			program = file
		}
		if perms == "r--p" || perms == "r-xp" {
			all[file] = append(all[file], m)
		}
	}
	return all[program]
}
