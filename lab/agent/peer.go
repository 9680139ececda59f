package main

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// peer is the other end of a tunnel, in a network namespace of its own, with its own charon and its own /run: an LNS
// that the client host dials or, as a caller, a LAC that dials the client host.
type peer struct {
	name, personality string
	lac               string    // what the client's xl2tpd.conf calls it
	instance          *instance // the client's xl2tpd that dials it; nil: that of xl2tpd.service
	nat               string    // "", "client": the end that dials sits behind a NAT; "server": the other does
	ipsec             bool
	secret            string     // that the client has to know, as "lab"; empty: it need not
	settings          []string   // key=value, of the lab's LNS or for a real xl2tpd's [global]
	neighbour         *peer      // the caller behind the same NAT
	host              netip.Addr // the client host's end of the wire
	outer             string     // the client host's device at the wire; empty: the wire is a neighbour's
	netem             string     // what the wire does when it is a bad line
	reach             netip.Addr // where the client host finds it
	ppp               netip.Addr // its end of the PPP link
	own               netip.Addr // the client's end, where several links have the same other one
	dir               string
	client            *client
	twins             int  // of this one
	twin              bool // another's LNS under another name, or one of many in its process
	count             int  // how many LNSs its process has; 0: it alone
	said              int  // how much a real xl2tpd had logged when it was last dialled

	connection section // that its charon has

	space, natSpace *space
	procs           []*exec.Cmd
	capture         *exec.Cmd // under way; nil: none
}

// newPeer makes peer number n.
func newPeer(c *client, n int, name, personality string) *peer {
	return &peer{
		name: name, personality: personality, lac: name, ipsec: true, client: c,
		dir:   filepath.Join(c.dir, "peers", name),
		host:  addr("10.77.%d.1", n),
		reach: addr("10.77.%d.2", n),
		ppp:   addr("10.88.%d.1", n),
	}
}

func addr(format string, n int) netip.Addr { return netip.MustParseAddr(fmt.Sprintf(format, n)) }

// newTwin makes another tunnel to a peer's LNS: other ids, but the same addresses and ports. The client asks for
// an address of its own on each, by which they are told apart.
func newTwin(p *peer, name string) *peer {
	t := *p
	t.name, t.lac, t.twin, t.ipsec, t.procs = name, name, true, false, nil // the SA is the other's
	own := p.ppp.As4()
	own[3] += 20
	p.own = netip.AddrFrom4(own)
	p.twins++
	own[3] += byte(p.twins)
	t.own = netip.AddrFrom4(own)
	return &t
}

// hostname is what the client host may call it.
func (p *peer) hostname() string { return p.name + ".lab" }

// calls reports whether the peer is the end that dials.
func (p *peer) calls() bool { return p.personality == "caller" }

// isXl2tpd reports whether the peer is a real xl2tpd and not the lab's LNS.
func (p *peer) isXl2tpd() bool { return p.calls() || p.personality == "debian" }

// global is the beginning of a real xl2tpd's configuration.
func (p *peer) global() string { return "[global]\n" + strings.Join(p.settings, "\n") + "\n" }

// selector is what the traffic selectors say of the peer's UDP port.
func (p *peer) selector() string {
	for _, s := range p.settings {
		if port, ok := strings.CutPrefix(s, "port="); ok {
			return "udp/" + port
		}
	}
	return "udp/1701"
}

// start gives the peer its own files, and starts charon and the L2TP daemon.
func (p *peer) start() error {
	configure, serve := p.configureLNS, p.startLNS
	if p.calls() {
		configure, serve = p.configureLAC, p.startLAC
	}
	if err := configure(); err != nil {
		return err
	}
	if err := p.configurePPP(); err != nil {
		return err
	}
	mounts := map[string]string{
		filepath.Join(p.dir, "xl2tpd"): "/etc/xl2tpd",
		filepath.Join(p.dir, "ppp"):    "/etc/ppp",
	}
	if err := p.space.mount(mounts); err != nil {
		return fmt.Errorf("peer %s: %w", p.name, err)
	}
	if p.ipsec {
		if err := p.startCharon(); err != nil {
			return err
		}
	}
	return serve()
}

// configurePPP writes the peer's /etc/ppp, which has Debian's options and none of its scripts.
func (p *peer) configurePPP() error {
	options, err := os.ReadFile("/etc/ppp/options")
	if err != nil {
		return err
	}
	secrets := ""
	if p.secret != "" {
		secrets = "lab * " + p.secret + " *\n"
	}
	return errors.Join(
		write(filepath.Join(p.dir, "ppp/options"), string(options)),
		write(filepath.Join(p.dir, "ppp/chap-secrets"), secrets),
	)
}

// exec makes a command that will run in the peer's network and mount namespaces.
func (p *peer) exec(args ...string) *job { return p.space.command(args...) }

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
	p.procs = append(p.procs, command.Cmd)
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
	if p.twin {
		return
	}
	if p.capture != nil {
		end(p.capture)
	}
	for i := len(p.procs) - 1; i >= 0; i-- {
		end(p.procs[i])
	}
	for _, s := range []*space{p.space, p.natSpace} {
		if s != nil {
			s.close()
		}
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
