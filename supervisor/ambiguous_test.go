package supervisor

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"xl2tpd-keepalive/internal/helloguard"
	"xl2tpd-keepalive/internal/ppp"
	"xl2tpd-keepalive/internal/xl2tpd"
	"xl2tpd-keepalive/probe"
	"xl2tpd-keepalive/supervisor/recovery/policy"
	"xl2tpd-keepalive/vici"
)

// twoLACs is an xl2tpd.conf with LACs to two LNSs, which share their pppoptfile.
func twoLACs(lns1, lns2, more string) string {
	lac := func(name, lns string) string {
		return "[lac " + name + "]\nlns = " + lns + "\npppoptfile = /etc/ppp/options.l2tpd\n" + more
	}
	return lac("office", lns1) + lac("home", lns2)
}

// inUserspace makes links of userspace mode: only pppd's options show their LACs.
func inUserspace(links ...ppp.Link) []ppp.Link {
	for i := range links {
		links[i].TTY = "/dev/pts/1"
	}
	return links
}

// closerOf is the control tunnel with a peer.
func closerOf(peer string, id uint16) helloguard.OwnedConnection {
	c := closer
	c.Peer, c.LocalID = netip.AddrPortFrom(addr(peer), 1701), id
	return c
}

// The Hello guard identifies a LAC by its LNS, even if several LACs may have the link.
func TestHungUpInUserspace(t *testing.T) {
	n := newFixture(t, twoLACs("192.0.2.1", "192.0.2.2", "autodial = yes\n"), "[global]\nrecover = auto")
	n.step(vici.Snapshot{})
	both := inUserspace(link("ppp0", 5, true), link("ppp1", 6, true))
	n.links(both...)
	n.now = n.now.Add(10 * time.Minute)
	n.step(Ending{OwnedConnection: closer, CloseReason: why{Reason: "hung up on this host", Operator: true}})
	n.links(both[1])
	n.now = n.now.Add(10 * time.Second)
	n.step(Ending{OwnedConnection: closerOf("192.0.2.2", 8), CloseReason: why{Reason: "hung up on this host", Operator: true}})
	n.links()
	if got := n.steps(5*time.Minute, policy.ErrNoConnection); got != nil {
		t.Errorf("%v of what was hung up", got)
	}
	n.step(dialOf(addr("192.0.2.2")))
	if got := n.steps(5*time.Minute, policy.ErrNoConnection); !slices.Contains(got, policy.StepDial) {
		t.Errorf("%v of what was dialled again", got)
	}
}

// Two LACs to one LNS can't be told apart by it.
func TestHungUpAtOneLNS(t *testing.T) {
	conf := twoLACs("192.0.2.1", "192.0.2.1", "autodial = yes\n")
	n := newFixture(t, conf, "[global]\nrecover = auto")
	s := n.xl2tpd(conf)
	for i, id := range []uint16{7, 8} {
		s.Sessions = append(s.Sessions, xl2tpd.Session{Ifindex: 5 + i, Local: closer.Local, Peer: closer.Peer, LocalTunnel: id})
	}
	n.step(s)
	n.step(vici.Snapshot{})
	n.links(link("ppp0", 5, true), link("ppp1", 6, true))
	n.now = n.now.Add(10 * time.Minute)
	for _, id := range []uint16{7, 8} {
		n.step(Ending{OwnedConnection: closerOf("192.0.2.1", id), CloseReason: why{Reason: "hung up on this host", Operator: true}})
	}
	n.links()
	if got := n.steps(5*time.Minute, policy.ErrNoConnection); got != nil {
		t.Errorf("%v of what was hung up", got)
	}
	// One of them is dialled again, and only its link will show which: the other one stays down.
	n.step(Dials{OwnedConnection: closer})
	if got := n.steps(5*time.Minute, policy.ErrNoConnection); got != nil {
		t.Errorf("%v of what was hung up", got)
	}
}

// In userspace mode two LACs of one LNS have links that no session tells apart. An operator hangs up a tunnel of one of them, and
// then a link goes. It was not that tunnel's if the tunnel was asked for when the link was up.
func TestHungUpBesideALinkOfTheSameLNS(t *testing.T) {
	for name, tc := range map[string]struct {
		dialled  time.Duration // when the tunnel was asked for, since the link of office came; below zero: before
		seen     bool
		hangUpOf string // the LAC that is left down
	}{
		"home is dialled beside the link":           {time.Minute, true, "home"},
		"and again a moment later":                  {50*time.Minute - time.Second, true, "home"},
		"office was dialled, and came up":           {-time.Second, true, "office"},
		"nobody has seen who was dialled":           {time.Minute, false, "office"},
		"right when the link came: nobody can tell": {0, true, "office"},
	} {
		t.Run(name, func(t *testing.T) {
			conf := strings.Replace(twoLACs("192.0.2.1", "192.0.2.1", "redial = yes\n"), "[lac home]\nlns = 192.0.2.1\npppoptfile = /etc/ppp/options.l2tpd", "[lac home]\nlns = 192.0.2.1\npppoptfile = /etc/ppp/home", 1)
			n := newFixture(t, conf, "[global]\nrecover = redial\n")
			n.step(n.xl2tpd(conf))
			n.step(secured("1"))
			office := inUserspace(link("ppp0", 5, true))[0]
			came := n.now.Add(time.Minute)
			at := func(after time.Duration, do func()) {
				n.now = came.Add(after)
				do()
			}
			dial := func() {
				if tc.seen {
					n.step(Dials{OwnedConnection: closerOf("192.0.2.1", 9)})
				}
			}
			if tc.dialled < 0 {
				at(tc.dialled, dial)
			}
			at(0, func() { n.links(office) })
			if tc.dialled >= 0 {
				at(tc.dialled, dial)
			}
			at(50*time.Minute, func() { n.ends(9, operatorEnds) })
			at(50*time.Minute+policy.ReasonDelay, func() { n.links() })
			for _, lac := range []string{"office", "home"} {
				operator := n.lac(lac).lastEnd != nil && n.lac(lac).lastEnd.Operator || len(n.lac(lac).possibleEnds) > 0
				if got, want := operator, lac == tc.hangUpOf; got != want {
					t.Errorf("got hung up %v for %s, want %v", got, lac, want)
				}
			}
		})
	}
}

// A LAC that was dialled is wanted, even if several LACs may have had the links.
func TestXl2tpdRestartedInUserspace(t *testing.T) {
	conf := twoLACs("192.0.2.1", "192.0.2.2", "redial = yes\n")
	n := newFixture(t, conf, "[global]\nrecover = auto")
	n.step(vici.Snapshot{})
	n.step(dialOf(addr("192.0.2.1")))
	n.step(dialOf(addr("192.0.2.2")))
	n.links(inUserspace(link("ppp0", 5, true), link("ppp1", 6, true))...)
	n.now = n.now.Add(10 * time.Minute)
	s := n.xl2tpd(conf)
	s.Home().Process.Pid = 200
	n.step(s)
	n.links()
	dialled := map[string]bool{}
	n.plays(time.Minute, probe.Result{Err: lost}, func(r Recover) error {
		switch r.Step {
		case policy.StepDial:
			dialled[r.LAC.Name] = true
		case policy.StepSecure, policy.StepRenew:
			return policy.ErrNoConnection
		}
		return nil
	})
	if len(dialled) != 2 {
		t.Errorf("dialled: %v", dialled)
	}
}

// If an LNS has several addresses, the Hello guard reports the end of the tunnel with the dialled one.
func TestEndOfOneOfSeveralAddresses(t *testing.T) {
	conf := strings.ReplaceAll(oneLAC, "192.0.2.1", "vpn.example.net")
	n := newFixture(t, conf, "[global]\nrecover = full")
	s := n.xl2tpd(conf)
	s.Home().Conf.Sections[0].LNSIPs = []netip.Addr{addr("192.0.2.9"), addr("192.0.2.1")}
	n.step(s)
	n.step(secured("1"))
	n.step(dialOf(addr("192.0.2.1")))
	n.links(inUserspace(link("ppp0", 5, true))...)
	n.step(Counters{{Link: key("ppp0", 5)}})
	n.step(Results{{Link: "ppp0", Index: 5, RTT: time.Millisecond}})
	n.after(time.Second)
	n.step(Ending{OwnedConnection: closer, CloseReason: why{Reason: "closed by the peer"}})
	n.links()
	if got := n.steps(10*time.Minute, nil); !slices.Contains(got, policy.StepDial) {
		t.Errorf("%v, never dialled", got)
	}
}
