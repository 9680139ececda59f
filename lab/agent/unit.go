package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"xl2tpd-keepalive/lab/event"
)

// statusCommand waits until the service's STATUS is that text.
func statusCommand(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, len(args) == 2, "status TEXT DURATION")
	began, got := time.Now(), ""
	err := poll(duration(ts, args[1]), func() bool {
		got = property(ts, "StatusText")
		return got == args[0]
	})
	if err != nil {
		seen, _ := exec.Command("xl2tpd-keepalive", "status").CombinedOutput()
		ts.Fatalf("status is %q, wanted %q: %v\n%s", got, args[0], err, seen)
	}
	clientOf(ts).measure("status %q after %.1f s", got, time.Since(began).Seconds())
}

// sasCommand waits until the service's status shows N tunnels with an SA. LACs without a tunnel count too.
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
			c.measured(event.Figures{"sas_seen_s": now.Sub(r.at).Seconds()},
				"%d SAs are seen, %.1f s after charon has established the last one", got, now.Sub(r.at).Seconds())
			return
		}
	}
}

// seenSAs counts the tunnels with an SA.
func seenSAs() (n int, err error) {
	tunnels, err := reported()
	for _, t := range tunnels {
		if t.SA.Child {
			n++
		}
	}
	return n, err
}

// reportedTunnel is what the lab reads of a tunnel in the service's status.
type reportedTunnel struct {
	Name     string
	Instance string
	Peer     netip.Addr
	Link     struct{ Local, Remote netip.Addr }
	SA       struct{ Child bool }
	Guard    struct{ Holding bool }
}

// isOf reports whether it is the peer's. In userspace mode its section may be unknown.
func (t reportedTunnel) isOf(p *peer) bool {
	if p.own.IsValid() {
		return t.Link.Local == p.own
	}
	return t.Peer == p.reach || t.Link.Remote == p.ppp
}

// reported asks the service's status socket.
func reported() ([]reportedTunnel, error) {
	conn, err := net.Dial("unix", "/run/xl2tpd-keepalive/status")
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	var report struct{ Tunnels []reportedTunnel }
	err = json.NewDecoder(conn).Decode(&report)
	return report.Tunnels, err
}

// heldCommand holds when these tunnels depend on the guard, by the service's status; with ! when none does.
func heldCommand(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, false, len(args) > 0, "held NAME...")
	tunnels, err := reported()
	ts.Check(err)
	for _, p := range peersOf(ts, args) {
		known, holding := false, false
		for _, t := range tunnels {
			if t.isOf(p) {
				known, holding = true, holding || t.Guard.Holding
			}
		}
		if !known {
			ts.Fatalf("%s: not in the status of the service", p.name)
		}
		if holding == neg {
			ts.Fatalf("%s: depends on the guard: %v", p.name, holding)
		}
	}
}

// namedCommand holds when the service's status has one tunnel or LAC with each of these peers, by its section's name and, where the
// client host has several xl2tpds, with the instance that dials it. In userspace mode a shared pppoptfile can leave both
// unknown: with maybe=unknown they may be, but never wrong.
func namedCommand(ts *testscript.TestScript, neg bool, args []string) {
	names, opts := options(ts, args, "maybe")
	usage(ts, neg, len(names) > 0, "named NAME... [maybe=unknown]")
	c := clientOf(ts)
	tunnels, err := reported()
	ts.Check(err)
	for _, p := range peersOf(ts, names) {
		name, instance := "lac "+p.lac, ""
		if p.calls() {
			name = "lns " + p.name
		}
		if len(c.instances) > 0 {
			instance = p.instance.label()
		}
		var rows int
		for _, t := range tunnels {
			if !t.isOf(p) {
				continue
			}
			rows++
			unknown := opts["maybe"] == "unknown" && t.Name == ""
			if !unknown && (t.Name != name || t.Instance != instance) {
				ts.Fatalf("%s: in the status of the service it is %q of %q, wanted %q of %q", p.name, t.Name, t.Instance, name, instance)
			}
		}
		if rows != 1 {
			ts.Fatalf("%s: in the status of the service %d times", p.name, rows)
		}
	}
}

// boundedCommand holds when the service's process has never used more memory, and its directory holds no more now.
func boundedCommand(ts *testscript.TestScript, neg bool, args []string) {
	words, opts := options(ts, args, "rss", "state", "files")
	usage(ts, neg, len(words) == 0 && len(opts) == 3, "bounded rss=MB state=KB files=N")
	limit := func(name string) int {
		n, err := strconv.Atoi(opts[name])
		ts.Check(err)
		return n
	}
	peak, err := peakMemory(ourProcess(ts).pid)
	ts.Check(err)
	files, size, err := stateSize()
	ts.Check(err)
	clientOf(ts).measured(event.Figures{"peak_mb": float64(peak >> 10), "state_files": float64(files), "state_kb": float64(size >> 10)},
		"our process: %d MB of memory at most; its directory: %d files, %d KB", peak>>10, files, size>>10)
	if peak > limit("rss")<<10 || files > limit("files") || size > limit("state")<<10 {
		ts.Fatalf("%d MB of memory, %d files, %d KB; wanted at most rss=%s files=%s state=%s",
			peak>>10, files, size>>10, opts["rss"], opts["files"], opts["state"])
	}
}

// peakMemory is the most that a process has had in memory so far, in KB.
func peakMemory(pid int) (int, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(text), "VmHWM:")
	fields := strings.Fields(rest)
	if len(fields) == 0 {
		return 0, errors.New("no VmHWM")
	}
	return strconv.Atoi(fields[0])
}

// stateSize is how many files the service's directory has, and how much room they take.
func stateSize() (files, size int, err error) {
	err = filepath.WalkDir("/run/xl2tpd-keepalive", func(_ string, e fs.DirEntry, err error) error {
		var info fs.FileInfo
		if err == nil {
			info, err = e.Info()
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil // it was there a moment ago
		}
		if err == nil && !info.IsDir() {
			files++
			size += int(info.Sys().(*syscall.Stat_t).Blocks) * 512
		}
		return err
	})
	return files, size, err
}

// process is how the service's process is: which one, and what it uses.
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

// pinCommand remembers the service's process, pinnedCommand compares: the same process with the same number of file
// descriptors and, if that is asked for, so much more memory at most.
func pinCommand(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, len(args) == 0, "pin")
	clientOf(ts).pinned = ourProcess(ts)
}

func pinnedCommand(ts *testscript.TestScript, neg bool, args []string) {
	words, opts := options(ts, args, "growth")
	usage(ts, neg, len(words) == 1, "pinned DURATION [growth=PERCENT]")
	c := clientOf(ts)
	was, is := c.pinned, process{}
	err := poll(duration(ts, words[0]), func() bool {
		is = ourProcess(ts)
		return is.pid == was.pid && is.descriptors <= was.descriptors
	})
	c.measured(event.Figures{"rss_mb": float64(is.rss) / 1024, "rss_before_mb": float64(was.rss) / 1024}, "our process: %v, were %v", is, was)
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
	text, err := serviceProperty(name)
	ts.Check(err)
	return text
}

func output(command ...string) (string, error) {
	text, err := exec.Command(command[0], command[1:]...).Output()
	return strings.TrimSpace(string(text)), err
}
