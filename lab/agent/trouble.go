package main

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"xl2tpd-keepalive/lab/event"
)

// troubles are what a tunnel may meet. Each returns when nothing stands in the tunnel's way any more.
var troubles = map[string]func(*peer) error{
	"reboot":        (*peer).reboot,
	"sa-wiped":      func(p *peer) error { return p.exec("ip", "xfrm", "state", "flush").Run() },
	"cut-10s":       func(p *peer) error { return p.cut(10 * time.Second) },
	"cut-3m":        func(p *peer) error { return p.cut(3 * time.Minute) },
	"cut-1h":        func(p *peer) error { return p.cut(time.Hour) },
	"charon-killed": func(*peer) error { return killed("strongswan", "start") },
	"xl2tpd-killed": func(*peer) error { return killed("xl2tpd", "restart") }, // its unit stays active (exited)
	"pppd-killed":   killPPPD,
	"pppd-hung":     hangPPPD,
	"ppp-refused":   (*peer).refusePPP,
	"remnant-sa":    (*peer).holdSA,
	"renumbered":    (*peer).renumberAgain,
	"moved":         (*peer).move,
	"route-flaps":   (*peer).flap,
}

// troubleCommand brings trouble over a tunnel, time and again, and measures from when the path is free again until an
// echo reply comes through the tunnel.
func troubleCommand(ts *testscript.TestScript, neg bool, args []string) {
	words, opts := options(ts, args, "times", "limit")
	usage(ts, neg, len(words) == 2 && len(opts) == 2, "trouble NAME "+strings.Join(slices.Sorted(maps.Keys(troubles)), "|")+" times=N limit=DURATION")
	p := peersOf(ts, words[:1])[0]
	strike, ok := troubles[words[1]]
	if !ok {
		ts.Fatalf("trouble: there is no %s", words[1])
	}
	times, err := strconv.Atoi(opts["times"])
	ts.Check(err)
	limit := duration(ts, opts["limit"])
	var took []time.Duration
	for range times {
		ts.Check(p.awaitTunnel())
		// The last trouble is over for whoever counts them, and the daemons' timers are met at any of their moments.
		time.Sleep(70*time.Second + rand.N(time.Minute))
		ts.Check(strike(p))
		began := time.Now()
		for time.Since(began) < limit && !p.answers() {
			time.Sleep(200 * time.Millisecond)
		}
		took = append(took, time.Since(began))
	}
	text, figures := summary(took, limit)
	p.client.out.report(event.Event{Time: time.Now(), Kind: event.Measure, Name: words[1], Text: words[1] + ": " + text, Figures: figures})
}

// summary says how long a tunnel took to be back. If it was mostly not back, there is no median.
func summary(took []time.Duration, limit time.Duration) (string, event.Figures) {
	slices.Sort(took)
	n := len(took)
	lost := 0
	for _, d := range took {
		if d >= limit {
			lost++
		}
	}
	figures := event.Figures{"times": float64(n), "lost": float64(lost)}
	if took[n/2] >= limit {
		figures["never"] = 1
		return fmt.Sprintf("not back in %v, %d of %d times", limit, lost, n), figures
	}
	median := (took[(n-1)/2] + took[n/2]) / 2
	figures["median_s"] = median.Seconds()
	if lost > 0 {
		return fmt.Sprintf("median %.1f s of %d; not back in %v: %d", median.Seconds(), n, limit, lost), figures
	}
	figures["worst_s"] = took[n-1].Seconds()
	return fmt.Sprintf("median %.1f s, worst %.1f s of %d", median.Seconds(), took[n-1].Seconds(), n), figures
}

// answers reports whether the far end of the tunnel answers now.
func (p *peer) answers() bool {
	return exec.Command("ping", "-n", "-c", "1", "-W", "1", p.ppp.String()).Run() == nil
}

// awaitTunnel waits until the tunnel works. If no keeper has brought it back, awaitTunnel itself sets it up from the beginning.
func (p *peer) awaitTunnel() error {
	for range 4 {
		if poll(5*time.Second, p.answers) == nil {
			return nil
		}
		if err := restartDaemons(); err != nil {
			return err
		}
		// The other end may still hold the last SA or tunnel.
		if poll(40*time.Second, func() bool { return p.secure() == nil }) == nil {
			if err := p.client.control(p, "c"); err != nil {
				return err
			}
		}
		if poll(time.Minute, p.answers) == nil {
			return nil
		}
	}
	return errors.New(p.name + ": no tunnel, whatever is done")
}

// reboot takes the peer's daemons and SAs away, and brings new ones after a while.
func (p *peer) reboot() error {
	for _, c := range slices.Backward(p.procs) {
		c.Process.Kill()
		c.Wait()
	}
	p.procs = nil
	// xl2tpd's pppds outlive it.
	exec.Command("sh", "-c", "for i in $(ip netns pids peer-"+p.name+"); do grep -q pppd /proc/$i/comm && kill -KILL $i; done").Run()
	if err := p.exec("sh", "-c", "ip xfrm state flush && ip xfrm policy flush && rm -f /run/charon.* /run/xl2tpd/*").Run(); err != nil {
		return err
	}
	time.Sleep(20 * time.Second)
	if p.ipsec {
		if err := p.startCharon(); err != nil {
			return err
		}
	}
	return p.startLNS()
}

// cut lets no packet in or out of the peer for a time.
func (p *peer) cut(span time.Duration) error {
	if err := p.exec("nft", "-f", "/lab/firewalls/cut.nft").Run(); err != nil {
		return err
	}
	time.Sleep(span)
	return p.exec("nft", "delete", "table", "inet", "cut").Run()
}

// killed kills a daemon of the client host, and brings it back by that systemctl command.
func killed(unit, command string) error {
	if err := do("systemctl", "kill", "--signal=KILL", unit); err != nil {
		return err
	}
	time.Sleep(time.Second)
	return do("systemctl", command, unit)
}

func killPPPD(p *peer) error { return p.signalPPPD("KILL") }

// hangPPPD stops the client's pppd for a while.
func hangPPPD(p *peer) error {
	if err := p.signalPPPD("STOP"); err != nil {
		return err
	}
	time.Sleep(5 * time.Minute)
	return p.signalPPPD("CONT")
}

func (p *peer) signalPPPD(signal string) error {
	r, _ := last(p.client.history.all(), "up", p.name)
	pid, err := os.ReadFile("/run/" + r.link + ".pid")
	if err != nil {
		return err
	}
	return do("kill", "-"+signal, strings.TrimSpace(string(pid)))
}

// refusePPP ends the tunnel. For a while the LNS then accepts calls, but requires authentication.
func (p *peer) refusePPP() error {
	options := filepath.Join(p.dir, "ppp-options")
	usual, err := os.ReadFile(options)
	if err != nil {
		return err
	}
	if err := write(options, strings.Replace(string(usual), "noauth", "auth\nrequire-mschap-v2", 1)); err != nil {
		return err
	}
	if err := killPPPD(p); err != nil {
		return err
	}
	time.Sleep(3 * time.Minute)
	return write(options, string(usual))
}

// holdSA makes the client host lose charon and its SAs, while the peer refuses to replace the SAs that it has.
func (p *peer) holdSA() error {
	if err := p.exec("nft", "table inet hold { chain i { type filter hook input priority -400; udp dport { 500, 4500 } drop; }; }").Run(); err != nil {
		return err
	}
	if err := killed("strongswan", "start"); err != nil {
		return err
	}
	if err := do("ip", "xfrm", "state", "flush"); err != nil {
		return err
	}
	time.Sleep(time.Minute)
	return p.exec("nft", "delete", "table", "inet", "hold").Run()
}

// renumberAgain gives the LNS one of two addresses inside the tunnel, the one that it does not have.
func (p *peer) renumberAgain() error {
	return p.renumber(other(p.ppp, 100))
}

// other returns the other one of two addresses, so far apart, in a network of the lab.
func other(a netip.Addr, apart byte) netip.Addr {
	b := a.As4()
	if b[3] < apart {
		b[3] += apart
	} else {
		b[3] -= apart
	}
	return netip.AddrFrom4(b)
}

// move gives the peer the other one of two addresses, and updates the names.
func (p *peer) move() error {
	was := p.reach
	p.client.mu.Lock()
	p.reach = other(was, 50)
	p.client.mu.Unlock()
	err := p.client.nameAll()
	return errors.Join(err, steps([]string{
		fmt.Sprintf("ip -n peer-%s addr del %v/24 dev up0", p.name, was),
		fmt.Sprintf("ip -n peer-%s addr add %v/24 dev up0", p.name, p.reach),
		fmt.Sprintf("ip -n peer-%s route replace default via %v", p.name, p.host),
	}))
}

// flap takes the way to the peer away and brings it back, time and again.
func (p *peer) flap() error {
	for range 10 {
		for _, verb := range []string{"add", "del"} {
			if err := do("ip", "route", verb, "unreachable", p.reach.String()); err != nil {
				return err
			}
			time.Sleep(3 * time.Second)
		}
	}
	return nil
}
