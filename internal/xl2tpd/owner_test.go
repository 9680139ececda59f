package xl2tpd

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"xl2tpd-keepalive/internal/procfs"
)

// Only /proc decides which process owns a pipe.
func TestCheckOwner(t *testing.T) {
	target := func(pipe string) Target { return Target{procfs.ID{Pid: pid, Start: 5}, pipe} }
	add := func(p procDir, args ...string) {
		p.add(pid, 1, "xl2tpd", "S", 5, "self", append([]string{"xl2tpd", "-D"}, args...)...)
	}
	const service = "0::/system.slice/office-l2tp.service\n" // systemd starts it in /srv
	for _, tt := range []struct {
		name string
		fill func(p procDir)
		to   Target
		want string // part of the refusal; empty: none
	}{
		{"without -C", func(p procDir) { add(p) }, target(DefaultPipe), ""},
		{"by the old name", func(p procDir) { add(p) }, target("/var/run/xl2tpd/l2tp-control"), ""},
		{"with -C", func(p procDir) { add(p, "-C", "/run/office/ctl") }, target("/run/office/ctl"), ""},
		{"-C in /var/run", func(p procDir) { add(p, "-C", "/var/run/office/ctl") }, target("/run/office/ctl"), ""},
		{"the default pipe, but -C says another", func(p procDir) { add(p, "-C", "/run/office/ctl") }, target(DefaultPipe), "is /run/office/ctl"},
		{"-C given twice", func(p procDir) { add(p, "-C", "/run/a", "-C", "/run/b") }, target("/run/a"), "is /run/b"},
		{"a longer name", func(p procDir) { add(p, "-C", "/run/ctl") }, target("/tmp/run/ctl"), "is /run/ctl"},
		{"relative", func(p procDir) { add(p, "-C", "ctl"); p.write("77/cgroup", service) }, target("/srv/ctl"), ""},
		{"relative, from another folder", func(p procDir) { add(p, "-C", "ctl"); p.write("77/cgroup", service) }, target("/tmp/ctl"), "is /srv/ctl"},
		{"relative, folder not known", func(p procDir) { add(p, "-C", "ctl") }, target("/srv/ctl"), "start xl2tpd with the whole path behind -C"},
		{"ended", func(p procDir) {}, target(DefaultPipe), "xl2tpd (pid 77) has ended"},
		{"zombie", func(p procDir) { p.add(pid, 1, "xl2tpd", "Z", 5, "self", "xl2tpd") }, target(DefaultPipe), "has ended"},
		{"pid taken by another xl2tpd", func(p procDir) { add(p) }, Target{procfs.ID{Pid: pid, Start: 4}, DefaultPipe}, "has ended"},
		{"pid taken by another program", func(p procDir) { p.add(pid, 1, "sshd", "S", 5, "self", "sshd") }, target(DefaultPipe), "has ended"},
		{"another user's", func(p procDir) { add(p); p.owner(pid, os.Getuid()+1) }, target(DefaultPipe), "has ended"},
		{"a child about to become pppd", func(p procDir) {
			p.add(pid, 60, "xl2tpd", "S", 5, "self", "xl2tpd")
			p.add(60, 1, "xl2tpd", "S", 1, "self", "xl2tpd")
		}, target(DefaultPipe), "has ended"},
		{"in a container", func(p procDir) {
			add(p)
			p.write("77/mountinfo", strings.ReplaceAll(oneMount, "254:0", "0:77"))
		}, target(DefaultPipe), "has another file there"},
		{"its files cannot be told", func(p procDir) { add(p); p.write("77/mountinfo", "") }, target(DefaultPipe), "has another file there"},
		{"the pipe taken by a later one", func(p procDir) {
			add(p)
			p.add(80, 1, "xl2tpd", "S", 6, "self", "xl2tpd", "-c", "/etc/x.conf")
		}, target(DefaultPipe), "xl2tpd (pid 80), started later, has taken it"},
		{"the pipe taken from an earlier one", func(p procDir) {
			add(p)
			p.add(80, 1, "xl2tpd", "S", 4, "self", "xl2tpd", "-c", "/etc/x.conf")
		}, target(DefaultPipe), ""},
		{"a later one with its own pipe", func(p procDir) {
			add(p)
			p.add(80, 1, "xl2tpd", "S", 6, "self", "xl2tpd", "-C", "/run/x/l2tp-control")
		}, target(DefaultPipe), ""},
		{"a later one in a container", func(p procDir) {
			add(p)
			p.add(80, 1, "xl2tpd", "S", 6, "other", "xl2tpd")
			p.write("80/mountinfo", strings.ReplaceAll(oneMount, "254:0", "0:77"))
		}, target(DefaultPipe), ""},
		{"a network namespace of its own, the files of all", func(p procDir) {
			add(p)
			p.add(80, 1, "xl2tpd", "S", 6, "other", "xl2tpd")
		}, target(DefaultPipe), "has taken it"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := newProc(t)
			tt.fill(p)
			c := &Control{procs: &procs{p.root, func(context.Context, string) (string, error) { return "/srv", nil }}}
			to := tt.to
			to.Pipe = normal(to.Pipe)
			err := c.checkOwner(t.Context(), to)
			switch {
			case tt.want == "" && err != nil:
				t.Error(err)
			case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "\n")):
				t.Errorf("%v, want %q", err, tt.want)
			}
			if strings.Contains(tt.want, "has ended") && !errors.Is(err, unix.ESRCH) {
				t.Errorf("%v is not ESRCH", err)
			}
		})
	}
}

// What changes while a command waits for its slot counts.
func TestControlOwnerAtTheLastMoment(t *testing.T) {
	path := fifo(t)
	fd := hold(t, path)
	out, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	if _, err := out.WriteString("another's"); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		c, to := control(t, path)
		done := make(chan error, 1)
		go func() { done <- c.Connect(t.Context(), to, "office") }()
		synctest.Wait()
		if err := os.RemoveAll(procs{root: c.procs.root}.file(pid, "")); err != nil {
			t.Fatal(err)
		}
		take(t, fd)
		time.Sleep(2 * takePoll)
		if err := <-done; !errors.Is(err, unix.ESRCH) {
			t.Error(err)
		}
	})
	if got := take(t, fd); got != "" {
		t.Errorf("%q arrived", got)
	}
}

// One pipe that nobody reads does not hold up another.
func TestControlTurnsByPipe(t *testing.T) {
	stuck, path := fifo(t), fifo(t)
	hold(t, stuck)
	commands := serve(t, path)
	p := newProc(t)
	p.add(pid, 1, "xl2tpd", "S", 5, "self", "xl2tpd", "-C", stuck)
	p.add(80, 1, "xl2tpd", "S", 6, "self", "xl2tpd", "-C", path)
	c := &Control{procs: &procs{root: p.root}}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 2)
	for range 2 {
		go func() { done <- c.Connect(ctx, Target{procfs.ID{Pid: pid, Start: 5}, stuck}, "a") }()
	}
	if err := c.Connect(t.Context(), Target{procfs.ID{Pid: 80, Start: 6}, path}, "b"); err != nil {
		t.Error(err)
	}
	cancel()
	for range 2 {
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	}
	if got := commands(); len(got) != 1 || got[0] != "c b\n" {
		t.Errorf("got %q, want the command in this pipe alone", got)
	}
}
