package main

import (
	"os/exec"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"

	"xl2tpd-keepalive/lab/event"
)

// pictureCommand runs a command at a terminal and reports its output, whatever its exit status.
func pictureCommand(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, len(args) >= 2, "picture NAME COMMAND...")
	line := strings.Join(args[1:], " ")
	// script(1) makes the terminal.
	cmd := exec.Command("script", "--quiet", "--command", line, "/dev/null")
	cmd.Env = append(cmd.Environ(), "TERM=xterm")
	out, err := cmd.Output()
	ts.Check(err)
	if len(out) == 0 {
		ts.Fatalf("%s: wrote nothing", line)
	}
	clientOf(ts).out.report(event.Event{Kind: event.Picture, Name: args[0], Text: "$ " + line + "\n" + string(out)})
}
