package doctor

import (
	"os"
	"strconv"
	"strings"
	"time"

	"xl2tpd-keepalive/internal/message"
	"xl2tpd-keepalive/internal/procfs"
	"xl2tpd-keepalive/internal/xl2tpd"
)

const (
	ticks = 100             // a second, in which the kernel counts (USER_HZ)
	slack = 2 * time.Second // the kernel gives the time of its boot in whole seconds
)

// stale finds a file that was written after the start of its xl2tpd, which is when xl2tpd reads it. The other checks are
// about the file. xl2tpd can't be asked for its settings, and a file may be written again as it was.
func (e *checker) stale(n int, i xl2tpd.Instance) []Finding {
	start := e.started(i.Process)
	info, err := os.Stat(e.path(i.Path))
	if err != nil || start.IsZero() || i.Conf == nil || i.NetworkManager() || info.ModTime().Before(start.Add(slack)) {
		return nil
	}
	return []Finding{note("xl2tpd.conf", e.names[n],
		message.Sprintf("%s was written after xl2tpd started: what it says may not be in force yet", i.Path), whenIdle(e.restart(i)))}
}

// started returns when a process started; zero: not known.
func (e *checker) started(id procfs.ID) time.Time {
	_, rest, _ := strings.Cut("\n"+e.read("/proc/stat"), "\nbtime ")
	line, _, _ := strings.Cut(rest, "\n")
	boot, err := strconv.ParseInt(line, 10, 64)
	if err != nil || id.Start == 0 {
		return time.Time{}
	}
	return time.Unix(boot, 0).Add(time.Duration(id.Start) * (time.Second / ticks))
}
