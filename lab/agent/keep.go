package main

import (
	"path/filepath"

	"github.com/rogpeppe/go-internal/testscript"

	"xl2tpd-keepalive/lab/event"
)

// keepCommand sends files to the host, which keeps them beyond the virtual machine's end.
func keepCommand(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, len(args) > 0, "keep FILE...")
	for _, name := range args {
		data := []byte(ts.ReadFile(name))
		clientOf(ts).out.report(event.Event{Kind: event.File, Name: filepath.Base(name), Data: data})
	}
}
