package xl2tpd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// maxLACName is the longest name in bytes that xl2tpd keeps whole: its
	// entname (file.h) is 100 bytes with the NUL.
	maxLACName = 99
	// takeTimeout is for xl2tpd to read a command. It reads nothing while it
	// resolves a host name, which takes the C library 20 s with two dead servers.
	takeTimeout = 30 * time.Second
	takePoll    = 2 * time.Millisecond
	// reopenTimeout is for xl2tpd to open the pipe again: it does so after each
	// command, and for that moment nobody reads.
	reopenTimeout = 200 * time.Millisecond
)

// Control writes commands into xl2tpd's control pipe. Its methods may be called
// from many goroutines; the zero value is ready.
//
// What is in the pipe at one time xl2tpd takes for one command (xl2tpd.c,
// do_control), whatever the newlines, so a command is written only into an empty
// pipe and has been read when its method returns. What xl2tpd makes of it, its
// log and the tunnel tell: it is never asked for a reply, since it would wait for
// the reader of that for good.
//
// An error says that the command was not taken; it is not left in the pipe to be
// obeyed later. It wraps fs.ErrNotExist or unix.ENXIO if no xl2tpd is there to
// read, and the error of a context that ended first (or of our own, after 30 s).
type Control struct {
	Paths []string // the first that exists is used; nil: /run/xl2tpd/l2tp-control, /var/run/xl2tpd/l2tp-control

	once sync.Once
	turn chan struct{} // holds a token while someone writes
}

// Connect dials a LAC ("c NAME") and switches its redial on. One that is up stays
// as it is. xl2tpd does not look whether it is dialling already or has a redial
// scheduled (control_handle_lac_connect, magic_lac_dial): then it makes a second
// call through the same tunnel, at once or at the time of the redial. And while
// a tunnel is being closed, it calls through that.
//
// A name that the running xl2tpd does not know it takes for the id of a tunnel,
// as far as it begins with a number.
func (c *Control) Connect(ctx context.Context, lac string) error {
	return c.command(ctx, 'c', lac)
}

// Disconnect closes a LAC's tunnel ("d NAME"), and is harmless when there is
// none. xl2tpd also switches the LAC's redial off, until the next Connect. The
// tunnel goes when the peer has acknowledged StopCCN; a dead one never does:
// pppd gives up after some 6 s and xl2tpd after 31 s (1+2+4+8+16, with `max
// retries = 5`), logging "Unable to deliver closing message". A Connect before
// that calls through the dying tunnel.
func (c *Control) Disconnect(ctx context.Context, lac string) error {
	return c.command(ctx, 'd', lac)
}

func (c *Control) command(ctx context.Context, verb byte, lac string) error {
	if err := CheckLAC(lac); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, takeTimeout)
	defer cancel()
	c.once.Do(func() { c.turn = make(chan struct{}, 1) })
	select {
	case c.turn <- struct{}{}:
		defer func() { <-c.turn }()
	case <-ctx.Done():
		return fmt.Errorf("control pipe of xl2tpd: %w", silent(ctx))
	}
	paths := c.Paths
	if len(paths) == 0 {
		paths = []string{"/run/xl2tpd/l2tp-control", "/var/run/xl2tpd/l2tp-control"}
	}
	command := fmt.Appendf(nil, "%c %s\n", verb, lac)
	for _, path := range paths {
		err := deliver(ctx, path, command)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		return nil
	}
	return fmt.Errorf("%s: no such FIFO: is xl2tpd running? (%w)", paths[0], fs.ErrNotExist)
}

// CheckLAC refuses what xl2tpd's control pipe would not take for a name, or would crash on:
// `c` with nothing or blanks behind it makes it compare a null pointer; what
// follows a space it takes for a user's name and password.
func CheckLAC(name string) error {
	switch {
	case name == "":
		return errors.New("LAC without a name: xl2tpd cannot be told to dial it; give it one in xl2tpd.conf")
	case len(name) > maxLACName:
		return fmt.Errorf("LAC %.20q...: a name of %d bytes, xl2tpd keeps %d; shorten it in xl2tpd.conf", name, len(name), maxLACName)
	case strings.Contains(name, " "):
		return fmt.Errorf("LAC %q: xl2tpd cannot be told to dial a name with a space; change it in xl2tpd.conf", name)
	case strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return fmt.Errorf("LAC %q: control character in the name; change it in xl2tpd.conf", name)
	}
	return nil
}

// deliver writes command as soon as it may, and returns when xl2tpd has read it.
func deliver(ctx context.Context, path string, command []byte) error {
	for begin := time.Now(); ; {
		fd, err := openPipe(path)
		if err == nil {
			err = put(ctx, fd, command)
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
		if err := pause(ctx); err != nil {
			return err
		}
	}
}

// openPipe opens the pipe for writing if it is what xl2tpd makes when it starts:
// a FIFO of root's (or of whom we run as) that not everyone may write to.
func openPipe(path string) (int, error) {
	fd, err := unix.Open(path, unix.O_WRONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW|unix.O_CLOEXEC|unix.O_NOCTTY, 0)
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
// taken it. The pipe stays open meanwhile: xl2tpd closes and reopens it after
// each command, which could discard one that nobody holds. But no longer, since
// xl2tpd itself waits for our end to close before it goes on.
func put(ctx context.Context, fd int, command []byte) error {
	if n, err := unread(fd); err != nil {
		return err
	} else if n > 0 {
		return errOccupied
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
		if late := pause(ctx); late != nil {
			if taken, err := withdraw(fd, command); taken || err != nil {
				return err
			}
			return late
		}
	}
}

// unread tells how many bytes are in the pipe.
func unread(fd int) (int, error) {
	n, err := unix.IoctlGetInt(fd, unix.TIOCINQ) // FIONREAD by another name
	return n, os.NewSyscallError("ioctl FIONREAD", err)
}

// withdraw takes command out of the pipe, unless xl2tpd has taken it just now.
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

func pause(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return silent(ctx)
	case <-time.After(takePoll):
		return nil
	}
}

func silent(ctx context.Context) error {
	return fmt.Errorf("xl2tpd does not read it: it hangs, or waits for a name server (%w)", ctx.Err())
}
