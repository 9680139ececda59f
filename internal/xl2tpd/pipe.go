package xl2tpd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"xl2tpd-keepalive/internal/wake"
)

const (
	takePoll = 2 * time.Millisecond
	// reopenTimeout is how long xl2tpd may take to open the pipe again. It does so
	// after each command, and until then nobody reads.
	reopenTimeout = 200 * time.Millisecond
)

// deliver writes command as soon as the pipe is free, and returns when xl2tpd has read it. It calls
// owned right before it writes, while the pipe is open: no other pipe can take its place then.
func deliver(ctx context.Context, path string, command []byte, owned func() error) error {
	for begin := time.Now(); ; {
		fd, err := openPipe(path)
		if err == nil {
			err = put(ctx, fd, command, owned)
			unix.Close(fd)
		}
		switch {
		case errors.Is(err, errOccupied):
		case errors.Is(err, unix.ENXIO), errors.Is(err, unix.EPIPE):
			if time.Since(begin) > reopenTimeout {
				return fmt.Errorf("nobody reads it: is xl2tpd running? (%w)", unix.ENXIO)
			}
		default:
			return err
		}
		if wake.After(ctx, takePoll) != nil {
			return silent(ctx)
		}
	}
}

// openPipe opens the pipe for writing if it is as xl2tpd creates it at its start:
// a FIFO of root (or of this process's user) that not everyone may write to.
func openPipe(path string) (int, error) {
	fd, err := unix.Open(path, unix.O_WRONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW|unix.O_CLOEXEC|unix.O_NOCTTY, 0)
	if errors.Is(err, unix.ENOENT) {
		return -1, fmt.Errorf("no such FIFO: xl2tpd makes it when it starts; restart xl2tpd (%w)", fs.ErrNotExist)
	}
	if errors.Is(err, unix.ELOOP) {
		return -1, errors.New("refused, it is a symbolic link: xl2tpd did not make it; restart xl2tpd")
	}
	if err != nil {
		return -1, err
	}
	if err := checkPipe(fd); err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

func checkPipe(fd int) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return os.NewSyscallError("fstat", err)
	}
	switch {
	case st.Mode&unix.S_IFMT != unix.S_IFIFO:
		return errors.New("refused, it is not a FIFO: something wrote here while xl2tpd was not running; restart xl2tpd")
	case st.Uid != 0 && int(st.Uid) != os.Geteuid():
		return fmt.Errorf("refused, it belongs to uid %d: xl2tpd did not make it; restart xl2tpd", st.Uid)
	case st.Mode&0o002 != 0:
		return errors.New("refused, anyone may write to it: chmod 600")
	}
	return nil
}

var errOccupied = errors.New("another command is in the pipe")

// put writes command into the pipe if that is empty, and waits until xl2tpd has
// taken it. Meanwhile put keeps the pipe open: xl2tpd closes and reopens it after
// each command, which discards the content of a pipe that nobody else holds open.
// Then put closes it, since xl2tpd waits for that before it goes on.
func put(ctx context.Context, fd int, command []byte, owned func() error) error {
	if err := owned(); err != nil {
		return err
	}
	// Each request to the helper starts another process, so a mutex is not enough.
	if err := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB); errors.Is(err, unix.EWOULDBLOCK) {
		return errOccupied
	} else if err != nil {
		return os.NewSyscallError("flock", err)
	}
	if n, err := unread(fd); err != nil {
		return err
	} else if n > 0 {
		return errOccupied
	}
	if ctx.Err() != nil {
		return fmt.Errorf("the request was given up before xl2tpd could read it (%w)", ctx.Err())
	}
	// Up to PIPE_BUF (4096) bytes go in as a whole or not at all.
	n, err := unix.Write(fd, command)
	if errors.Is(err, unix.EAGAIN) {
		return errOccupied
	}
	if err != nil {
		return os.NewSyscallError("write", err)
	}
	if n != len(command) {
		return fmt.Errorf("it took %d of the %d bytes of a command", n, len(command))
	}
	for {
		if n, err := unread(fd); err != nil || n == 0 {
			return err
		}
		if wake.After(ctx, takePoll) != nil {
			if taken, err := withdraw(fd, command); taken || err != nil {
				return err
			}
			return silent(ctx)
		}
	}
}

// unread returns how many bytes are in the pipe.
func unread(fd int) (int, error) {
	n, err := unix.IoctlGetInt(fd, unix.TIOCINQ) // FIONREAD by another name
	return n, os.NewSyscallError("ioctl FIONREAD", err)
}

// withdraw removes command from the pipe, unless xl2tpd has taken it just now.
func withdraw(fd int, command []byte) (taken bool, err error) {
	in, err := unix.Open(fmt.Sprintf("/proc/self/fd/%d", fd), unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return false, fmt.Errorf("a command is left in it: %w", err)
	}
	defer unix.Close(in)
	buf := make([]byte, len(command))
	n, err := unix.Read(in, buf)
	switch {
	case errors.Is(err, unix.EAGAIN):
		return true, nil
	case err != nil:
		return false, fmt.Errorf("a command is left in it: %w", err)
	case !bytes.Equal(buf[:n], command):
		return false, errors.New("another command came between")
	}
	return false, nil
}

func silent(ctx context.Context) error {
	return fmt.Errorf("xl2tpd does not read it: it hangs, or waits for a name server (%w)", ctx.Err())
}
