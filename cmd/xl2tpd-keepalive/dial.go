package main

import (
	"context"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"xl2tpd-keepalive/internal/xl2tpd"
	"xl2tpd-keepalive/supervisor/recovery"
)

// newControl writes into the control pipe, which is root's, or asks the helper, which is root.
func newControl() recovery.Control {
	if os.Geteuid() == 0 {
		return &xl2tpd.Control{}
	}
	return xl2tpd.Helper{}
}

// hungUp calls gone once the other end of a socket has been closed: who has given up does not
// want done any more what was asked for.
func hungUp(f *os.File, gone func()) {
	if info, err := f.Stat(); err != nil || info.Mode()&os.ModeSocket == 0 {
		return // such as a file, which always has been
	}
	end := []unix.PollFd{{Fd: int32(f.Fd()), Events: unix.POLLRDHUP}}
	for {
		switch _, err := unix.Poll(end, -1); err {
		case nil:
			gone()
			return
		case unix.EINTR:
		default:
			return
		}
	}
}

// helpDial is that somebody: it does what one request on a socket asks for.
func helpDial(in io.Reader, out, stderr io.Writer) int {
	ctx, cancel := context.WithTimeout(context.Background(), recovery.StepTime)
	defer cancel()
	if f, ok := in.(*os.File); ok {
		go hungUp(f, cancel)
	}
	if err := xl2tpd.Help(ctx, in, out, &xl2tpd.Control{}); err != nil {
		fmt.Fprintln(stderr, "xl2tpd-keepalive:", err)
		return exitError
	}
	return exitOK
}
