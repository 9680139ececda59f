package xl2tpd

import (
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// For its table the kernel needs time in the square of the number of tunnels. So it is
// read when there is a hint, and not before leisure times as long as that took has
// passed; without one each tableEvery, and not before idleness times as long has.
const (
	leisure    = 10
	tableEvery = time.Minute
	idleness   = 200
)

// tunnel is the two ends' ids of one L2TP tunnel.
type tunnel struct{ local, peer uint16 }

// table returns the kernel's sessions, as far as they are known now.
func (l *loop) table(now time.Time) []Session {
	age, rest := now.Sub(l.read), leisure*l.took
	switch {
	case !l.stale && age < max(tableEvery, idleness*l.took):
		return l.sessions
	case l.stale && age < rest:
		if l.rested == nil {
			l.rested = time.After(rest - age)
		}
		return l.sessions
	}
	l.stale = false
	l.sessions = l.readTable()
	l.read = time.Now()
	l.took = l.read.Sub(now)
	return l.sessions
}

// readTable reads the kernel's table. The far ends are asked for only when a tunnel
// is new: they never change.
func (l *loop) readTable() []Session {
	data, err := l.readFile(filepath.Join(l.procRoot, "self/net/pppol2tp"))
	if errors.Is(err, fs.ErrNotExist) { // the module is not loaded
		err = nil
	}
	out := parseSessions(data)
	if err == nil {
		err = index(out)
	}
	l.complain("sessions", "xl2tpd: which pppN is which can't be told in kernel mode", err)
	known := map[tunnel]netip.AddrPort{}
	var answer map[uint16]netip.AddrPort
	for i := range out {
		t := tunnel{out[i].LocalTunnel, out[i].PeerTunnel}
		peer, ok := l.known[t]
		if !ok && answer == nil {
			answer, err = l.askPeers()
			l.complain("peers", "xl2tpd: the peers of kernel tunnels can't be told", err)
			if answer == nil {
				answer = map[uint16]netip.AddrPort{} // ask once per look
			}
		}
		if !ok {
			peer, ok = answer[t.local]
		}
		if ok {
			out[i].Peer, known[t] = peer, peer
		}
	}
	l.known = known
	return out
}

// index adds the devices' indexes to their names.
func index(sessions []Session) error {
	if len(sessions) == 0 {
		return nil
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	defer unix.Close(fd)
	for i := range sessions {
		r, err := unix.NewIfreq(sessions[i].Ifname)
		if err == nil && unix.IoctlIfreq(fd, unix.SIOCGIFINDEX, r) == nil {
			sessions[i].Ifindex = int(r.Uint32())
		}
	}
	return nil
}
