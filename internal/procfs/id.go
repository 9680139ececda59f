package procfs

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// ID identifies a process: another process may get the same pid, but not with the same start. The
// zero ID is no process.
type ID struct {
	Pid   int
	Start uint64 `json:"Started"` // clock ticks from boot to its start; saved states have the other name
}

// String returns the form that files use; empty: no process.
func (id ID) String() string {
	if id == (ID{}) {
		return ""
	}
	return fmt.Sprintf("%d %d", id.Pid, id.Start)
}

// ParseID reads what String returns.
func ParseID(s string) (id ID, err error) {
	if s == "" {
		return ID{}, nil
	}
	if _, err := fmt.Sscanf(s, "%d %d", &id.Pid, &id.Start); err != nil || id.String() != s {
		return ID{}, fmt.Errorf("%q does not name a process", s)
	}
	return id, nil
}

// Gone reports whether the process has certainly ended.
func (id ID) Gone() bool {
	if unix.Kill(id.Pid, 0) == unix.ESRCH {
		return true
	}
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", id.Pid))
	if err != nil {
		return false // the process may be hidden from this user
	}
	s, err := ParseStat(b)
	return err == nil && (s.Dead() || s.Ticks != id.Start)
}
