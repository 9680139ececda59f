// Command agent runs inside the lab's VM: it plays the scenarios and Go tests it finds on the second disk
// and reports to the host over the serial line. With arguments it is one of the programs of package foreign, or takes a
// capture.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"xl2tpd-keepalive/lab/event"
	"xl2tpd-keepalive/lab/foreign"
	"xl2tpd-keepalive/lab/results"
)

const disk = "/lab"

func main() {
	if len(os.Args) > 1 {
		if err := program(os.Args[1], os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	out := &reporter{enc: json.NewEncoder(os.Stdout)}
	if err := run(out); err != nil {
		out.report(event.Event{Kind: event.Fail, Scenario: "agent", Text: err.Error()})
	}
	out.report(event.Event{Kind: event.Done})
}

func program(name string, args []string) error {
	switch name {
	case "flood":
		return foreign.Flood(args)
	case "lac":
		return foreign.LAC(args, os.Stdout)
	case "capture":
		return capturePackets(args)
	}
	return fmt.Errorf("usage: agent [flood|lac|capture ...], not %s", name)
}

func run(out *reporter) error {
	text, err := os.ReadFile(filepath.Join(disk, "case.json"))
	if err != nil {
		return err
	}
	var c event.Case
	if err := json.Unmarshal(text, &c); err != nil {
		return fmt.Errorf("case.json: %w", err)
	}
	if err := prepare(); err != nil {
		return err
	}
	watch, err := startObservers()
	if err != nil {
		return err
	}
	out.report(event.Event{Kind: event.Log, Text: fmt.Sprintf("busy seconds: boot %.2f", busyTime().Seconds())})
	for _, s := range c.Scenarios {
		file, own := settingsIn(strings.Fields(s))
		env := maps.Clone(c.Env)
		maps.Copy(env, own)
		play(out, watch, filepath.Join(disk, "scenarios", file[0]), slices.Sorted(maps.Values(own)), env)
	}
	if len(c.Tests) > 0 { // the last scenario has stopped it
		if err := systemd("start", "strongswan"); err != nil {
			return err
		}
	}
	for _, name := range c.Tests {
		goTest(out, name)
	}
	return nil
}

// prepare installs what `make install` put on the disk and loads what the peers need.
func prepare() error {
	for _, command := range [][]string{
		{"cp", "-a", disk + "/install/.", "/"},
		{"systemd-sysusers"},
		{"systemctl", "daemon-reload"},
		{"modprobe", "-a", "l2tp_ppp", "veth", "xfrm_user"},
		{"sysctl", "-qw", "net.ipv4.ip_forward=1"},
	} {
		if err := do(command...); err != nil {
			return err
		}
	}
	return nil
}

// play runs one scenario file by testscript, with the client host and its peers as extra commands. In reports, the
// values that are this run's own stand behind the scenario's name.
func play(out *reporter, watch *observers, file string, own []string, env map[string]string) {
	busy := newBusyTimes()
	testscript.RunT(&scenarioT{out: out, busy: busy, own: own}, testscript.Params{
		Files: []string{file},
		Cmds:  counted(busy),
		// [echo] and [guard] select the demo's run.
		Condition: func(word string) (bool, error) {
			switch keepalive := env["KEEPALIVE"]; word {
			case "echo":
				return keepalive == "echo", nil
			case "guard":
				return keepalive == "guard", nil
			}
			return false, fmt.Errorf("unknown condition %q", word)
		},
		Setup: func(e *testscript.Env) error {
			for k, v := range env {
				e.Setenv(k, v)
			}
			e.Setenv("PATH", os.Getenv("PATH"))
			client, err := newClient(e.WorkDir, out)
			if err != nil {
				return err
			}
			watch.client.Store(client)
			e.Values[clientKey{}] = client
			e.Defer(func() {
				defer busy.count("close")()
				client.close()
			})
			return nil
		},
	})
}

func goTest(out *reporter, name string) {
	out.start(name)
	began := busyTime()
	tests, err := labTests(name)
	if err != nil {
		out.end(event.Fail, err.Error(), 0)
		return
	}
	command := exec.Command(filepath.Join(disk, "tests", name), "-test.v", "-test.timeout=10m", "-test.run="+tests)
	command.Dir = "/tmp"
	pipe, err := command.StdoutPipe()
	command.Stderr = command.Stdout
	if err == nil {
		err = command.Start()
	}
	if err != nil {
		out.end(event.Fail, err.Error(), busyTime()-began)
		return
	}
	// What a test said since it began is worth repeating if it fails.
	var said, failures strings.Builder
	for lines := bufio.NewScanner(pipe); lines.Scan(); {
		line := lines.Text()
		out.report(event.Event{Kind: event.Log, Text: line})
		if key, value, ok := results.Attribute(line); ok {
			out.report(event.Event{Kind: event.Measure, Text: fmt.Sprintf("%s = %v", key, value), Figures: event.Figures{key: value}})
		}
		switch mark := strings.TrimSpace(line); {
		case strings.HasPrefix(mark, "=== RUN"), strings.HasPrefix(mark, "--- PASS"):
			said.Reset()
		default:
			said.WriteString(line + "\n")
			if strings.HasPrefix(mark, "--- FAIL") {
				failures.WriteString(said.String())
				said.Reset()
			}
		}
	}
	if err := command.Wait(); err != nil {
		out.end(event.Fail, failures.String()+said.String()+err.Error(), busyTime()-began)
		return
	}
	out.end(event.Pass, "", busyTime()-began)
}

// labTests are those of a test program that need the lab. `make unit` runs the others, on a faster processor.
func labTests(program string) (pattern string, err error) {
	names, err := os.ReadFile(filepath.Join(disk, "tests", strings.TrimSuffix(program, ".test")+".names"))
	return "^(" + strings.Join(strings.Fields(string(names)), "|") + ")$", err
}

// reporter writes events, stamped with the scenario under way.
type reporter struct {
	mu       sync.Mutex
	enc      *json.Encoder
	scenario string
}

func (r *reporter) report(e event.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e.Time.IsZero() {
		e.Time = time.Now()
	}
	if e.Scenario == "" {
		e.Scenario = r.scenario
	}
	r.enc.Encode(e)
}

func (r *reporter) start(scenario string) {
	r.mu.Lock()
	r.scenario = scenario
	r.mu.Unlock()
	r.report(event.Event{Kind: event.Start})
}

func (r *reporter) end(kind, text string, busy time.Duration) {
	r.report(event.Event{Kind: kind, Text: text, Busy: busy.Seconds()})
}

func do(command ...string) error {
	if text, err := exec.Command(command[0], command[1:]...).CombinedOutput(); err != nil {
		return fmt.Errorf("%v: %w: %s", command, err, text)
	}
	return nil
}
