package main

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"xl2tpd-keepalive/lab/measure"
)

// running is a keeper that runs, with what it has started.
type running struct {
	shell  *exec.Cmd
	began  time.Time
	notify *net.UnixConn
}

func (c linkSet) start(k linkKeeper) (*running, error) {
	socket := filepath.Join(c.dir, "notify")
	os.Remove(socket)
	notify, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		return nil, err
	}
	r := &running{shell: exec.Command("sh", append([]string{"-c", k.script, "sh"}, c.args...)...), notify: notify}
	r.shell.Env = append(os.Environ(), "NOTIFY_SOCKET="+socket)
	r.shell.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	log, err := os.Create(filepath.Join(c.dir, "log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	r.shell.Stdout, r.shell.Stderr = io.Discard, log
	runtime.LockOSThread() // a child has the slack of the thread that starts it
	defer runtime.UnlockOSThread()
	if err := unix.Prctl(unix.PR_SET_TIMERSLACK, uintptr(k.slack), 0, 0, 0); err != nil {
		return nil, err
	}
	defer unix.Prctl(unix.PR_SET_TIMERSLACK, 0, 0, 0, 0)
	r.began = time.Now()
	return r, r.shell.Start()
}

// ready is how long it took from its start until it told systemd so.
func (r *running) ready() (time.Duration, error) {
	r.notify.SetReadDeadline(time.Now().Add(time.Minute))
	message := make([]byte, 4096)
	for {
		n, err := r.notify.Read(message)
		if err != nil {
			return 0, fmt.Errorf("not ready: %w", err)
		}
		if slices.Contains(strings.Split(string(message[:n]), "\n"), "READY=1") {
			return time.Since(r.began), nil
		}
	}
}

func (r *running) stop() {
	r.notify.Close()
	syscall.Kill(-r.shell.Process.Pid, syscall.SIGTERM)
	r.shell.Wait()
	for { // whoever it has left behind is a child of the namespace's first process
		if _, err := syscall.Wait4(-r.shell.Process.Pid, nil, 0, nil); err != nil {
			return
		}
	}
}

// processes calls do for each process of the keeper's group, with its directory in /proc and what its stat says from the
// third field on (proc(5)).
func (r *running) processes(do func(dir string, stat []string)) {
	all, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range all {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // it has just ended
		}
		stat := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
		if stat[2] == strconv.Itoa(r.shell.Process.Pid) {
			do(filepath.Dir(path), stat)
		}
	}
}

// used is the processor time that they have used so far, and the children of theirs that have ended.
func (r *running) used() (d time.Duration) {
	r.processes(func(dir string, stat []string) {
		for _, ticks := range stat[13:15] { // cutime, cstime
			n, _ := strconv.Atoi(ticks)
			d += time.Duration(n) * time.Second / 100
		}
		threads, _ := filepath.Glob(dir + "/task/*/schedstat")
		for _, thread := range threads {
			text, _ := os.ReadFile(thread)
			ns, _, _ := strings.Cut(string(text), " ")
			n, _ := strconv.ParseInt(ns, 10, 64)
			d += time.Duration(n)
		}
	})
	return d
}

// memory is what is resident, in KB: all of it, and with shared pages counted once.
func (r *running) memory() (rss, pss int) {
	r.processes(func(dir string, _ []string) {
		if all, own, err := measure.Memory(filepath.Base(dir)); err == nil {
			rss, pss = rss+all, pss+own
		}
	})
	return rss, pss
}
