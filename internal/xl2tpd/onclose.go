package xl2tpd

import (
	"os"

	"golang.org/x/sys/unix"
)

// OnClose calls closed once the other end of a socket has been closed, for writing at least: the client has given up its
// request. If that is so already, OnClose does it before it returns. If f is no socket, it never does.
func OnClose(f *os.File, closed func()) {
	if info, err := f.Stat(); err != nil || info.Mode()&os.ModeSocket == 0 {
		return // a file, for example, always looks closed
	}
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0) // f may be closed meanwhile
	if err != nil {
		return
	}
	if closes(fd, 0) {
		unix.Close(fd)
		closed()
		return
	}
	go func() {
		is := closes(fd, -1)
		unix.Close(fd)
		if is {
			closed()
		}
	}()
}

// closes reports whether the other end of a socket is closed within a time in ms; -1: without a limit.
func closes(fd int, timeout int) bool {
	end := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
	for {
		switch n, err := unix.Poll(end, timeout); err {
		case nil:
			return n > 0
		case unix.EINTR:
		default:
			return false
		}
	}
}
