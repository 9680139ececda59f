package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"xl2tpd-keepalive/lab/event"
	"xl2tpd-keepalive/lab/results"
	"xl2tpd-keepalive/lab/vm"
)

// recorder collects what a run measures, for its file.
type recorder struct {
	mu     sync.Mutex
	name   string // of the file; nothing is recorded without one
	result *results.Result
	began  time.Time
	guests map[string]time.Time // when each virtual machine said its first word
}

// record begins to record a run under that name. It is of what the disk was built from. On another Debian than usual the
// name says which.
func (l lab) record(name string, clock vm.Clock, parameters map[string]string) {
	commit, dirty := "", false
	text, _ := os.ReadFile(filepath.Join(l.disk, "commit"))
	if words := strings.Fields(string(text)); len(words) > 0 {
		commit, dirty = words[0], len(words) > 1
	}
	debian := filepath.Base(l.image)
	if name != "" && debian != usualDebian {
		name += "-" + debian
	}
	result := results.Begin(commit, dirty)
	result.Clock = string(clock)
	maps.Copy(result.Parameters, parameters)
	l.recorder.begin(name, result)
}

const usualDebian = "bookworm"

func (r *recorder) begin(name string, result *results.Result) {
	r.name, r.result, r.began, r.guests = name, result, time.Now(), map[string]time.Time{}
}

var variable = regexp.MustCompile(`\$([A-Z]+)`)

// parameters are those of the variables that the scenarios name.
func (l lab) parameters(scenarios []string) map[string]string {
	named := map[string]string{}
	for _, file := range scenarios {
		text, _ := os.ReadFile(filepath.Join(l.disk, "scenarios", file))
		for _, m := range variable.FindAllStringSubmatch(string(text), -1) {
			if value, ok := l.set[m[1]]; ok {
				named[m[1]] = value
			}
		}
	}
	return named
}

// parameter records what machines that run side by side have in common.
func (r *recorder) parameter(name, value string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.result.Parameters[name] = value
}

// add records figures.
func (r *recorder) add(prefix string, figures event.Figures) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.name != "" {
		r.result.Add(prefix, figures)
	}
}

// picture records that the run has drawn this file.
func (r *recorder) picture(file string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.result.AddPicture(file)
}

// saw notes how much time has passed in a virtual machine.
func (r *recorder) saw(machine string, e event.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.name == "" {
		return
	}
	began, ok := r.guests[machine]
	if !ok {
		r.guests[machine], began = e.Time, e.Time
	}
	r.result.GuestSeconds = max(r.result.GuestSeconds, e.Time.Sub(began).Round(time.Second).Seconds())
}

// end writes the run's file: among the results if it was a success and of a commit, or else into the other folder.
func (r *recorder) end(ok bool, dir, other string) error {
	if r.name == "" {
		return nil
	}
	r.result.HostSeconds = time.Since(r.began).Round(time.Second).Seconds()
	why := ""
	switch {
	case !ok:
		why = ": the run failed"
	case r.result.Commit == "":
		why = ": what was measured has no commit"
	case r.result.Dirty:
		why = ": what was measured differs from its commit"
	}
	if why != "" {
		dir = other
	}
	file, err := r.result.Write(dir, r.name)
	if err == nil {
		fmt.Fprintf(os.Stderr, "lab: figures are in %s%s\n", file, why)
	}
	return err
}

// command runs a command, with its output on the terminal, and records what it says. The words before the command are the
// name of the run and its parameters.
func (l lab) command(ctx context.Context, args []string) bool {
	dashes := slices.Index(args, "--")
	if dashes < 1 || dashes == len(args)-1 {
		fmt.Fprint(os.Stderr, usage)
		return false
	}
	result := results.Begin(results.Tree("."))
	for _, word := range args[1:dashes] {
		name, value, _ := strings.Cut(word, "=")
		result.Parameters[name] = value
	}
	l.recorder.begin(args[0], result)
	run := exec.CommandContext(ctx, args[dashes+1], args[dashes+2:]...)
	run.Stderr = os.Stderr
	run.Cancel = func() error { return run.Process.Signal(syscall.SIGTERM) }
	pipe, err := run.StdoutPipe()
	if err == nil {
		err = run.Start()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "lab:", err)
		return false
	}
	output := results.Output{Figures: map[string]float64{}}
	said := bufio.NewReader(pipe)
	for {
		line, err := said.ReadString('\n')
		io.WriteString(os.Stdout, line)
		output.Line(strings.TrimRight(line, "\n"))
		if err != nil {
			break
		}
	}
	l.recorder.add("", output.Figures)
	if err := run.Wait(); err != nil {
		fmt.Fprintf(os.Stderr, "lab: %s: %v\n", args[0], err)
		return false
	}
	return true
}

func printCommit() bool {
	commit, dirty := results.Tree(".")
	fmt.Print(commit)
	if dirty {
		fmt.Print(" dirty")
	}
	fmt.Println()
	return true
}

// writeDocuments writes the newest figures into the documents of the folder.
func writeDocuments() bool {
	changed, err := results.Documents(".")
	for name, text := range changed {
		err = errors.Join(err, os.WriteFile(name, []byte(text), 0o644))
		fmt.Println(name)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "lab:", err)
	}
	return err == nil
}

// runName is the name of the file of a run of scenarios: theirs, with the mode if they come in both.
func (l lab) runName(scenarios []string) string {
	var names []string
	for _, file := range scenarios {
		names = append(names, strings.TrimSuffix(file, filepath.Ext(file)))
	}
	if mode, ok := l.parameters(scenarios)["MODE"]; ok {
		names = append(names, mode)
	}
	return strings.Join(names, "-")
}
