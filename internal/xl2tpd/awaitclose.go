package xl2tpd

import (
	"os"

	"golang.org/x/sys/unix"
)

// AwaitClose blocks until the other end of a socket has been closed, and then calls closed: the
// client has given up its request. If f is no socket, it returns without a call.
func AwaitClose(f *os.File, closed func()) {
	if info, err := f.Stat(); err != nil || info.Mode()&os.ModeSocket == 0 {
		return // a file, for example, always looks closed
	}
	end := []unix.PollFd{{Fd: int32(f.Fd()), Events: unix.POLLRDHUP}}
	for {
		switch _, err := unix.Poll(end, -1); err {
		case nil:
			closed()
			return
		case unix.EINTR:
		default:
			return
		}
	}
}
