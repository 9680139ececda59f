package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"

	"golang.org/x/sys/unix"
)

// The main thread stays out of namespaces: they are those of /proc/self, which many read.
func init() { runtime.LockOSThread() }

// netnsDir is where `ip netns exec` looks for names.
const netnsDir = "/run/netns"

// space is a network namespace, and a mount namespace if it has mounts of its own. A thread of the agent lives in it and
// starts processes there, so that none is needed to hold it or to enter it.
type space struct {
	name   string
	thread int
	work   chan func()
}

// newSpace makes a network namespace of that name.
func newSpace(name string) (*space, error) {
	s := &space{name: name, work: make(chan func())}
	made := make(chan error)
	go s.live(made)
	if err := <-made; err != nil {
		return nil, err
	}
	if err := os.MkdirAll(netnsDir, 0o755); err != nil {
		return nil, err
	}
	// A link, and not a mount as `ip netns add` makes: systemd would look at all mounts.
	return s, os.Symlink(fmt.Sprintf("/proc/%d/task/%d/ns/net", os.Getpid(), s.thread), filepath.Join(netnsDir, name))
}

// live is the thread, which ends with its goroutine.
func (s *space) live(made chan<- error) {
	runtime.LockOSThread()
	s.thread = unix.Gettid()
	err := unix.Unshare(unix.CLONE_NEWNET)
	if err == nil {
		err = loopbackUp()
	}
	made <- err
	if err != nil {
		return
	}
	for f := range s.work {
		f()
	}
}

// do runs a function in the namespaces. No space is the client host.
func (s *space) do(f func() error) (err error) {
	if s == nil {
		return f()
	}
	done := make(chan struct{})
	s.work <- func() {
		defer close(done)
		err = f()
	}
	<-done
	return err
}

// mount gives the space mounts of its own: a /run with nothing but a place for xl2tpd, a /sys that shows its
// devices, and these folders or files over others.
func (s *space) mount(binds map[string]string) error {
	return s.do(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
			return err
		}
		for _, m := range []struct {
			source, target, kind string
			flags                uintptr
		}{
			{"", "/", "", unix.MS_REC | unix.MS_PRIVATE},
			{"sysfs", "/sys", "sysfs", 0},
			{"tmpfs", "/run", "tmpfs", 0},
		} {
			if err := unix.Mount(m.source, m.target, m.kind, m.flags, ""); err != nil {
				return fmt.Errorf("mount %s: %w", m.target, err)
			}
		}
		for source, target := range binds {
			if err := unix.Mount(source, target, "", unix.MS_BIND, ""); err != nil {
				return fmt.Errorf("mount %s: %w", target, err)
			}
		}
		return os.Mkdir("/run/xl2tpd", 0o755)
	})
}

// root is the way to the space's files from outside.
func (s *space) root() string { return fmt.Sprintf("/proc/%d/task/%d/root", os.Getpid(), s.thread) }

// close gives the namespaces up. They end with their last process.
func (s *space) close() {
	os.Remove(filepath.Join(netnsDir, s.name))
	close(s.work)
}

// job is a command that runs in a space.
type job struct {
	*exec.Cmd
	space *space
}

func (s *space) command(args ...string) *job { return &job{exec.Command(args[0], args[1:]...), s} }

func (j *job) Start() error { return j.space.do(j.Cmd.Start) }

func (j *job) Run() error {
	if err := j.Start(); err != nil {
		return err
	}
	return j.Wait()
}

func (j *job) Output() ([]byte, error) {
	var out bytes.Buffer
	j.Stdout = &out
	err := j.Run()
	return out.Bytes(), err
}

func (j *job) CombinedOutput() ([]byte, error) {
	var out bytes.Buffer
	j.Stdout, j.Stderr = &out, &out
	err := j.Run()
	return out.Bytes(), err
}
