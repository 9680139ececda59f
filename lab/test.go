package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"xl2tpd-keepalive/lab/event"
	"xl2tpd-keepalive/lab/vm"
)

// lab is where things lie on the host.
type lab struct{ image, disk, out string }

func (l lab) machine(clock vm.Clock, c event.Case) vm.Machine {
	return vm.Machine{Image: l.image, Disk: l.disk, Clock: clock, Case: c, Limit: 12 * time.Minute}
}

// results counts what held and what did not, and prints each as it comes.
type results struct {
	mu             sync.Mutex
	passed, failed int
}

func (r *results) print(run string, e event.Event, took time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch e.Kind {
	case event.Pass:
		r.passed++
		fmt.Printf("ok    %-28s %6.1f s of guest time (clock: %s)\n", e.Scenario, took.Seconds(), run)
	case event.Fail:
		r.failed++
		fmt.Printf("FAIL  %-28s %6.1f s of guest time (clock: %s)\n      %s\n", e.Scenario, took.Seconds(), run,
			strings.ReplaceAll(e.Text, "\n", "\n      "))
	case event.Measure:
		fmt.Printf("      %-28s %s\n", e.Scenario, e.Text)
	}
}

// follow runs one machine, prints its results and keeps its whole log in a file.
func (l lab) follow(ctx context.Context, r *results, m vm.Machine, verbose bool) {
	name := filepath.Join(l.out, string(m.Clock)+".log")
	file, err := os.Create(name)
	if err != nil {
		r.print(string(m.Clock), event.Event{Kind: event.Fail, Scenario: "lab", Text: err.Error()}, 0)
		return
	}
	defer file.Close()
	var began time.Time
	err = m.Run(ctx, func(e event.Event) {
		if e.Kind == event.Start {
			began = e.Time
		}
		line := fmt.Sprintf("%s %s %s %s %s %s %s\n", e.Time.Format("15:04:05.000"), e.Scenario, e.Kind, e.Tunnel, e.Link, e.Reason, e.Text)
		file.WriteString(line)
		if verbose {
			fmt.Print(line)
		}
		r.print(string(m.Clock), e, e.Time.Sub(began))
	})
	if err != nil {
		r.print(string(m.Clock), event.Event{Kind: event.Fail, Scenario: "lab", Text: err.Error()}, 0)
	}
	fmt.Printf("      whole log: %s\n", name)
}

func (r *results) end() bool {
	fmt.Printf("lab: %d passed, %d failed\n", r.passed, r.failed)
	return r.failed == 0 && r.passed > 0
}

// play runs what is asked for in one VM, log and all on the terminal.
func (l lab) play(ctx context.Context, clock vm.Clock, scenarios, tests []string) bool {
	r := &results{}
	l.follow(ctx, r, l.machine(clock, event.Case{Scenarios: scenarios, Tests: tests}), true)
	return r.end()
}

// test runs all there is, each scenario under the clock its first line names, in two VMs side by side.
func (l lab) test(ctx context.Context) bool {
	files, err := os.ReadDir(filepath.Join(l.disk, "scenarios"))
	if err != nil {
		fmt.Fprintln(os.Stderr, "lab:", err)
		return false
	}
	cases := map[vm.Clock]*event.Case{vm.Skip: {}, vm.Real: {}}
	for _, f := range files {
		clock, err := clockOf(filepath.Join(l.disk, "scenarios", f.Name()))
		if err != nil {
			fmt.Fprintln(os.Stderr, "lab:", err)
			return false
		}
		if c := cases[clock]; c != nil {
			c.Scenarios = append(c.Scenarios, f.Name())
		}
	}
	tests, err := os.ReadDir(filepath.Join(l.disk, "tests"))
	if err != nil {
		fmt.Fprintln(os.Stderr, "lab:", err)
		return false
	}
	for _, f := range tests {
		cases[vm.Real].Tests = append(cases[vm.Real].Tests, f.Name())
	}
	r := &results{}
	var wg sync.WaitGroup
	for clock, c := range cases {
		wg.Go(func() { l.follow(ctx, r, l.machine(clock, *c), false) })
	}
	wg.Wait()
	return r.end()
}

// clockOf reads a scenario's first line, "# clock: skip", "# clock: real" or "# clock: demo", the last
// meaning that only the demo plays it.
func clockOf(path string) (vm.Clock, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer file.Close()
	line, err := bufio.NewReader(file).ReadString('\n')
	clock, ok := strings.CutPrefix(strings.TrimSpace(line), "# clock: ")
	if err != nil || !ok {
		return "", fmt.Errorf("%s:1: want \"# clock: skip\", \"# clock: real\" or \"# clock: demo\"", path)
	}
	return vm.Clock(clock), nil
}
