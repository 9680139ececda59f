//go:build lab

package xl2tpd

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"pgregory.net/rapid"

	"xl2tpd-keepalive/internal/filewatch"
	"xl2tpd-keepalive/internal/procfs"
	"xl2tpd-keepalive/internal/xl2tpdconf"
)

// run runs a command to its end.
func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// spawn starts a daemon in the foreground and ends it with the test. What it
// says is shown if the test fails.
func spawn(t *testing.T, name string, args ...string) *exec.Cmd {
	t.Helper()
	log, err := os.CreateTemp(t.TempDir(), "log")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(name, args...)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // fails when the test has done so
		_ = cmd.Wait()
		if b, err := os.ReadFile(log.Name()); t.Failed() && err == nil {
			t.Logf("%s said:\n%s", name, b)
		}
		log.Close()
	})
	return cmd
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// halt stops the host's xl2tpd and waits until it is gone: its init script does
// not, nor does it like to be stopped before it has finished starting.
func halt(t *testing.T) {
	t.Helper()
	launch(t, "start")
	p, ok := hostXl2tpd()
	if !ok { // killed by the test before
		run(t, "systemctl", "stop", "xl2tpd")
		return
	}
	ended := make(chan struct{})
	stop, err := procfs.OnExit(p.Pid, func() { close(ended) })
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	run(t, "systemctl", "stop", "xl2tpd")
	select {
	case <-ended:
	case <-time.After(30 * time.Second):
		t.Fatalf("xl2tpd, pid %d, does not stop", p.Pid)
	}
}

// keep puts the file back when the test is over.
func keep(t *testing.T, path string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { write(t, path, string(b)) })
}

// watch runs a Watcher as it is in service.
func watch(t *testing.T) (*Watcher, <-chan Snapshot) {
	t.Helper()
	c := make(chan Snapshot, 64)
	w := &Watcher{Deliver: func(s Snapshot) { c <- s }, Log: slog.New(slog.NewTextHandler(t.Output(), nil))}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- w.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Run: %v", err)
		}
	})
	return w, c
}

// until returns the first snapshot that fits, and how long it took.
func until(t *testing.T, c <-chan Snapshot, limit time.Duration, what string, fits func(Snapshot) bool) (Snapshot, time.Duration) {
	t.Helper()
	start, end := time.Now(), time.After(limit)
	var last Snapshot
	for {
		select {
		case last = <-c:
			if fits(last) {
				d := time.Since(start)
				t.Logf("%s: seen after %v", what, d.Round(time.Millisecond))
				return last, d
			}
		case <-end:
			t.Fatalf("%s: not seen in %v, last: %+v", what, limit, last)
		}
	}
}

func TestLabDebianSample(t *testing.T) {
	data, err := os.ReadFile(DefaultConfPath)
	if err != nil {
		t.Fatal(err)
	}
	c, err := ParseConf(DefaultConfPath, data)
	if err != nil || len(c.Sections) != 0 {
		t.Fatalf("as installed: %+v %v", c, err)
	}
	// Everything in it is commented out; take its examples at their word. Of `local ip` and `local ip range`, xl2tpd takes
	// only one in a section.
	examples := regexp.MustCompile(`(?m)^; ?(\[|[a-z ]+ = )`).ReplaceAllString(string(data), "$1")
	examples = regexp.MustCompile(`(?m)^local ip range = `).ReplaceAllString(examples, "; $0")
	c, err = ParseConf("sample", []byte(examples))
	if err != nil {
		t.Fatal(err)
	}
	if c.Port != 1701 || !c.AccessControl || !c.has("lns", "default") || !c.has("lac", "marko") || !c.has("lac", "cisco") || len(c.Sections) != 3 {
		t.Errorf("the file is read as %+v", c)
	}
	for _, s := range c.Sections {
		switch s.Name {
		case "default":
			if len(s.IPRanges) != 3 || len(s.Callers) != 1 || s.PPPOptFile != "/etc/ppp/options.l2tpd.lns" {
				t.Errorf("the section is read as %+v", s)
			}
		case "marko":
			if !slices.Equal(s.LNS, []string{"lns.marko.net", "lns2.marko.net"}) || !s.Redial || s.RedialTimeout != 15*time.Second ||
				s.MaxRedials != 5 || s.PPPOptFile != "/etc/ppp/options.l2tpd.marko" {
				t.Errorf("the section is read as %+v", s)
			}
		}
	}
}

func TestLabDebianExample(t *testing.T) {
	const path = "/usr/share/doc/xl2tpd/examples/xl2tpd.conf"
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	c, err := ParseConf(path, data)
	if err != nil || len(c.Sections) != 1 || !c.has("lns", "default") || len(c.Sections[0].IPRanges) != 1 {
		t.Errorf("the file is read as %+v, %v", c, err)
	}
}

// real asks an xl2tpd what it makes of a file: the names of its LACs and LNSes,
// or why it refuses the file.
func real(t rapid.TB, dir, text string) (names []string, refusal string) {
	fatal := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%v, file:\n%q", err, text)
		}
	}
	path, control, reply := filepath.Join(dir, "conf"), filepath.Join(dir, "control"), filepath.Join(dir, "reply")
	fatal(os.WriteFile(path, []byte(text), 0o600))
	cmd := exec.Command("xl2tpd", "-D", "-c", path, "-C", control, "-p", filepath.Join(dir, "pid"), "-s", "/dev/null")
	stderr, err := cmd.StderrPipe()
	fatal(err)
	fatal(cmd.Start())
	defer func() {
		_ = cmd.Process.Kill() // fails when it has ended by itself
		_ = cmd.Wait()
	}()
	sc := bufio.NewScanner(stderr)
	for sc.Scan() && !strings.Contains(sc.Text(), "Listening on IP address") {
		if _, rest, ok := strings.Cut(sc.Text(), "parse_config: line "); ok {
			refusal = rest
		}
		if strings.Contains(sc.Text(), "Unable to load config file") {
			return nil, cmp.Or(refusal, "0: no reason given")
		}
	}
	answer := ask(t, control, reply, "x", "lac.count=")
	for _, m := range regexp.MustCompile(`(?m)AVAILABLE (lac|lns)\.\d+\.name=(.*)$`).FindAllStringSubmatch(answer, -1) {
		names = append(names, m[1]+" "+m[2])
	}
	return names, ""
}

// ask puts a command into an xl2tpd's control pipe, and returns the answer up to a text in it.
func ask(t rapid.TB, control, reply, command, upTo string) (answer string) {
	fatal := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v, after %q", command, err, answer)
		}
	}
	_ = os.Remove(reply) // xl2tpd removes it after its answer
	fatal(syscall.Mkfifo(reply, 0o600))
	in, err := os.OpenFile(reply, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	fatal(err)
	defer in.Close()
	out, err := os.OpenFile(control, os.O_WRONLY, 0)
	fatal(err)
	_, err = fmt.Fprintf(out, "@%s %s\n", reply, command)
	fatal(err)
	fatal(out.Close())
	fatal(in.SetReadDeadline(time.Now().Add(10 * time.Second)))
	for buf := make([]byte, 4096); !strings.Contains(answer, upTo); {
		n, err := in.Read(buf)
		if err != nil && !errors.Is(err, io.EOF) {
			fatal(err)
		}
		answer += string(buf[:n])
	}
	return answer
}

// compare gives one file to xl2tpd and to ParseConf, and compares the results.
func compare(t rapid.TB, dir, text string) {
	want, refusal := real(t, dir, text)
	if strings.Contains(refusal, "Unknown field") {
		return // ParseConf accepts keys that a later xl2tpd may know
	}
	c, err := ParseConf("f", []byte(text))
	if (refusal != "") != (err != nil) {
		t.Fatalf("xl2tpd: %q, we: %v, file:\n%q", refusal, err, text)
	}
	if err != nil {
		// Of several errors, ParseConf reports those of the form before those of values.
		var e *xl2tpdconf.Error
		if errors.As(err, &e); e.Line < atoi(refusal) {
			t.Fatalf("xl2tpd: %q, we: %v, file:\n%q", refusal, err, text)
		}
		return
	}
	got := []string{"lac "} // its [lac default] is always there, and has no name
	for _, s := range c.Sections {
		got = append(got, s.Kind+" "+s.Name)
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Fatalf("xl2tpd has %q, we %q, file:\n%q", want, got, text)
	}
}

// ParseConf reads random files as xl2tpd itself does.
func TestLabDialect(t *testing.T) {
	halt(t)
	dir := t.TempDir()
	long := strings.Repeat("x", 1100)
	for _, text := range []string{
		"", "; x\n", "[global]\t; x\nport\t=\t1701\t; y\n[lac a]\n[LAC A]\n[lns default]\n[lac default]\n",
		"port = 1701\n", "[global\n", "[pptp a]\n", "[ lac a]\n", "[lac\ta]\n", "[lac a]\nredial\n", "[lac a]\n= yes\n", "#\n", "[lac a]\n# redial = yes\n",
		"[lac  a]\n[lac a ]\n[lac two words] rest\n[lns a[b]\n[global x]\n",
		"\xef\xbb\xbf[lac a]\r\nredial = yes\r\n", "[lac a]\nname = b;c\nredial = maybe;\n", "[lac a]\nredial = YES ; maybe\n[lac b]",
		"[lac a]\nredial timeout = 0\n", "[lac a]\nmax redials = x\n", "[lac a]\nautodial = 1\n", "[lns a]\nredial = yes\n", "[global]\nlns = x\n",
		"[lns a]\nip range = 10.0.0.9-10.0.0.1\n", "[lns a]\nip range = 10.0.0.1-10.0.0.9\nno ip range = 10.0.0.3 - 5\nlac = 10.1.0.0-10.1.0.255\n", "[lns a]\nip range = - 10.0.0.1\n",
		"[lac a]\nname = " + long[:1000] + "\n[lac b]\n", "[lac a]\nname = x ;" + long + "\n[lac b]\n", ";" + long + long + "\n[lac b]\n",
		"[lac a]\n" + long + "\n", "[lac a]\nname = \xfcber\n[lac b\xfc]\n",
	} {
		compare(t, dir, text)
	}
	part := rapid.OneOf(
		rapid.SampledFrom([]string{"[global]", "[lac a]", "[LAC A]", "[lac b c]", "[lns A]", "[lns default]", "[lac default]", "[lac ", "]", "[", "x",
			"redial = yes", "redial=no", "Redial  = y", "redial = ;", "autodial = false", "redial timeout = 15", "max redials = 0", "pppoptfile = a=b;c",
			"port = 1701", "access control = no", "max retries = 7", "pppoptfile = /x"}),
		rapid.SampledFrom([]string{" ", "\t", ";", "; x", "\r", "#", "="}),
	)
	end := rapid.SampledFrom([]string{"\n", "\n", "\n", "\n", "", " ", "\t"})
	n := 0
	rapid.Check(t, func(rt *rapid.T) {
		var b strings.Builder
		// Most files begin well, or the first line would be refused in nearly all.
		b.WriteString(rapid.SampledFrom([]string{"[lac a]\n", "[lac a]\n", "[global]\n", ""}).Draw(rt, "head"))
		for range rapid.IntRange(0, 6).Draw(rt, "parts") {
			b.WriteString(part.Draw(rt, "part"))
			b.WriteString(end.Draw(rt, "end"))
		}
		rt.Logf("%q", b.String())
		compare(rt, dir, b.String())
		n++
	})
	t.Logf("%d files of chance agreed on", n)
}

// launch starts or restarts the daemon, more often than systemd likes.
func launch(t *testing.T, how string) {
	t.Helper()
	run(t, "systemctl", "reset-failed", "xl2tpd")
	run(t, "systemctl", how, "xl2tpd")
}

func TestLabKilledAndRestarted(t *testing.T) {
	halt(t)
	_, c := watch(t)
	until(t, c, 5*time.Second, "not running", func(s Snapshot) bool { return !s.Home().Runs() })
	last := 0
	for range 5 {
		launch(t, "restart")
		s, d := until(t, c, 10*time.Second, "started", func(s Snapshot) bool { return s.Home().Runs() })
		if d > time.Second {
			t.Errorf("started: seen after %v", d)
		}
		if pid, err := os.ReadFile("/run/xl2tpd.pid"); err != nil || atoi(string(pid)) != s.Home().Process.Pid || s.Home().Process.Pid == last {
			t.Errorf("pid %d, file %q (%v), before %d", s.Home().Process.Pid, pid, err, last)
		}
		last = s.Home().Process.Pid
		if err := syscall.Kill(s.Home().Process.Pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		if _, d := until(t, c, 10*time.Second, "killed", func(s Snapshot) bool { return !s.Home().Runs() }); d > time.Second {
			t.Errorf("killed: seen after %v", d)
		}
	}
}

func TestLabConfEdited(t *testing.T) {
	keep(t, DefaultConfPath)
	_, c := watch(t)
	has := func(name string) func(Snapshot) bool {
		return func(s Snapshot) bool {
			return s.Home().Conf != nil && s.Home().ConfErr == nil && s.Home().Conf.has("lac", name)
		}
	}
	quick := func(what, name string) {
		t.Helper()
		if _, d := until(t, c, 10*time.Second, what, has(name)); d > time.Second {
			t.Errorf("%s was seen after %v, want 1s at most", what, d)
		}
	}
	write(t, DefaultConfPath, "[lac one]\n")
	quick("written in place", "one")
	write(t, DefaultConfPath+".new", "[lac two]\n")
	if err := os.Rename(DefaultConfPath+".new", DefaultConfPath); err != nil {
		t.Fatal(err)
	}
	quick("replaced by rename", "two")
	run(t, "sed", "-i", "s/two/three/", DefaultConfPath)
	quick("sed -i", "three")
	write(t, DefaultConfPath, "[lac four\n")
	s, _ := until(t, c, 10*time.Second, "broken", func(s Snapshot) bool { return s.Home().ConfErr != nil })
	if s.Home().ConfErr.Error() != DefaultConfPath+`:1: "[lac four": closing ']' is missing` || !s.Home().Conf.has("lac", "three") {
		t.Errorf("got %+v, want the error of line 1 and the sections of before", s)
	}
	dir := filepath.Dir(DefaultConfPath)
	run(t, "cp", "-a", dir, dir+".new")
	write(t, dir+".new/xl2tpd.conf", "[lac five]\n")
	run(t, "mv", dir, dir+".old")
	run(t, "mv", dir+".new", dir)
	run(t, "rm", "-r", dir+".old")
	quick("directory replaced", "five")
	write(t, DefaultConfPath, "[lac six]\n")
	quick("written in the new directory", "six")
}

// A NetworkManager connection's xl2tpd is not the host's.
func TestLabOtherInstance(t *testing.T) {
	halt(t)
	dir := "/run/nm-l2tp-00000000-0000-4000-8000-000000000000"
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	write(t, dir+"/xl2tpd.conf", "[global]\nport = 0\n")
	pidFile := dir + "/xl2tpd.pid"
	spawn(t, "xl2tpd", "-D", "-c", dir+"/xl2tpd.conf", "-C", dir+"/control", "-p", pidFile)
	n, err := filewatch.New()
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	n.Check(pidFile)
	for {
		if b, err := os.ReadFile(pidFile); err == nil && len(b) > 1 {
			break
		}
		<-n.C
	}
	_, c := watch(t)
	s := <-c
	if s.Home().Runs() {
		t.Errorf("taken for the host's: %+v", s)
	}
	if len(s.Instances) != 2 || s.Instances[1].Connection != "00000000-0000-4000-8000-000000000000" || s.Instances[1].Conf == nil {
		t.Errorf("NetworkManager's: %+v", s.Instances)
	}
	launch(t, "restart")
	s, _ = until(t, c, 5*time.Second, "the host's", func(s Snapshot) bool { return s.Home().Runs() })
	if b, err := os.ReadFile("/run/xl2tpd.pid"); err != nil || atoi(string(b)) != s.Home().Process.Pid {
		t.Errorf("pid %d, file %q %v", s.Home().Process.Pid, b, err)
	}
	// Without a pid file it is found by its name.
	if err := os.Remove("/run/xl2tpd.pid"); err != nil {
		t.Fatal(err)
	}
	_, c = watch(t)
	if got := <-c; got.Home().Process.Pid != s.Home().Process.Pid {
		t.Errorf("without a pid file: %d, want %d", got.Home().Process.Pid, s.Home().Process.Pid)
	}
	if err := syscall.Kill(s.Home().Process.Pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
}

const childEnv = "XL2TPD_LAB_SESSION"

// Its second run is under the few capabilities that the service has, see below.
func TestLabLookOnce(t *testing.T) {
	session := os.Getenv(childEnv)
	if session == "" {
		halt(t)
		launch(t, "start")
	}
	w := &Watcher{}
	var s Snapshot
	ctx, cancel := context.WithCancel(t.Context())
	w.Deliver = func(got Snapshot) { s = got; cancel() }
	if err := w.Run(ctx); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if !s.Home().Runs() || s.Home().Conf == nil || s.Home().ConfErr != nil {
		t.Errorf("got %+v, want it running, with its file", s)
	}
	if session != "" && (len(s.Sessions) != 1 || fmt.Sprint(s.Sessions[0]) != session) {
		t.Errorf("sessions %v, want one: %s", s.Sessions, session)
	}
}

// farEnd makes a network namespace with an xl2tpd in it, an LNS for plain L2TP at
// 10.99.0.2, and halts the host's own. It returns the pppoptfile for both ends, and
// the far xl2tpd's control pipe.
func farEnd(t *testing.T) (options, control string) {
	t.Helper()
	run(t, "modprobe", "l2tp_ppp")
	keep(t, DefaultConfPath)
	halt(t)
	run(t, "ip", "netns", "add", "eyelns")
	t.Cleanup(func() {
		// The far pppds outlive their xl2tpd, and the namespace would outlive its name with them.
		run(t, "sh", "-c", "ip netns pids eyelns | xargs -r kill -9; ip link del eye0; ip netns del eyelns")
	})
	run(t, "ip", "link", "add", "eye0", "type", "veth", "peer", "name", "eye1", "netns", "eyelns")
	run(t, "ip", "addr", "add", "10.99.0.1/24", "dev", "eye0")
	run(t, "ip", "link", "set", "eye0", "up")
	run(t, "ip", "-n", "eyelns", "addr", "add", "10.99.0.2/24", "dev", "eye1")
	run(t, "ip", "-n", "eyelns", "link", "set", "eye1", "up")
	run(t, "ip", "-n", "eyelns", "link", "set", "lo", "up")
	dir := t.TempDir()
	options = filepath.Join(dir, "options")
	write(t, options, "noauth\nnoccp\nipcp-accept-local\nipcp-accept-remote\nlcp-echo-interval 0\nmtu 1400\n")
	lns := filepath.Join(dir, "lns.conf")
	write(t, lns, "[global]\n[lns default]\nip range = 172.31.99.10-172.31.99.20\nlocal ip = 172.31.99.1\npppoptfile = "+options+"\n")
	far := spawn(t, "ip", "netns", "exec", "eyelns", "unshare", "-m", "sh", "-c",
		"mount -t tmpfs tmpfs /run && exec xl2tpd -D -c "+lns+" -C /run/control -p /run/xl2tpd.pid -s /dev/null")
	return options, fmt.Sprintf("/proc/%d/root/run/control", far.Process.Pid)
}

// A real tunnel in kernel mode, plain L2TP, to an xl2tpd in a namespace.
func TestLabKernelSession(t *testing.T) {
	options, _ := farEnd(t)
	write(t, DefaultConfPath, "[lac eye]\nlns = 10.99.0.2\nautodial = yes\nredial = yes\nredial timeout = 1\npppoptfile = "+options+"\n")
	_, c := watch(t)
	launch(t, "restart")
	s, _ := until(t, c, 60*time.Second, "session", func(s Snapshot) bool { return s.Home().Runs() && len(s.Sessions) > 0 && s.Sessions[0].Peer.IsValid() })
	if len(s.Sessions) != 1 {
		t.Fatalf("got %+v, want one session", s.Sessions)
	}
	got := s.Sessions[0]
	t.Logf("%+v", got)
	ap := netip.MustParseAddrPort
	if got.Local != ap("10.99.0.1:1701") || got.Peer != ap("10.99.0.2:1701") || got.LNS {
		t.Errorf("got %+v, want a call from 10.99.0.1 to 10.99.0.2", got)
	}
	if _, err := net.InterfaceByName(got.Ifname); err != nil {
		t.Errorf("no interface %s: %v", got.Ifname, err)
	}
	if ips := s.Home().Conf.Sections[0].LNSIPs; !slices.Equal(ips, []netip.Addr{got.Peer.Addr()}) {
		t.Errorf("LNSIPs %v", ips)
	}
	// The other end sees the same, mirrored.
	far := parseSessions([]byte(run(t, "ip", "netns", "exec", "eyelns", "cat", "/proc/net/pppol2tp")))
	if len(far) != 1 || far[0].Local != got.Peer || !far[0].LNS || far[0].LocalTunnel != got.PeerTunnel || far[0].PeerTunnel != got.LocalTunnel ||
		far[0].LocalSession != got.PeerSession || far[0].PeerSession != got.LocalSession {
		t.Errorf("far end: %+v", far)
	}
	// All this with no more than the service's capabilities.
	child := exec.Command("setpriv", "--bounding-set=-all,+net_admin,+net_raw", "--inh-caps=-all", "--no-new-privs",
		"/proc/"+strconv.Itoa(os.Getpid())+"/exe", "-test.run=^TestLabLookOnce$")
	child.Env = append(os.Environ(), childEnv+"="+fmt.Sprint(got))
	if out, err := child.CombinedOutput(); err != nil {
		t.Errorf("with the service's capabilities: %v\n%s", err, out)
	}
	if err := syscall.Kill(s.Home().Process.Pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	// Both may come in one snapshot.
	s, _ = until(t, c, 5*time.Second, "killed", func(s Snapshot) bool { return !s.Home().Runs() })
	if len(s.Sessions) > 0 {
		until(t, c, 60*time.Second, "session gone", func(s Snapshot) bool { return len(s.Sessions) == 0 })
	}
}
