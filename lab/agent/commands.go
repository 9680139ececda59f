package main

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"xl2tpd-keepalive/lab/event"
)

// commands are what a scenario can say besides testscript's own words; lab/README.md lists them.
var commands = map[string]func(*testscript.TestScript, bool, []string){
	"peer":      peerCommand,
	"client":    clientCommand,
	"keepalive": keepaliveCommand,
	"dial":      dialCommand,
	"hangup":    hangupCommand,
	"sleep":     sleepCommand,
	"await":     awaitCommand,
	"up":        upCommand,
	"closed":    closedCommand,
	"echo-in":   echoInCommand,
	"echoes":    echoesCommand,
	"load":      loadCommand,
	"inside":    insideCommand,
	"peerlog":   peerlogCommand,
	"journal":   journalCommand,
	"mark":      markCommand,
	"status":    statusCommand,
	"pin":       pinCommand,
	"pinned":    pinnedCommand,
	"renumber":  renumberCommand,
}

func clientOf(ts *testscript.TestScript) *client { return ts.Value(clientKey{}).(*client) }

func usage(ts *testscript.TestScript, neg bool, ok bool, text string) {
	if neg || !ok {
		ts.Fatalf("usage: %s", text)
	}
}

// options splits key=value words off the front words.
func options(args []string) (words []string, opts map[string]string) {
	opts = map[string]string{}
	for _, a := range args {
		if k, v, ok := strings.Cut(a, "="); ok {
			opts[k] = v
		} else {
			words = append(words, a)
		}
	}
	return words, opts
}

func peersOf(ts *testscript.TestScript, names []string) []*peer {
	c := clientOf(ts)
	if len(names) == 0 {
		return c.peers
	}
	var peers []*peer
	for _, name := range names {
		p := c.find(func(p *peer) bool { return p.name == name })
		if p == nil {
			ts.Fatalf("no peer is called %s", name)
		}
		peers = append(peers, p)
	}
	return peers
}

func peerCommand(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, len(args) >= 2, "peer NAME debian|PERSONALITY [nat=client|server] [ipsec=no] [SETTING=VALUE...]")
	c := clientOf(ts)
	n := len(c.peers) + 1
	p := newPeer(c, n, args[0], args[1])
	for _, a := range args[2:] {
		switch k, v, _ := strings.Cut(a, "="); k {
		case "nat":
			p.nat = v
		case "ipsec":
			p.ipsec = v != "no"
		default:
			p.settings = append(p.settings, a)
		}
	}
	c.mu.Lock()
	c.peers = append(c.peers, p)
	c.mu.Unlock()
	ts.Check(p.wire(n))
	ts.Check(p.start())
}

func clientCommand(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, true, "client [mode=kernel|userspace] [passpeer=yes] [redial=SECONDS] [retries=N]")
	var global, lac []string
	_, opts := options(args)
	for k, v := range opts {
		switch {
		case k == "mode" && v == "userspace":
			global = append(global, "force userspace = yes")
		case k == "mode" && v == "kernel":
		case k == "passpeer":
			lac = append(lac, "pass peer = "+v)
		case k == "retries":
			global = append(global, "max retries = "+v)
		case k == "redial":
			lac = append(lac, "redial = yes", "redial timeout = "+v, "max redials = 1000")
		default:
			ts.Fatalf("client: unknown setting %s=%s", k, v)
		}
	}
	ts.Check(clientOf(ts).configure(global, lac))
}

func keepaliveCommand(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, len(args) >= 1, "keepalive start|stop|restart|reload | keepalive config FILE|none")
	switch args[0] {
	case "config":
		if args[1] == "none" {
			ts.Check(os.Remove(ourConf))
			return
		}
		ts.Check(write(ourConf, ts.ReadFile(args[1])))
	default:
		ts.Check(do("systemctl", args[0], "xl2tpd-keepalive"))
	}
}

// dialCommand brings tunnels up side by side and returns when all have their addresses.
func dialCommand(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, true, "dial [NAME...]")
	c := clientOf(ts)
	peers := peersOf(ts, args)
	for _, p := range peers {
		c.history.add(record{at: time.Now(), kind: "dial", tunnel: p.name})
	}
	var wg sync.WaitGroup
	errs := make([]error, len(peers))
	for i, p := range peers {
		wg.Go(func() { errs[i] = c.dial(p) })
	}
	wg.Wait()
	for i, p := range peers {
		ts.Check(errs[i])
		if !c.awaitUp(p, 30*time.Second) {
			ts.Fatalf("%s: no tunnel within 30s", p.name)
		}
	}
}

func (c *client) awaitUp(p *peer, timeout time.Duration) bool {
	return c.history.await(timeout, func(r []record) bool { _, up := isUp(r, p.name); return up })
}

func hangupCommand(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, true, "hangup [NAME...]")
	c := clientOf(ts)
	for _, p := range peersOf(ts, args) {
		c.history.add(record{at: time.Now(), kind: "operator", tunnel: p.name, reason: "operator"})
		ts.Check(control("d " + p.name))
		if !c.history.await(10*time.Second, func(r []record) bool { _, up := isUp(r, p.name); return !up }) {
			ts.Fatalf("%s: still up 10s after hanging up", p.name)
		}
	}
}

func duration(ts *testscript.TestScript, text string) time.Duration {
	d, err := time.ParseDuration(text)
	ts.Check(err)
	return d
}

func sleepCommand(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, len(args) == 1, "sleep DURATION")
	time.Sleep(duration(ts, args[0]))
}

// awaitCommand waits for tunnels to come up or go down.
func awaitCommand(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, len(args) >= 2, "await up|down DURATION [NAME...]")
	c := clientOf(ts)
	for _, p := range peersOf(ts, args[2:]) {
		if !c.history.await(duration(ts, args[1]), func(r []record) bool { _, up := isUp(r, p.name); return up == (args[0] == "up") }) {
			ts.Fatalf("%s: not %s within %s", p.name, args[0], args[1])
		}
	}
}

// upCommand holds when the tunnels are up and have been without a break since they were last dialled.
func upCommand(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, true, "up [NAME...]")
	records := clientOf(ts).history.all()
	for _, p := range peersOf(ts, args) {
		dialled, _ := last(records, "dial", p.name)
		if down, ok := last(records, "down", p.name); ok && down.at.After(dialled.at) {
			ts.Fatalf("%s: closed %s: %s", p.name, lifetime(records, p.name), reason(records, p.name, down.at))
		}
		if _, up := isUp(records, p.name); !up {
			ts.Fatalf("%s: never came up", p.name)
		}
	}
}

func lifetime(records []record, tunnel string) time.Duration {
	down, _ := last(records, "down", tunnel)
	var since time.Time
	for _, r := range records {
		if r.kind == "up" && r.tunnel == tunnel && r.at.Before(down.at) {
			since = r.at
		}
	}
	return down.at.Sub(since).Round(time.Millisecond)
}

// closedCommand holds when the tunnel's last life was that long and ended for that reason.
func closedCommand(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, len(args) == 3, "closed NAME after=MIN..MAX reason=REASON")
	words, opts := options(args)
	c := clientOf(ts)
	c.history.await(2*time.Second, func([]record) bool { return false }) // the reason comes after the fact
	records := c.history.all()
	lo, hi, _ := strings.Cut(opts["after"], "..")
	for _, p := range peersOf(ts, words) {
		down, ok := last(records, "down", p.name)
		if !ok {
			ts.Fatalf("%s: never closed", p.name)
		}
		life, why := lifetime(records, p.name), reason(records, p.name, down.at)
		c.measure("%s: closed after %.1f s: %s", p.name, life.Seconds(), why)
		if life < duration(ts, lo) || life > duration(ts, hi) || why != opts["reason"] {
			ts.Fatalf("%s: closed after %v: %s; wanted %s and %s", p.name, life, why, opts["after"], opts["reason"])
		}
	}
}

func (c *client) measure(format string, args ...any) {
	c.out.report(event.Event{Kind: event.Measure, Text: fmt.Sprintf(format, args...)})
}

// echoInCommand holds when the first echo request followed each tunnel's last coming up within the limit.
func echoInCommand(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, len(args) >= 1, "echo-in LIMIT [NAME...]")
	c := clientOf(ts)
	limit := duration(ts, args[0])
	for _, p := range peersOf(ts, args[1:]) {
		up, ok := isUp(c.history.all(), p.name)
		if !ok {
			ts.Fatalf("%s: not up", p.name)
		}
		first := func(records []record) (time.Time, bool) {
			i := slices.IndexFunc(records, func(r record) bool { return r.kind == "echo" && r.tunnel == p.name && !r.at.Before(up) })
			if i < 0 {
				return time.Time{}, false
			}
			return records[i].at, true
		}
		c.history.await(time.Until(up.Add(limit)), func(r []record) bool { _, ok := first(r); return ok })
		at, ok := first(c.history.all())
		if !ok || at.Sub(up) > limit {
			ts.Fatalf("%s: no echo request within %v of its addresses", p.name, limit)
		}
		c.measure("%s: first echo request %d ms after its addresses", p.name, at.Sub(up).Milliseconds())
	}
}

// echoesCommand holds when the tunnel's last DURATION saw that many echo requests, all through its own pppN.
func echoesCommand(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, len(args) == 3, "echoes NAME MIN..MAX DURATION")
	c := clientOf(ts)
	p := peersOf(ts, args[:1])[0]
	lo, hi, ok := strings.Cut(args[1], "..")
	least, err1 := strconv.Atoi(lo)
	most, err2 := strconv.Atoi(hi)
	if !ok || err1 != nil || err2 != nil {
		ts.Fatalf("echoes: %q is not MIN..MAX", args[1])
	}
	records, since, n := c.history.all(), time.Now().Add(-duration(ts, args[2])), 0
	up, _ := last(records, "up", p.name)
	for _, r := range records {
		if r.kind == "echo" && r.tunnel == p.name && r.at.After(since) {
			n++
			if r.at.After(up.at) && r.link != up.link {
				ts.Fatalf("%s: an echo request left by %s, not by %s", p.name, r.link, up.link)
			}
		}
	}
	c.measure("%s: %d echo requests in the last %s", p.name, n, args[2])
	if n < least || n > most {
		ts.Fatalf("%s: %d echo requests in the last %s, wanted %s", p.name, n, args[2], args[1])
	}
}

// loadCommand saturates a tunnel with iperf3 from the peer to the client.
func loadCommand(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, len(args) == 2, "load NAME SECONDS")
	p := peersOf(ts, args[:1])[0]
	ts.Check(p.run("iperf3.log", "iperf3", "--server", "--one-off", "--bind", p.ppp.String()))
	ts.Check(poll(5*time.Second, func() bool { return p.exec("sh", "-c", "ss -tln | grep -q :5201").Run() == nil }))
	text, err := exec.Command("iperf3", "--client", p.ppp.String(), "--reverse", "--time", args[1], "--format", "m").CombinedOutput()
	if err != nil {
		ts.Fatalf("iperf3: %v: %s", err, text)
	}
	for line := range strings.Lines(string(text)) {
		if strings.Contains(line, "receiver") {
			clientOf(ts).measure("%s: %s", p.name, strings.Join(strings.Fields(line), " "))
		}
	}
}

// insideCommand runs a command in a peer's namespaces.
func insideCommand(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, false, len(args) >= 2, "inside NAME COMMAND...")
	p := peersOf(ts, args[:1])[0]
	text, err := p.exec(args[1:]...).CombinedOutput()
	ts.Logf("%s", text)
	if (err == nil) == neg {
		ts.Fatalf("inside %v: %v", args, err)
	}
}

// peerlogCommand holds when our LNS has logged that event, or with ! when it has not.
func peerlogCommand(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, false, len(args) == 2, "peerlog NAME EVENT")
	p := peersOf(ts, args[:1])[0]
	_, found := slicesFind(clientOf(ts).history.all(), func(r record) bool {
		return r.kind == "lns" && r.tunnel == p.name && r.text == args[1]
	})
	if found == neg {
		ts.Fatalf("%s: logged %s: %v", p.name, args[1], found)
	}
}

func slicesFind(records []record, ok func(record) bool) (record, bool) {
	if i := slices.IndexFunc(records, ok); i >= 0 {
		return records[i], true
	}
	return record{}, false
}

// journalCommand waits until that program has said that text, or holds with ! when it has not so far.
func journalCommand(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, false, len(args) == 3, "journal PROGRAM TEXT DURATION")
	said := func(records []record) bool {
		_, ok := slicesFind(records, func(r record) bool {
			return r.kind == "journal" && r.link == args[0] && strings.Contains(r.text, args[1])
		})
		return ok
	}
	if clientOf(ts).history.await(duration(ts, args[2]), said) == neg {
		ts.Fatalf("%s said %q: %v", args[0], args[1], !neg)
	}
}

// markCommand names a point in the timeline.
func markCommand(ts *testscript.TestScript, neg bool, args []string) {
	clientOf(ts).out.report(event.Event{Kind: event.Mark, Text: strings.Join(args, " ")})
}

// statusCommand waits until our unit's STATUS is that text.
func statusCommand(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, len(args) == 2, "status TEXT DURATION")
	began, got := time.Now(), ""
	err := poll(duration(ts, args[1]), func() bool {
		got = property(ts, "StatusText")
		return got == args[0]
	})
	if err != nil {
		ts.Fatalf("status is %q, wanted %q: %v", got, args[0], err)
	}
	clientOf(ts).measure("status %q after %.1f s", got, time.Since(began).Seconds())
}

func property(ts *testscript.TestScript, name string) string {
	text, err := exec.Command("systemctl", "show", "--value", "-p", name, "xl2tpd-keepalive").Output()
	ts.Check(err)
	return strings.TrimSpace(string(text))
}

// pinCommand remembers our process and its file descriptors, pinnedCommand compares.
func pinCommand(ts *testscript.TestScript, neg bool, args []string) {
	pid := property(ts, "MainPID")
	ts.Setenv("PIN_PID", pid)
	ts.Setenv("PIN_FDS", strconv.Itoa(descriptors(pid)))
}

func pinnedCommand(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, len(args) == 1, "pinned DURATION")
	if pid := property(ts, "MainPID"); pid != ts.Getenv("PIN_PID") {
		ts.Fatalf("another process: %s, was %s", pid, ts.Getenv("PIN_PID"))
	}
	n := 0
	err := poll(duration(ts, args[0]), func() bool {
		n = descriptors(ts.Getenv("PIN_PID"))
		return strconv.Itoa(n) == ts.Getenv("PIN_FDS")
	})
	if err != nil {
		ts.Fatalf("%d file descriptors, were %s", n, ts.Getenv("PIN_FDS"))
	}
	clientOf(ts).measure("the same process with %d file descriptors", n)
}

func descriptors(pid string) int {
	entries, _ := os.ReadDir("/proc/" + pid + "/fd")
	return len(entries)
}

// renumberCommand restarts a Debian peer's xl2tpd with another address inside the tunnel.
func renumberCommand(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, len(args) == 2, "renumber NAME ADDRESS")
	p := peersOf(ts, args[:1])[0]
	end(p.procs[len(p.procs)-1])
	p.procs = p.procs[:len(p.procs)-1]
	p.client.mu.Lock()
	p.ppp = netip.MustParseAddr(args[1])
	p.client.mu.Unlock()
	ts.Check(p.configureLNS())
	ts.Check(p.startLNS())
}
