package procfs

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// ID names a process: another one may get its pid, but not its start as well. The zero
// ID names none.
type ID struct {
	Pid   int
	Start uint64 `json:"Started"` // clock ticks from boot to its start; saved states have the other name
}

// String is the form in which files keep an ID; empty: none.
func (id ID) String() string {
	if id == (ID{}) {
		return ""
	}
	return fmt.Sprintf("%d %d", id.Pid, id.Start)
}

// ParseID reads what String has written.
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
