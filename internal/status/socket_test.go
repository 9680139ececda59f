package status

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	time.Local = time.UTC // a page has the times of where it is read
	goleak.VerifyTestMain(m)
}

// serve runs a server until the test ends.
func serve(t *testing.T, path string, status func(context.Context) (Status, error)) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ready, ended := make(chan struct{}), make(chan error, 1)
	s := &Server{Path: path, Status: status, Ready: func() { close(ready) }}
	go func() { ended <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		if _, err := os.Lstat(path); !os.IsNotExist(err) {
			t.Errorf("the socket is left behind: %v", err)
		}
	})
	select {
	case <-ready:
	case err := <-ended:
		t.Fatal(err)
	}
}

// leave leaves a socket behind, as a server does that is killed.
func leave(t *testing.T, path string) {
	t.Helper()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
}

// A status comes out as it went in, for each of many readers, and in place of a
// socket that a dead server has left.
func TestReadWhatIsServed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "status")
	leave(t, path)
	want := sample()
	serve(t, path, func(context.Context) (Status, error) { return want, nil })
	if info, err := os.Stat(path); err != nil || info.Mode().Perm()&0o007 != 0 && os.Getuid() == 0 {
		t.Errorf("%v %v: everyone may read", info.Mode(), err)
	}
	for range 3 * maxReaders {
		got, err := Read(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, got, cmpopts.EquateComparable(want.Tunnels[0].Peer)); d != "" {
			t.Fatalf("mismatch (-want +got):\n%s", d)
		}
	}
}

// A socket that somebody listens at stays that of whom it is, and a file what it is.
func TestListenTakesNothingAway(t *testing.T) {
	path := filepath.Join(t.TempDir(), "deeper", "status")
	serve(t, path, func(context.Context) (Status, error) { return sample(), nil })
	if _, err := Listen(path); err == nil || !strings.Contains(err.Error(), "another program listens there") {
		t.Error(err)
	}
	if _, err := Read(t.Context(), path); err != nil {
		t.Error(err)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("text"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(file); !errors.Is(err, syscall.EADDRINUSE) {
		t.Error(err)
	}
	if b, err := os.ReadFile(file); string(b) != "text" {
		t.Error(b, err)
	}
}

// Readers that never read, or leave immediately, do not block others for long.
func TestBadReaders(t *testing.T) {
	path := filepath.Join(t.TempDir(), "status")
	serve(t, path, func(context.Context) (Status, error) { return sample(), nil })
	for range 2 * maxReaders {
		c, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	if _, err := Read(t.Context(), path); err != nil {
		t.Error(err)
	}
}

// Each thing that can go wrong has one line that says what to do.
func TestReadErrors(t *testing.T) {
	dir := t.TempDir()
	leave(t, filepath.Join(dir, "left"))
	for _, name := range []string{"none", "left"} {
		if _, err := Read(t.Context(), filepath.Join(dir, name)); !errors.Is(err, ErrNotRunning) || !strings.Contains(err.Error(), "is not running (systemctl start") {
			t.Error(name, err)
		}
	}
	path := filepath.Join(dir, "busy")
	serve(t, path, func(context.Context) (Status, error) { return Status{}, context.DeadlineExceeded })
	if _, err := Read(t.Context(), path); !errors.Is(err, io.EOF) || !strings.Contains(err.Error(), "its answer is empty") {
		t.Error(err)
	}
	for answer, want := range map[string]string{
		"hello\n":            "the answer is no status",
		`{"tunnels": "all"}`: "the answer is no status",
		`{"tunnels": [`:      "cut short",
	} {
		path := filepath.Join(t.TempDir(), "other")
		l, err := net.Listen("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			if c, err := l.Accept(); err == nil {
				io.WriteString(c, answer)
				c.Close()
			}
		}()
		if _, err := Read(t.Context(), path); !errors.Is(err, errNoAnswer) || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "invalid character") {
			t.Errorf("%q: %v, want %s", answer, err, want)
		}
		l.Close()
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Nanosecond)
	defer cancel()
	if _, err := Read(ctx, path); err == nil {
		t.Error("no error after the time is up")
	}
}
