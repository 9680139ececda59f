package procfs

import (
	"os"

	"golang.org/x/sys/unix"
)

// OnExit has ended called once, when a process ends. stop takes that back; when it
// returns, no call comes any more. It waits through a pidfd in the runtime's poller, with no
// thread and no polling of its own. Kernels before 5.3 have none, which is an error; so is
// a process that is not there (unix.ESRCH).
func OnExit(pid int, ended func()) (stop func(), err error) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return nil, os.NewSyscallError("pidfd_open", err)
	}
	if err := unix.SetNonblock(fd, true); err != nil { // makes NewFile use the poller
		unix.Close(fd)
		return nil, os.NewSyscallError("fcntl", err)
	}
	f := os.NewFile(uintptr(fd), "pidfd")
	c, err := f.SyscallConn()
	if err != nil {
		f.Close()
		return nil, err
	}
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		err := c.Read(func(fd uintptr) bool {
			n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
			return n > 0 && err == nil
		})
		if err == nil { // it was not closed
			ended()
		}
	}()
	return func() { f.Close(); <-gone }, nil
}
