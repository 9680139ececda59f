package main

import (
	"context"
	"fmt"
	"io"
	"os"

	"golang.org/x/term"

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

func controlCommand() command {
	return command{
		name: "control", brief: "make xl2tpd dial or hang up, as standard input says", hidden: true,
		about:   "The service asks for this through xl2tpd-keepalive-control.socket. It is no command for people.",
		example: "systemctl status xl2tpd-keepalive-control.socket",
		run:     runControl,
	}
}

// runControl serves one request. If a person runs it at a terminal, it does not wait for one.
func runControl(o options, stdout, stderr io.Writer) int {
	if term.IsTerminal(int(os.Stdin.Fd())) {
		return o.misused(stderr, "control", "reads a request of the service from a socket, and is not for people")
	}
	return serveControl(os.Stdin, stdout, stderr)
}

// serveControl is the helper: it serves one request on a socket.
func serveControl(in io.Reader, out, stderr io.Writer) int {
	ctx, cancel := context.WithTimeout(context.Background(), recovery.StepTime)
	defer cancel()
	if f, ok := in.(*os.File); ok {
		xl2tpd.OnClose(f, cancel)
	}
	if err := xl2tpd.ServeRequest(ctx, in, out, &xl2tpd.Control{}); err != nil {
		fmt.Fprintln(stderr, "xl2tpd-keepalive:", err)
		return exitError
	}
	return exitOK
}
