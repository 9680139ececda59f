package xl2tpd

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// procDir is a /proc of our own making.
type procDir struct {
	t    *testing.T
	root string
}

func newProc(t *testing.T) procDir {
	p := procDir{t, t.TempDir()}
	p.write("self/net/dev", "ours")
	p.write("other/net/dev", "another namespace's")
	return p
}

func (p procDir) write(path, text string) {
	p.t.Helper()
	path = filepath.Join(p.root, path)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		p.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		p.t.Fatal(err)
	}
}

// add makes a process; netns is "self" or "other".
func (p procDir) add(pid, ppid int, comm, state string, start int64, netns string, args ...string) {
	p.t.Helper()
	dir := strconv.Itoa(pid)
	p.write(dir+"/stat", fmt.Sprintf("%d (%s) %s %d 1 1 0 -1 4194560 9 0 0 0 0 0 0 0 20 0 1 0 %d 5 6 7\n", pid, comm, state, ppid, start))
	p.write(dir+"/cmdline", strings.Join(args, "\x00")+"\x00")
	p.owner(pid, 0)
	if err := os.MkdirAll(filepath.Join(p.root, dir, "net"), 0o700); err != nil {
		p.t.Fatal(err)
	}
	if err := os.Link(filepath.Join(p.root, netns, "net/dev"), filepath.Join(p.root, dir, "net/dev")); err != nil {
		p.t.Fatal(err)
	}
}

// owner says whose a process is, by its real user id; its effective one is root's.
func (p procDir) owner(pid, uid int) {
	p.write(fmt.Sprint(pid, "/status"), fmt.Sprintf("Name:\txl2tpd\nUid:\t%d\t0\t0\t0\n", uid))
}

func TestFindProcess(t *testing.T) {
	const own = "/etc/xl2tpd/site.conf"
	for _, tt := range []struct {
		name    string
		pidFile string
		fill    func(p procDir)
		want    int
		conf    string
	}{
		{"nothing", "", func(p procDir) {}, 0, ""},
		{"pid file", "77\n", func(p procDir) {
			p.add(50, 1, "xl2tpd", "S", 1, "self", "xl2tpd")
			p.add(77, 1, "xl2tpd", "S", 9, "self", "xl2tpd", "-D", "-c", "/etc/x.conf")
		}, 77, "/etc/x.conf"},
		{"pid file of a process that is gone", "77\n", func(p procDir) { p.add(50, 1, "xl2tpd", "S", 1, "self", "xl2tpd") }, 50, DefaultConfPath},
		{"another user's", "77\n", func(p procDir) {
			p.add(77, 1, "xl2tpd", "S", 1, "self", "xl2tpd", "-c", "/tmp/x.conf")
			p.owner(77, os.Getuid()+1)
		}, 0, ""},
		{"our own user's", "", func(p procDir) {
			p.add(77, 1, "xl2tpd", "S", 1, "self", "xl2tpd")
			p.owner(77, os.Getuid())
		}, 77, DefaultConfPath},
		{"pid taken by another program", "77\n", func(p procDir) { p.add(77, 1, "sshd", "S", 1, "self", "sshd") }, 0, ""},
		{"pid file with junk", "xl2tpd?\n", func(p procDir) { p.add(50, 1, "xl2tpd", "S", 1, "self", "xl2tpd") }, 50, DefaultConfPath},
		{"zombie", "77", func(p procDir) { p.add(77, 1, "xl2tpd", "Z", 1, "self", "xl2tpd") }, 0, ""},
		{"in another network namespace", "77", func(p procDir) {
			p.add(77, 1, "xl2tpd", "S", 1, "other", "xl2tpd")
			p.add(78, 1, "xl2tpd", "S", 1, "other", "xl2tpd")
		}, 0, ""},
		{"NetworkManager's only", "", func(p procDir) {
			p.add(90, 1, "xl2tpd", "S", 1, "self", "xl2tpd", "-D", "-c", "/run/nm-l2tp-1/xl2tpd.conf", "-C", "/run/nm-l2tp-1/control", "-p", "/run/nm-l2tp-1/pid")
			p.add(91, 1, "xl2tpd", "S", 1, "self", "xl2tpd", "-D", "-c", "/var/run/nm-l2tp-2/xl2tpd.conf")
		}, 0, ""},
		{"the one that reads our file, then the oldest", "", func(p procDir) {
			p.add(10, 1, "xl2tpd", "S", 1, "self", "xl2tpd")
			p.add(11, 1, "xl2tpd", "S", 3_000_000_000, "self", "xl2tpd", "-c", own)
			p.add(12, 1, "xl2tpd", "S", 2_500_000_000, "self", "xl2tpd", "-c", own, "-C", "/x")
		}, 12, own},
		{"its init script", "", func(p procDir) {
			p.add(10, 1, "xl2tpd", "S", 1, "self", "/bin/sh", "/etc/init.d/xl2tpd", "start")
			p.add(12, 10, "xl2tpd", "S", 2, "self", "/usr/sbin/xl2tpd")
		}, 12, DefaultConfPath},
		{"a child about to become pppd", "", func(p procDir) {
			p.add(10, 60, "xl2tpd", "S", 9, "self", "xl2tpd")
			p.add(60, 1, "xl2tpd", "S", 9, "self", "xl2tpd")
		}, 60, DefaultConfPath},
		{"broken tables", "77", func(p procDir) {
			p.write("77/stat", "77 (xl2tpd")
			p.write("78/stat", "78 (xl2tpd) S 1")
			p.write("79/stat", "79 (xl2tpd) S 1 1 1 0 -1 4194560 9 0 0 0 0 0 0 0 20 0 1 0 x 5")
			p.write("80/stat", "")
		}, 0, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := newProc(t)
			tt.fill(p)
			pidFile := filepath.Join(t.TempDir(), "xl2tpd.pid")
			if tt.pidFile != "" {
				if err := os.WriteFile(pidFile, []byte(tt.pidFile), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			got, ok := findProcess(p.root, []string{filepath.Join(t.TempDir(), "none"), pidFile}, own)
			if ok != (tt.want != 0) || got.pid != tt.want || got.conf != tt.conf {
				t.Errorf("%+v %v, want pid %d", got, ok, tt.want)
			}
		})
	}
	if _, ok := findProcess(filepath.Join(t.TempDir(), "none"), nil, ""); ok {
		t.Error("a process found without /proc")
	}
}

func TestSelf(t *testing.T) {
	if !sameNet("/proc", os.Getpid()) {
		t.Error("we are not in our own network namespace")
	}
	if _, ok := readProcess("/proc", os.Getpid()); ok {
		t.Error("the test is taken for xl2tpd")
	}
}

// A wait for a process that has ended is refused.
func TestWaitForAnEndedProcess(t *testing.T) {
	cmd := exec.Command("true")
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	if e, err := waitExit(cmd.Process.Pid); e != nil || err == nil {
		t.Errorf("%v, %v", e, err)
	}
}
