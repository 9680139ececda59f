package main

import (
	"bufio"
	"cmp"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// peer is an L2TP/IPsec server in a network namespace of its own, with its own charon and its own /run.
type peer struct {
	name, personality string
	nat               string // "", "client": the client sits behind a NAT; "server": the peer does
	ipsec             bool
	settings          []string   // key=value, handed to our LNS
	reach             netip.Addr // where the client finds it
	ppp               netip.Addr // its end of the PPP link
	dir               string
	client            *client

	hold  *exec.Cmd // keeps the namespaces
	procs []*exec.Cmd
}

const peerConnections = `connections {
  l2tp {
    version = 1
    local_addrs = %any
    remote_addrs = %any
    proposals = aes128-sha1-modp2048
    local { auth = psk }
    remote { auth = psk }
    children {
      l2tp {
        mode = transport
        local_ts = dynamic[udp/1701]
        remote_ts = dynamic[udp]
        esp_proposals = aes128-sha1
      }
    }
  }
}
secrets { ike { secret = "lab" } }
`

// newPeer lays the wires of peer number n: a veth pair, or two with a NAT between them.
func newPeer(c *client, n int, name, personality string) *peer {
	return &peer{
		name: name, personality: personality, ipsec: true, client: c,
		dir:   filepath.Join(c.dir, "peers", name),
		reach: addr("10.77.%d.2", n),
		ppp:   addr("10.88.%d.1", n),
	}
}

func addr(format string, n int) netip.Addr { return netip.MustParseAddr(fmt.Sprintf(format, n)) }

func (p *peer) wire(n int) error {
	ns := "peer-" + p.name
	near := fmt.Sprintf("to%d", n)
	steps := []string{
		"ip netns add " + ns,
		"ip -n " + ns + " link set lo up",
	}
	first := ns
	if p.nat != "" {
		first = "nat-" + p.name
		steps = append(steps, "ip netns add "+first, "ip -n "+first+" link set lo up")
	}
	steps = append(steps,
		fmt.Sprintf("ip link add %s type veth peer name up0 netns %s", near, first),
		fmt.Sprintf("ip addr add 10.77.%d.1/24 dev %s", n, near),
		fmt.Sprintf("ip link set %s up", near),
		fmt.Sprintf("ip -n %s addr add 10.77.%d.2/24 dev up0", first, n),
		fmt.Sprintf("ip -n %s link set up0 up", first),
	)
	if p.nat == "" {
		steps = append(steps, fmt.Sprintf("ip -n %s route add default via 10.77.%d.1", ns, n))
	} else {
		steps = append(steps,
			fmt.Sprintf("ip -n %s link add down0 type veth peer name up0 netns %s", first, ns),
			fmt.Sprintf("ip -n %s addr add 10.78.%d.1/24 dev down0", first, n),
			fmt.Sprintf("ip -n %s link set down0 up", first),
			fmt.Sprintf("ip -n %s addr add 10.78.%d.2/24 dev up0", ns, n),
			fmt.Sprintf("ip -n %s link set up0 up", ns),
			fmt.Sprintf("ip -n %s route add default via 10.78.%d.1", ns, n),
			"ip netns exec "+first+" sysctl -qw net.ipv4.ip_forward=1",
			"ip netns exec "+first+" nft add table ip nat",
		)
	}
	switch p.nat {
	case "client": // the peer sees the client as 10.78.n.1
		p.reach = addr("10.78.%d.2", n)
		steps = append(steps,
			fmt.Sprintf("ip route add 10.78.%d.0/24 via 10.77.%d.2", n, n),
			"ip netns exec "+first+" nft add chain ip nat post { type nat hook postrouting priority srcnat ; }",
			"ip netns exec "+first+" nft add rule ip nat post oifname down0 masquerade")
	case "server": // the client knows only the NAT's address
		steps = append(steps,
			"ip netns exec "+first+" nft add chain ip nat pre { type nat hook prerouting priority dstnat ; }",
			fmt.Sprintf("ip netns exec %s nft add rule ip nat pre iifname up0 udp dport { 500, 4500 } dnat to 10.78.%d.2", first, n))
	}
	for _, step := range steps {
		if err := do(strings.Fields(step)...); err != nil {
			return err
		}
	}
	return nil
}

// start brings up the namespaces' holder, charon and the LNS.
func (p *peer) start() error {
	if err := write(filepath.Join(p.dir, "swanctl/l2tp.conf"), peerConnections); err != nil {
		return err
	}
	if err := p.configureLNS(); err != nil {
		return err
	}
	script := fmt.Sprintf("mount -t tmpfs tmpfs /run && mkdir -p /run/xl2tpd && mount --bind %s/swanctl /etc/swanctl/conf.d && "+
		"mount --bind %s/xl2tpd /etc/xl2tpd && mkdir /run/ready && exec sleep infinity", p.dir, p.dir)
	p.hold = exec.Command("ip", "netns", "exec", "peer-"+p.name, "unshare", "--mount", "--propagation", "private", "sh", "-c", script)
	if err := p.hold.Start(); err != nil {
		return err
	}
	if err := poll(5*time.Second, func() bool { return p.exec("test", "-d", "/run/ready").Run() == nil }); err != nil {
		return fmt.Errorf("peer %s: its namespaces: %w", p.name, err)
	}
	if p.ipsec {
		if err := p.startCharon(); err != nil {
			return err
		}
	}
	return p.startLNS()
}

// configureLNS writes what xl2tpd and its pppd read where the peer is a Debian one.
func (p *peer) configureLNS() error {
	if err := write(filepath.Join(p.dir, "ppp-options"), "noauth\nnoccp\nlcp-echo-interval 0\nlcp-echo-failure 0\n"); err != nil {
		return err
	}
	return write(filepath.Join(p.dir, "xl2tpd/xl2tpd.conf"), fmt.Sprintf("[lns default]\nip range = %[1]s\nlocal ip = %[2]s\n"+
		"require authentication = no\npppoptfile = %[3]s/ppp-options\n", p.pool(), p.ppp, p.dir))
}

// pool is what the LNS gives to clients: more than one address, as it may hold a lost client's for a while.
func (p *peer) pool() string {
	first, last := p.ppp.As4(), p.ppp.As4()
	first[3]++
	last[3] += 8
	return netip.AddrFrom4(first).String() + "-" + netip.AddrFrom4(last).String()
}

func (p *peer) startCharon() error {
	if err := p.run("charon.log", "charon-systemd"); err != nil {
		return err
	}
	var answer []byte
	err := poll(20*time.Second, func() (ok bool) {
		var err error
		answer, err = p.exec("swanctl", "--load-all", "--noprompt").CombinedOutput()
		return err == nil
	})
	if err != nil {
		return fmt.Errorf("peer %s: charon: %w: %s%s", p.name, err, answer, p.log("charon.log"))
	}
	return nil
}

func (p *peer) startLNS() error {
	if p.personality == "debian" {
		return p.run("xl2tpd.log", "xl2tpd", "-D")
	}
	args := []string{disk + "/bin/lns", "-peer", p.name, "-personality", p.personality,
		"-local", p.ppp.String(), "-pool", p.pool()}
	for _, s := range p.settings {
		args = append(args, "-set", s)
	}
	command := p.exec(args...)
	pipe, err := command.StdoutPipe()
	if err != nil {
		return err
	}
	log, err := os.Create(filepath.Join(p.dir, "lns.log"))
	if err != nil {
		return err
	}
	command.Stderr = log
	if err := command.Start(); err != nil {
		return err
	}
	p.procs = append(p.procs, command)
	listening := make(chan struct{})
	go func() {
		defer log.Close()
		for lines := bufio.NewScanner(pipe); lines.Scan(); {
			log.WriteString(lines.Text() + "\n")
			var e struct {
				Time    time.Time `json:"t"`
				Event   string    `json:"event"`
				Reason  string    `json:"reason"`
				Message string    `json:"message"`
				Try     int       `json:"try"`
			}
			if json.Unmarshal(lines.Bytes(), &e) != nil {
				continue
			}
			if e.Event == "listening" {
				close(listening)
			}
			p.client.history.add(record{at: e.Time, kind: "lns", tunnel: p.name, reason: cmp.Or(e.Reason, e.Message), text: e.Event, try: e.Try})
		}
	}()
	select {
	case <-listening:
		return nil
	case <-time.After(10 * time.Second):
		return fmt.Errorf("peer %s: the LNS does not listen: %s", p.name, p.log("lns.log"))
	}
}

// exec makes a command that will run in the peer's network and mount namespaces.
func (p *peer) exec(args ...string) *exec.Cmd {
	pid := fmt.Sprint(p.hold.Process.Pid)
	return exec.Command("nsenter", append([]string{"-t", pid, "-m", "-n", "--"}, args...)...)
}

func (p *peer) run(log string, args ...string) error {
	file, err := os.Create(filepath.Join(p.dir, log))
	if err != nil {
		return err
	}
	defer file.Close()
	command := p.exec(args...)
	command.Stdout, command.Stderr = file, file
	if err := command.Start(); err != nil {
		return err
	}
	p.procs = append(p.procs, command)
	return nil
}

func (p *peer) log(name string) string {
	text, err := os.ReadFile(filepath.Join(p.dir, name))
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// stop ends the peer's processes, youngest first, and takes its wires away.
func (p *peer) stop() {
	for i := len(p.procs) - 1; i >= 0; i-- {
		end(p.procs[i])
	}
	if p.hold != nil {
		end(p.hold)
	}
	for _, ns := range []string{"peer-", "nat-"} {
		exec.Command("ip", "netns", "del", ns+p.name).Run()
	}
}

// end asks a process to stop and kills it after five seconds.
func end(command *exec.Cmd) {
	command.Process.Signal(syscall.SIGTERM)
	kill := time.AfterFunc(5*time.Second, func() { command.Process.Kill() })
	command.Wait()
	kill.Stop()
}

func write(path, text string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, []byte(text), 0o644)
}

// poll asks four times a second until ok; it is for what the lab's daemons give no event for.
func poll(timeout time.Duration, ok func() bool) error {
	for deadline := time.Now().Add(timeout); !ok(); {
		if time.Now().After(deadline) {
			return fmt.Errorf("not within %v", timeout)
		}
		time.Sleep(250 * time.Millisecond)
	}
	return nil
}
