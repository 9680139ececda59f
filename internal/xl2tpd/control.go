package xl2tpd

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"xl2tpd-keepalive/internal/message"
	"xl2tpd-keepalive/internal/procfs"
)

const (
	// maxLACName is the longest name in bytes that xl2tpd keeps whole: its
	// entname (file.h) is 100 bytes with the NUL.
	maxLACName = 99
	// takeTimeout is how long xl2tpd may take to read a command. It reads nothing while
	// it resolves a host name, which takes the C library 20 s with two dead servers.
	takeTimeout = 30 * time.Second
)

// Target is the running xl2tpd that a command is for.
type Target struct {
	Process procfs.ID
	Pipe    string // its control pipe, absolute
}

// Control writes commands into the control pipes of xl2tpds. Its methods may be
// called from many goroutines; the zero value is ready.
//
// xl2tpd takes all bytes in the pipe for one command, whatever the newlines
// (xl2tpd.c, do_control). Control therefore writes only into an empty pipe, and
// returns when xl2tpd has read the command. xl2tpd's log and the tunnel show the
// outcome. Control never asks for a reply: xl2tpd would wait for the reader of the
// reply without a limit.
//
// An error means that xl2tpd has not taken the command, and that the command is no
// longer in the pipe. It wraps unix.ESRCH if the process has ended, fs.ErrNotExist or
// unix.ENXIO if nobody reads the pipe, and the error of a context that ended first,
// the caller's or the one of takeTimeout.
type Control struct {
	procs *procs // replaced in tests

	mu    sync.Mutex
	locks map[string]*semaphore.Weighted // by pipe; held while somebody writes
}

// Connect dials a LAC ("c NAME") and switches its redial on. A LAC that is up stays
// as it is. xl2tpd does not check whether it is dialling already or has a redial
// scheduled (control_handle_lac_connect, magic_lac_dial). In that case it places a
// second call through the same tunnel, immediately or at the time of the redial.
// While a tunnel is being closed, xl2tpd places the call through that tunnel.
//
// If the running xl2tpd does not know the name and the name begins with a number,
// xl2tpd takes that number for a tunnel id.
func (c *Control) Connect(ctx context.Context, t Target, lac string) error {
	return c.command(ctx, t, 'c', lac)
}

// Disconnect closes a LAC's tunnel ("d NAME"); without a tunnel it does nothing.
// xl2tpd also switches the LAC's redial off, until the next Connect. The tunnel
// is gone when the peer has acknowledged StopCCN. A dead peer never does: pppd
// gives up after some 6 s and xl2tpd after 31 s (1+2+4+8+16, with `max retries =
// 5`), and logs "Unable to deliver closing message". A Connect before that places
// its call through the closing tunnel.
func (c *Control) Disconnect(ctx context.Context, t Target, lac string) error {
	return c.command(ctx, t, 'd', lac)
}

func (c *Control) command(ctx context.Context, t Target, verb byte, lac string) error {
	if err := CheckLAC(lac); err != nil {
		return err
	}
	t.Pipe = normal(t.Pipe)
	ctx, cancel := context.WithTimeout(ctx, takeTimeout)
	defer cancel()
	lock := c.lock(t.Pipe)
	if lock.Acquire(ctx, 1) != nil {
		return fmt.Errorf("%s: %w", t.Pipe, silent(ctx))
	}
	defer lock.Release(1)
	owned := func() error { return c.checkOwner(ctx, t) }
	err := owned()
	if err == nil {
		err = deliver(ctx, t.Pipe, fmt.Appendf(nil, "%c %s\n", verb, lac), owned)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", t.Pipe, err)
	}
	return nil
}

// lock returns the lock of a pipe.
func (c *Control) lock(pipe string) *semaphore.Weighted {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.locks == nil {
		c.locks = map[string]*semaphore.Weighted{}
	}
	if c.locks[pipe] == nil {
		c.locks[pipe] = semaphore.NewWeighted(1)
	}
	return c.locks[pipe]
}

// CheckLAC refuses names that xl2tpd misreads in its control pipe, or that crash it.
// After `c` with nothing or blanks behind it xl2tpd compares a null pointer. It takes
// the text behind a space for a user's name and password.
func CheckLAC(name string) error {
	switch {
	case name == "":
		return message.Errorf("LAC without a name: xl2tpd cannot be told to dial it; give it one in xl2tpd.conf")
	case len(name) > maxLACName:
		return message.Errorf("LAC %.20q...: a name of %d bytes, xl2tpd keeps %d; shorten it in xl2tpd.conf", name, len(name), maxLACName)
	case strings.Contains(name, " "):
		return message.Errorf("LAC %q: xl2tpd cannot be told to dial a name with a space; change it in xl2tpd.conf", name)
	case strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return message.Errorf("LAC %q: control character in the name; change it in xl2tpd.conf", name)
	}
	return nil
}
