package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"time"

	"xl2tpd-keepalive/internal/bundle"
	"xl2tpd-keepalive/internal/message"
	"xl2tpd-keepalive/internal/status"
)

// reportIn is how long a report may take: one round of checks, and the programs that it asks.
const reportIn = 2 * time.Minute

func reportCommand() command {
	return command{
		name: "report", args: "[FILE]", words: 1, brief: "collect what others need to find out why tunnels close",
		about: "It writes a tar.gz file that only root may read, and prints what is in it and what was left out.\n" +
			"No password and no key is in it. Look at it before you send it.",
		example: "sudo xl2tpd-keepalive report --anonymise",
		flags: func(f *flag.FlagSet, o *options) {
			boolean(f, &o.anonymise, "anonymise", "replace names and addresses, each always by the same one")
		},
		run: runReport,
	}
}

// runReport writes a support bundle, and prints what is in it.
func runReport(o options, stdout, stderr io.Writer) int {
	if os.Geteuid() != 0 {
		return o.fail(stderr, message.Errorf("a report needs root, to know the secrets that it has to leave out "+
			"(sudo xl2tpd-keepalive report)"))
	}
	ctx, stop := untilSignal()
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, reportIn)
	defer cancel()
	s := bundle.ThisHost(ctx, build(), o.anonymise)
	b := bundle.Collect(ctx, s)
	path := b.Name + ".tar.gz"
	if len(o.names) > 0 {
		path = o.names[0]
	}
	err := ctx.Err()
	if err == nil {
		err = b.Save(path, s.Now)
	}
	if err != nil {
		return o.fail(stderr, unwritable(path, err))
	}
	o.listReport(stdout, b, path)
	return exitOK
}

// listReport prints what is in a report and what is not.
func (o options) listReport(w io.Writer, b *bundle.Bundle, path string) {
	fmt.Fprintln(w, o.lang.Sprintf("%s has:", path))
	for _, f := range b.Files {
		fmt.Fprintf(w, "  %s\n", o.lang.Sprintf("%s, %d bytes", status.Printable(f.Name), len(f.Text)))
	}
	fmt.Fprintln(w, o.lang.Text("Left out:"))
	for _, left := range b.Left {
		fmt.Fprintf(w, "  %s\n", status.Printable(o.lang.Text(left)))
	}
	if !o.anonymise {
		fmt.Fprintln(w, o.lang.Text("Names and addresses are in it; with --anonymise others stand in their place."))
	}
	fmt.Fprintln(w, o.lang.Text("Look at it before you send it."))
}
