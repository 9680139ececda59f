package main

import (
	"context"
	"fmt"
	"io"
	"os"

	"xl2tpd-keepalive/internal/xl2tpd"
	"xl2tpd-keepalive/supervisor/recovery"
)

// newControl returns what controls xl2tpd: as root, by its control pipe; else through the helper.
func newControl() recovery.Control {
	if os.Geteuid() == 0 {
		return &xl2tpd.Control{}
	}
	return xl2tpd.Helper{}
}

// serveControl is the helper: it serves one request on a socket.
func serveControl(in io.Reader, out, stderr io.Writer) int {
	ctx, cancel := context.WithTimeout(context.Background(), recovery.StepTime)
	defer cancel()
	if f, ok := in.(*os.File); ok {
		go xl2tpd.AwaitClose(f, cancel)
	}
	if err := xl2tpd.ServeRequest(ctx, in, out, &xl2tpd.Control{}); err != nil {
		fmt.Fprintln(stderr, "xl2tpd-keepalive:", err)
		return exitError
	}
	return exitOK
}
