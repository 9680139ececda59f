package xl2tpd

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"xl2tpd-keepalive/internal/filewatch"
	"xl2tpd-keepalive/internal/procfs"
)

// of returns the instance with that pid; nil: none.
func (s Snapshot) of(pid int) *Instance {
	for i := range s.Instances {
		if one := &s.Instances[i]; one.Runs() && one.Process.Pid == pid {
			return one
		}
	}
	return nil
}

// xl2tpd starts one with exactly these arguments.
func (f *fixture) xl2tpd(pid int, start int64, args ...string) {
	f.t.Helper()
	f.proc.add(pid, 1, "xl2tpd", "S", start, "self", append([]string{"xl2tpd"}, args...)...)
}

// file writes a configuration file with one LAC, which has the file's name.
func (f *fixture) file(name string) string {
	f.t.Helper()
	path := filepath.Join(filepath.Dir(f.conf), name)
	f.put(path, "[lac "+strings.TrimSuffix(name, ".conf")+"]\n")
	return path
}

func lacsOf(i *Instance) string {
	if i == nil {
		return "no such instance"
	}
	if i.Conf == nil {
		return "none"
	}
	var names []string
	for _, s := range i.Conf.Sections {
		names = append(names, s.Name)
	}
	return strings.Join(names, " ")
}

// What a command line makes of an instance.
func TestInstance(t *testing.T) {
	const service = "0::/system.slice/office-l2tp.service\n"
	for _, tt := range []struct {
		name       string
		args       string // DIR is the folder of site.conf
		cgroup     string
		key        Key
		unit       string
		connection string
		lac        string
		err        string // part of ConfErr
	}{
		{name: "its own file", args: "-c DIR/site.conf -C /run/site/ctl", key: Key{Path: "DIR/site.conf", Pipe: "/run/site/ctl"}, lac: "site"},
		{name: "-C in /var/run (C3)", args: "-c DIR/site.conf -C /var/run/office/ctl", key: Key{Path: "DIR/site.conf", Pipe: "/run/office/ctl"}, lac: "site"},
		{name: "no -C", args: "-c DIR/site.conf", key: Key{Path: "DIR/site.conf", Pipe: DefaultPipe}, lac: "site"},
		{name: "another unit (C4)", args: "-c DIR/site.conf", cgroup: service, key: Key{Path: "DIR/site.conf", Pipe: DefaultPipe}, unit: "office-l2tp.service", lac: "site"},
		{name: "a scope is no unit (C4)", args: "-c DIR/site.conf", cgroup: "0::/system.slice/run-r1.scope\n", key: Key{Path: "DIR/site.conf", Pipe: DefaultPipe}, lac: "site"},
		{name: "-c given twice", args: "-c /none -c DIR/site.conf", key: Key{Path: "DIR/site.conf", Pipe: DefaultPipe}, lac: "site"},
		{name: "relative, systemd knows (C6)", args: "-c site.conf -C ctl", cgroup: service, key: Key{Path: "DIR/site.conf", Pipe: "DIR/ctl"}, unit: "office-l2tp.service", lac: "site"},
		{name: "relative, nobody knows (C6)", args: "-c site.conf", key: Key{Path: "site.conf", Pipe: DefaultPipe, Pid: 90}, lac: "none",
			err: "site.conf: a path relative to the folder in which xl2tpd (pid 90) was started"},
		{name: "only -C relative, nobody knows", args: "-c DIR/site.conf -C ctl", key: Key{Path: "DIR/site.conf", Pipe: "ctl"}, lac: "site"},
		{name: "missing file", args: "-c DIR/none.conf", key: Key{Path: "DIR/none.conf", Pipe: DefaultPipe}, lac: "none", err: "there is no file"},
		{name: "under /run, not NetworkManager's (C6)", args: "-c /run/office/xl2tpd.conf", key: Key{Path: "/run/office/xl2tpd.conf", Pipe: DefaultPipe}, lac: "none", err: "there is no file"},
		{name: "under /var/run, not NetworkManager's (C6)", args: "-c /var/run/nm-other/xl2tpd.conf", key: Key{Path: "/run/nm-other/xl2tpd.conf", Pipe: DefaultPipe}, lac: "none", err: "there is no file"},
		{name: "NetworkManager's", args: "-D -c /run/nm-l2tp-4f-1/xl2tpd.conf -C /run/nm-l2tp-4f-1/ctl", connection: "4f-1",
			key: Key{Path: "/run/nm-l2tp-4f-1/xl2tpd.conf", Pipe: "/run/nm-l2tp-4f-1/ctl"}, lac: "none", err: "there is no file"},
		{name: "NetworkManager's in /var/run", args: "-c /var/run/nm-l2tp-4f-1/xl2tpd.conf", connection: "4f-1",
			key: Key{Path: "/run/nm-l2tp-4f-1/xl2tpd.conf", Pipe: DefaultPipe}, lac: "none", err: "there is no file"},
		{name: "NetworkManager's, Debian 10", args: "-c /var/run/nm-l2tp-xl2tpd-4f-1.conf", connection: "4f-1",
			key: Key{Path: "/run/nm-l2tp-xl2tpd-4f-1.conf", Pipe: DefaultPipe}, lac: "none", err: "there is no file"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newFixture(t)
				dir := filepath.Dir(b.file("site.conf"))
				b.put(b.conf, "[lac home]\n")
				b.unitDir = dir
				b.xl2tpd(90, 9, strings.Fields(strings.ReplaceAll(tt.args, "DIR", dir))...)
				b.proc.write("90/cgroup", tt.cgroup)
				b.run()
				s := b.take()
				i := s.of(90)
				if i == nil {
					t.Fatalf("not found: %+v", s)
				}
				want := Key{strings.ReplaceAll(tt.key.Path, "DIR", dir), strings.ReplaceAll(tt.key.Pipe, "DIR", dir), tt.key.Pid}
				if i.Key != want || i.Unit != tt.unit || i.Connection != tt.connection || i.NetworkManager() != (tt.connection != "") {
					t.Errorf("%+v, want key %+v, unit %q, connection %q", i, want, tt.unit, tt.connection)
				}
				if lacs := lacsOf(i); lacs != tt.lac {
					t.Errorf("its LACs: %s, want %s", lacs, tt.lac)
				}
				if err := i.ConfErr; (err != nil) != (tt.err != "") || err != nil && !strings.Contains(err.Error(), tt.err) {
					t.Errorf("error %v, want %q", err, tt.err)
				}
				if h := s.Home(); h.Runs() || lacsOf(h) != "home" || len(s.Instances) != 2 {
					t.Errorf("first is %+v", h)
				}
				time.Sleep(3 * filewatch.SlowLook)
				if len(b.units) > 1 {
					t.Errorf("systemd was asked %d times", len(b.units))
				}
				b.stop()
			})
		})
	}
}

// Each instance has its own file, and the end of one does not affect the other.
func TestTwoInstances(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newFixture(t)
		b.put(b.conf, "[lac home]\n")
		office := b.file("office.conf")
		b.start(100, 5)
		b.xl2tpd(200, 6, "-c", office, "-C", "/run/office/ctl", "-p", filepath.Join(filepath.Dir(office), "office.pid"))
		b.run()
		s := b.take()
		if lacsOf(s.of(100)) != "home" || lacsOf(s.of(200)) != "office" || s.Home().Process.Pid != 100 || len(s.Instances) != 2 {
			t.Errorf("got %+v, want both xl2tpds, each with its file, the usual one first", s)
		}
		if !slices.Contains(b.checked, office) || !slices.Contains(b.checked, strings.TrimSuffix(office, "conf")+"pid") {
			t.Errorf("watched: %v", b.checked)
		}
		key := s.of(200).Key
		start := time.Now()
		b.end(200)
		s = b.take()
		if s.of(200) != nil || s.of(100) == nil || time.Since(start) != 0 {
			t.Errorf("%+v after %v", s, time.Since(start))
		}
		if i := s.Instances[1]; i.Key != key || i.Runs() || lacsOf(&i) != "office" {
			t.Errorf("it is forgotten: %+v", i)
		}
		// It comes back as the same.
		time.Sleep(time.Minute)
		b.proc.remove(200)
		b.xl2tpd(201, 7, "-c", office, "-C", "/var/run/office/ctl")
		if i := b.look().of(201); i == nil || i.Key != key {
			t.Errorf("got %+v, want the same key for the new process", i)
		}
		// Its file is wrong now; the other's is not.
		b.put(office, "[lac office\n")
		s = b.look()
		if i := s.of(201); i.ConfErr == nil || lacsOf(i) != "office" || s.Home().ConfErr != nil {
			t.Errorf("got %+v, want the error of that instance alone, and its last good file", s)
		}
		// Without its file it does not come back.
		if err := os.Remove(office); err != nil {
			t.Fatal(err)
		}
		if i := b.look().of(201); !errors.Is(i.ConfErr, fs.ErrNotExist) || lacsOf(i) != "office" {
			t.Errorf("got %+v, want fs.ErrNotExist, and its last good file", i)
		}
		b.end(201)
		if s := b.take(); len(s.Instances) != 1 || s.Home().Process.Pid != 100 {
			t.Errorf("got %+v, want the first instance alone", s)
		}
		b.stop()
		if n := strings.Count(b.log.String(), "can't be used"); n != 2 {
			t.Errorf("%d lines:\n%s", n, b.log.String())
		}
	})
}

// An ended instance outlives a restart of Run.
func TestRunAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newFixture(t)
		b.put(b.conf, "")
		b.xl2tpd(90, 9, "-c", b.file("site.conf"))
		b.run()
		b.take()
		b.end(90)
		b.take()
		b.stop()
		b.proc.remove(90)
		b.run()
		if s := b.take(); len(s.Instances) != 2 || lacsOf(&s.Instances[1]) != "site" || s.Instances[1].Runs() {
			t.Errorf("got %+v, want the ended one, not running", s)
		}
		b.stop()
	})
}

// Of two with the same file and pipe the later has the pipe.
func TestSameFileAndPipe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newFixture(t)
		b.put(b.conf, "")
		b.start(100, 5)
		b.run()
		if k := b.take().of(100).Key; k.Pid != 0 {
			t.Errorf("alone: %+v", k)
		}
		b.start(90, 7)
		s := b.look()
		if s.of(90).Key.Pid != 0 || s.of(100).Key.Pid != 100 || s.Home().Process.Pid != 90 {
			t.Errorf("got %+v, want the key without a pid for the process that started last", s)
		}
		b.start(95, 6)
		s = b.look()
		if s.of(90).Key.Pid != 0 || s.of(95).Key.Pid != 95 || s.Home().Process.Pid != 90 || len(s.Instances) != 3 {
			t.Errorf("got %+v, want the key without a pid for the process that started last", s)
		}
		b.end(100)
		b.end(95)
		synctest.Wait()
		b.got = b.got[max(0, len(b.got)-1):]
		if s := b.take(); len(s.Instances) != 1 || s.Home().Process.Pid != 90 {
			t.Errorf("got %+v, want the process that is left", s)
		}
		b.stop()
	})
}

// The same file with pipes of their own are two instances; the first one is stable.
func TestSameFileOtherPipe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newFixture(t)
		b.put(b.conf, "")
		b.start(100, 5, "-C", "/a/ctl")
		b.run()
		if s := b.take(); s.Home().Key != (Key{b.conf, "/a/ctl", 0}) || len(s.Instances) != 1 {
			t.Errorf("got %+v, want one instance with its new pipe", s)
		}
		b.start(101, 6)
		if s := b.look(); s.Home().Process.Pid != 101 || s.of(100).Key.Pid != 0 || len(s.Instances) != 2 {
			t.Errorf("got %+v, want the instance with the usual pipe first", s)
		}
		b.end(101)
		if s := b.take(); s.Home().Process.Pid != 100 || len(s.Instances) != 2 || s.Instances[1].Pipe != DefaultPipe {
			t.Errorf("got %+v, want the running instance first", s)
		}
		b.stop()
	})
}

// A unit with another command line is the old one no more.
func TestUnitWithAnotherFile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newFixture(t)
		b.put(b.conf, "")
		start := func(pid int, unit, file string) {
			b.xl2tpd(pid, int64(pid), "-c", file)
			b.proc.write(filepath.Join(procs{}.file(pid, "cgroup")), "0::/system.slice/"+unit+"\n")
		}
		a, c := b.file("a.conf"), b.file("c.conf")
		start(90, "office-l2tp.service", a)
		start(91, "pool.service", b.file("b.conf"))
		b.run()
		b.take()
		b.end(90)
		b.take()
		b.end(91)
		if s := b.take(); len(s.Instances) != 3 {
			t.Errorf("got %+v, want three instances", s)
		}
		start(92, "office-l2tp.service", c)
		time.Sleep(filewatch.WriteDelay)
		s := b.take()
		if len(s.Instances) != 3 || lacsOf(s.of(92)) != "c" || lacsOf(&s.Instances[1]) != "b" {
			t.Errorf("got %+v, want the new instance in the place of the ended one of its unit", s)
		}
		b.stop()
	})
}

// An instance of NetworkManager is dropped when it ends, and its name is asked for only once.
func TestNetworkManagersInstance(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newFixture(t)
		b.put(b.conf, "")
		b.start(100, 5)
		b.xl2tpd(90, 9, "-D", "-c", "/run/nm-l2tp-4f-1/xl2tpd.conf")
		asked, reply := 0, make(chan string)
		b.w.sys.connectionName = func(_ context.Context, uuid string) (string, error) {
			asked++
			if name := <-reply; name != "" {
				return name + " " + uuid, nil
			}
			return "", errors.New("no such connection")
		}
		b.run()
		if i := b.take().of(90); !i.NetworkManager() || i.Name != "" {
			t.Errorf("got %+v, want NetworkManager, without a name yet", i)
		}
		reply <- "Office"
		if i := b.take().of(90); i.Name != "Office 4f-1" {
			t.Errorf("got %+v, want the connection's name", i)
		}
		time.Sleep(time.Minute)
		b.none()
		b.end(90)
		if s := b.take(); len(s.Instances) != 1 {
			t.Errorf("got %+v, want the first instance alone", s)
		}
		b.proc.remove(90)
		b.xl2tpd(91, 10, "-D", "-c", "/run/nm-l2tp-4f-1/xl2tpd.conf")
		if i := b.look().of(91); i.Name != "" {
			t.Errorf("got %+v, want no name yet", i)
		}
		reply <- ""
		time.Sleep(time.Minute)
		b.none()
		if asked != 2 {
			t.Errorf("asked %d times", asked)
		}
		b.stop()
		if b.log.Len() > 0 && !strings.Contains(b.log.String(), "there is no file") {
			t.Errorf("logged: %s", b.log.String())
		}
	})
}

// xl2tpd in a container has the host's network and other files.
func TestContainer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newFixture(t)
		b.put(b.conf, "[lac home]\n")
		b.start(100, 5)
		b.start(200, 6) // the same arguments
		b.proc.write("200/mountinfo", strings.ReplaceAll(oneMount, "254:0", "0:77"))
		b.run()
		s := b.take()
		if h := s.Home(); h.Process.Pid != 100 || h.Key.Pid != 0 || lacsOf(h) != "home" {
			t.Errorf("first is %+v", h)
		}
		if i := s.of(200); i == nil || i.Key.Pid != 200 || i.Conf != nil || i.ConfErr == nil || !strings.Contains(i.ConfErr.Error(), "container") {
			t.Errorf("got %+v, want no file, because of the container", i)
		}
		b.end(200)
		if s := b.take(); len(s.Instances) != 1 {
			t.Errorf("got %+v, want the first instance alone", s)
		}
		// One with the first file in a volume, under another name.
		b.proc.remove(200)
		b.xl2tpd(201, 7, "-c", "/etc/xl2tpd/xl2tpd.conf")
		b.proc.write("201/mountinfo", strings.ReplaceAll(oneMount, "254:0", "0:77")+
			"40 21 254:0 "+b.conf+" /etc/xl2tpd/xl2tpd.conf rw - ext4 x rw\n")
		b.end(100)
		b.take()
		if h := b.look().Home(); h.Process.Pid != 201 || lacsOf(h) != "home" {
			t.Errorf("got %+v, want the new process with the usual file", h)
		}
		b.stop()
	})
}

// A container that shares the file, but not /run, has not made the host's pipe.
func TestContainerSharesTheFile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newFixture(t)
		b.put(b.conf, "[lac home]\n")
		b.start(100, 5)
		b.start(200, 6)
		b.proc.write("200/mountinfo", oneMount+"30 21 0:25 / /run rw - tmpfs tmpfs rw\n")
		b.run()
		s := b.take()
		if h := s.Home(); h.Process.Pid != 100 || s.of(200).Key.Pid != 200 || lacsOf(s.of(200)) != "home" {
			t.Errorf("got %+v, want the host's own process first", s)
		}
		b.stop()
	})
}

func TestStays(t *testing.T) {
	for _, tt := range []struct {
		name string
		Instance
		want bool
	}{
		{"a file", Instance{}, true},
		{"a file that is wrong", Instance{ConfErr: errors.New("a.conf:1: wrong")}, true},
		{"a file of root's", Instance{ConfErr: fs.ErrPermission}, true},
		{"no file", Instance{ConfErr: fs.ErrNotExist}, false},
		{"NetworkManager's", Instance{Connection: "4f-1"}, false},
		{"NetworkManager's, of root's", Instance{Connection: "4f-1", ConfErr: fs.ErrPermission}, false},
		{"one of two", Instance{Key: Key{Pid: 7}}, false},
	} {
		if got := tt.stays(); got != tt.want {
			t.Errorf("%s: got %v, want %v", tt.name, got, tt.want)
		}
	}
}

// Without its usual file xl2tpd reads the old one.
func TestOldConf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newFixture(t)
		usual, old := b.w.sys.confs.usual, b.w.sys.confs.old
		b.w.ConfPath = ""
		b.run()
		if h := b.take().Home(); !errors.Is(h.ConfErr, fs.ErrNotExist) || !strings.Contains(h.ConfErr.Error(), usual) || h.Path != usual {
			t.Errorf("got %+v, want fs.ErrNotExist for the usual path", h)
		}
		if !slices.Contains(b.checked, old) || !slices.Contains(b.checked, usual) {
			t.Errorf("watched: %v", b.checked)
		}
		b.put(old, "[lac old]\n")
		if h := b.look().Home(); lacsOf(h) != "old" || h.ConfErr != nil || h.Path != usual || h.Conf.Path != old {
			t.Errorf("got %+v, want the old file under the usual path", h)
		}
		b.xl2tpd(90, 9, "-c", filepath.Join(filepath.Dir(old), "gone.conf"))
		if i := b.look().of(90); i.Conf != nil || !errors.Is(i.ConfErr, fs.ErrNotExist) {
			t.Errorf("the old file is read for another's: %+v", i)
		}
		b.put(usual, "[lac new]\n")
		if h := b.look().Home(); lacsOf(h) != "new" || h.Conf.Path != usual {
			t.Errorf("got %+v, want the usual file", h)
		}
		b.stop()
	})
}

func TestConfPaths(t *testing.T) {
	dir := t.TempDir()
	c := confPaths{usual: filepath.Join(dir, "xl2tpd.conf"), old: filepath.Join(dir, "l2tpd.conf")}
	write := func(path, text string) {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if x, err := c.parse(c.usual); x != nil || !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), c.usual) {
		t.Errorf("got %+v, %v, want fs.ErrNotExist for the usual path", x, err)
	}
	write(c.old, "[lac old]\n")
	if x, err := c.parse(c.usual); err != nil || x.Path != c.old || !x.has("lac", "old") {
		t.Errorf("got %+v, %v, want the old file", x, err)
	}
	write(c.old, "[lac old\n")
	if x, err := c.parse(c.usual); x != nil || err == nil || !strings.Contains(err.Error(), c.old+":1: ") {
		t.Errorf("got %+v, %v, want the mistake in the old file", x, err)
	}
	write(c.usual, "[lac new]\n")
	if x, err := c.parse(c.usual); err != nil || x.Path != c.usual || !x.has("lac", "new") {
		t.Errorf("got %+v, %v, want the usual file", x, err)
	}
}

// The Watcher searches all of /proc on hints and once a minute, not for a host name or an end.
func TestSearchesAreFew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newFixture(t)
		b.put(b.conf, "")
		b.start(100, 5)
		b.run()
		b.take()
		b.xl2tpd(90, 9, "-c", b.file("site.conf"))
		for range 9 {
			b.w.Resolve("vpn.example.net") // makes it look, not search
			time.Sleep(filewatch.SlowLook / 10)
		}
		b.none()
		time.Sleep(filewatch.SlowLook / 10)
		if s := b.take(); s.of(90) == nil {
			t.Errorf("got %+v, want the xl2tpd with pid 90", s)
		}
		b.stop()
	})
}

// Whatever starts and ends: each running process is one instance, keys differ, the first is
// always there, and one of each file and pipe has the plain key.
func TestInstancesProperty(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		b := newFixture(t)
		b.put(b.conf, "")
		files := []string{b.conf, b.file("a.conf"), "/run/nm-l2tp-1/xl2tpd.conf", "relative.conf"}
		pipes := []string{DefaultPipe, "/run/a/ctl"}
		l := b.w.newLoop()
		alive := map[int]int64{}
		start := int64(0)
		for range rapid.IntRange(1, 12).Draw(rt, "steps") {
			pid := rapid.IntRange(10, 14).Draw(rt, "pid")
			if _, runs := alive[pid]; runs {
				b.proc.remove(pid)
				delete(alive, pid)
			} else {
				start++
				b.xl2tpd(pid, start, "-c", rapid.SampledFrom(files).Draw(rt, "file"), "-C", rapid.SampledFrom(pipes).Draw(rt, "pipe"))
				alive[pid] = start
			}
			l.searching.stale, l.searching.took = true, 0
			s := l.look(t.Context(), func(...string) {})
			if h := s.Home(); h.Path != b.conf || h.Key.Pid != 0 {
				rt.Fatalf("first is %+v", h)
			}
			running, keys, plain := 0, map[Key]bool{}, map[Key]int{}
			for n, i := range s.Instances {
				if keys[i.Key] {
					rt.Fatalf("two are %+v", i.Key)
				}
				keys[i.Key] = true
				if n > 1 && s.Instances[n-1].Key.compare(i.Key) >= 0 {
					rt.Fatalf("not in order: %+v", s.Instances)
				}
				if !i.Runs() {
					continue
				}
				running++
				if i.Process != (procfs.ID{Pid: i.Process.Pid, Start: uint64(alive[i.Process.Pid])}) {
					rt.Fatalf("%+v does not run", i)
				}
				if i.Path != "relative.conf" {
					k := i.Key
					k.Pid = 0
					plain[k] += 1 - truth(i.Key.Pid != 0)
				}
			}
			if running != len(alive) {
				rt.Fatalf("%d run, %d do", running, len(alive))
			}
			for k, n := range plain {
				if n != 1 {
					rt.Fatalf("%d have the plain key %+v", n, k)
				}
			}
		}
		l.forgetAll()
	})
}
