package main

import (
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

func peerCommand(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, len(args) >= 2, "peer NAME debian|caller|PERSONALITY [nat=client|server] [behind=NAME] [ipsec=no] [secret=WORD] [lac=NAME] [SETTING=VALUE...]")
	c := clientOf(ts)
	n := len(c.peers) + 1
	p := newPeer(c, n, args[0], args[1])
	if filepath.Ext(args[1]) == ".json" {
		p.personality = ts.MkAbs(args[1])
	}
	for _, a := range args[2:] {
		switch k, v, _ := strings.Cut(a, "="); k {
		case "nat":
			if v != "client" && (v != "server" || p.calls()) {
				ts.Fatalf("peer: nat=%s is not to be had", v)
			}
			p.nat = v
		case "behind":
			p.neighbour = peersOf(ts, []string{v})[0]
			if !p.calls() || !p.neighbour.calls() || p.neighbour.nat == "" {
				ts.Fatalf("peer: behind=%s is for callers whose NAT there is", v)
			}
		case "ipsec":
			p.ipsec = v != "no"
		case "lac":
			p.lac = v
		case "secret":
			p.secret = v
			if p.personality != "debian" {
				ts.Fatalf("peer: secret=%s is for Debian peers", v)
			}
		default:
			p.settings = append(p.settings, a)
		}
	}
	c.join(p)
	ts.Check(p.wire(n))
	ts.Check(p.start())
}

func twinCommand(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, len(args) == 2, "twin NAME PEER")
	p := peersOf(ts, args[1:])[0]
	if p.personality != "debian" {
		ts.Fatalf("twin: %s is not a Debian peer", p.name)
	}
	clientOf(ts).join(newTwin(p, args[0]))
}

func clientCommand(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, true, "client [mode=kernel|userspace] [port=N] [passpeer=yes] [redial=SECONDS|no] [autodial=yes] [retries=N] [names=yes] [options=own]")
	set := settings{selector: "udp/1701"}
	_, opts := options(ts, args, "mode", "port", "passpeer", "redial", "autodial", "retries", "names", "options")
	for _, k := range slices.Sorted(maps.Keys(opts)) { // the same lines each time
		v := opts[k]
		switch {
		case k == "mode" && v == "userspace":
			set.global = append(set.global, "force userspace = yes")
		case k == "mode" && v == "kernel":
		case k == "port":
			set.global = append(set.global, "port = "+v)
			set.selector = "udp/" + v
			if v == "0" { // any
				set.selector = "udp"
			}
		case k == "passpeer":
			set.section = append(set.section, "pass peer = "+v)
		case k == "retries":
			set.global = append(set.global, "max retries = "+v)
		case k == "redial" && v == "no":
		case k == "names" && v == "yes":
			set.names = true
		case k == "options" && v == "own":
			set.ownOptions = true
		case k == "autodial" && v == "yes":
			set.lac = append(set.lac, "autodial = yes")
		case k == "redial":
			set.lac = append(set.lac, "redial = yes", "redial timeout = "+v, "max redials = 1000")
		default:
			ts.Fatalf("client: unknown setting %s=%s", k, v)
		}
	}
	ts.Check(clientOf(ts).configure(set))
}

func keepaliveCommand(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, len(args) >= 1, "keepalive start|stop|restart|reload | keepalive config FILE|none")
	switch args[0] {
	case "config":
		if args[1] == "none" {
			ts.Check(os.Remove(ourConf))
			return
		}
		ts.Check(write(ourConf, os.Expand(ts.ReadFile(args[1]), ts.Getenv)))
	default:
		ts.Check(systemd(args[0], "xl2tpd-keepalive"))
	}
}

// dialCommand brings tunnels up side by side and returns when all have their addresses.
func dialCommand(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, true, "dial [NAME...]")
	c := clientOf(ts)
	peers := peersOf(ts, args)
	for _, p := range peers {
		c.history.add(record{at: time.Now(), kind: "dial", tunnel: p.name})
		p.said = len(p.log(xl2tpdLog))
	}
	var wg sync.WaitGroup
	errs := make([]error, len(peers))
	turn := make(chan struct{}, 4) // more key exchanges at one time take longer than charons wait
	for i, p := range peers {
		wg.Go(func() {
			turn <- struct{}{}
			defer func() { <-turn }()
			errs[i] = c.dial(p)
		})
	}
	wg.Wait()
	for i, p := range peers {
		ts.Check(errs[i])
		ts.Check(c.awaitUp(p))
	}
}

// awaitUp waits for the tunnel's addresses and calls again if need be: the first call may meet a peer that still
// holds the last tunnel.
func (c *client) awaitUp(p *peer) error {
	for range 3 {
		if c.history.awaitState(35*time.Second, p.name, true) {
			return nil
		}
		if err := c.control(p, "c"); err != nil {
			return err
		}
	}
	return fmt.Errorf("%s: no tunnel after three calls", p.name)
}

func hangupCommand(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, true, "hangup [NAME...]")
	c := clientOf(ts)
	for _, p := range peersOf(ts, args) {
		c.history.add(record{at: time.Now(), kind: "operator", tunnel: p.name, reason: "operator"})
		ts.Check(c.control(p, "d"))
		if !c.history.awaitState(10*time.Second, p.name, false) {
			ts.Fatalf("%s: still up 10s after hanging up", p.name)
		}
	}
}

// renumberCommand restarts a Debian peer's xl2tpd with another address inside the tunnel.
func renumberCommand(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, len(args) == 2, "renumber NAME ADDRESS")
	ts.Check(peersOf(ts, args[:1])[0].renumber(netip.MustParseAddr(args[1])))
}

func (p *peer) renumber(ppp netip.Addr) error {
	end(p.procs[len(p.procs)-1])
	p.procs = p.procs[:len(p.procs)-1]
	p.client.mu.Lock()
	p.ppp = ppp
	p.client.mu.Unlock()
	if err := p.configureLNS(); err != nil {
		return err
	}
	return p.startLNS()
}

// insideCommand runs a command in the namespaces of these peers.
func insideCommand(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, false, len(args) >= 2, "inside NAME[,NAME...] COMMAND...")
	for _, p := range peersOf(ts, strings.Split(args[0], ",")) {
		text, err := p.exec(args[1:]...).CombinedOutput()
		ts.Logf("%s", text)
		if (err == nil) == neg {
			ts.Fatalf("inside %s %v: %v", p.name, args[1:], err)
		}
	}
}
