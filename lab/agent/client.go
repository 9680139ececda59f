package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"xl2tpd-keepalive/lab/event"
)

// client is the VM itself: systemd, charon, xl2tpd and pppd as Debian ships them, and what was seen of them.
type client struct {
	dir     string
	out     *reporter
	history *history

	debians map[string][]byte // files as their packages have them; nil: there is none
	piping  sync.Mutex
	pinned  process         // by the word pin
	costs   map[string]cost // by the word cost, of each unit
	figures string          // by the word figures, in front of their names
	doctor  examined        // by the words doctor and cure

	instances []*instance // by the word instance

	mu    sync.Mutex // the observers look peers up while the scenario adds them
	peers []*peer
}

type clientKey struct{}

const (
	swanLog       = "/etc/strongswan.d/lab.conf" // no line for each message
	swanctlConf   = "/etc/swanctl/conf.d/lab.conf"
	xl2tpdConf    = "/etc/xl2tpd/xl2tpd.conf"
	ourConf       = "/etc/xl2tpd/keepalive.conf"
	dialOptions   = "/etc/ppp/options.lac"
	answerOptions = "/etc/ppp/options.lns"
	controlPipe   = "/run/xl2tpd/l2tp-control"
)

func (c *client) join(p *peer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.peers = append(c.peers, p)
}

// find returns the first peer that is like that, or nil.
func (c *client) find(like func(*peer) bool) *peer {
	c.mu.Lock()
	defer c.mu.Unlock()
	if i := slices.IndexFunc(c.peers, like); i >= 0 {
		return c.peers[i]
	}
	return nil
}

// quiet are pppd's options of both ends. The LCP echo of Debian's /etc/ppp/options is off: with it a router's idle timer
// would see data every 30 s, and pppd could end the tunnel first. IPv6 is off too: its router solicitations are data in
// the first minute.
const quiet = "noauth\nnoccp\nnodefaultroute\nnoipv6\nmtu 1400\nlcp-echo-interval 0\nlcp-echo-failure 0\n"

// settings are lines of xl2tpd.conf, for [global], for each [lac] and [lns], and for each [lac] alone; what the traffic
// selectors say of xl2tpd's UDP port; and how the peers are called.
type settings struct {
	global, section, lac []string
	selector             string
	names                bool // the peers are known by name
	ownOptions           bool // each LAC has a pppoptfile of its own
}

// configure writes the client's strongSwan, xl2tpd and pppd configuration for all its peers, a LAC or an LNS for each,
// and restarts the daemons.
func (c *client) configure(set settings) error {
	swan := section{}
	sections := map[*instance]string{} // of each xl2tpd.conf; nil is that of xl2tpd.service
	files := map[string]string{}
	if set.names {
		if err := c.nameAll(); err != nil {
			return err
		}
	}
	for _, p := range c.peers {
		if p.lac == "none" {
			continue // another program dials it
		}
		port, where := p.selector(), p.reach.String()
		if set.names {
			where = p.hostname()
		}
		if p.calls() {
			port = "udp" // callers behind one NAT have different ones, and the first's connection answers all
			sections[nil] += p.lnsSection() + strings.Join(set.section, "\n") + "\n"
		} else {
			sections[p.instance] += p.lacSection(set, where)
			files[set.dialOptions(p)] = quiet
		}
		if p.ipsec {
			maps.Copy(swan, connection(p.name, where, set.selector, port, !p.calls(), p.count > 0))
		}
	}
	maps.Copy(files, map[string]string{
		swanctlConf:   section{"connections": swan}.text() + secrets,
		swanLog:       "charon-systemd {\n " + shortExponents + "\n journal {\n  default = 0\n  ike = 1\n }\n}\n",
		xl2tpdConf:    set.globalSection() + sections[nil],
		answerOptions: quiet + "ipcp-accept-remote\n",
	})
	for name, text := range files {
		if err := write(name, text); err != nil {
			return err
		}
	}
	for _, p := range c.peers {
		c.history.add(record{at: time.Now(), kind: "operator", tunnel: p.name, reason: "operator"})
	}
	for _, i := range c.instances {
		i.stop() // if it runs
	}
	// xl2tpd's pppds outlive it for a while and would hold the old links.
	if err := systemd("stop", "xl2tpd"); err != nil {
		return err
	}
	if err := poll(60*time.Second, noPPPD); err != nil {
		return fmt.Errorf("a pppd of the previous xl2tpd is still there: %w", err)
	}
	if err := restartDaemons(); err != nil {
		return err
	}
	for _, i := range c.instances {
		if err := i.configure(i.globalSection(set) + sections[i]); err != nil {
			return err
		}
		if err := i.start(); err != nil {
			return fmt.Errorf("instance %s: %w", i.name, err)
		}
	}
	return nil
}

// globalSection is the beginning of an xl2tpd.conf.
func (set settings) globalSection() string {
	return "[global]\n" + strings.Join(set.global, "\n") + "\n"
}

// dialOptions is the pppoptfile of the peer's LAC.
func (set settings) dialOptions(p *peer) string {
	if set.ownOptions {
		return dialOptions + "." + p.name
	}
	return dialOptions
}

// nameAll writes down where the peers are.
func (c *client) nameAll() error {
	lines := "127.0.0.1 localhost\n"
	for _, p := range c.peers {
		lines += fmt.Sprintf("%v %s\n", p.reach, p.hostname())
	}
	return write("/etc/hosts", lines)
}

// restartDaemons returns when xl2tpd takes commands.
func restartDaemons() error {
	if err := systemd("restart", "strongswan", "xl2tpd"); err != nil {
		return err
	}
	return poll(10*time.Second, func() bool { return isPipe(controlPipe) })
}

// noPPPD reports whether no pppd of the client host runs.
func noPPPD() bool { return len(runningPPPDs()) == 0 }

// runningPPPDs are the process ids of the client host's pppds. A killed one leaves its pid file behind.
func runningPPPDs() (pids []string) {
	files, _ := filepath.Glob("/run/ppp[0-9]*.pid")
	for _, name := range files {
		text, _ := os.ReadFile(name)
		pid := strings.TrimSpace(string(text))
		if comm, err := os.ReadFile("/proc/" + pid + "/comm"); err == nil && string(comm) == "pppd\n" {
			pids = append(pids, pid)
		}
	}
	return pids
}

// dial brings the SA up, if there is none, and makes the caller's xl2tpd call.
func (c *client) dial(p *peer) error {
	if p.ipsec {
		if err := p.secure(); err != nil {
			return err
		}
	}
	return c.control(p, "c")
}

// control writes one command about the peer's tunnel into the control pipe of the xl2tpd that dials. What is in the pipe
// at one time xl2tpd takes for one command (xl2tpd.c, do_control), so each gets a moment of its own.
func (c *client) control(p *peer, command string) error {
	path, lac := controlPipe, p.lac
	switch {
	case p.calls():
		path, lac = p.controlPipe(), callerLAC
	case p.instance != nil:
		path = p.instance.pipe()
	}
	c.piping.Lock()
	defer c.piping.Unlock()
	defer time.Sleep(100 * time.Millisecond)
	pipe, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer pipe.Close()
	_, err = fmt.Fprintf(pipe, "%s %s\n", command, lac)
	return err
}

// sawAddress turns a pppN address that came or went into the tunnel's up or down.
func (c *client) sawAddress(up bool, link string, own, far netip.Addr, at time.Time) {
	p := c.find(func(p *peer) bool { return p.ppp == far && (!p.own.IsValid() || p.own == own) })
	if p == nil {
		return
	}
	kind := "down"
	if up {
		kind = "up"
	}
	if _, was := isUp(c.history.all(), p.name); up == was {
		return
	}
	c.history.add(record{at: at, kind: kind, tunnel: p.name, link: link})
	// The journal and the peer's log report the reason a moment later than the kernel reports the close.
	time.AfterFunc(time.Second, func() {
		e := event.Event{Time: at, Kind: kind, Tunnel: p.name, Link: link}
		if !up {
			e.Reason = reason(c.history.all(), p.name, at)
		}
		c.out.report(e)
	})
}

func (c *client) sawEcho(link int, target netip.Addr, at time.Time) {
	name, err := deviceName(link)
	if err != nil || !strings.HasPrefix(name, "ppp") {
		return
	}
	r := record{at: at, kind: "echo", link: name, text: target.String()}
	if p := c.find(func(p *peer) bool { return p.ppp == target && (!p.own.IsValid() || c.history.link(p.name) == name) }); p != nil {
		r.tunnel = p.name
	}
	c.history.add(r)
}

var (
	connected = regexp.MustCompile(`Connection established to (\S+), \d+\.\s+Local: (\d+)`)
	exceeded  = regexp.MustCompile(`Maximum retries exceeded for tunnel (\d+)`)
)

// sawJournal records the messages of xl2tpd and of the service.
func (c *client) sawJournal(identifier, text string, at time.Time) {
	switch identifier {
	case "xl2tpd", "xl2tpd-keepalive", "keepalive-hook", "pppd", "charon-systemd", "systemd", "NetworkManager":
	default:
		return
	}
	c.out.report(event.Event{Time: at, Kind: event.Log, Text: identifier + ": " + text})
	r := record{at: at, kind: "journal", link: identifier, text: text}
	if m := connected.FindStringSubmatch(text); m != nil {
		if p := c.find(func(p *peer) bool { return p.reach.String() == m[1] }); p != nil {
			r.tunnel, r.reason = p.name, "tunnel "+m[2]
		}
	}
	if m := exceeded.FindStringSubmatch(text); m != nil {
		r.reason = "tunnel " + m[1] + " exceeded"
	}
	c.history.add(r)
}

// reason says why the tunnel closed at that time: what its peer logged, or what xl2tpd did. A StopCCN from xl2tpd is
// no reason, there may be one for it.
func reason(records []record, tunnel string, at time.Time) string {
	id, why := "", "unknown"
	for _, r := range records {
		near := r.at.Sub(at).Abs() < 3*time.Second
		switch {
		case r.tunnel == tunnel && r.kind == "journal" && r.at.Before(at):
			id = r.reason
		case r.tunnel == tunnel && near && r.kind == "operator":
			return r.reason
		case r.tunnel == tunnel && near && r.kind == "lns" && r.text == "close":
			if why = r.reason; why != "stopccn-from-peer" {
				return why
			}
		case near && r.kind == "journal" && id != "" && r.reason == id+" exceeded":
			return "hello-unanswered"
		}
	}
	return why
}

// close takes everything down that the scenario brought up.
func (c *client) close() {
	systemd("stop", "xl2tpd-keepalive")
	exec.Command("xl2tpd-keepalive", "remove-table").Run() // a stop leaves it behind for tunnels that were held
	os.RemoveAll("/run/xl2tpd-keepalive")
	systemd("stop", "xl2tpd", "NetworkManager")
	for _, i := range c.instances {
		i.remove()
	}
	if poll(10*time.Second, noPPPD) != nil { // in kernel mode nothing ends those of an xl2tpd that was killed
		do(append([]string{"kill", "-KILL"}, runningPPPDs()...)...)
	}
	for _, p := range c.peers {
		p.stop()
	}
	for _, path := range []string{swanctlConf, swanLog, ourConf} {
		os.Remove(path)
	}
	for path, text := range c.debians {
		if text == nil {
			os.Remove(path)
			continue
		}
		os.WriteFile(path, text, 0o600) // which keeps the mode that it has
	}
	systemd("stop", "strongswan", "strongswan-starter") // they would react to each address of the next scenario's peers
	removeWires()
	restoreHost()
}

// restoreHost takes away what a scenario leaves on the host when it fails: a mask, mounts, files, a firewall.
func restoreHost() {
	if to, _ := os.Readlink("/etc/systemd/system/xl2tpd.service"); to == "/dev/null" {
		exec.Command("systemctl", "unmask", "xl2tpd").Run()
	}
	if mounts, _ := os.ReadFile("/proc/mounts"); bytes.Contains(mounts, []byte("\noverlay /usr ")) {
		exec.Command("umount", "-l", "/usr").Run()
	}
	if mounts, _ := os.ReadFile("/proc/mounts"); bytes.Contains(mounts, []byte("/lib/modules ")) {
		exec.Command("umount", "/lib/modules").Run()
	}
	for _, path := range []string{"/run/modprobe.d", "/run/cloud", "/etc/rpi-issue", "/etc/rc.local"} { // of doctor's hosts
		os.RemoveAll(path)
	}
	exec.Command("nft", "flush", "ruleset").Run()
}

// packagedFiles are files of packages that scenarios change. charon reads the secrets of ipsec.secrets too.
var packagedFiles = []string{xl2tpdConf, "/etc/ipsec.conf", "/etc/ipsec.secrets"}

func newClient(dir string, out *reporter) (*client, error) {
	debians := map[string][]byte{}
	for _, path := range packagedFiles {
		text, err := os.ReadFile(path)
		if err != nil && (path == xl2tpdConf || !errors.Is(err, fs.ErrNotExist)) {
			return nil, err
		}
		debians[path] = text
	}
	c := &client{dir: dir, out: out, history: newHistory(), debians: debians, doctor: examined{dir: dir}}
	return c, os.MkdirAll(filepath.Join(dir, "peers"), 0o755)
}
