package xl2tpd

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// standInEnv makes the test program a stand-in for xl2tpd: it runs until its input ends.
const standInEnv = "XL2TPD_STAND_IN"

// Real processes, as this host's /proc shows them: found, written to, and seen to end.
func TestRealProcess(t *testing.T) {
	dir := t.TempDir()
	if err := errors.Join(os.WriteFile(filepath.Join(dir, "site.conf"), []byte("[lac site]\n"), 0o600), unix.Mkfifo(filepath.Join(dir, "ctl"), 0o600)); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(dir, "xl2tpd")
	if err := os.Symlink(self, program); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "-D", "-c", "site.conf", "-C", "ctl")
	cmd.Dir, cmd.Env = dir, append(os.Environ(), standInEnv+"=1")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer in.Close()

	got := make(chan Snapshot, 100)
	w := &Watcher{ConfPath: filepath.Join(dir, "none.conf"), Log: slog.New(slog.DiscardHandler), Deliver: func(s Snapshot) { got <- s }}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- w.Run(ctx) }()
	defer func() { cancel(); <-done }()
	next := func() Snapshot {
		t.Helper()
		select {
		case s := <-got:
			return s
		case <-time.After(20 * time.Second):
			t.Fatal("got no snapshot within 20 s")
			return Snapshot{}
		}
	}
	s := next()
	for s.of(cmd.Process.Pid) == nil { // before its exec it has another name
		w.Look()
		s = next()
	}
	i := s.of(cmd.Process.Pid)
	if want := (Key{filepath.Join(dir, "site.conf"), filepath.Join(dir, "ctl"), 0}); i.Key != want || lacsOf(i) != "site" || i.ConfErr != nil {
		t.Errorf("%+v, want key %+v", i, want)
	}
	commands := serve(t, i.Pipe)
	c := &Control{}
	if err := c.Connect(t.Context(), Target{i.Process, i.Pipe}, "site"); err != nil {
		t.Error(err)
	}
	in.Close()
	for s.of(cmd.Process.Pid) != nil {
		s = next()
	}
	if err := c.Connect(t.Context(), Target{i.Process, i.Pipe}, "site"); !errors.Is(err, unix.ESRCH) {
		t.Error(err)
	}
	if all := commands(); len(all) != 1 || all[0] != "c site\n" {
		t.Errorf("the commands are %q, want one: c site", all)
	}
}
