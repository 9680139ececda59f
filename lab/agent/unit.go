package main

import (
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// statusCommand waits until our unit's STATUS is that text.
func statusCommand(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, len(args) == 2, "status TEXT DURATION")
	began, got := time.Now(), ""
	err := poll(duration(ts, args[1]), func() bool {
		got = property(ts, "StatusText")
		return got == args[0]
	})
	if err != nil {
		ts.Fatalf("status is %q, wanted %q: %v", got, args[0], err)
	}
	clientOf(ts).measure("status %q after %.1f s", got, time.Since(began).Seconds())
}

// pinCommand remembers our process and its file descriptors, pinnedCommand compares.
func pinCommand(ts *testscript.TestScript, neg bool, args []string) {
	pid := property(ts, "MainPID")
	ts.Setenv("PIN_PID", pid)
	ts.Setenv("PIN_FDS", strconv.Itoa(descriptors(pid)))
}

func pinnedCommand(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, len(args) == 1, "pinned DURATION")
	if pid := property(ts, "MainPID"); pid != ts.Getenv("PIN_PID") {
		ts.Fatalf("another process: %s, was %s", pid, ts.Getenv("PIN_PID"))
	}
	n := 0
	err := poll(duration(ts, args[0]), func() bool {
		n = descriptors(ts.Getenv("PIN_PID"))
		return strconv.Itoa(n) == ts.Getenv("PIN_FDS")
	})
	if err != nil {
		ts.Fatalf("%d file descriptors, were %s", n, ts.Getenv("PIN_FDS"))
	}
	clientOf(ts).measure("the same process with %d file descriptors", n)
}

func property(ts *testscript.TestScript, name string) string {
	text, err := exec.Command("systemctl", "show", "--value", "-p", name, "xl2tpd-keepalive").Output()
	ts.Check(err)
	return strings.TrimSpace(string(text))
}

func descriptors(pid string) int {
	entries, _ := os.ReadDir("/proc/" + pid + "/fd")
	return len(entries)
}
