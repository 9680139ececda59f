package main

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"
)

// busyTime is how long the guest's processors have worked since boot. On a skipping clock it counts instructions, so it
// does not depend on how busy the host is.
func busyTime() time.Duration {
	var now unix.Timespec
	text, err := os.ReadFile("/proc/uptime")
	if err != nil || unix.ClockGettime(unix.CLOCK_MONOTONIC, &now) != nil {
		return 0
	}
	var up, idle float64 // seconds
	fmt.Sscan(string(text), &up, &idle)
	return time.Duration(now.Nano())*time.Duration(runtime.NumCPU()) - time.Duration(idle*float64(time.Second))
}

// precision is /proc/uptime's.
const precision = 10 * time.Millisecond

// ledger is how long the guest worked for each word of a scenario.
type ledger struct {
	mu    sync.Mutex
	began time.Duration
	words map[string]time.Duration
}

func newLedger() *ledger { return &ledger{began: busyTime(), words: map[string]time.Duration{}} }

// count begins a word; what it returns ends it.
func (l *ledger) count(name string) (end func()) {
	began := busyTime()
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.words[name] += busyTime() - began
	}
}

// total says how long the guest worked, the dearest words first. The rest is what has no word of the lab's, such as exec.
func (l *ledger) total() (all time.Duration, text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	all = busyTime() - l.began
	l.words["rest"] = all
	names := []string{"rest"}
	for name, spent := range l.words {
		if name == "rest" {
			continue
		}
		l.words["rest"] -= spent
		names = append(names, name)
	}
	names = slices.DeleteFunc(names, func(name string) bool { return l.words[name] < precision })
	slices.SortFunc(names, func(a, b string) int { return int(l.words[b] - l.words[a]) })
	for i, name := range names {
		names[i] = fmt.Sprintf("%s %.2f", name, l.words[name].Seconds())
	}
	return all, strings.Join(names, ", ")
}

// counted are the lab's words, each of which adds what it costs to the scenario's ledger.
func counted(l *ledger) map[string]word {
	all := map[string]word{}
	for name, run := range commands {
		all[name] = func(ts *testscript.TestScript, neg bool, args []string) {
			defer l.count(name)()
			run(ts, neg, args)
		}
	}
	return all
}
