package helloguard

import (
	"net/netip"
	"slices"

	"xl2tpd-keepalive/internal/procfs"
)

// ownership says how much is known of who opened a control connection.
type ownership uint8

const (
	ownerForeign ownership = iota // no xl2tpd
	ownerUnclear                  // perhaps an xl2tpd; it is unknown which process
	ownerKnown                    // one xl2tpd
)

// owner is who opened a control connection.
type owner struct {
	ownership
	process procfs.ID // zero if it is not known
}

// is reports whether the owner is certainly that process.
func (o owner) is(p procfs.ID) bool {
	return o.ownership == ownerKnown && o.process == p && p != procfs.ID{}
}

// Daemon is one running xl2tpd.
type Daemon struct {
	procfs.ID
	Cgroup  uint32         // 0: not known
	Alone   bool           // only its descendants are in its cgroup beside it; says nothing if Listens is known
	Listens netip.AddrPort // as its file says; invalid: not known
	Saref   bool           // its file has `ipsec saref`
}

// socket is a UDP socket of this host.
type socket struct {
	local  netip.AddrPort // 0.0.0.0: all addresses
	peer   netip.AddrPort // invalid: not connected
	uid    uint32
	cgroup uint32 // in which it was made; 0: not known
}

// facts are what the kernel and /proc say of those who may send control messages.
type facts struct {
	daemons  []Daemon
	sockets  []socket // with the port in question
	unread   bool     // the kernel did not list its sockets
	loopback []netip.Addr
}

// rootCgroup is the number of the cgroup that holds everything on a host without cgroups.
// Kernels before 5.15 may also give it for sockets of other cgroups (net_cls).
const rootCgroup = 1

func cgroupKnown(cgroup uint32) bool { return cgroup > rootCgroup }

// whoSends finds out who sends from local to peer.
//
// An xl2tpd ends if it can't have the port that its file names. So if there is one socket
// with that port, and one xl2tpd for it, the socket is its own, unless their cgroups differ.
// Where the file names no port, the socket's cgroup is proof only if nothing but that xl2tpd and
// its descendants is in it. (Another program there may have a connected socket with the same port
// and peer. Then nothing shows which of the two sends.)
//
// opens says that the packet opens a connection. A later packet is another program's if only
// that program has a connected socket: the answers go to this socket alone. An xl2tpd's connected
// socket proves less, because another xl2tpd may still send in a connection that it had before.
func (f facts) whoSends(local, peer netip.AddrPort, opens bool) owner {
	if len(f.daemons) == 0 {
		return owner{}
	}
	if f.unread {
		return owner{ownership: ownerUnclear}
	}
	free, connected := f.senders(local, peer)
	if !opens && len(connected) > 0 {
		if possible, _ := f.holders(connected, local); len(possible) == 0 {
			return owner{}
		}
	}
	possible, others := f.holders(slices.Concat(free, connected), local)
	switch {
	case len(possible) == 0 && !(len(free) == 1 && f.listens(local)):
		return owner{}
	case len(possible) == 1 && !others && len(free) == 1 && possible[0].has(free[0], local) && f.certain(connected):
		return owner{ownerKnown, possible[0].ID}
	}
	return owner{ownership: ownerUnclear}
}

// limitedTo returns the facts with those sockets only that can be in a cgroup from which was sent.
func (f facts) limitedTo(sentFrom func(cgroup uint32) bool) facts {
	f.sockets = slices.DeleteFunc(slices.Clone(f.sockets), func(s socket) bool {
		return cgroupKnown(s.cgroup) && !sentFrom(s.cgroup)
	})
	return f
}

// senders returns root's sockets that can send from local to peer. Those of other users
// can't have sent what the nftables rules queue.
func (f facts) senders(local, peer netip.AddrPort) (free, connected []socket) {
	for _, s := range f.sockets {
		switch {
		case s.uid != 0 || !covers(s.local, local):
		case !s.peer.IsValid():
			free = append(free, s)
		case s.peer == peer:
			connected = append(connected, s)
		}
	}
	return free, connected
}

// holders returns the xl2tpds that can have one of these sockets, which can send from local.
// others says that at least one socket must be another program's.
func (f facts) holders(sockets []socket, local netip.AddrPort) (possible []Daemon, others bool) {
	for _, s := range sockets {
		found := false
		for _, d := range f.daemons {
			if cgroupKnown(s.cgroup) && cgroupKnown(d.Cgroup) && s.cgroup != d.Cgroup || d.Listens.IsValid() && !covers(d.Listens, local) {
				continue
			}
			found = true
			if !slices.ContainsFunc(possible, func(o Daemon) bool { return o.ID == d.ID }) {
				possible = append(possible, d)
			}
		}
		others = others || !found
	}
	return possible, others
}

// onlyXl2tpds reports whether every socket of root's can be an xl2tpd's: no other daemon gets messages at the port in question.
// Any user can open a socket there, and that must not change what the rules do.
func (f facts) onlyXl2tpds() bool {
	return len(f.daemons) > 0 && !f.unread && !slices.ContainsFunc(f.sockets, func(s socket) bool {
		_, others := f.holders([]socket{s}, s.local)
		return s.uid == 0 && others
	})
}

// certain reports whether the cgroups say who has the sockets.
func (f facts) certain(sockets []socket) bool {
	return len(sockets) == 0 || !slices.ContainsFunc(sockets, func(s socket) bool { return !cgroupKnown(s.cgroup) }) &&
		!slices.ContainsFunc(f.daemons, func(d Daemon) bool { return !cgroupKnown(d.Cgroup) })
}

// has reports whether a socket that can send from local is certainly this xl2tpd's.
func (d Daemon) has(s socket, local netip.AddrPort) bool {
	return covers(d.Listens, local) || d.owns(s)
}

// owns reports whether the socket is this xl2tpd's, whatever its port, or a descendant's: pppd and
// its scripts have no socket of their own that sends L2TP.
func (d Daemon) owns(s socket) bool {
	return d.Alone && cgroupKnown(d.Cgroup) && s.cgroup == d.Cgroup
}

// listens reports whether the file of an xl2tpd has it listen at local.
func (f facts) listens(local netip.AddrPort) bool {
	return slices.ContainsFunc(f.daemons, func(d Daemon) bool { return covers(d.Listens, local) })
}

// whoOpened finds out which xl2tpd opened a session of the kernel. pppd is a child of the xl2tpd that opened
// the tunnel. Without that the sockets can't show it: a tunnel may outlive its xl2tpd.
func (f facts) whoOpened(s KernelSession) owner {
	for _, d := range f.daemons {
		if d.Pid == s.Xl2tpd {
			return owner{ownerKnown, d.ID}
		}
	}
	o := f.whoSends(s.Local, s.Peer, false)
	if o.ownership == ownerKnown || s.Xl2tpd != 0 {
		return owner{ownership: ownerUnclear}
	}
	return o
}

// sendsThroughLo reports whether a packet on lo changes the address that this xl2tpd sends
// from: with `ipsec saref` it repeats the device of the last packet (network.c), which for
// an address of lo does not show.
func (f facts) sendsThroughLo(o owner, local netip.Addr) bool {
	return slices.Contains(f.loopback, local) && slices.ContainsFunc(f.daemons, func(d Daemon) bool {
		return d.Saref && (o.ownership == ownerUnclear || o.is(d.ID))
	})
}

func covers(bound, local netip.AddrPort) bool {
	return bound.Port() == local.Port() && (bound.Addr() == local.Addr() || bound.Addr() == netip.IPv4Unspecified())
}
