//go:build lab

package ppp

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const (
	outerLAC = "10.99.0.1"
	outerLNS = "10.99.0.2"
	innerLNS = "10.98.0.1"
	pppdOpts = "noauth\nnodefaultroute\nnoipv6\nnoccp\nnovj\nmtu 1400\nmru 1400\n"
)

// pair is a real xl2tpd LAC here and a real xl2tpd LNS in a network namespace
// of its own, joined by a veth: plain L2TP.
type pair struct {
	t         *testing.T
	dir       string
	userspace bool
	lac, lns  *exec.Cmd
}

func newPair(t *testing.T, userspace bool) *pair {
	p := &pair{t: t, dir: t.TempDir(), userspace: userspace}
	run(t, "modprobe", "l2tp_ppp")
	if exec.Command("systemctl", "--quiet", "is-active", "xl2tpd").Run() == nil {
		run(t, "systemctl", "stop", "xl2tpd")
		t.Cleanup(func() { run(t, "systemctl", "start", "xl2tpd") })
	}
	run(t, "ip", "netns", "add", "ppplns")
	t.Cleanup(func() { run(t, "ip", "netns", "del", "ppplns") })
	run(t, "ip", "link", "add", "ppplac", "type", "veth", "peer", "name", "eth0", "netns", "ppplns")
	t.Cleanup(func() { run(t, "ip", "link", "del", "ppplac") })
	run(t, "ip", "addr", "add", outerLAC+"/24", "dev", "ppplac")
	run(t, "ip", "link", "set", "ppplac", "up")
	run(t, "ip", "-n", "ppplns", "addr", "add", outerLNS+"/24", "dev", "eth0")
	run(t, "ip", "-n", "ppplns", "link", "set", "eth0", "up")
	run(t, "ip", "-n", "ppplns", "link", "set", "lo", "up")
	p.write("lns.options", pppdOpts)
	p.write("lac.options", pppdOpts+"ipcp-accept-local\nipcp-accept-remote\n")
	p.startLNS("10.98.0.10")
	p.startLAC()
	t.Cleanup(func() {
		stop(p.lac)
		stop(p.lns)
		for _, name := range []string{"lac.log", "lns.log"} {
			if b, err := os.ReadFile(p.file(name)); t.Failed() && err == nil {
				t.Logf("%s:\n%s", name, b)
			}
		}
	})
	return p
}

func (p *pair) file(name string) string { return filepath.Join(p.dir, name) }

func (p *pair) write(name, text string) {
	if err := os.WriteFile(p.file(name), []byte(text), 0o600); err != nil {
		p.t.Fatal(err)
	}
}

func (p *pair) global() string {
	s := "[global]\naccess control = no\n"
	if p.userspace {
		s += "force userspace = yes\n"
	}
	return s
}

// startLNS starts, or restarts, the LNS, which gives this address to callers.
func (p *pair) startLNS(caller string) {
	stop(p.lns)
	last := caller[:strings.LastIndexByte(caller, '.')] + ".250"
	p.write("lns.conf", p.global()+fmt.Sprintf(
		"[lns default]\nip range = %s-%s\nlocal ip = %s\nrequire authentication = no\npppoptfile = %s\n",
		caller, last, innerLNS, p.file("lns.options")))
	p.lns = p.start("lns.log", "ip", "netns", "exec", "ppplns", "unshare", "-m", "sh", "-c",
		`mount -t tmpfs tmpfs /run && exec xl2tpd -D -c "$0" -p /run/xl2tpd.pid -C /run/l2tp-control`, p.file("lns.conf"))
	p.wait("the LNS to listen", func() bool {
		b, err := exec.Command("ip", "netns", "exec", "ppplns", "ss", "-Hlun", "sport = 1701").Output()
		return err == nil && len(b) > 0
	})
}

func (p *pair) startLAC() {
	stop(p.lac)
	os.Remove(p.file("control"))
	p.write("lac.conf", p.global()+fmt.Sprintf(
		"[lac one]\nlns = %s\npppoptfile = %s\npass peer = yes\n", outerLNS, p.file("lac.options")))
	p.lac = p.start("lac.log", "xl2tpd", "-D", "-c", p.file("lac.conf"), "-p", p.file("xl2tpd.pid"), "-C", p.file("control"))
	p.wait("the LAC's control pipe", func() bool { return p.command("") == nil })
}

func (p *pair) start(log string, args ...string) *exec.Cmd {
	f, err := os.OpenFile(p.file(log), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		p.t.Fatal(err)
	}
	defer f.Close()
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdout, cmd.Stderr = f, f
	if err := cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	return cmd
}

// command writes one command to the LAC's control pipe, or only tries the pipe.
func (p *pair) command(c string) error {
	fd, err := unix.Open(p.file("control"), unix.O_WRONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if c != "" {
		_, err = unix.Write(fd, []byte(c+"\n"))
	}
	return err
}

func (p *pair) dial() {
	if err := p.command("c one"); err != nil {
		p.t.Fatal("dial: ", err)
	}
}

func (p *pair) hangUp() {
	if err := p.command("d one"); err != nil {
		p.t.Fatal("hang up: ", err)
	}
}

// wait polls for a change that no event reports.
func (p *pair) wait(what string, done func() bool) {
	p.t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	timeout := time.After(20 * time.Second)
	for !done() {
		select {
		case <-tick.C:
		case <-timeout:
			p.t.Fatal("waited without result for ", what)
		}
	}
}

// stop ends a command, after ten seconds the hard way.
func stop(cmd *exec.Cmd) {
	if cmd == nil {
		return
	}
	hard := time.AfterFunc(10*time.Second, func() { cmd.Process.Kill() })
	defer hard.Stop()
	cmd.Process.Signal(syscall.SIGTERM)
	cmd.Wait()
}

func run(t testing.TB, args ...string) {
	t.Helper()
	if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
}
