package main

import (
	"context"
	"encoding/json"
	"flag"
	"io"

	"xl2tpd-keepalive/internal/controltrace/socket"
	"xl2tpd-keepalive/internal/screen"
	"xl2tpd-keepalive/internal/status"
)

func statusCommand() command {
	return command{
		name: "status", args: "[NAME...]", words: -1, brief: "show the tunnels of the running service",
		about:   "NAME is a section of xl2tpd.conf or the name of a link: \"lac office\", office or ppp0.",
		example: "sudo xl2tpd-keepalive status office --watch",
		flags: func(f *flag.FlagSet, o *options) {
			defineJSON(f, o)
			o.status.define(f)
		},
		run: runStatus,
	}
}

// statusOptions are the values of status's flags.
type statusOptions struct {
	short bool
	watch bool
}

func (o *statusOptions) define(flags *flag.FlagSet) {
	boolean(flags, &o.short, "short", "print one line for each tunnel")
	boolean(flags, &o.watch, "watch", "show it again each second, until Ctrl-C")
}

// runStatus prints the state of the running service, again each second with --watch.
func runStatus(o options, stdout, stderr io.Writer) int {
	if o.json && o.status.short {
		return o.misused(stderr, "status", "--json and --short exclude each other")
	}
	ctx, stop := untilSignal()
	defer stop()
	var err error
	switch {
	case o.status.watch && screen.IsTerminal(stdout) && !o.json:
		err = screen.Watch(ctx, stdout, o.watched(ctx, stdout, nil), o.lang)
	case o.status.watch && o.json: // standard output is for JSON objects only
		err = screen.Stream(ctx, stdout, o.watched(ctx, stdout, stderr))
	case o.status.watch:
		err = screen.Stream(ctx, stdout, o.watched(ctx, stdout, nil))
	default:
		if err := page(ctx, stdout, o, screen.Coloured(stdout)); err != nil {
			return o.fail(stderr, err)
		}
	}
	if err != nil {
		return exitError
	}
	return exitOK
}

// watched returns the function that writes a page of --watch. It goes on without the service, which may come back. An
// error is written to stderr; nil: into the page.
func (o options) watched(ctx context.Context, stdout, stderr io.Writer) func(io.Writer) {
	colours := screen.Coloured(stdout)
	return func(w io.Writer) {
		err := page(ctx, w, o, colours)
		if err == nil || ctx.Err() != nil {
			return
		}
		if stderr != nil {
			w = stderr
		}
		o.fail(w, err)
	}
}

// page writes the present state.
func page(ctx context.Context, w io.Writer, o options, colours bool) error {
	r, err := status.Read(ctx, status.DefaultSocket)
	if err != nil {
		return err
	}
	if r.Tunnels, err = status.Named(r.Tunnels, o.names); err != nil {
		return err
	}
	if o.json || len(o.names) > 0 {
		// Without them there is a status all the same.
		if ended, err := socket.ReadRecordings(ctx, socket.DefaultPath, socket.Ended); err == nil {
			status.AddMessages(r.Tunnels, ended)
		}
	}
	switch {
	case o.json:
		return json.NewEncoder(w).Encode(r)
	case o.status.short:
		return status.Short(w, r, colours, o.lang)
	}
	return status.Text(w, r, colours, o.lang)
}
