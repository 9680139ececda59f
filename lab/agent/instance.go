package main

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// instance is an xl2tpd of the client host beside that of xl2tpd.service, with a configuration and a pipe of its own.
type instance struct {
	name    string
	unit    string // that runs it; empty: a shell has started it
	port    string // UDP port; empty: as the client's
	address string // that it listens on; empty: all
	peers   []*peer
	starts  int // how often the shell has started it
}

func (i *instance) dir() string  { return "/run/" + i.name }
func (i *instance) pipe() string { return i.dir() + "/ctl" }
func (i *instance) pid() string  { return i.dir() + "/pid" }

// conf lies in /etc if the instance is permanent, as its unit is.
func (i *instance) conf() string {
	if i.unit != "" {
		return "/etc/xl2tpd/" + i.name + ".conf"
	}
	return i.dir() + "/xl2tpd.conf"
}

// globalSection is the client's, but for the port and the address.
func (i *instance) globalSection(set settings) string {
	set.global = slices.Clone(set.global)
	if i.port != "" {
		set.global = append(set.global, "port = "+i.port)
	}
	if i.address != "" {
		set.global = append(set.global, "listen-addr = "+i.address)
	}
	return set.globalSection()
}

func (i *instance) unitFile() string { return "/run/systemd/system/" + i.unit + ".service" }

// label is what the service's status calls it.
func (i *instance) label() string {
	switch {
	case i == nil:
		return "xl2tpd.service"
	case i.unit != "":
		return i.unit + ".service"
	}
	return i.conf()
}

func (i *instance) command() string {
	return fmt.Sprintf("/usr/sbin/xl2tpd -D -c %s -C %s -p %s", i.conf(), i.pipe(), i.pid())
}

// configure writes the instance's xl2tpd.conf and, if it has one, its unit. An address of its own lies on the wire of its
// first peer.
func (i *instance) configure(conf string) error {
	if err := write(i.conf(), conf); err != nil {
		return err
	}
	if i.address != "" {
		wire := fmt.Sprintf("to%d", i.peers[0].host.As4()[2])
		if err := do("ip", "addr", "replace", i.address+"/32", "dev", wire); err != nil {
			return err
		}
	}
	if i.unit == "" {
		return nil
	}
	text := fmt.Sprintf("[Unit]\nDescription=xl2tpd, instance %s\n[Service]\nExecStartPre=mkdir -p %s\nExecStart=%s\n", i.name, i.dir(), i.command())
	if err := write(i.unitFile(), text); err != nil {
		return err
	}
	return do("systemctl", "daemon-reload")
}

// start returns when the instance takes commands. A shell's belongs to a login session and not to a service.
func (i *instance) start() error {
	command := []string{"systemctl", "start", i.unit}
	if i.unit == "" {
		i.starts++
		session := fmt.Sprintf("--unit=session-%s%d", i.name, i.starts)
		shell := fmt.Sprintf("setsid systemd-cat --identifier=xl2tpd %s < /dev/null &", i.command())
		command = []string{"systemd-run", "--quiet", "--collect", "--scope", "--slice=user-0.slice", session, "sh", "-c", shell}
	}
	os.Remove(i.pipe()) // of one that was killed
	if err := do(command...); err != nil {
		return err
	}
	return poll(10*time.Second, func() bool { return isPipe(i.pipe()) })
}

func (i *instance) stop() error {
	if i.unit != "" {
		return systemd("stop", i.unit)
	}
	return i.signal("TERM")
}

// signal returns when the process is gone.
func (i *instance) signal(name string) error { return signalDaemon(i.pid(), name) }

func signalDaemon(pidFile, name string) error {
	pid, err := readPid(pidFile)
	if err != nil {
		return err
	}
	return signalAndWait(name, []string{pid})
}

// killAll kills the daemon and its pppds at the same moment: in kernel mode a pppd would never end otherwise.
func killAll(pidFile string) error {
	pid, err := readPid(pidFile)
	if err != nil {
		return err
	}
	children, err := os.ReadFile(fmt.Sprintf("/proc/%s/task/%s/children", pid, pid))
	if err != nil {
		return err
	}
	return signalAndWait("KILL", append(strings.Fields(string(children)), pid))
}

func readPid(file string) (string, error) {
	text, err := os.ReadFile(file)
	return strings.TrimSpace(string(text)), err
}

// signalAndWait returns when the last of these processes is gone.
func signalAndWait(name string, pids []string) error {
	if err := do(append([]string{"kill", "-" + name}, pids...)...); err != nil {
		return err
	}
	return poll(10*time.Second, func() bool {
		return !slices.ContainsFunc(pids, func(pid string) bool {
			_, err := os.Stat("/proc/" + pid)
			return err == nil
		})
	})
}

// remove takes all away that the instance has brought.
func (i *instance) remove() {
	i.stop()
	for _, path := range []string{i.conf(), i.dir(), i.unitFile()} {
		os.RemoveAll(path)
	}
	do("systemctl", "daemon-reload")
}

// instanceCommand gives peers to another xl2tpd of the client host than that of xl2tpd.service. The word `client`
// configures and starts it.
func instanceCommand(ts *testscript.TestScript, neg bool, args []string) {
	words, opts := options(ts, args, "unit", "port", "address")
	usage(ts, neg, len(words) >= 2, "instance NAME [unit=UNIT] [port=N] [address=ADDRESS] PEER...")
	c := clientOf(ts)
	i := &instance{name: words[0], unit: opts["unit"], port: opts["port"], address: opts["address"], peers: peersOf(ts, words[1:])}
	c.instances = append(c.instances, i)
	for _, p := range i.peers {
		if p.calls() {
			ts.Fatalf("instance: %s dials the client", p.name)
		}
		p.instance = i
	}
}

// daemonCommand kills, stops, starts or restarts one xl2tpd of the client host.
func daemonCommand(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, len(args) == 2, "daemon xl2tpd|INSTANCE kill|kill-all|stop|start|restart")
	control := controlMain
	if args[0] != "xl2tpd" {
		c := clientOf(ts)
		n := slices.IndexFunc(c.instances, func(i *instance) bool { return i.name == args[0] })
		if n < 0 {
			ts.Fatalf("no instance is called %s", args[0])
		}
		control = c.instances[n].control
	}
	ts.Check(control(args[1]))
}

func (i *instance) control(verb string) error {
	switch verb {
	case "kill":
		return i.signal("KILL")
	case "kill-all":
		return killAll(i.pid())
	case "stop":
		return i.stop()
	case "start":
		return i.start()
	case "restart":
		if err := i.stop(); err != nil {
			return err
		}
		return i.start()
	}
	return fmt.Errorf("daemon: there is no %s", verb)
}

// controlMain does the same with xl2tpd.service. Its unit stays active when the process dies, so a start is a restart.
func controlMain(verb string) error {
	switch verb {
	case "kill":
		return signalDaemon("/run/xl2tpd.pid", "KILL")
	case "kill-all":
		return killAll("/run/xl2tpd.pid")
	case "stop":
		return systemd("stop", "xl2tpd")
	case "start", "restart":
		if err := systemd("restart", "xl2tpd"); err != nil {
			return err
		}
		return poll(10*time.Second, func() bool { return isPipe(controlPipe) })
	}
	return fmt.Errorf("daemon: there is no %s", verb)
}
