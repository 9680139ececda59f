package hook

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	syscall.Umask(0o022) // files that others can write to are refused
	goleak.VerifyTestMain(m)
}

type journal struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (j *journal) Write(b []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(b)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String()
}

type fixture struct {
	t *testing.T
	*Runner
	dir  string
	said *journal
	stop func()
}

func newFixture(t *testing.T, limit time.Duration) *fixture {
	b := &fixture{t: t, dir: t.TempDir(), said: &journal{}}
	b.Runner = &Runner{Log: slog.New(slog.NewTextHandler(b.said, nil)), limit: limit}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- b.Run(ctx) }()
	b.stop = sync.OnceFunc(func() {
		cancel()
		<-done
	})
	t.Cleanup(b.stop)
	for range 1000 {
		b.mu.Lock()
		ready := b.ctx != nil
		b.mu.Unlock()
		if ready {
			return b
		}
		time.Sleep(time.Millisecond)
	}
	t.Fatal("Run does not begin")
	return nil
}

// script writes a hook that begins in the fixture's directory.
func (f *fixture) script(name, text string) string {
	f.t.Helper()
	path := filepath.Join(f.dir, name)
	if err := os.WriteFile(path, []byte("#!/bin/sh\ncd "+f.dir+"\n"+text), 0o755); err != nil {
		f.t.Fatal(err)
	}
	return path
}

// lines waits until a file that hooks write has that many lines.
func (f *fixture) lines(name string, n int) []string {
	f.t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for {
		text, _ := os.ReadFile(filepath.Join(f.dir, name))
		if all := strings.Fields(string(text)); len(all) >= n {
			return all
		}
		if time.Now().After(deadline) {
			f.t.Fatalf("%s: %q, want %d lines; said: %s", name, text, n, f.said)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func TestEnvironment(t *testing.T) {
	b := newFixture(t, 0)
	path := b.script("hook", "{ env | grep -v ^PWD= | grep -v ^_= | grep -v ^SHLVL= | LC_ALL=C sort; echo \"$@\"; pwd; } | tr ' ' '~' > new; mv new out\n")
	b.Call(Event{
		Path: path, Name: Down, Tunnel: "lac office", Peer: netip.MustParseAddr("192.0.2.1"), Link: "ppp0",
		Local: netip.MustParseAddr("10.0.0.2"), Remote: netip.MustParseAddr("10.0.0.1"), Reason: "says\nEVENT=up",
	})
	want := []string{"EVENT=down", "LINK=ppp0", "LOCAL=10.0.0.2", "OLDPWD=/",
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"PEER=192.0.2.1", "REASON=says~EVENT=up", "REMOTE=10.0.0.1", "TUNNEL=lac~office", "down", b.dir}
	if got := b.lines("out", len(want)); !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

// Events of one tunnel keep their order; another tunnel's do not wait for them.
func TestOrder(t *testing.T) {
	b := newFixture(t, 0)
	slow := b.script("slow", "echo $1 >> out; while [ ! -e go ]; do sleep 0.01; done; echo $1 >> out\n")
	quick := b.script("quick", "echo $1 >> out; touch go\n")
	b.Call(Event{Path: slow, Name: Up, Tunnel: "lac a"})
	b.Call(Event{Path: slow, Name: Down, Tunnel: "lac a"})
	b.lines("out", 1)
	b.Call(Event{Path: quick, Name: Alive, Tunnel: "lac b"})
	if got, want := b.lines("out", 5), []string{Up, Alive, Up, Down, Down}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// All callers of an LNS may come or go at the same time; no hook waits for another caller's.
func TestCallers(t *testing.T) {
	const callers = 3 * maxWaiting
	b := newFixture(t, 0)
	path := b.script("hook", "echo $LINK >> out\n")
	for i := range callers {
		b.Call(Event{Path: path, Name: Down, Tunnel: "lns default", Link: fmt.Sprintf("ppp%d", i)})
	}
	b.lines("out", callers)
}

// A hook that hangs is killed with all it has started, and the next one runs.
func TestLimit(t *testing.T) {
	b := newFixture(t, 2*time.Second)
	b.Call(Event{Path: b.script("hangs", "sleep 600 & echo $! $$ > pids; wait\n"), Name: Up, Link: "ppp0"})
	b.Call(Event{Path: b.script("next", "echo ran > next.out\n"), Name: Down, Link: "ppp0"})
	b.lines("next.out", 1)
	b.dead(b.lines("pids", 2))
	if said := b.said.String(); !strings.Contains(said, "hangs: killed after 2s") || !strings.Contains(said, "tunnel=ppp0") {
		t.Errorf("said %q", said)
	}
}

// dead waits until none of the processes runs: a killed one may wait for init.
func (f *fixture) dead(pids []string) {
	f.t.Helper()
	for _, text := range pids {
		pid, err := strconv.Atoi(text)
		if err != nil {
			f.t.Fatal(err)
		}
		for deadline := time.Now().Add(5 * time.Second); running(pid); time.Sleep(5 * time.Millisecond) {
			if time.Now().After(deadline) {
				f.t.Fatalf("%d still runs", pid)
			}
		}
	}
}

func running(pid int) bool {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	_, rest, _ := strings.Cut(string(stat), ") ")
	return err == nil && syscall.Kill(pid, 0) == nil && !strings.HasPrefix(rest, "Z")
}

// Nothing outlives Run, and what a hook leaves in the background does not outlive it.
func TestNothingIsLeft(t *testing.T) {
	b := newFixture(t, 0)
	b.Call(Event{Path: b.script("leaves", "sleep 600 & echo $! > left\n"), Name: Up, Tunnel: "lac a"})
	b.dead(b.lines("left", 1))
	b.Call(Event{Path: b.script("hangs", "echo $$ > pid; sleep 600\n"), Name: Up, Tunnel: "lac b"})
	pids := b.lines("pid", 1)
	b.stop()
	b.dead(pids)
	b.Call(Event{Path: b.script("late", "touch late.out\n"), Name: Up, Tunnel: "c"})
	if said := b.said.String(); said != "" {
		t.Errorf("said %q", said)
	}
}

func TestTooManyEvents(t *testing.T) {
	b := newFixture(t, 0)
	path := b.script("slow", "echo $1 >> out; while [ ! -e go ]; do sleep 0.01; done\n")
	b.Call(Event{Path: path, Name: "first", Tunnel: "lac a"})
	b.lines("out", 1)
	for i := range maxWaiting + 2 {
		b.Call(Event{Path: path, Name: strconv.Itoa(i), Tunnel: "lac a"})
	}
	b.script("go", "")
	if got := b.lines("out", maxWaiting+1); got[1] != "2" || got[maxWaiting] != strconv.Itoa(maxWaiting+1) {
		t.Errorf("got %q, want all but 0 and 1", got)
	}
	if n := strings.Count(b.said.String(), "an event is dropped"); n != 2 {
		t.Errorf("%d dropped, want 2: %s", n, b.said)
	}
}

// A hook that fails says so; one that others can change is not run at all.
func TestFailures(t *testing.T) {
	b := newFixture(t, 0)
	b.Call(Event{Path: b.script("fails", "exit 3\n"), Name: Up, Tunnel: "lac a"})
	loose := b.script("loose", "touch ran\n")
	if err := os.Chmod(loose, 0o777); err != nil {
		t.Fatal(err)
	}
	b.Call(Event{Path: loose, Name: Up, Tunnel: "lac a"})
	b.Call(Event{Path: b.script("end", "echo end > end.out\n"), Name: Up, Tunnel: "lac a"})
	b.lines("end.out", 1)
	said := b.said.String()
	if !strings.Contains(said, "fails: exit status 3") || !strings.Contains(said, "loose: others than its owner can write to it") {
		t.Errorf("said %q", said)
	}
	if _, err := os.Stat(filepath.Join(b.dir, "ran")); err == nil {
		t.Error("a file that others can write to was run")
	}
}
