package main

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
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

// sasCommand waits until our status shows so many tunnels, or LACs without one, with an SA.
func sasCommand(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, len(args) == 2, "sas N DURATION")
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	c, got := clientOf(ts), 0
	err = poll(duration(ts, args[1]), func() bool {
		got, err = seenSAs()
		return err == nil && got == want
	})
	if err != nil {
		ts.Fatalf("%d SAs, wanted %d: %v", got, want, err)
	}
	if want == 0 {
		return
	}
	now, records := time.Now(), c.history.all()
	for _, r := range slices.Backward(records) {
		if r.kind == "journal" && r.link == "charon-systemd" && strings.HasPrefix(r.text, "CHILD_SA") && strings.Contains(r.text, " established ") {
			c.measure("%d SAs are seen, %.1f s after charon has established the last one", got, now.Sub(r.at).Seconds())
			return
		}
	}
}

// seenSAs asks our status socket.
func seenSAs() (n int, err error) {
	conn, err := net.Dial("unix", "/run/xl2tpd-keepalive/status")
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	var report struct {
		Tunnels []struct {
			SA struct{ Child bool }
		}
	}
	err = json.NewDecoder(conn).Decode(&report)
	for _, t := range report.Tunnels {
		if t.SA.Child {
			n++
		}
	}
	return n, err
}

// process is how our process is: which one, and what it uses.
type process struct{ pid, descriptors, threads, rss int }

func ourProcess(ts *testscript.TestScript) process {
	pid, err := strconv.Atoi(property(ts, "MainPID"))
	ts.Check(err)
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	ts.Check(err)
	threads, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	ts.Check(err)
	statm, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	ts.Check(err)
	pages, err := strconv.Atoi(strings.Fields(string(statm))[1])
	ts.Check(err)
	return process{pid, len(entries), len(threads), pages * os.Getpagesize() >> 10}
}

func (p process) String() string {
	return fmt.Sprintf("%d file descriptors, %d threads, %d KB", p.descriptors, p.threads, p.rss)
}

// pinCommand remembers our process, pinnedCommand compares: the same process with the same number of file
// descriptors and, if that is asked for, so much more memory at most.
func pinCommand(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, len(args) == 0, "pin")
	clientOf(ts).pinned = ourProcess(ts)
}

func pinnedCommand(ts *testscript.TestScript, neg bool, args []string) {
	words, opts := options(args)
	usage(ts, neg, len(words) == 1, "pinned DURATION [growth=PERCENT]")
	c := clientOf(ts)
	was, is := c.pinned, process{}
	err := poll(duration(ts, words[0]), func() bool {
		is = ourProcess(ts)
		return is.pid == was.pid && is.descriptors <= was.descriptors
	})
	c.measure("our process: %v, were %v", is, was)
	if is.pid != was.pid {
		ts.Fatalf("another process: %d, was %d", is.pid, was.pid)
	}
	if err != nil {
		ts.Fatalf("%d file descriptors, were %d", is.descriptors, was.descriptors)
	}
	if growth, ok := opts["growth"]; ok {
		percent, err := strconv.Atoi(growth)
		ts.Check(err)
		if is.rss > was.rss*(100+percent)/100 {
			ts.Fatalf("%d KB of memory, were %d", is.rss, was.rss)
		}
	}
}

func property(ts *testscript.TestScript, name string) string {
	text, err := output("systemctl", "show", "--value", "-p", name, "xl2tpd-keepalive")
	ts.Check(err)
	return text
}

func output(command ...string) (string, error) {
	text, err := exec.Command(command[0], command[1:]...).Output()
	return strings.TrimSpace(string(text)), err
}
