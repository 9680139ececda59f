package doctor

import (
	"fmt"

	"xl2tpd-keepalive/internal/xl2tpd"
)

// unknownKeys finds keys with which xl2tpd does not start. A running xl2tpd has read its file before they came in.
func (c *checker) unknownKeys(n int, i xl2tpd.Instance) []Finding {
	const check = "xl2tpd.conf"
	if i.Conf == nil || i.NetworkManager() || !i.Runs() && (!i.Needed() || c.anotherRuns(n)) {
		return nil
	}
	executable := xl2tpd.Executable
	if i.Runs() {
		executable = fmt.Sprintf("/proc/%d/exe", i.Process.Pid)
	}
	var all []Finding
	for _, k := range i.Conf.UnknownKeys(c.executableOf(executable)) {
		if k.Certain {
			all = append(all, bad(check, c.names[n], k.Text, "correct that line, or take it out"))
		} else {
			all = append(all, note(check, c.names[n], k.Text))
		}
	}
	return all
}
