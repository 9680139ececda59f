package ppp

import (
	"errors"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// parents hints when an xl2tpd has ended. Its pppds may live on for long,
// with their devices unchanged, so nobody else tells.
type parents struct {
	hint  func()
	files map[int]*os.File // a pidfd by process
	wg    sync.WaitGroup
}

// follow follows the xl2tpds of these links, and no others any more.
func (p *parents) follow(links []Link) {
	old := p.files
	p.files = make(map[int]*os.File)
	for _, l := range links {
		pid := l.Xl2tpdPid
		if p.files[pid] != nil {
			continue
		}
		if f := old[pid]; f != nil {
			p.files[pid] = f
			delete(old, pid)
			continue
		}
		fd, err := unix.PidfdOpen(pid, unix.PIDFD_NONBLOCK)
		if errors.Is(err, unix.ESRCH) {
			p.hint()
		}
		if err != nil {
			continue // before Linux 5.10 the slow look must do
		}
		f := os.NewFile(uintptr(fd), "pidfd")
		p.files[pid] = f
		p.wg.Go(func() {
			if ended(f) {
				p.hint()
			}
		})
	}
	for _, f := range old {
		f.Close()
	}
}

// close stops following.
func (p *parents) close() {
	p.follow(nil)
	p.wg.Wait()
}

// ended waits for a process to end; it returns false when f is closed.
func ended(f *os.File) bool {
	c, err := f.SyscallConn()
	if err != nil {
		return false
	}
	return c.Read(func(fd uintptr) bool {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
		return n > 0 || err != nil && !errors.Is(err, unix.EINTR)
	}) == nil
}
