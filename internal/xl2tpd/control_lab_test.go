//go:build lab

package xl2tpd

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// lacs starts the host's xl2tpd with a LAC of each name, all to the far end.
func lacs(t *testing.T, extra string, names ...string) (own commander, far string) {
	t.Helper()
	options, control := farEnd(t)
	text := ""
	for _, name := range names {
		text += "[lac " + name + "]\nlns = 10.99.0.2\npppoptfile = " + options + "\n" + extra
	}
	write(t, DefaultConfPath, text)
	launch(t, "restart")
	t.Cleanup(func() {
		halt(t)
		// pppd outlives an xl2tpd that was killed.
		run(t, "sh", "-c", "cat /run/ppp[0-9]*.pid 2>/dev/null | xargs -r kill; true")
		within(t, 20*time.Second, "no session is left", up(t, 0))
	})
	within(t, 10*time.Second, "xl2tpd reads its pipe", func() bool { return reads("/run/xl2tpd/l2tp-control") })
	return commander{&Control{}, hostTarget(t)}, control
}

// commander is a Control and the one xl2tpd that it is for.
type commander struct {
	*Control
	to Target
}

func (c commander) Connect(ctx context.Context, lac string) error {
	return c.Control.Connect(ctx, c.to, lac)
}

func (c commander) Disconnect(ctx context.Context, lac string) error {
	return c.Control.Disconnect(ctx, c.to, lac)
}

// hostTarget is the host's own xl2tpd.
func hostTarget(t *testing.T) Target {
	t.Helper()
	x, ok := hostXl2tpd()
	if !ok {
		t.Fatal("no xl2tpd runs")
	}
	return Target{x.ID, x.pipe}
}

// hostXl2tpd is the xl2tpd of this network namespace that the default file is for.
func hostXl2tpd() (process, bool) {
	for _, x := range theProcs().local() {
		if x.conf == DefaultConfPath {
			x.pipe = normal(x.pipe)
			return x, true
		}
	}
	return process{}, false
}

func reads(path string) bool {
	fd, err := openPipe(path)
	if err == nil {
		unix.Close(fd)
	}
	return err == nil
}

func within(t *testing.T, limit time.Duration, what string, is func() bool) time.Duration {
	t.Helper()
	begin := time.Now()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for !is() {
		if time.Since(begin) > limit {
			t.Fatalf("%s: not in %v", what, limit)
		}
		<-tick.C
	}
	took := time.Since(begin)
	t.Logf("%s: after %v", what, took.Round(10*time.Millisecond))
	return took
}

// links is how many sessions the kernel has from here.
func links(t *testing.T) int {
	t.Helper()
	b, err := os.ReadFile("/proc/net/pppol2tp")
	if err != nil {
		t.Fatal(err)
	}
	return len(parseSessions(b))
}

func up(t *testing.T, n int) func() bool { return func() bool { return links(t) == n } }

// stays holds that for a time there are n sessions, no more and no less.
func stays(t *testing.T, d time.Duration, n int) {
	t.Helper()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(d); time.Now().Before(end); <-tick.C {
		if got := links(t); got != n {
			t.Fatalf("%d sessions, want %d for %v", got, n, d)
		}
	}
}

// journal is what the host's xl2tpd says from now on.
type journal struct {
	t     *testing.T
	lines chan string
	all   []string
}

func follow(t *testing.T) *journal {
	t.Helper()
	_, cursor, _ := strings.Cut(run(t, "journalctl", "-q", "-n", "1", "-o", "cat", "--show-cursor"), "-- cursor: ")
	cmd := exec.Command("journalctl", "-f", "--no-tail", "--after-cursor="+strings.TrimSpace(cursor), "-o", "cat", "-t", "xl2tpd")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	j := &journal{t: t, lines: make(chan string, 1000)}
	go func() {
		defer close(j.lines)
		for sc := bufio.NewScanner(out); sc.Scan(); {
			j.lines <- sc.Text()
		}
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		for line := range j.lines {
			j.all = append(j.all, line)
		}
		_ = cmd.Wait() // killed
		if t.Failed() {
			t.Logf("xl2tpd said:\n%s", strings.Join(j.all, "\n"))
		}
	})
	return j
}

// mark waits until all that was said before is here.
func (j *journal) mark() {
	j.t.Helper()
	word := fmt.Sprintf("mark %d", time.Now().UnixNano())
	run(j.t, "logger", "-t", "xl2tpd", word)
	j.until(10*time.Second, word)
}

// until returns how long it took until a line had text.
func (j *journal) until(limit time.Duration, text string) time.Duration {
	j.t.Helper()
	begin, end := time.Now(), time.After(limit)
	for {
		select {
		case line := <-j.lines:
			j.all = append(j.all, line)
			if strings.Contains(line, text) {
				return time.Since(begin)
			}
		case <-end:
			j.t.Fatalf("xl2tpd has not said %q in %v", text, limit)
		}
	}
}

// count is how many lines have had text.
func (j *journal) count(text string) int {
	j.t.Helper()
	j.mark()
	return strings.Count(strings.Join(j.all, "\n"), text)
}

const commandEnv = "XL2TPD_LAB_COMMAND"

// Dial and hang up, with no more than the service's capabilities.
func TestLabControl(t *testing.T) {
	if command := os.Getenv(commandEnv); command != "" {
		c := commander{&Control{}, hostTarget(t)}
		verb, lac, _ := strings.Cut(command, " ")
		if err := map[string]func(context.Context, string) error{"c": c.Connect, "d": c.Disconnect}[verb](t.Context(), lac); err != nil {
			t.Error(err)
		}
		return
	}
	lacs(t, "redial = yes\nredial timeout = 1\n", "eye")
	command := func(text string) {
		t.Helper()
		child := exec.Command("setpriv", "--bounding-set=-all,+net_admin,+net_raw", "--inh-caps=-all", "--no-new-privs",
			"/proc/"+strconv.Itoa(os.Getpid())+"/exe", "-test.run=^TestLabControl$")
		child.Env = append(os.Environ(), commandEnv+"="+text)
		if out, err := child.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", text, err, out)
		}
	}
	for range 3 {
		command("c EYE") // xl2tpd does not tell upper case from lower
		within(t, 20*time.Second, "dialled", up(t, 1))
		command("c eye")
		stays(t, 3*time.Second, 1)
		command("d eye")
		within(t, 20*time.Second, "hung up", up(t, 0))
		stays(t, 3*time.Second, 0) // its redial is off
	}
	command("d eye")
	command("c 4711")
	command("c eye")
	within(t, 20*time.Second, "dialled after attempts that failed", up(t, 1))
}

func TestLabControlTwoAtOnce(t *testing.T) {
	var names []string
	for i := range 8 {
		names = append(names, fmt.Sprintf("eye%d", i))
	}
	c, _ := lacs(t, "", names...)
	all := func(command func(context.Context, string) error) {
		t.Helper()
		begin, done := time.Now(), make(chan error, len(names))
		for _, name := range names {
			go func() { done <- command(t.Context(), name) }()
		}
		for range names {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		t.Logf("%d commands in %v", len(names), time.Since(begin).Round(time.Millisecond))
	}
	j := follow(t)
	for range 3 {
		all(c.Connect)
		within(t, 30*time.Second, "all dialled", up(t, len(names)))
		all(c.Disconnect)
		within(t, 30*time.Second, "all hung up", up(t, 0))
	}
	if n := j.count("No such tunnel") + j.count("Unknown command"); n > 0 {
		t.Errorf("xl2tpd took two for one %d times", n)
	}
	if n := j.count("Disconnecting from"); n != 3*len(names) {
		t.Errorf("it disconnected %d times", n)
	}
}

// What a Connect does while xl2tpd is about to redial: two calls.
func TestLabControlBeforeRedial(t *testing.T) {
	c, far := lacs(t, "redial = yes\nredial timeout = 5\n", "eye")
	if err := c.Connect(t.Context(), "eye"); err != nil {
		t.Fatal(err)
	}
	within(t, 20*time.Second, "dialled", up(t, 1))
	j := follow(t)
	b, err := os.ReadFile("/proc/net/pppol2tp")
	if err != nil {
		t.Fatal(err)
	}
	// The far end knows no LAC, so it takes the name for a tunnel's id.
	command := fmt.Appendf(nil, "d %d\n", parseSessions(b)[0].PeerTunnel)
	if err := deliver(t.Context(), far, command, func() error { return nil }); err != nil {
		t.Fatal(err)
	}
	within(t, 4*time.Second, "closed from afar, a redial is scheduled", up(t, 0))
	if err := c.Connect(t.Context(), "eye"); err != nil {
		t.Fatal(err)
	}
	within(t, 4*time.Second, "dialled again", up(t, 1))
	within(t, 20*time.Second, "called a second time", up(t, 2))
	j.mark()
	t.Logf("xl2tpd said:\n%s", strings.Join(j.all, "\n"))
}

// xl2tpd gives a dead peer up late, and calls through the dying tunnel until then.
func TestLabControlDeadPeer(t *testing.T) {
	c, _ := lacs(t, "", "eye")
	connect := func() {
		t.Helper()
		if err := c.Connect(t.Context(), "eye"); err != nil {
			t.Fatal(err)
		}
	}
	connect()
	within(t, 20*time.Second, "dialled", up(t, 1))
	run(t, "ip", "-n", "eyelns", "link", "set", "eye1", "down")
	j := follow(t)
	begin := time.Now()
	if err := c.Disconnect(t.Context(), "eye"); err != nil {
		t.Fatal(err)
	}
	within(t, 10*time.Second, "pppd has given up", up(t, 0))
	connect()
	j.until(5*time.Second, "Calling on tunnel")
	j.until(60*time.Second, "Unable to deliver closing message for tunnel")
	took := time.Since(begin)
	t.Logf("the tunnel is gone after %v", took.Round(10*time.Millisecond))
	if took < 30*time.Second || took > 33*time.Second {
		t.Errorf("after %v", took)
	}
	run(t, "ip", "-n", "eyelns", "link", "set", "eye1", "up")
	connect()
	within(t, 20*time.Second, "dialled anew", up(t, 1))
}

// A command that a hanging xl2tpd has not taken is not obeyed later.
func TestLabControlStopped(t *testing.T) {
	c, _ := lacs(t, "", "eye")
	pid := c.to.Process.Pid
	signal := func(s syscall.Signal) {
		t.Helper()
		if err := syscall.Kill(pid, s); err != nil {
			t.Fatal(err)
		}
	}
	signal(syscall.SIGSTOP)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	err := c.Connect(ctx, "eye")
	t.Log(err)
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	signal(syscall.SIGCONT)
	stays(t, 5*time.Second, 0)
	if err := c.Connect(t.Context(), "eye"); err != nil {
		t.Error(err)
	}
	within(t, 20*time.Second, "dialled", up(t, 1))

	signal(syscall.SIGKILL)
	within(t, 10*time.Second, "killed", func() bool { return !theProcs().alive(c.to.Process) })
	begin := time.Now()
	err = c.Connect(t.Context(), "eye")
	t.Logf("after %v: %v", time.Since(begin).Round(time.Millisecond), err)
	if !errors.Is(err, unix.ESRCH) || time.Since(begin) > 2*time.Second {
		t.Error(err)
	}
}

func TestLabControlOwner(t *testing.T) {
	path := t.TempDir() + "/control"
	if err := errors.Join(unix.Mkfifo(path, 0o600), os.Chown(path, 65534, 0)); err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	err = deliver(t.Context(), path, []byte("c eye\n"), func() error { return nil })
	if err == nil || !strings.Contains(err.Error(), "belongs to uid 65534") {
		t.Error(err)
	}
	if n, err := unix.Read(fd, make([]byte, 10)); n > 0 {
		t.Errorf("%d bytes arrived, %v", n, err)
	}
}

// What CheckLAC keeps from xl2tpd ends it indeed.
func TestLabControlCrash(t *testing.T) {
	for _, text := range []string{"c", "c ", "d"} {
		dir := t.TempDir()
		write(t, dir+"/conf", "[global]\nport = 0\n[lac eye]\nlns = 10.99.0.2\n")
		cmd := spawn(t, "xl2tpd", "-D", "-c", dir+"/conf", "-C", dir+"/control", "-p", dir+"/pid", "-s", "/dev/null")
		within(t, 10*time.Second, "xl2tpd reads its pipe", func() bool { return reads(dir + "/control") })
		write(t, dir+"/control", text+"\n")
		if err := cmd.Wait(); err == nil || !strings.Contains(err.Error(), "segmentation fault") {
			t.Errorf("%q: xl2tpd ended with %v, want a segmentation fault", text, err)
		}
	}
}
