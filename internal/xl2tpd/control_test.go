package xl2tpd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"xl2tpd-keepalive/internal/procfs"
)

func fifo(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "l2tp-control")
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// pid is the pid of the xl2tpd that owns the pipes in the tests of Control.
const pid = 77

// control returns a Control on a host with one xl2tpd, and its pipe at path.
func control(t *testing.T, path string) (*Control, Target) {
	t.Helper()
	p := newProc(t)
	p.add(pid, 1, "xl2tpd", "S", 5, "self", "xl2tpd", "-C", path)
	return &Control{procs: &procs{root: p.root}}, Target{Process: procfs.ID{Pid: pid, Start: 5}, Pipe: path}
}

// hold opens the reading end, as xl2tpd does, and does not read.
func hold(t *testing.T, path string) int {
	t.Helper()
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return fd
}

// take is one read of xl2tpd's; "" if there is nothing.
func take(t *testing.T, fd int) string {
	t.Helper()
	buf := make([]byte, 1024)
	n, err := unix.Read(fd, buf)
	if errors.Is(err, unix.EAGAIN) {
		return ""
	}
	if err != nil {
		t.Fatal(err)
	}
	return string(buf[:n])
}

// serve reads as xl2tpd does until the test ends: what one read gives is one
// command, and once the writers have gone it closes the pipe and opens it again.
func serve(t *testing.T, path string) (commands func() []string) {
	t.Helper()
	open := func() int {
		fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		if err == nil {
			err = unix.SetNonblock(fd, false)
		}
		if err != nil {
			t.Error(err)
		}
		return fd
	}
	stopped, stop, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	fd, ended := open(), make(chan struct{})
	go func() {
		defer close(ended)
		defer func() { unix.Close(fd) }()
		for buf := make([]byte, 1024); ; {
			p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}, {Fd: int32(stopped.Fd()), Events: unix.POLLIN}}
			if _, err := unix.Poll(p, -1); errors.Is(err, unix.EINTR) {
				continue
			}
			if p[0].Revents == 0 {
				return
			}
			for {
				n, err := unix.Read(fd, buf)
				if errors.Is(err, unix.EINTR) {
					continue
				}
				if n <= 0 {
					break
				}
				all = append(all, string(buf[:n]))
			}
			unix.Close(fd)
			fd = open()
		}
	}()
	once := sync.OnceFunc(func() { stop.Close(); <-ended; stopped.Close() })
	t.Cleanup(once)
	return func() []string { once(); return all }
}

func TestControl(t *testing.T) {
	path := fifo(t)
	commands := serve(t, path)
	c, to := control(t, path)
	if err := errors.Join(c.Connect(t.Context(), to, "office"), c.Disconnect(t.Context(), to, "#1;é"), c.Connect(t.Context(), to, strings.Repeat("x", 99))); err != nil {
		t.Fatal(err)
	}
	if got, want := commands(), []string{"c office\n", "d #1;é\n", "c " + strings.Repeat("x", 99) + "\n"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// With many writers at the same time, xl2tpd still gets each command in a separate read.
func TestControlManyAtOnce(t *testing.T) {
	path := fifo(t)
	commands := serve(t, path)
	var want []string
	var wg sync.WaitGroup
	c, to := control(t, path)
	for i := range 40 {
		name := fmt.Sprintf("lac%02d", i)
		want = append(want, "c "+name+"\n")
		wg.Go(func() {
			if err := c.Connect(t.Context(), to, name); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	got := commands()
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestControlNames(t *testing.T) {
	path := fifo(t)
	fd := hold(t, path)
	c, to := control(t, path)
	for _, name := range []string{"", " ", "two words", " a", "a ", "a\nd b", "a\n", "a\x00b", "a\tb", "\x7f", strings.Repeat("x", 100)} {
		for _, command := range []func(context.Context, Target, string) error{c.Connect, c.Disconnect} {
			if err := command(t.Context(), to, name); err == nil || strings.Contains(err.Error(), "\n") || !strings.HasPrefix(err.Error(), "LAC ") {
				t.Errorf("%q: got %v, want one line about the LAC", name, err)
			}
		}
	}
	if got := take(t, fd); got != "" {
		t.Errorf("%q arrived", got)
	}
}

func TestControlRefused(t *testing.T) {
	c := func(path string) error {
		c, to := control(t, path)
		return c.Connect(t.Context(), to, "office")
	}
	has := func(err error, text string) {
		t.Helper()
		if err == nil || !strings.Contains(err.Error(), text) || strings.Contains(err.Error(), "\n") {
			t.Errorf("want %q, got %v", text, err)
		}
	}
	dir := t.TempDir()
	stale := filepath.Join(dir, "stale")
	if err := os.WriteFile(stale, []byte("c office\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	has(c(stale), stale+": refused, it is not a FIFO")
	if b, err := os.ReadFile(stale); string(b) != "c office\n" {
		t.Errorf("now %q %v", b, err)
	}
	has(c(dir), "is a directory")

	path := fifo(t)
	fd := hold(t, path)
	link := filepath.Join(dir, "link")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	has(c(link), "refused, it is a symbolic link")
	if err := os.Chmod(path, 0o602); err != nil {
		t.Fatal(err)
	}
	has(c(path), "refused, anyone may write")
	if got := take(t, fd); got != "" {
		t.Errorf("%q arrived", got)
	}

	err := c(filepath.Join(dir, "none"))
	has(err, "no such FIFO: xl2tpd makes it when it starts; restart xl2tpd")
	if !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	err = c(fifo(t))
	has(err, "is xl2tpd running?")
	if !errors.Is(err, unix.ENXIO) {
		t.Error(err)
	}
}

// A command that xl2tpd has not read in time is not obeyed later.
func TestControlWithdrawn(t *testing.T) {
	path := fifo(t)
	fd := hold(t, path)
	synctest.Test(t, func(t *testing.T) {
		c, to := control(t, path)
		begin := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		for _, limit := range []time.Duration{5 * time.Second, 5*time.Second + takeTimeout} {
			err := c.Disconnect(ctx, to, "office")
			if d := time.Since(begin); !errors.Is(err, context.DeadlineExceeded) || d != limit {
				t.Errorf("after %v: %v", d, err)
			}
			ctx = t.Context()
		}
	})
	if got := take(t, fd); got != "" {
		t.Errorf("%q is left", got)
	}
}

// A command that another program has left in the pipe stays, and is not mixed with Control's.
func TestControlOccupied(t *testing.T) {
	path := fifo(t)
	fd := hold(t, path)
	out, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	full := strings.Repeat("x", 1<<16)
	if _, err := out.WriteString(full); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		c, to := control(t, path)
		if err := c.Connect(ctx, to, "office"); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		done := make(chan error, 1)
		go func() { done <- c.Connect(t.Context(), to, "office") }()
		synctest.Wait()
		for n := 0; n < len(full); n += len(take(t, fd)) {
		}
		time.Sleep(2 * takePoll)
		if got := take(t, fd); got != "c office\n" {
			t.Errorf("got %q, want %q", got, "c office\n")
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// An xl2tpd that is busy for longer than any pause between two commands.
func TestControlSlowReader(t *testing.T) {
	path := fifo(t)
	fd := hold(t, path)
	synctest.Test(t, func(t *testing.T) {
		c, to := control(t, path)
		done := make(chan error, 2)
		for range 2 {
			go func() { done <- c.Connect(t.Context(), to, "office") }()
		}
		for range 2 {
			time.Sleep(10 * time.Second)
			if got := take(t, fd); got != "c office\n" {
				t.Errorf("got %q, want %q", got, "c office\n")
			}
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	})
}

// While xl2tpd reopens the pipe nobody reads.
func TestControlReopened(t *testing.T) {
	path := fifo(t)
	synctest.Test(t, func(t *testing.T) {
		c, to := control(t, path)
		done := make(chan error, 1)
		go func() { done <- c.Connect(t.Context(), to, "office") }()
		time.Sleep(reopenTimeout / 2)
		fd := hold(t, path)
		time.Sleep(2 * takePoll)
		if got := take(t, fd); got != "c office\n" {
			t.Errorf("got %q, want %q", got, "c office\n")
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
