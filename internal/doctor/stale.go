package doctor

import (
	"os"
	"time"

	"xl2tpd-keepalive/internal/message"
	"xl2tpd-keepalive/internal/procfs"
	"xl2tpd-keepalive/internal/xl2tpd"
)

const slack = 2 * time.Second // the kernel gives the time of its boot in whole seconds

// stale finds a file that was written after the start of its xl2tpd, which is when xl2tpd reads it. The other checks are
// about the file. xl2tpd can't be asked for its settings, and a file may be written again as it was.
func (c *checker) stale(n int, i xl2tpd.Instance) []Finding {
	start := c.started(i.Process)
	info, err := os.Stat(c.path(i.Path))
	if err != nil || start.IsZero() || i.Conf == nil || i.NetworkManager() || info.ModTime().Before(start.Add(slack)) {
		return nil
	}
	return []Finding{note("xl2tpd.conf", c.names[n],
		message.Sprintf("%s was written after xl2tpd started: what it says may not be in force yet", i.Path), whenIdle(c.restart(i)))}
}

// started returns when a process started; zero: not known.
func (c *checker) started(id procfs.ID) time.Time {
	boot, ok := procfs.BootTime([]byte(c.read("/proc/stat")))
	if !ok || id.Start == 0 {
		return time.Time{}
	}
	return boot.Add(time.Duration(id.Start) * procfs.Tick)
}
