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

// busyTimes is how long the guest worked for each word of a scenario.
type busyTimes struct {
	mu    sync.Mutex
	began time.Duration
	words map[string]time.Duration
}

func newBusyTimes() *busyTimes {
	return &busyTimes{began: busyTime(), words: map[string]time.Duration{}}
}

// count begins a word; what it returns ends it.
func (b *busyTimes) count(name string) (end func()) {
	began := busyTime()
	return func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.words[name] += busyTime() - began
	}
}

// total says how long the guest worked, the dearest words first. The rest is what has no word of the lab's, such as exec.
func (b *busyTimes) total() (all time.Duration, text string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	all = busyTime() - b.began
	b.words["rest"] = all
	names := []string{"rest"}
	for name, spent := range b.words {
		if name == "rest" {
			continue
		}
		b.words["rest"] -= spent
		names = append(names, name)
	}
	names = slices.DeleteFunc(names, func(name string) bool { return b.words[name] < precision })
	slices.SortFunc(names, func(x, y string) int { return int(b.words[y] - b.words[x]) })
	for i, name := range names {
		names[i] = fmt.Sprintf("%s %.2f", name, b.words[name].Seconds())
	}
	return all, strings.Join(names, ", ")
}

// counted are the lab's words, each of which adds what it costs to the scenario's busy times.
func counted(b *busyTimes) map[string]word {
	all := map[string]word{}
	for name, run := range commands {
		all[name] = func(ts *testscript.TestScript, neg bool, args []string) {
			defer b.count(name)()
			run(ts, neg, args)
		}
	}
	return all
}
