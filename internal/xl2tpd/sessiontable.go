package xl2tpd

import (
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"time"
	"xl2tpd-keepalive/internal/filewatch"

	"golang.org/x/sys/unix"
)

// The kernel's time for its table grows with the square of the number of tunnels. The loop
// therefore reads the table when there is a hint. Without a hint it reads it each tableEvery,
// and not before idleness times the length of the last reading has passed.
const (
	tableEvery = filewatch.SlowLook - 5*time.Second // the look after a minute comes a moment before or after it
	idleness   = 200
)

// tunnelIDs is the pair of ids of one L2TP tunnel.
type tunnelIDs struct{ local, peer uint16 }

// table returns the kernel's sessions as of the last reading, and reads them again if that is due.
func (l *loop) table(now time.Time) []Session {
	if now.Sub(l.reading.last) >= max(tableEvery, idleness*l.reading.took) {
		l.reading.stale = true
	}
	if l.reading.ready(now) {
		l.sessions = l.readTable()
		l.reading.done(now)
	}
	return l.sessions
}

// readTable reads the kernel's table. It asks for the far ends only when a tunnel is
// new: they never change.
func (l *loop) readTable() []Session {
	data, err := l.readFile(filepath.Join(l.procs.root, "self/net/pppol2tp"))
	if errors.Is(err, fs.ErrNotExist) { // the module is not loaded
		err = nil
	}
	out := parseSessions(data)
	if err == nil {
		err = index(out)
	}
	l.complain("sessions", "xl2tpd: which pppN is which can't be told in kernel mode", err)
	known := map[tunnelIDs]netip.AddrPort{}
	var answer map[uint16]netip.AddrPort
	for i := range out {
		t := tunnelIDs{out[i].LocalTunnel, out[i].PeerTunnel}
		peer, ok := l.peersOf[t]
		if !ok && answer == nil {
			answer, err = l.peers()
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
	l.peersOf = known
	return out
}

// index sets Ifindex of each session by its Ifname.
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
