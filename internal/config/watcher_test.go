package config

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"xl2tpd-keepalive/internal/filewatch"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fixture runs a Watcher with notices of changes that the test sends.
type fixture struct {
	t       *testing.T
	w       *Watcher
	changed chan struct{}
	cancel  context.CancelFunc
	ended   chan error

	mu  sync.Mutex
	log bytes.Buffer
	got []*Config
	why error // last argument of Fault
}

func (f *fixture) Write(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.log.Write(p)
}

func newFixture(t *testing.T) *fixture {
	b := &fixture{t: t, changed: make(chan struct{}, 1), ended: make(chan error, 1)}
	b.w = &Watcher{
		Path: filepath.Join(t.TempDir(), "keepalive.conf"),
		Log:  slog.New(slog.NewTextHandler(b, nil)),
		Deliver: func(c *Config) {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.got = append(b.got, c)
		},
		Fault: func(err error) {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.why = err
		},
		watchFiles: func() (filewatch.Watch, error) {
			return filewatch.Watch{C: b.changed, Check: func(...string) {}, Close: func() {}}, nil
		},
	}
	return b
}

func (f *fixture) run() {
	ctx, cancel := context.WithCancel(context.Background())
	f.cancel = cancel
	go func() { f.ended <- f.w.Run(ctx) }()
}

func (f *fixture) stop() {
	f.t.Helper()
	f.cancel()
	if err := <-f.ended; !errors.Is(err, context.Canceled) {
		f.t.Errorf("Run: %v", err)
	}
}

func (f *fixture) put(text string) {
	f.t.Helper()
	if err := os.WriteFile(f.w.Path, []byte(text), 0o600); err != nil {
		f.t.Fatal(err)
	}
}

// expect wants so many deliveries since the last call, the last with this
// interval in seconds, and so many log lines that contain the text.
func (f *fixture) expect(deliveries, interval int, lines int, text string) {
	f.t.Helper()
	synctest.Wait()
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.got) != deliveries {
		f.t.Fatalf("%d deliveries, want %d; log:\n%s", len(f.got), deliveries, f.log.String())
	}
	if deliveries > 0 && f.got[deliveries-1].Global.Interval != time.Duration(interval)*time.Second {
		f.t.Errorf("the latest delivery is %+v, want the interval %d s", f.got[deliveries-1], interval)
	}
	if n := strings.Count(f.log.String(), "\n"); n != lines || lines > 0 && !strings.Contains(f.log.String(), text) {
		f.t.Errorf("want %d lines with %q, log:\n%s", lines, text, f.log.String())
	}
	f.got = nil
	f.log.Reset()
}

// wrong wants the file to be reported wrong for that reason; empty: not to be.
func (f *fixture) wrong(text string) {
	f.t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	if text == "" && f.why != nil || text != "" && (f.why == nil || !strings.Contains(f.why.Error(), text)) {
		f.t.Errorf("reported %v, want %q", f.why, text)
	}
}

func TestReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newFixture(t)
		b.run()
		b.expect(1, 10, 1, "the defaults hold")

		// Two writes, one look 100 ms after the last.
		b.put("[global]\ninterval = 2")
		b.changed <- struct{}{}
		time.Sleep(filewatch.WriteDelay - 1)
		b.put("[global]\ninterval = 20\n")
		b.changed <- struct{}{}
		time.Sleep(filewatch.WriteDelay - 1)
		b.expect(0, 0, 0, "")
		time.Sleep(1)
		b.expect(1, 20, 1, "configuration read")

		// Wrong: nothing delivered, said once, said again when asked.
		b.put("[global]\ninterval = 0\n")
		b.changed <- struct{}{}
		time.Sleep(filewatch.WriteDelay)
		b.expect(0, 0, 1, "keepalive.conf:2: 'interval' is")
		b.wrong("keepalive.conf:2: 'interval' is")
		b.changed <- struct{}{}
		time.Sleep(time.Minute)
		b.expect(0, 0, 0, "")
		b.w.Reload()
		b.expect(0, 0, 1, "; keeping the previous configuration")
		b.put("[global]\ninterval = ten\n")
		time.Sleep(filewatch.SlowLook)
		b.expect(0, 0, 1, "ten")

		// Fixed, without a notice from the system.
		b.put("[global]\ninterval = 20\n")
		time.Sleep(filewatch.SlowLook)
		b.expect(1, 20, 1, "configuration read")
		b.wrong("")
		b.w.Reload()
		b.expect(1, 20, 1, "configuration read")

		// Not a file any more: an error, not the defaults.
		if err := os.Remove(b.w.Path); err != nil {
			t.Fatal(err)
		}
		if err := os.Mkdir(b.w.Path, 0o700); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		b.expect(0, 0, 1, "this is a directory, not a file; keeping the previous configuration")
		b.wrong("this is a directory, not a file")
		if err := os.Remove(b.w.Path); err != nil {
			t.Fatal(err)
		}
		time.Sleep(filewatch.SlowLook)
		b.expect(1, 10, 1, "the defaults hold")
		b.wrong("")
		b.stop()
	})
}

func TestRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newFixture(t)
		b.put("[global]\ninterval = x\n")
		b.run()
		b.expect(1, 10, 1, "; using the defaults until the file is fixed")
		b.put("[global]\ninterval = 7\n")
		b.w.Reload()
		b.expect(1, 7, 1, "configuration read")
		b.put("[global]\ninterval = y\n")
		b.w.Reload()
		b.expect(0, 0, 1, "keeping")
		b.stop()
		b.run() // the task starts again: it delivers everything again, and nothing is lost
		b.expect(1, 7, 0, "")
		b.stop()
	})
}

func TestWithoutInotify(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newFixture(t)
		b.w.watchFiles = func() (filewatch.Watch, error) { return filewatch.Watch{}, errors.New("too many open files") }
		b.run()
		b.expect(1, 10, 2, "too many open files")
		b.put("[global]\ninterval = 7\n")
		time.Sleep(filewatch.BlindLook)
		b.expect(1, 7, 1, "configuration read")
		b.stop()
	})
}

// With the system's own notices: in place, by rename, removed.
func TestInotify(t *testing.T) {
	dir := t.TempDir()
	got := make(chan *Config, 8)
	w := &Watcher{Path: filepath.Join(dir, "keepalive.conf"), Log: slog.New(slog.DiscardHandler), Deliver: func(c *Config) { got <- c }}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- w.Run(ctx) }()
	expect := func(interval time.Duration) {
		t.Helper()
		for late := time.After(20 * time.Second); ; {
			select {
			case c := <-got: // or of a file that is not written to its end yet
				if c.Global.Interval == interval {
					return
				}
			case <-late:
				t.Fatalf("%v: not seen", interval)
			}
		}
	}
	put := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	expect(10 * time.Second)
	put("keepalive.conf", "[global]\ninterval = 5\n")
	expect(5 * time.Second)
	put("keepalive.conf~", "[global]\ninterval = 6\n")
	if err := os.Rename(filepath.Join(dir, "keepalive.conf~"), w.Path); err != nil {
		t.Fatal(err)
	}
	expect(6 * time.Second)
	if err := os.Remove(w.Path); err != nil {
		t.Fatal(err)
	}
	expect(10 * time.Second)
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
