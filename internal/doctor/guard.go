package doctor

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"xl2tpd-keepalive/internal/helloguard"
	"xl2tpd-keepalive/internal/l2tp"
	"xl2tpd-keepalive/internal/message"
	"xl2tpd-keepalive/internal/status"
)

func (c guardChecks) all() []Finding {
	const check = "Hello guard"
	if c.statusErr != nil {
		return nil
	}
	ports, err := c.queuePorts()
	for _, p := range c.status.Problems {
		if !p.Code.Guard() {
			continue
		}
		var remedy []message.Text
		others := c.otherHolders(ports)
		for _, pid := range others {
			remedy = append(remedy, c.other(pid))
		}
		switch {
		case p.Code == status.CodeGuardInput:
			remedy = c.acceptOnLo(helloguard.Inwards)
		case p.Code == status.CodeGuardOutput:
			remedy = c.acceptOnLo(helloguard.Outwards)
		case len(others) == 0 && c.misses("nft_queue", "nfnetlink_queue"):
			remedy = []message.Text{"get the kernel modules that are missing, as below"}
		case len(others) == 0:
			remedy = []message.Text{
				command("modprobe -a nf_tables nft_queue nfnetlink_queue"),
				"in a container: give it CAP_NET_ADMIN and CAP_NET_RAW, and the modules to its host",
			}
		}
		return []Finding{bad(check, "", p.Reason, append(remedy, "if it is not wanted: `hello guard = off` in /etc/xl2tpd/keepalive.conf")...)}
	}
	switch {
	case ports != nil:
		return []Finding{good(check, "", "at work, on NFQUEUE %d and %d", helloguard.Queues[0], helloguard.Queues[1])}
	case errors.Is(err, fs.ErrPermission):
		return []Finding{unknown(check, "", "at work or off, which root can see", asRoot)}
	}
	return []Finding{good(check, "", "off")}
}

// acceptOnLo returns commands that let the guard's answers through to xl2tpd, one for each chain that may drop them. An
// accept is final in its own chain only.
func (c guardChecks) acceptOnLo(w helloguard.Way) (all []message.Text) {
	filters, err := c.Filters(w)
	if strings.TrimSpace(c.read("/proc/net/ip_tables_names")) != "" || len(filters) == 0 {
		all = append(all, command(w.Accept(w.OldFilter(), c.answers())))
	}
	for _, f := range filters {
		all = append(all, command(w.Accept(f, c.answers())))
	}
	if err != nil {
		all = append(all, message.Sprintf("if the rule is one of nft, which can't be read (%v): %s, for its own chain", err,
			w.Accept(helloguard.Filter{Family: "FAMILY", Table: "TABLE", Chain: "CHAIN"}, c.answers())))
	}
	return all
}

// answers returns which port of the guard's answers is 1701: the destination port. If an xl2tpd has
// another port, it is the source port, which is the peer's.
func (c guardChecks) answers() string {
	for _, i := range c.seen.Instances {
		if i.Runs() && i.Conf != nil && i.Conf.Port != l2tp.Port {
			return "sport"
		}
	}
	return "dport"
}

// otherHolders returns the processes but the service that listen to the guard's queues; 0: one that can't be seen from
// here, as in another container.
func (c guardChecks) otherHolders(ports []string) (all []int) {
	for _, port := range ports {
		pid := c.holder(port)
		if pid != c.status.Pid && !slices.Contains(all, pid) {
			all = append(all, pid)
		}
	}
	return all
}

// holder returns the process that has a netlink socket for netfilter with that port id. The port id may be a pid, but
// then one of the namespace that the process is in. So the socket's inode is looked for in all processes.
func (c guardChecks) holder(port string) int {
	for line := range strings.Lines(c.read("/proc/net/netlink")) {
		f := strings.Fields(line) // sk, protocol, port id, groups, rmem, wmem, dump, locks, drops, inode
		if len(f) < 10 || f[1] != strconv.Itoa(unix.NETLINK_NETFILTER) || f[2] != port {
			continue
		}
		for _, fd := range c.glob("/proc/[0-9]*/fd/*") {
			if is, err := os.Readlink(c.path(fd)); err == nil && is == "socket:["+f[9]+"]" {
				pid, _ := strconv.Atoi(strings.Split(fd, "/")[2])
				return pid
			}
		}
	}
	return 0
}

// other returns what to do about another program that listens to the guard's queues.
func (c guardChecks) other(pid int) message.Text {
	who := message.Text("another program")
	if name := strings.TrimSpace(c.read(fmt.Sprintf("/proc/%d/comm", pid))); pid != 0 && name != "" {
		who = message.Sprintf("%s, pid %d,", name, pid)
	}
	return message.Sprintf("%s has the guard's NFQUEUE: stop it, or give it another queue than %d and %d", who, helloguard.Queues[0], helloguard.Queues[1])
}

// queuePorts returns the port ids of the netlink sockets that listen to the guard's queues. Only root may read them.
func (c guardChecks) queuePorts() ([]string, error) {
	queues, err := helloguard.ReadQueues(c.path(helloguard.QueueFile))
	var all []string
	for _, q := range queues {
		if !slices.Contains(all, q.PortID) {
			all = append(all, q.PortID)
		}
	}
	return all, err
}
