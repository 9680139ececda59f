package main

import (
	"context"
	"encoding/json"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"golang.org/x/term"

	"xl2tpd-keepalive/internal/controltrace/socket"
	"xl2tpd-keepalive/internal/status"
)

// show prints the report of the running service, again each second with --watch.
func show(o options, stdout, stderr io.Writer) int {
	if o.json && o.short {
		return o.misused(stderr, "status", "--json and --short exclude each other")
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	look := func(w io.Writer) error { return page(ctx, w, o, coloured(stdout)) }
	switch {
	case o.watch && isTerminal(stdout) && !o.json:
		return watchScreen(ctx, o, look, stdout)
	case o.watch:
		return watch(ctx, o, look, stdout, stderr)
	}
	if err := look(stdout); err != nil {
		return o.fail(stderr, err)
	}
	return exitOK
}

// page writes the present report.
func page(ctx context.Context, w io.Writer, o options, colours bool) error {
	r, err := status.Read(ctx, status.DefaultSocket)
	if err != nil {
		return err
	}
	if r.Tunnels, err = status.Named(r.Tunnels, o.names); err != nil {
		return err
	}
	if o.json || len(o.names) > 0 {
		// Without them there is a report all the same.
		if ended, err := socket.ReadRecordings(ctx, socket.DefaultPath, socket.Ended); err == nil {
			status.AddMessages(r.Tunnels, ended)
		}
	}
	switch {
	case o.json:
		return json.NewEncoder(w).Encode(r)
	case o.short:
		return status.Short(w, r, colours, o.lang)
	}
	return status.Text(w, r, colours, o.lang)
}

// coloured reports whether to use colours, see https://no-color.org.
func coloured(w io.Writer) bool { return isTerminal(w) && os.Getenv("NO_COLOR") == "" }

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd())) && !strings.EqualFold(os.Getenv("TERM"), "dumb")
}
