package main

import (
	"bytes"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) != "xl2tpd-keepalive" { // the tests, and not the program that they run
		os.Setenv("LC_ALL", "C")
	}
	testscript.Main(m, map[string]func(){"xl2tpd-keepalive": main})
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": exits,
		},
	})
}

// exits runs a command that has to end with a given status: exits N COMMAND…
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits N COMMAND...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	var exit *exec.ExitError
	err = ts.Exec(args[1], args[2:]...)
	got := 0
	if err != nil {
		var ok bool
		if exit, ok = err.(*exec.ExitError); !ok {
			ts.Fatalf("%v", err)
		}
		got = exit.ExitCode()
	}
	if got != want {
		ts.Fatalf("status %d, want %d", got, want)
	}
}

// systemd plays systemd's part for a run of the program.
type systemd struct {
	t    *testing.T
	conn *net.UnixConn
	cmd  *exec.Cmd
	log  *bytes.Buffer
	said []string
}

// start starts the program with these flags. before is a command that runs it, such as setpriv.
func start(t *testing.T, before []string, flags ...string) *systemd {
	dir := t.TempDir()
	socket := filepath.Join(dir, "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	s := &systemd{t: t, conn: conn, log: &bytes.Buffer{}}
	// A /run of its own: there is one status socket on a host.
	s.cmd = exec.Command("unshare", slices.Concat([]string{"--mount", "sh", "-c", `mount -t tmpfs tmpfs /run && exec "$@"`, "sh"},
		before, []string{"xl2tpd-keepalive", "run"}, flags)...)
	s.cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+socket, "WATCHDOG_USEC=200000")
	s.cmd.Stderr = s.log
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.cmd.Process.Kill()
		s.cmd.Wait()
	})
	return s
}

// until reads the program's messages until one begins like this.
func (s *systemd) until(start string) {
	s.t.Helper()
	buf := make([]byte, 4096)
	s.conn.SetReadDeadline(time.Now().Add(20 * time.Second))
	for {
		n, err := s.conn.Read(buf)
		if err != nil {
			s.cmd.Process.Kill()
			s.cmd.Wait() // until it writes no more
			s.t.Fatalf("no %s: %v; got %q\n%s", start, err, s.said, s.log)
		}
		s.said = append(s.said, string(buf[:n]))
		if strings.HasPrefix(string(buf[:n]), start) {
			return
		}
	}
}

// A host without xl2tpd, strongSwan and D-Bus is enough to become ready, to
// keep the watchdog fed, to reload and to end.
func TestLife(t *testing.T) {
	conf := filepath.Join(t.TempDir(), "keepalive.conf")
	if err := os.WriteFile(conf, []byte("[global]\nhello guard = off\ninterval = 5\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	s := start(t, nil, "-config", conf)
	s.until("READY=1")
	for range 3 {
		s.until("WATCHDOG=1")
	}
	if err := os.WriteFile(conf, []byte("[global]\nhello guard = off\ninterval = 0\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	s.cmd.Process.Signal(syscall.SIGHUP)
	s.until("RELOADING=1\nMONOTONIC_USEC=")
	s.until("READY=1")
	s.until("WATCHDOG=1")
	s.cmd.Process.Signal(syscall.SIGTERM)
	s.until("STOPPING=1")
	if err := s.cmd.Wait(); err != nil {
		t.Error(err)
	}
	if !slices.ContainsFunc(s.said, func(m string) bool { return strings.HasPrefix(m, "STATUS=no tunnel up") }) {
		t.Errorf("no status in %q", s.said)
	}
	if log := s.log.String(); !strings.Contains(log, conf+":3: ") {
		t.Errorf("the bad line is not in the log:\n%s", log)
	}
}

func TestInterrupt(t *testing.T) {
	conf := filepath.Join(t.TempDir(), "keepalive.conf")
	if err := os.WriteFile(conf, []byte("[global]\nhello guard = off\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	s := start(t, nil, "-config", conf)
	s.until("STATUS=")
	s.cmd.Process.Signal(os.Interrupt)
	s.until("STOPPING=1")
	if err := s.cmd.Wait(); err != nil {
		t.Error(err)
	}
}

// Without the right to send echo requests the program ends, unless it is to send none. What the Hello guard alone lacks
// does not end it.
func TestRights(t *testing.T) {
	const asRoot, elsewhere = "sudo xl2tpd-keepalive run", "container"
	asNobody := func(caps string) []string { // dac_override: the program and the file are in root's directories
		caps = "+dac_override" + caps
		return []string{"setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=" + caps, "--ambient-caps=" + caps}
	}
	for _, tc := range []struct {
		name   string
		before []string
		conf   string
		want   string // how the line ends that it writes instead of running; empty: it runs
	}{
		{"root", nil, "", ""},
		{"root without CAP_NET_ADMIN", []string{"setpriv", "--bounding-set=-net_admin"}, "", ""},
		{"root without CAP_NET_RAW", []string{"setpriv", "--bounding-set=-net_raw"}, "", elsewhere},
		{"the same, and no guard", []string{"setpriv", "--bounding-set=-net_raw"}, "[global]\nhello guard = off\n", elsewhere},
		{"a user", asNobody(""), "", asRoot},
		{"a user in a namespace", []string{"unshare", "--user"}, "", asRoot},
		{"a user, and a wrong file", asNobody(""), "[global]\nkeepalive = observer\n", asRoot},
		{"a user who observes", asNobody(""), "[global]\nkeepalive = observe\n", ""},
		{"a user who observes all but one", asNobody(""), "[global]\nkeepalive = observe\n[lac a]\nkeepalive = yes\n", asRoot},
		{"a user with capabilities", asNobody(",+net_admin,+net_raw"), "", ""},
		{"a user with CAP_NET_RAW", asNobody(",+net_raw"), "", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			conf := filepath.Join(t.TempDir(), "keepalive.conf")
			if err := os.WriteFile(conf, []byte(tc.conf), 0o644); err != nil {
				t.Fatal(err)
			}
			s := start(t, tc.before, "-config", conf)
			if tc.want == "" {
				s.until("READY=1")
				return
			}
			defer time.AfterFunc(20*time.Second, func() { s.cmd.Process.Kill() }).Stop()
			s.cmd.Wait()
			log, code := s.log.String(), s.cmd.ProcessState.ExitCode()
			if code != exitRights || strings.Count(log, "\n") != 1 || !strings.Contains(log, "CAP_NET_RAW") || !strings.Contains(log, tc.want) {
				t.Errorf("got status %d and %q, want %d and one line with CAP_NET_RAW and %q", code, log, exitRights, tc.want)
			}
		})
	}
}
