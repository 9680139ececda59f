package xl2tpd

import (
	"os"

	"golang.org/x/sys/unix"
)

// AwaitClose calls closed once the other end of a socket has been closed: whoever has given up no
// longer wants what they asked for. It blocks until then. It returns without a call if f is no
// socket.
func AwaitClose(f *os.File, closed func()) {
	if info, err := f.Stat(); err != nil || info.Mode()&os.ModeSocket == 0 {
		return // such as a file, which always looks closed
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
