package main

import (
	"context"
	"fmt"
	"io"
	"os"

	"xl2tpd-keepalive/xl2tpd"
)

// dialler tells xl2tpd to dial and to hang up.
type dialler interface {
	Connect(ctx context.Context, lac string) error
	Disconnect(ctx context.Context, lac string) error
}

// newDialler has the control pipe, which is root's, or somebody who is root.
func newDialler() dialler {
	if os.Geteuid() == 0 {
		return &xl2tpd.Control{}
	}
	return xl2tpd.Helper{}
}

// helpDial is that somebody: it does what one request on a socket asks for.
func helpDial(in io.Reader, out, stderr io.Writer) int {
	ctx, cancel := context.WithTimeout(context.Background(), stepTime)
	defer cancel()
	if err := xl2tpd.Help(ctx, in, out, &xl2tpd.Control{}); err != nil {
		fmt.Fprintln(stderr, "xl2tpd-keepalive:", err)
		return exitError
	}
	return exitOK
}
