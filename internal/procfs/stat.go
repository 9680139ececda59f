// Package procfs reads /proc and reports when a process ends.
package procfs

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Stat is part of /proc/PID/stat, which any user may read.
type Stat struct {
	Name   string
	State  byte
	Parent int
	Ticks  uint64 // start, as ticks since boot: with the pid, its identity
}

// Dead reports whether the process has ended: it is a zombie, or about to vanish.
func (s Stat) Dead() bool { return s.State == 'Z' || s.State == 'X' }

// Tick is the unit of times in /proc (USER_HZ).
const Tick = 10 * time.Millisecond

// BootTime returns when the host booted, from /proc/stat. It is in whole seconds, and changes when the clock is set.
func BootTime(stat []byte) (at time.Time, ok bool) {
	for line := range strings.Lines(string(stat)) {
		if v, is := strings.CutPrefix(line, "btime "); is {
			sec, err := strconv.ParseInt(strings.TrimSpace(v), 10, 64)
			return time.Unix(sec, 0), err == nil
		}
	}
	return time.Time{}, false
}

// User returns the real user id of a process, from its /proc/PID/status. The owner of /proc/PID is
// no substitute: it differs for a setuid program, and for one that is not dumpable.
func User(status []byte) (uid int, err error) {
	f := strings.Fields(Field(string(status), "Uid"))
	if len(f) == 0 {
		return 0, errors.New("no user in the status of the process")
	}
	return strconv.Atoi(f[0])
}

// Field returns the value of a line of /proc/PID/status; empty: there is no such line.
func Field(status, name string) string {
	for line := range strings.Lines(status) {
		if v, is := strings.CutPrefix(line, name+":"); is {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

// ParseStat reads a /proc/PID/stat, see proc_pid_stat(5). The name may contain
// anything, also spaces and parentheses: the last ")" ends it.
func ParseStat(b []byte) (Stat, error) {
	open, end := bytes.IndexByte(b, '('), bytes.LastIndexByte(b, ')')
	if open < 0 || end < open {
		return Stat{}, fmt.Errorf("no name in %q", b)
	}
	// f[0] is field 3, the state.
	f := strings.Fields(string(b[end+1:]))
	if len(f) < 20 {
		return Stat{}, fmt.Errorf("%d fields after the name in %q", len(f), b)
	}
	parent, err := strconv.Atoi(f[4-3])
	if err != nil {
		return Stat{}, fmt.Errorf("parent: %w", err)
	}
	ticks, err := strconv.ParseUint(f[22-3], 10, 63)
	if err != nil {
		return Stat{}, fmt.Errorf("start: %w", err)
	}
	return Stat{Name: string(b[open+1 : end]), State: f[0][0], Parent: parent, Ticks: ticks}, nil
}
