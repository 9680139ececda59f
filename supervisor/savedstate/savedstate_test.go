package savedstate

import (
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"xl2tpd-keepalive/internal/procfs"
	"xl2tpd-keepalive/supervisor"
)

func TestFile(t *testing.T) {
	var log strings.Builder
	f := stateFile{path: filepath.Join(t.TempDir(), "lacs"), log: slog.New(slog.NewTextHandler(&log, nil))}
	if got := f.load(); !reflect.DeepEqual(got, supervisor.SavedState{}) {
		t.Errorf("of no file: %+v", got)
	}
	at := time.Date(2026, 3, 1, 12, 0, 0, 1, time.UTC)
	for _, m := range []supervisor.SavedState{
		{Xl2tpd: procfs.ID{Pid: 100, Start: 1 << 63}, LACs: []supervisor.SavedLAC{
			{LAC: []byte("\x93\x8c\x8b\x9e"), LACState: supervisor.LACState{HungUp: true}}, // in Shift_JIS
			{LAC: []byte("two words"), LACState: supervisor.LACState{Idle: true, Silent: at, StopAcked: true, IKE: "office", IKETo: "vpn.example.net"}},
		}, Connections: []supervisor.SavedLAC{{LAC: []byte("home"), LACState: supervisor.LACState{IKE: "office", IKETo: "vpn.example.net"}}}},
		{},
	} {
		f.save(m)
		if got := f.load(); !reflect.DeepEqual(got, m) {
			t.Errorf("saved %+v, loaded %+v", m, got)
		}
	}
	if log.Len() > 0 {
		t.Error(log.String())
	}
}

// A file that can't be used gives one log line.
func TestFileThatCannotBeUsed(t *testing.T) {
	for what, plant := range map[string]func(path string) error{
		"a directory": func(path string) error { return os.Mkdir(path, 0o700) },
		"no JSON":     func(path string) error { return os.WriteFile(path, []byte(`{"LACs": [{"LAC"`), 0o600) },
		"another": func(path string) error {
			return os.WriteFile(path, []byte(`{"LACs": [{"LAC": "b2ZmaWNl"}, 7]}`), 0o600)
		},
	} {
		var log strings.Builder
		f := stateFile{path: filepath.Join(t.TempDir(), "lacs"), log: slog.New(slog.NewTextHandler(&log, nil))}
		if err := plant(f.path); err != nil {
			t.Fatal(err)
		}
		if got := f.load(); !reflect.DeepEqual(got, supervisor.SavedState{}) {
			t.Errorf("of %s: %+v", what, got)
		}
		if what == "a directory" {
			f.save(supervisor.SavedState{})
		}
		want := map[bool]int{true: 2, false: 1}[what == "a directory"]
		if lines := strings.Count(log.String(), "\n"); lines != want {
			t.Errorf("%s: %d lines:\n%s", what, lines, &log)
		}
	}
}

// The log says once that saving fails, and once that it works again.
func TestFileOnAFullDisk(t *testing.T) {
	var log strings.Builder
	dir := filepath.Join(t.TempDir(), "not there yet")
	f := stateFile{path: filepath.Join(dir, "lacs"), log: slog.New(slog.NewTextHandler(&log, nil))}
	for range 3 {
		f.save(supervisor.SavedState{})
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		f.save(supervisor.SavedState{})
	}
	lines := strings.Split(strings.TrimSpace(log.String()), "\n")
	if len(lines) != 2 || !strings.Contains(lines[0], "can't be saved") || !strings.Contains(lines[1], "saved again") {
		t.Errorf("got %q, want one line about the failure, and one about its end", lines)
	}
}

// The state that was kept last is saved.
func TestSaver(t *testing.T) {
	s := NewSaver(filepath.Join(t.TempDir(), "lacs"), slog.New(slog.DiscardHandler))
	for pid := range 100 {
		s.Keep(supervisor.SavedState{Xl2tpd: procfs.ID{Pid: pid}})
	}
	s.Close(time.Minute)
	if got := s.Load(); got.Xl2tpd.Pid != 99 {
		t.Errorf("got %+v, want pid 99", got)
	}
}

// Nobody waits for a save that hangs. The state that was kept last is what is saved after it.
func TestKeepWhileASaveHangs(t *testing.T) {
	s := &Saver{latest: make(chan supervisor.SavedState, 1)} // nothing receives
	for pid := range 100 {
		s.Keep(supervisor.SavedState{Xl2tpd: procfs.ID{Pid: pid}})
	}
	if got := <-s.latest; got.Xl2tpd.Pid != 99 {
		t.Errorf("got %+v, want pid 99", got)
	}
}

// A disk that stalls does not delay the end.
func TestCloseWhileASaveHangs(t *testing.T) {
	for _, limit := range []time.Duration{time.Millisecond, time.Second, time.Minute} {
		synctest.Test(t, func(t *testing.T) {
			s := &Saver{file: stateFile{log: slog.New(slog.DiscardHandler)}, latest: make(chan supervisor.SavedState, 1), done: make(chan struct{})}
			s.Keep(supervisor.SavedState{})
			began := time.Now()
			s.Close(limit)
			if took := time.Since(began); took != limit {
				t.Errorf("took %v, want %v", took, limit)
			}
		})
	}
}

// The file of an earlier version is read, and written the same.
func TestFormat(t *testing.T) {
	const saved = `{"Xl2tpd":{"Pid":100,"Started":4321},"Others":{"/etc/b.conf /run/b":{"Pid":200,"Started":5}},` +
		`"LACs":[{"LAC":"b2ZmaWNl","HungUp":true}]}`
	f := stateFile{path: filepath.Join(t.TempDir(), "lacs"), log: slog.New(slog.DiscardHandler)}
	if err := os.WriteFile(f.path, []byte(saved), 0o600); err != nil {
		t.Fatal(err)
	}
	f.save(f.load())
	if got, err := os.ReadFile(f.path); err != nil || string(got) != saved {
		t.Errorf("%s, %v, want %s", got, err, saved)
	}
}
