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
	fd := int32(f.Fd())
	if closes(fd, 0) {
		closed()
		return
	}
	go func() {
		if closes(fd, -1) {
			closed()
		}
	}()
}

// closes reports whether the other end of a socket is closed within a time in ms; -1: without a limit.
func closes(fd int32, timeout int) bool {
	end := []unix.PollFd{{Fd: fd, Events: unix.POLLRDHUP}}
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
