package procfs

import (
	"os"

	"golang.org/x/sys/unix"
)

// OnExit calls ended once, when a process ends. stop cancels that; no call comes after stop has
// returned. OnExit waits through a pidfd in the runtime's poller, without a thread and without
// polling. It returns an error on kernels before 5.3, which have no pidfd, and unix.ESRCH if there is
// no such process.
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
		if err == nil { // else stop has closed it
			ended()
		}
	}()
	return func() { f.Close(); <-gone }, nil
}
