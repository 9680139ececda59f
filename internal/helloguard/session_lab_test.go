//go:build lab

package helloguard

import (
	"context"
	"errors"
	"log/slog"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"xl2tpd-keepalive/internal/l2tp"
	"xl2tpd-keepalive/internal/procfs"
)

// running is a guard at work, and what it has said.
type running struct {
	t *testing.T

	mu  sync.Mutex
	err error // what it has reported last
	log strings.Builder
}

func (r *running) Write(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.log.Write(b)
}

// said is how often the log has a text.
func (r *running) said(text string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Count(r.log.String(), text)
}

func (r *running) report(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.err = err
}

// becomes waits until the guard reports that error.
func (r *running) becomes(want error, within time.Duration) {
	r.t.Helper()
	var got error
	for end := time.Now().Add(within); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		r.mu.Lock()
		got = r.err
		r.mu.Unlock()
		if errors.Is(got, want) && (want != nil || got == nil) {
			return
		}
	}
	r.t.Errorf("reports %v, want %v", got, want)
}

// runGuard has a guard at work for the time of a test, for living tunnels.
func runGuard(t *testing.T, sessions ...l2tp.Connection) *running {
	t.Helper()
	r := &running{t: t, err: errors.New("has not begun")}
	g := &Guard{
		Dir: t.TempDir(), Log: slog.New(slog.NewTextHandler(r, nil)),
		Links:         func(context.Context, OwnedConnection) Links { return Links{Certain: true, Wanted: true, Alive: true} },
		Daemons:       func() []Daemon { return []Daemon{{ID: procfs.ID{Pid: 1, Start: 1}}} },
		Ended:         func(OwnedConnection, CloseReason) {},
		AttemptFailed: func(OwnedConnection, CloseReason) {},
		Dials:         func(OwnedConnection, bool) {},
		Calls:         func(OwnedConnection) {}, Report: r.report,
	}
	var host Host
	for _, s := range sessions {
		host.Sessions = append(host.Sessions, KernelSession{Connection: s})
	}
	g.SetHost(host)
	g.Configure(true, true)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- g.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		<-ended
		RemoveTable()
	})
	return r
}

func hasTable() bool {
	out, _ := exec.Command("nft", "list", "table", "ip", TableName).Output()
	return strings.Contains(string(out), "queue to 1701") || strings.Contains(string(out), "queue num 1701") // in Debian 11
}

func awaitTable(t *testing.T) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !hasTable(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the guard's table is not there")
		}
	}
}

// Rules of the host that keep the guard from answering xl2tpd, and rules that do not. Each comes
// before the guard and while it is at work.
func TestRulesOnLo(t *testing.T) {
	const input, output = "hook input", "hook output"
	tunnel := []l2tp.Connection{{Local: lineHere, Peer: lineThere, LocalID: 7, PeerID: 9}}
	for name, c := range map[string]struct {
		hook, rule string
		tunnels    []l2tp.Connection
		want       error
	}{
		"bogon networks":                    {input, "ip saddr { 192.0.2.0/24, 198.51.100.0/24, 203.0.113.0/24, 224.0.0.0/3 } drop", nil, nil},
		"loopback networks elsewhere":       {input, "ip saddr 127.0.0.0/8 iif != lo drop", nil, nil},
		"marked packets":                    {output, "meta mark != 0 drop", nil, nil},
		"port 1701 through IPsec only":      {input, "udp dport 1701 meta secpath missing drop", nil, ErrBlockedInput},
		"the same, of living tunnels":       {input, "udp dport 1701 meta secpath missing drop", tunnel, ErrBlockedInput},
		"port 1701 on lo":                   {input, "iif lo udp dport 1701 drop", nil, ErrBlockedInput},
		"127/8 alone on lo, inwards":        {input, "iif lo ip saddr != 127.0.0.0/8 drop", tunnel, ErrBlockedInput},
		"the LNS in the clear":              {input, "ip saddr 10.123.0.2 meta secpath missing drop", tunnel, ErrBlockedInput},
		"the LNS in the clear, not on lo":   {input, "iif != lo ip saddr 10.123.0.2 meta secpath missing drop", tunnel, nil},
		"another LNS in the clear":          {input, "ip saddr 10.123.0.3 meta secpath missing drop", tunnel, nil},
		"a set of LNSs, inwards":            {input, "ip saddr @lns meta secpath missing reject", tunnel, ErrBlockedInput},
		"rejected on lo":                    {output, "oif lo udp dport 1701 reject", nil, ErrBlockedOutput},
		"port 1701 by IPsec only, outwards": {output, "udp dport 1701 rt ipsec missing drop", tunnel, ErrBlockedOutput},
		"to the LNS in the clear":           {output, "ip daddr 10.123.0.2 udp dport 1701 rt ipsec missing drop", tunnel, nil},
		"to a set of LNSs in the clear":     {output, "ip daddr @lns udp dport 1701 rt ipsec missing drop", tunnel, nil},
		"to the LNS in the clear, by a map": {output, "rt ipsec missing ip daddr vmap @verdicts", tunnel, nil},
		"from the LNS's address":            {output, "ip saddr 10.123.0.2 reject", tunnel, ErrBlockedOutput},
		"from an LNS's, by a set":           {output, "ip saddr @lns drop", tunnel, ErrBlockedOutput},
		"from an LNS's, by a map":           {output, "ip saddr vmap @verdicts", tunnel, ErrBlockedOutput},
		"from an LNS's, by another chain":   {output, "ip saddr vmap { 10.123.0.2 : jump refused }", tunnel, ErrBlockedOutput},
		"not from an address of its own":    {output, "ip saddr != { 127.0.0.0/8, 10.123.0.1 } drop", tunnel, ErrBlockedOutput},
		"127/8 alone on lo, outwards":       {output, "oif lo ip saddr != 127.0.0.0/8 drop", tunnel, ErrBlockedOutput},
		"to its own address":                {output, "ip daddr 10.123.0.1 goto refused", tunnel, ErrBlockedOutput},
		"another chain that drops nothing":  {output, "ip daddr 10.123.0.1 goto c2", tunnel, nil},
	} {
		t.Run(name, func(t *testing.T) {
			newLine(t)
			table := `nft 'table ip host {
				set lns { type ipv4_addr; elements = { 10.123.0.2, 198.51.100.1 }; }
				map verdicts { type ipv4_addr : verdict; elements = { 10.123.0.2 : drop }; }
				chain refused { counter drop; }
				chain c2 { counter; }
				chain c { type filter ` + c.hook + ` priority 0; }
			}'`
			add := "nft add rule ip host c '" + c.rule + "'"
			t.Cleanup(func() { exec.Command("nft", "delete", "table", "ip", "host").Run() })
			shell(t, table, add)
			r := runGuard(t, c.tunnels...)
			r.becomes(c.want, 5*time.Second)
			remedy(t, r, c.want)
			shell(t, "nft flush chain ip host c", add)
			if c.want == nil {
				time.Sleep(5 * time.Second) // for a report that is not to come
			}
			r.becomes(c.want, 6*time.Second)
			remedy(t, r, c.want)
			if !hasTable() {
				t.Error("the guard's table is gone, want it to stay")
			}
		})
	}
}

// remedy does what doctor says, and waits until that has helped.
func remedy(t *testing.T, r *running, blocked error) {
	t.Helper()
	if blocked == nil {
		return
	}
	way := Inwards
	if blocked == ErrBlockedOutput {
		way = Outwards
	}
	filters, err := way.Filters()
	if err != nil || len(filters) != 1 {
		t.Fatalf("chains that may drop: %v, %v", filters, err)
	}
	shell(t, way.Accept(filters[0], "dport"))
	r.becomes(nil, 5*time.Second)
}

// A Hello that could not be acknowledged passes, even if the rule has come unnoticed, as those of
// the old iptables do. Later Hellos are held again.
func TestHelloPassesBehindAFilter(t *testing.T) {
	newLine(t)
	far := listenFar(t, lineThere)
	near := xl2tpdSocket(t, l2tpPort, lineThere)
	runGuard(t, l2tp.Connection{Local: lineHere, Peer: lineThere, LocalID: 7, PeerID: 9})
	awaitTable(t)
	ns := uint16(3)
	// hello sends the next Hello, and a ZLB after it. If the Hello comes to the peer, then before the
	// ZLB, and the peer acknowledges it.
	hello := func() (passes bool) {
		payload := l2tp.AppendMessage(nil, l2tp.Message{Type: l2tp.TypeHello, Tunnel: 9, Ns: ns, Nr: 2})
		ns++
		if _, err := near.Write(payload); err != nil {
			t.Fatal(err)
		}
		zlb := l2tp.AppendMessage(nil, l2tp.Message{Tunnel: 9, Ns: ns, Nr: 2})
		if _, err := near.Write(zlb); err != nil {
			t.Fatal(err)
		}
		b := next(t, far, payload[:2])
		if passes = len(b) == len(payload); !passes && came(t, far, payload[:8]) {
			t.Error("a ZLB has overtaken the Hello before it")
		}
		if passes {
			m, err := l2tp.ParseMessage(b)
			if err != nil {
				t.Fatal(err)
			}
			far.WriteToUDPAddrPort(l2tp.AppendMessage(nil, l2tp.Message{Tunnel: 7, Ns: 2, Nr: m.Ns + 1}), lineHere)
		}
		ack := next(t, near, []byte{0xc8, 2, 0, 12})
		if m, err := l2tp.ParseMessage(ack); err != nil || m.Nr != ns {
			t.Errorf("Hello %d: acknowledged by %+v, %v", ns-1, m, err)
		}
		return passes
	}
	for range 2 { // the second one is certainly new
		hello()
		time.Sleep(time.Minute)
	}
	// A set is changed without a notice that the guard heeds.
	shell(t, "nft 'table ip host { set dropped { type iface_index; }; chain c { type filter hook input priority 0; iif @dropped udp dport 1701 drop; }; }'")
	t.Cleanup(func() { exec.Command("nft", "delete", "table", "ip", "host").Run() })
	time.Sleep(5 * time.Second)
	shell(t, "nft add element ip host dropped { lo }")
	if !hello() {
		t.Error("a Hello that can't be acknowledged is held")
	}
	shell(t, "nft delete element ip host dropped { lo }")
	time.Sleep(time.Minute)
	if hello() {
		t.Error("a Hello that can be acknowledged passes")
	}
}

// Where somebody puts a copy of the table in its place, the guard's own comes back, once, with its elements.
func TestCopyIsReplaced(t *testing.T) {
	tunnel := l2tp.Connection{Local: lineHere, Peer: lineThere, LocalID: 7, PeerID: 9}
	newLine(t)
	r := runGuard(t, tunnel)
	awaitTable(t)
	time.Sleep(5 * time.Second) // its own changes are over
	copied := newRules()
	copied.tryKernel()
	copied.cookie = nil
	t.Cleanup(copied.kernel.close)
	if err := copied.install([]uint16{l2tpPort}, contents{}, 0); err != nil {
		t.Fatal(err)
	}
	time.Sleep(calmAfter)
	if n := r.said("taken away"); n != 1 {
		t.Errorf("the table was put back %d times, want once", n)
	}
	if n := size(t, copied.connections); n != 2 {
		t.Errorf("got %d flows of the tunnel, want 2", n)
	}
}

// However often somebody takes the table away, it comes back, and the log says so a few times.
func TestFlushStorm(t *testing.T) {
	for name, storm := range map[string]struct {
		times int
		pause time.Duration
	}{"five times a second": {150, 200 * time.Millisecond}, "without a pause": {100, 0}} {
		t.Run(name, func(t *testing.T) {
			r := runGuard(t)
			awaitTable(t)
			for range storm.times {
				shell(t, "nft flush ruleset")
				time.Sleep(storm.pause)
			}
			time.Sleep(2 * restoreEvery)
			if !hasTable() {
				t.Error("the table is not back")
			}
			time.Sleep(calmAfter)
			if taken, over := r.said("taken away"), r.said("left alone again"); taken > manyRestorations || over != 1 {
				t.Errorf("said that the table was taken away %d times, and that it is over %d times", taken, over)
			}
			r.becomes(nil, time.Second)
			shell(t, "nft flush ruleset")
			time.Sleep(2 * restoreEvery)
			if !hasTable() {
				t.Error("the table does not come back after the storm")
			}
		})
	}
}
