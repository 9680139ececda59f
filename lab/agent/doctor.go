package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// changing is what differs from run to run in what doctor says.
var changing = []struct {
	pattern *regexp.Regexp
	name    string
}{
	{regexp.MustCompile(`running, version [^,]+`), "running, version VERSION"},
	{regexp.MustCompile(`\bpid \d+`), "pid PID"},
	{regexp.MustCompile(`\b\d\d:\d\d:\d\d\b`), "TIME"},
	{regexp.MustCompile(`every (?:\d+m)?\d+s\b`), "every DURATION"},
	{regexp.MustCompile(`\b\d+\.\d+\.\d+(?:-\d+|\+deb\d+)-amd64\b`), "KERNEL"},
	{regexp.MustCompile(`\bxl2tpd 1\.3\.\d+\b`), "xl2tpd 1.3.N"},
}

func unchanging(text string) string {
	for _, c := range changing {
		text = c.pattern.ReplaceAllString(text, c.name)
	}
	return text
}

// saying is what doctor has said, by lines.
type saying []string

// examined is the host that doctor examines.
type examined struct {
	dir   string   // the scenario's
	enter []string // command that runs another one there; empty: the client host itself
	says  saying
}

func (e examined) command(words ...string) *exec.Cmd {
	words = append(slices.Clone(e.enter), words...)
	c := exec.Command(words[0], words[1:]...)
	c.Dir = e.dir
	return c
}

func (e *examined) look() error {
	out, err := e.command("xl2tpd-keepalive", "doctor").Output()
	if len(out) == 0 {
		return fmt.Errorf("doctor says nothing: %w", err)
	}
	e.says = strings.Split(strings.TrimSpace(string(out)), "\n")
	return nil
}

// until asks doctor again and again, each time after a longer pause: it keeps the guest busy.
func (e *examined) until(holds func() bool) error {
	for pause := time.Second; ; pause *= 2 {
		if err := e.look(); err != nil {
			return err
		}
		switch {
		case holds():
			return nil
		case pause > 32*time.Second:
			return fmt.Errorf("doctor says\n%s", e.says.text())
		}
		time.Sleep(pause)
	}
}

func (s saying) text() string { return unchanging(strings.Join(s, "\n")) + "\n" }

// findings are the lines with the steps below them, in an order of their own: that of tunnels depends on which was up first.
func findings(text string) []string {
	all := strings.Split(strings.ReplaceAll(text, "\n ", "\r "), "\n")
	slices.Sort(all)
	return all
}

// problems are the lines that report one.
func (s saying) problems() (all []string) {
	for _, line := range s {
		if strings.HasPrefix(line, "✗ ") {
			all = append(all, unchanging(line))
		}
	}
	return all
}

// finding returns a problem and the steps of its remedy.
func (s saying) finding(about string) (line string, steps []string, err error) {
	for i, l := range s {
		if !strings.HasPrefix(l, "✗ "+about) {
			continue
		}
		if line != "" {
			return "", nil, fmt.Errorf("two findings begin with %s", about)
		}
		line = l
		for _, l := range s[i+1:] {
			step, ok := strings.CutPrefix(l, "    → ")
			if !ok {
				break
			}
			steps = append(steps, step)
		}
	}
	if line == "" {
		return "", nil, fmt.Errorf("doctor says nothing of %s", about)
	}
	return line, steps, nil
}

// doctorCommand holds when doctor says what the file has. With -set UPDATE=yes a file that is not there is no failure: the
// log has what doctor says.
func doctorCommand(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, len(args) > 0, "doctor HOST [COMMAND...]")
	c := clientOf(ts)
	c.doctor.enter = args[1:]
	want, err := os.ReadFile(filepath.Join(disk, "hosts", args[0]+".txt"))
	if errors.Is(err, fs.ErrNotExist) && ts.Getenv("UPDATE") != "" {
		time.Sleep(15 * time.Second) // a tunnel is alive by then
		ts.Check(c.doctor.look())
		ts.Logf("%s.txt:\n%s.", args[0], c.doctor.says.text())
		return
	}
	ts.Check(err)
	err = c.doctor.until(func() bool { return slices.Equal(findings(c.doctor.says.text()), findings(string(want))) })
	if err != nil {
		ts.Fatalf("doctor on %s: %v\nwanted\n%s", args[0], err, want)
	}
}

// cureCommand does what doctor has said of a finding. It holds when the finding goes away, and no other one comes that
// the first may not have hidden.
func cureCommand(ts *testscript.TestScript, neg bool, args []string) {
	hides := len(args) > 0 && args[0] == "-hides"
	if hides {
		args = args[1:]
	}
	usage(ts, neg, len(args) >= 2, "cure [-hides] FINDING STEP[ => COMMAND]...")
	d := &clientOf(ts).doctor
	line, steps, err := d.says.finding(args[0])
	ts.Check(err)
	for _, arg := range args[1:] {
		command, err := commandFor(arg, steps)
		ts.Check(err)
		out, err := d.command("sh", "-c", command).CombinedOutput()
		ts.Logf("cure: %s\n%s", command, out)
		if err != nil {
			ts.Fatalf("cure: %s: %v", command, err)
		}
	}
	before := d.says.problems()
	ts.Check(d.until(func() bool {
		left := d.says.problems()
		return !slices.Contains(left, unchanging(line)) &&
			(hides || !slices.ContainsFunc(left, func(l string) bool { return !slices.Contains(before, l) }))
	}))
	clientOf(ts).mark("cured: %s", line)
}

// commandFor returns the command for one step of a remedy: the step itself, or what an administrator does for it.
func commandFor(arg string, steps []string) (string, error) {
	said, command, prose := strings.Cut(arg, " => ")
	i := slices.IndexFunc(steps, func(step string) bool {
		begin, shortened := strings.CutSuffix(said, "…")
		return unchanging(step) == said || shortened && strings.HasPrefix(unchanging(step), begin)
	})
	switch {
	case i < 0:
		return "", fmt.Errorf("no step is %q of\n%s", said, strings.Join(steps, "\n"))
	case prose:
		return command, nil
	}
	return steps[i], nil
}
