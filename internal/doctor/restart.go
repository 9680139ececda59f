package doctor

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"xl2tpd-keepalive/internal/message"
	"xl2tpd-keepalive/internal/xl2tpd"
)

// restart returns how to restart a running xl2tpd, by what has started it.
//
// In userspace mode SIGTERM makes xl2tpd end without a message to its peers; SIGINT makes it close its tunnels first
// (xl2tpd.c, death_handler). Without a message a peer keeps the tunnel until a Hello stays unanswered. If the peer is an
// xl2tpd in kernel mode, no data of the next tunnel reaches it until then, and PPP gives up.
func (c *checker) restart(i xl2tpd.Instance) message.Text {
	unit := strings.TrimSuffix(i.Unit, ".service")
	switch userspace := c.userspace(i); {
	case i.NetworkManager():
		id := quoted(i.Connection) // up refuses a connection that is active already
		return command("nmcli connection down " + id + "; nmcli connection up " + id)
	case unit != "" && userspace:
		return command(fmt.Sprintf("systemctl kill --signal=INT %[1]s; sleep 1; %[2]ssystemctl restart %[1]s", unit, c.endPersistent(i, unit)))
	case unit != "":
		return command("systemctl restart " + unit)
	case userspace:
		return message.Sprintf("end pid %d by SIGINT, and start xl2tpd as it was started before", i.Process.Pid)
	}
	return message.Sprintf("end pid %d, and start xl2tpd as it was started before", i.Process.Pid)
}

// endPersistent returns a command that ends the pppds with `persist` of an xl2tpd in userspace mode that has ended; empty:
// it has none. Such a pppd tries to open its terminal again, without a pause and without regard to signals (pppd 2.4.9,
// main.c). So it takes the terminal of the next tunnel. With each try it makes its lock file anew. If it is killed in
// between, it leaves an empty file (utils.c, lock), and no pppd takes that terminal any more.
func (c *checker) endPersistent(i xl2tpd.Instance, unit string) string {
	persists := func(s xl2tpd.Section) bool { _, ok := c.persist(s); return ok }
	if i.Conf == nil || !slices.ContainsFunc(i.Conf.Sections, persists) {
		return ""
	}
	return fmt.Sprintf("systemctl kill --signal=KILL %s; find /var/lock/ -name 'LCK..*' -empty -delete; ", unit)
}

// userspace reports whether an xl2tpd uses userspace mode: its file says so, the kernel has no L2TP, or it has a terminal
// for a call.
func (c *checker) userspace(i xl2tpd.Instance) bool {
	if conf := i.Conf; conf != nil && (conf.ForceUserspace || conf.SarefForces(c.version(i))) || c.misses("l2tp_ppp") {
		return true
	}
	fds, _ := filepath.Glob(c.path(fmt.Sprintf("/proc/%d/fd/*", i.Process.Pid))) // the pattern is good
	for _, fd := range fds {
		if file, err := os.Readlink(fd); err == nil && strings.HasSuffix(file, "/ptmx") {
			return true
		}
	}
	return false
}

// whenIdle adds a remark to a command that ends tunnels, as a shell's comment: the line can be pasted.
func whenIdle(command message.Text) message.Text {
	return message.Sprintf("%s  # at a time when its tunnels may end", command)
}
