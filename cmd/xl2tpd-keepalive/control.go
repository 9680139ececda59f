package main

import (
	"context"
	"fmt"
	"io"
	"os"

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

// serveControl is the helper: it does what one request on a socket asks for.
func serveControl(in io.Reader, out, stderr io.Writer) int {
	ctx, cancel := context.WithTimeout(context.Background(), recovery.StepTime)
	defer cancel()
	if f, ok := in.(*os.File); ok {
		go xl2tpd.AwaitClose(f, cancel)
	}
	if err := xl2tpd.Help(ctx, in, out, &xl2tpd.Control{}); err != nil {
		fmt.Fprintln(stderr, "xl2tpd-keepalive:", err)
		return exitError
	}
	return exitOK
}
