package xl2tpd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"xl2tpd-keepalive/internal/procfs"
)

// oneMount is a host with one file system.
const oneMount = "21 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw\n"

// procDir is a fake /proc.
type procDir struct {
	t    *testing.T
	root string
}

func newProc(t *testing.T) procDir {
	p := procDir{t, t.TempDir()}
	p.write("self/net/dev", "ours")
	p.write("self/mountinfo", oneMount)
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
	p.write(dir+"/comm", comm+"\n")
	p.write(dir+"/mountinfo", oneMount)
	p.write(dir+"/cmdline", strings.Join(args, "\x00")+"\x00")
	p.owner(pid, 0)
	if err := os.MkdirAll(filepath.Join(p.root, dir, "net"), 0o700); err != nil {
		p.t.Fatal(err)
	}
	if err := os.Link(filepath.Join(p.root, netns, "net/dev"), filepath.Join(p.root, dir, "net/dev")); err != nil {
		p.t.Fatal(err)
	}
}

// remove ends a process without a word.
func (p procDir) remove(pid int) {
	p.t.Helper()
	if err := os.RemoveAll(filepath.Join(p.root, strconv.Itoa(pid))); err != nil {
		p.t.Fatal(err)
	}
}

// owner sets the real user id of a process; the effective one is root's.
func (p procDir) owner(pid, uid int) {
	p.write(fmt.Sprint(pid, "/status"), fmt.Sprintf("Name:\txl2tpd\nUid:\t%d\t0\t0\t0\n", uid))
}

func TestLocal(t *testing.T) {
	for _, tt := range []struct {
		name string
		fill func(p procDir)
		want []int // in the order of their starts
	}{
		{"nothing", func(p procDir) {}, nil},
		{"two, the later start last", func(p procDir) {
			p.add(10, 1, "xl2tpd", "S", 3_000_000_000, "self", "xl2tpd")
			p.add(11, 1, "xl2tpd", "S", 2_500_000_000, "self", "/usr/sbin/xl2tpd", "-D")
		}, []int{11, 10}},
		{"another user's", func(p procDir) {
			p.add(77, 1, "xl2tpd", "S", 1, "self", "xl2tpd", "-c", "/tmp/x.conf")
			p.owner(77, os.Getuid()+1)
		}, nil},
		{"our own user's", func(p procDir) {
			p.add(77, 1, "xl2tpd", "S", 1, "self", "xl2tpd")
			p.owner(77, os.Getuid())
		}, []int{77}},
		{"another program", func(p procDir) { p.add(77, 1, "sshd", "S", 1, "self", "xl2tpd") }, nil},
		{"kl2tpd", func(p procDir) { p.add(77, 1, "kl2tpd", "S", 1, "self", "kl2tpd") }, nil},
		{"zombie", func(p procDir) { p.add(77, 1, "xl2tpd", "Z", 1, "self", "xl2tpd") }, nil},
		{"in another network namespace", func(p procDir) { p.add(77, 1, "xl2tpd", "S", 1, "other", "xl2tpd") }, nil},
		{"NetworkManager's too", func(p procDir) {
			p.add(90, 1, "xl2tpd", "S", 1, "self", "xl2tpd", "-D", "-c", "/run/nm-l2tp-1/xl2tpd.conf")
		}, []int{90}},
		{"its init script", func(p procDir) {
			p.add(10, 1, "xl2tpd", "S", 1, "self", "/bin/sh", "/etc/init.d/xl2tpd", "start")
			p.add(12, 10, "xl2tpd", "S", 2, "self", "/usr/sbin/xl2tpd")
		}, []int{12}},
		{"a child about to become pppd", func(p procDir) {
			p.add(10, 60, "xl2tpd", "S", 9, "self", "xl2tpd")
			p.add(60, 1, "xl2tpd", "S", 9, "self", "xl2tpd")
		}, []int{60}},
		{"broken tables", func(p procDir) {
			for pid, stat := range map[string]string{"77": "77 (xl2tpd", "78": "78 (xl2tpd) S 1", "80": "",
				"79": "79 (xl2tpd) S 1 1 1 0 -1 4194560 9 0 0 0 0 0 0 0 20 0 1 0 x 5"} {
				p.write(pid+"/comm", "xl2tpd\n")
				p.write(pid+"/stat", stat)
			}
		}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := newProc(t)
			tt.fill(p)
			var got []int
			for _, x := range (procs{root: p.root}).local() {
				got = append(got, x.Pid)
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("found %v, want %v", got, tt.want)
			}
		})
	}
	if found := (procs{root: filepath.Join(t.TempDir(), "none")}).all(); found != nil {
		t.Errorf("found without /proc: %v", found)
	}
}

func TestParseArgs(t *testing.T) {
	const conf, pipe, pid = DefaultConfPath, DefaultPipe, defaultPidFile
	for _, tt := range []struct {
		name            string
		args            string
		conf, pipe, pid string
	}{
		{"nothing", "", conf, pipe, pid},
		{"all", "-D -c /a -C /b -p /c -l", "/a", "/b", "/c"},
		{"two characters are enough", "-conf /a -Control /b -pid /c", "/a", "/b", "/c"},
		{"the last of two", "-c /a -C /b -c /c -C /d", "/c", "/d", pid},
		{"without a value", "-D -c", conf, pipe, pid},
		{"a value that looks like an option", "-c -C -C /b", "-C", "/b", pid},
		{"secrets named -c", "-s -c -p /c", conf, pipe, "/c"},
		{"TOS", "-q -c /a", conf, pipe, pid},
		{"debug mode", "-D -l", conf, pipe, pid},
		{"longer than xl2tpd keeps", "-c /" + strings.Repeat("x", 200), "/" + strings.Repeat("x", 98), pipe, pid},
	} {
		got := parseArgs(strings.Fields(tt.args))
		if got.conf != tt.conf || got.pipe != tt.pipe || got.pidFile != tt.pid {
			t.Errorf("%s: %q is read as %+v", tt.name, tt.args, got)
		}
	}
}

func TestLocate(t *testing.T) {
	const relative = "0::/system.slice/office-l2tp.service\n"
	for _, tt := range []struct {
		name       string
		conf, pipe string
		cwd        string // what only root sees
		cgroup     string
		unitDir    string // systemd's answer; "-": none
		wantConf   string
		wantPipe   string
		wantErr    string
	}{
		{name: "whole paths", conf: "/etc/a.conf", pipe: "/var/run/a/ctl", unitDir: "-", wantConf: "/etc/a.conf", wantPipe: "/run/a/ctl"},
		{name: "odd spelling", conf: "/etc//x/../a.conf", pipe: "/var/run/../run/ctl", unitDir: "-", wantConf: "/etc/a.conf", wantPipe: "/run/ctl"},
		{name: "for root", conf: "a.conf", pipe: "ctl", cwd: "/srv/l2tp", cgroup: relative, unitDir: "-", wantConf: "/srv/l2tp/a.conf", wantPipe: "/srv/l2tp/ctl"},
		{name: "systemd knows", conf: "a.conf", pipe: "/run/ctl", cgroup: relative, unitDir: "/srv", wantConf: "/srv/a.conf", wantPipe: "/run/ctl"},
		{name: "in /var/run", conf: "/etc/a.conf", pipe: "../ctl", cgroup: relative, unitDir: "/var/run/l2tp", wantConf: "/etc/a.conf", wantPipe: "/run/ctl"},
		{name: "systemd is silent", conf: "a.conf", pipe: "/run/ctl", cgroup: relative, unitDir: "-", wantConf: "a.conf", wantPipe: "/run/ctl",
			wantErr: "WorkingDirectory of office-l2tp.service: no answer"},
		{name: "started by hand", conf: "a.conf", pipe: "ctl", cgroup: "0::/user.slice/user-0.slice/session-1.scope\n", unitDir: "/srv",
			wantConf: "a.conf", wantPipe: "ctl", wantErr: errNoDir.Error()},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := newProc(t)
			p.add(7, 1, "xl2tpd", "S", 1, "self", "xl2tpd")
			p.write("7/cgroup", tt.cgroup)
			if tt.cwd != "" {
				if err := os.Symlink(tt.cwd, filepath.Join(p.root, "7/cwd")); err != nil {
					t.Fatal(err)
				}
			}
			asked := 0
			where := procs{p.root, func(_ context.Context, unit string) (string, error) {
				if asked++; tt.unitDir == "-" {
					return "", errors.New("no answer")
				}
				return tt.unitDir, nil
			}}
			got, err := where.locate(t.Context(), process{ID: procfs.ID{Pid: 7, Start: 1}, conf: tt.conf, pipe: tt.pipe, pidFile: defaultPidFile})
			if got.conf != tt.wantConf || got.pipe != tt.wantPipe || got.pidFile != defaultPidFile {
				t.Errorf("got %+v, want %q and %q", got, tt.wantConf, tt.wantPipe)
			}
			if text := fmt.Sprint(err); err == nil && tt.wantErr != "" || err != nil && text != tt.wantErr {
				t.Errorf("error %v, want %q", err, tt.wantErr)
			}
			if asked > 1 {
				t.Errorf("systemd was asked %d times", asked)
			}
		})
	}
}

func TestSelf(t *testing.T) {
	p := theProcs()
	if !p.sameNetwork(os.Getpid()) {
		t.Error("this process is not in its own network namespace")
	}
	if _, ok := p.read(os.Getpid()); ok {
		t.Error("the test is taken for xl2tpd")
	}
	if pid := strconv.Itoa(os.Getpid()); !p.sameFile(pid, DefaultPipe) {
		t.Error("this process does not see the files that it sees")
	}
}
