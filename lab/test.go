package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"xl2tpd-keepalive/lab/event"
	"xl2tpd-keepalive/lab/vm"
)

// lab is where things lie on the host, and what the scenarios' variables are set to.
type lab struct {
	image, disk, out string
	set              map[string]string
	recorder         *recorder
}

// limit is how long a machine may take, of host time: a day with ten tunnels takes more than an hour.
const limit = 3 * time.Hour

func (l lab) machine(clock vm.Clock, c event.Case) vm.Machine {
	env := maps.Clone(l.set)
	maps.Copy(env, c.Env)
	c.Env = env
	l.recorder.parameter("DEBIAN", filepath.Base(l.image))
	return vm.Machine{Image: l.image, Disk: l.disk, Clock: clock, Case: c, Limit: limit}
}

const (
	copyScenario       = "personality-soak.txtar"
	mtuScenario        = "mtu-line.txtar"
	deadRedialScenario = "dead-redial.txtar"   // needs an older xl2tpd than Debian 12's
	redialsScenario    = "failed-lookup.txtar" // needs one as new as that
	floodScenario      = "trace-flood.txtar"   // xl2tpd logs each made-up message, which takes long
	delaysScenario     = "flood-delays.txtar"  // the same
	throughputScenario = "throughput.txtar"
	instancesScenario  = "instances.txtar" // takes longer than all others
)

var scaleScenarios = []string{"scale.txtar", "charon-restarts.txtar", "cut-line.txtar", "many-sas.txtar"}

// asked are the scenarios that have a command of their own.
var asked = append([]string{demoScenario, soakScenario, linesScenario, matrixScenario, chaosScenario, neighboursScenario, throughputScenario, instancesScenario, picturesScenario, copyScenario, mtuScenario, floodScenario, delaysScenario, deadRedialScenario}, append(packageScenarios, scaleScenarios...)...)

// tally counts what held and what did not, and prints each as it comes.
type tally struct {
	mu             sync.Mutex
	passed, failed int
}

// print prints a result, with the guest's time and the host's that it took.
func (r *tally) print(clock vm.Clock, e event.Event, guest, host time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	took := fmt.Sprintf("%6.1f s of guest time (clock: %s), %.1f s of them busy, %.0f s here",
		guest.Seconds(), clock, e.Busy, host.Seconds())
	switch e.Kind {
	case event.Pass:
		r.passed++
		fmt.Printf("ok    %-28s %s\n", e.Scenario, took)
	case event.Fail:
		r.failed++
		fmt.Printf("FAIL  %-28s %s\n      %s\n", e.Scenario, took, strings.ReplaceAll(e.Text, "\n", "\n      "))
	case event.Measure:
		fmt.Printf("      %-28s %s\n", e.Scenario, e.Text)
	}
}

// follow runs one machine, prints its results and keeps its whole log in a file. A line of that begins with the host's
// seconds since the machine was switched on, which show what takes long, and the guest's time.
func (l lab) follow(ctx context.Context, r *tally, name string, m vm.Machine, verbose bool) {
	log := filepath.Join(l.out, name+".log")
	file, err := os.Create(log)
	if err != nil {
		r.print(m.Clock, event.Event{Kind: event.Fail, Scenario: "lab", Text: err.Error()}, 0, 0)
		return
	}
	defer file.Close()
	var guest, host time.Time
	began := time.Now()
	err = m.Run(ctx, func(e event.Event) {
		l.recorder.saw(name, e)
		l.recorder.add(prefix(e.Scenario), e.Figures)
		if e.Kind == event.Start {
			guest, host = e.Time, time.Now()
		}
		if e.Kind == event.File {
			e.Text = l.keep(e)
		}
		line := fmt.Sprintf("%6.1f ", time.Since(began).Seconds()) + logLine(e)
		file.WriteString(line)
		if verbose {
			fmt.Print(line)
		}
		r.print(m.Clock, e, e.Time.Sub(guest), time.Since(host))
	})
	if err != nil {
		r.print(m.Clock, event.Event{Kind: event.Fail, Scenario: "lab", Text: err.Error()}, 0, 0)
	}
	fmt.Printf("      whole log: %s\n", log)
}

// keep writes a file of a scenario into the folder of outputs, and returns what became of it.
func (l lab) keep(e event.Event) string {
	path := filepath.Join(l.out, strings.TrimSuffix(e.Scenario, filepath.Ext(e.Scenario))+"-"+filepath.Base(e.Name))
	if err := os.WriteFile(path, e.Data, 0o644); err != nil {
		return err.Error()
	}
	return path
}

// prefix is what the figures of a scenario or a test program have in front of their names.
func prefix(scenario string) string {
	return strings.TrimSuffix(scenario, filepath.Ext(scenario)) + "."
}

func logLine(e event.Event) string {
	return strings.Join([]string{e.Time.Format("15:04:05.000"), e.Scenario, e.Kind, e.Tunnel, e.Link, e.Reason, e.Text}, " ") + "\n"
}

func (l lab) end(r *tally) bool {
	l.recorder.add("", event.Figures{"passed": float64(r.passed)})
	fmt.Printf("lab: %d passed, %d failed\n", r.passed, r.failed)
	return r.failed == 0 && r.passed > 0
}

// play runs what is asked for in one VM, log and all on the terminal.
func (l lab) play(ctx context.Context, clock vm.Clock, name string, scenarios, tests []string) bool {
	l.record(name, clock, l.parameters(scenarios))
	r := &tally{}
	l.follow(ctx, r, "run", l.machine(clock, event.Case{Scenarios: scenarios, Tests: tests}), true)
	return l.end(r)
}

// each is a scenario with each of these values of a variable.
func each(scenario, variable string, values []string) (all []string) {
	for _, v := range values {
		all = append(all, scenario+" "+variable+"="+v)
	}
	return all
}

// mtuLines are the scenario with each line, IPsec and data path; those that a word of only is a part of.
func mtuLines(only []string) (all []string) {
	for _, mode := range []string{"kernel", "userspace"} {
		for _, esp := range []string{"plain", "nat-t"} {
			for _, line := range []string{"1500", "1454", "1280"} {
				for _, how := range []string{"icmp", "hole"} {
					name := fmt.Sprintf("%s ESP=%s HOW=%s LINE=%s MODE=%s", mtuScenario, esp, how, line, mode)
					if !slices.ContainsFunc(only, func(word string) bool { return !strings.Contains(name, "="+word) }) {
						all = append(all, name)
					}
				}
			}
		}
	}
	return all
}

// packageScenarios need the second disk of make lab-debian.
var packageScenarios = []string{"first-minutes.txtar", "package.txtar"}

// testSpan is $DURATION in a test: enough for a dozen of xl2tpd's Hellos.
const testSpan = "7m"

// test runs all the other scenarios and the Go tests in two VMs side by side. They skip idle time, which also makes
// what they measure independent of how busy this machine is.
func (l lab) test(ctx context.Context) bool {
	scenarios, err1 := names(filepath.Join(l.disk, "scenarios"))
	tests, err2 := names(filepath.Join(l.disk, "tests"))
	if err := errors.Join(err1, err2); err != nil {
		fmt.Fprintln(os.Stderr, "lab:", err)
		return false
	}
	tests = slices.DeleteFunc(tests, func(name string) bool { return !strings.HasSuffix(name, ".test") })
	scenarios = slices.DeleteFunc(scenarios, func(name string) bool { return slices.Contains(asked, name) })
	if i := slices.Index(scenarios, redialsScenario); i >= 0 && filepath.Base(l.image) == "bullseye" {
		scenarios[i] = deadRedialScenario
	}
	l.record("scenarios", vm.Skip, nil)
	if program, err := os.Stat(filepath.Join(l.disk, "install/usr/sbin", ourName)); err == nil {
		l.recorder.add("", event.Figures{"program_mb": float64(program.Size()) / 1e6})
	}
	r := &tally{}
	cases := split(scenarios, tests, 2)
	machines := newJobs(len(cases))
	for i, c := range cases {
		c.Env = map[string]string{"DURATION": testSpan}
		machines.start(func() error {
			l.follow(ctx, r, fmt.Sprintf("vm%d", i+1), l.machine(vm.Skip, c), false)
			return nil
		})
	}
	machines.wait()
	return l.end(r)
}

func names(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names, err
}
