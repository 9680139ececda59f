package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"

	"xl2tpd-keepalive/lab/event"
	"xl2tpd-keepalive/lab/measure"
)

// cost is what the processes of a unit of systemd take.
type cost struct {
	cpu       float64 // of one core, over the time of measurement
	rss, pss  int     // KB at its end, all processes together; pss counts a shared page once
	processes int
}

// costCommand measures what a unit takes, and which echo requests leave meanwhile.
func costCommand(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, len(args) == 2, "cost UNIT DURATION")
	c := clientOf(ts)
	group, err := controlGroup(args[0])
	ts.Check(err)
	began, before := time.Now(), cpuTime(ts, group)
	time.Sleep(duration(ts, args[1]))
	used, took := cpuTime(ts, group)-before, time.Since(began)
	is := memory(ts, group)
	is.cpu = used.Seconds() / took.Seconds()
	if c.costs == nil {
		c.costs = map[string]cost{}
	}
	c.costs[args[0]] = is
	c.measured(event.Figures{
		args[0] + ".cpu_percent": 100 * is.cpu, args[0] + ".rss_mb": float64(is.rss) / 1024,
		args[0] + ".pss_mb": float64(is.pss) / 1024, args[0] + ".processes": float64(is.processes),
	}, "%s: %.3f %% of a core, %.1f MB resident (%.1f MB with shared pages counted once), %d processes", args[0],
		100*is.cpu, float64(is.rss)/1024, float64(is.pss)/1024, is.processes)
	var at []time.Time
	for _, r := range c.history.all() {
		if r.kind == "echo" && r.at.After(began) {
			at = append(at, r.at)
		}
	}
	rate, busiest := float64(len(at))/took.Seconds(), measure.Busiest(at)
	c.measured(event.Figures{args[0] + ".echoes_per_s": rate, args[0] + ".echoes_busiest_s": float64(busiest)},
		"%s: %d echo requests in %v, %.1f in a second, %d in the busiest one", args[0], len(at), took.Round(time.Second), rate, busiest)
}

// ratioCommand compares what two units have taken, both measured before, and holds when the other has taken so many
// times the processor time of the first.
func ratioCommand(ts *testscript.TestScript, neg bool, args []string) {
	words, opts := options(ts, args, "least")
	usage(ts, neg, len(words) == 2, "ratio UNIT OTHER [least=RATIO]")
	c := clientOf(ts)
	one, other := c.costs[words[0]], c.costs[words[1]]
	ratio := other.cpu / one.cpu
	c.measure("%s: %.2f times the processor time of %s, %.2f times its resident memory (%.2f times with shared pages counted once)",
		words[1], ratio, words[0], float64(other.rss)/float64(one.rss), float64(other.pss)/float64(one.pss))
	if text, ok := opts["least"]; ok {
		least, err := strconv.ParseFloat(text, 64)
		ts.Check(err)
		if ratio < least {
			ts.Fatalf("%s takes %.3f %% of a core, %s %.3f %%", words[0], 100*one.cpu, words[1], 100*other.cpu)
		}
	}
}

// startupCommand restarts the service under all tunnels, and holds when each has had an echo request within the limit.
func startupCommand(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, len(args) == 1, "startup LIMIT")
	c := clientOf(ts)
	ts.Check(systemd("restart", "xl2tpd-keepalive"))
	var now unix.Timespec
	ts.Check(unix.ClockGettime(unix.CLOCK_MONOTONIC, &now))
	monotonic := func(name string) time.Duration {
		usec, err := strconv.ParseInt(property(ts, name+"TimestampMonotonic"), 10, 64)
		ts.Check(err)
		return time.Duration(usec) * time.Microsecond
	}
	began := monotonic("ExecMainStart")
	start := time.Now().Add(began - time.Duration(now.Nano()))
	took := monotonic("ActiveEnter") - began
	limit := duration(ts, args[0])
	var worst time.Duration
	all := c.history.await(time.Until(start.Add(limit)), func(records []record) bool {
		first := map[string]time.Duration{}
		for _, r := range slices.Backward(records) {
			if r.kind == "echo" && r.at.After(start) {
				first[r.tunnel] = r.at.Sub(start)
			}
		}
		delete(first, "")
		worst = 0
		for _, d := range first {
			worst = max(worst, d)
		}
		return len(first) == len(c.peers)
	})
	if !all || worst > limit {
		ts.Fatalf("not every tunnel had an echo request within %v of the start", limit)
	}
	var first time.Time // start of the service's code: before that, systemd makes its sandbox
	told := c.history.await(10*time.Second, func(records []record) bool {
		for _, r := range records {
			if r.kind == "journal" && r.at.After(start) && strings.HasPrefix(r.text, "xl2tpd-keepalive starts") {
				first = r.at
			}
		}
		return !first.IsZero()
	})
	if !told {
		ts.Fatalf("the journal shows no start")
	}
	own := start.Add(took).Sub(first)
	c.measured(event.Figures{"startup.ready_s": took.Seconds(), "startup.own_s": own.Seconds()},
		"ready %d ms after its start, %d of them without systemd's", took.Milliseconds(), own.Milliseconds())
	c.measured(event.Figures{"startup.echoed_s": worst.Seconds()},
		"each of %d tunnels had an echo request %d ms after the start at the latest", len(c.peers), worst.Milliseconds())
}

func controlGroup(unit string) (string, error) {
	text, err := output("systemctl", "show", "--value", "-p", "ControlGroup", unit)
	if err == nil && text == "" {
		err = fmt.Errorf("%s does not run", unit)
	}
	return filepath.Join("/sys/fs/cgroup", text), err
}

// cpuTime is what the processes of a control group have used so far, those that have ended included.
func cpuTime(ts *testscript.TestScript, group string) time.Duration {
	text, err := os.ReadFile(filepath.Join(group, "cpu.stat"))
	ts.Check(err)
	var usec int64
	_, err = fmt.Sscanf(string(text), "usage_usec %d", &usec) // its first line
	ts.Check(err)
	return time.Duration(usec) * time.Microsecond
}

func memory(ts *testscript.TestScript, group string) (is cost) {
	pids, err := os.ReadFile(filepath.Join(group, "cgroup.procs"))
	ts.Check(err)
	for _, pid := range strings.Fields(string(pids)) {
		if rss, pss, err := measure.Memory(pid); err == nil {
			is.rss, is.pss, is.processes = is.rss+rss, is.pss+pss, is.processes+1
		}
	}
	return is
}
