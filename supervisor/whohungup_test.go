package supervisor

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"xl2tpd-keepalive/probe"
	"xl2tpd-keepalive/supervisor/recovery/policy"
	"xl2tpd-keepalive/vici"
)

// Recovery has hung up a tunnel, and it came up again. Its next end is not taken for that hang-up: xl2tpd redials it.
func TestEndOfATunnelThatWasHungUpBefore(t *testing.T) {
	for name, tc := range map[string]struct {
		up   time.Duration
		busy bool // the hang-up is still under way, and finds the peer alive
	}{
		"it was up for a moment": {5 * time.Second, false},
		"it was up for 40 s":     {40 * time.Second, false},
		"it is still up":         {20 * time.Second, true},
	} {
		n, _ := oneLNS(t, "redial = yes\nredial timeout = 15\n", "")
		n.took(n.lac("home"), policy.StepHangUp, nil, n.now)
		n.plays(tc.up, alive, succeeds)
		if tc.busy {
			n.takes(n.lac("home"), policy.StepHangUp)
			n.core.lacs.agenda.slotsTaken++
		}
		office, _ := officeAndHome()
		n.ends(8, peerCloses)
		n.links(office)
		if tc.busy {
			n.step(StepDone{LAC: LAC{Name: "home"}, Step: policy.StepHangUp, Err: policy.ErrAlive})
		}
		n.plays(14*time.Second, alive, func(r Recover) error {
			if r.Step == policy.StepDial {
				t.Errorf("%s: %v while xl2tpd redials", name, r.Step)
			}
			return waits(r)
		})
		if n.lac("home").notRedialled {
			t.Errorf("%s: taken for recovery's hang-up", name)
		}
	}
}

// An operator hangs up a tunnel to an address that no LAC is known to have. The LNS of one LAC could not be looked up, so it may
// be that LAC's.
func TestHungUpWhileTheNameIsUnknown(t *testing.T) {
	conf := "[lac office]\nlns = vpn.example.net\npppoptfile = /etc/ppp/options.l2tpd\n"
	for name, tc := range map[string]struct {
		up, elsewhere bool
		want          bool
	}{
		"an attempt":               {false, false, true},
		"a silent tunnel":          {true, false, true},
		"an attempt, name known":   {false, true, false},
		"a silent one, name known": {true, true, false},
	} {
		n := newFixture(t, conf, "[global]\nrecover = full\n")
		s := n.xl2tpd(conf)
		if tc.elsewhere {
			s.Home().Conf.Sections[0].LNSIPs = []netip.Addr{addr("192.0.2.9")}
		}
		n.step(s)
		n.step(vici.Snapshot{})
		n.links()
		if tc.up {
			n.links(inUserspace(link("ppp0", 5, true))...)
			n.plays(time.Minute, alive, succeeds)
			n.plays(20*time.Second, probe.Result{Err: lost}, func(Recover) error { return lost })
		}
		n.step(Ending{OwnedConnection: closer, CloseReason: operatorEnds})
		n.links()
		if got := n.lac("office").mayBeHungUp(); got != tc.want {
			t.Errorf("%s: %v, want %v", name, got, tc.want)
		}
	}
}

// If a tunnel of such a LAC ends in that moment, it was hung up, and no other LAC was.
func TestHungUpOfTwoWhoseNamesAreUnknown(t *testing.T) {
	conf := strings.ReplaceAll(twoLACs("192.0.2.1", "192.0.2.1", ""), "192.0.2.1", "vpn.example.net")
	for _, after := range []time.Duration{0, time.Second, 5 * time.Second} {
		n := newFixture(t, conf, "[global]\nrecover = full\n")
		s := n.xl2tpd(conf)
		s.Home().Conf.Sections[1].PPPOptFile = "/etc/ppp/home"
		n.step(s)
		n.step(vici.Snapshot{})
		_, home := officeAndHome()
		n.links(inUserspace(home)...)
		n.plays(time.Minute, alive, func(Recover) error { return lost })
		n.step(Ending{OwnedConnection: closer, CloseReason: operatorEnds})
		n.now = n.now.Add(after)
		n.links()
		if got, want := n.lac("office").mayBeHungUp(), after > policy.ReasonDelay; got != want || !n.lac("home").mayBeHungUp() {
			t.Errorf("gone after %v: office may be hung up %v, want %v; home %+v", after, got, want, n.lac("home").lastEnd)
		}
	}
}

// An operator hangs up a tunnel of a new xl2tpd right after the old one has ended. It stays down.
func TestHungUpRightAfterANewXl2tpd(t *testing.T) {
	for name, up := range map[string]time.Duration{"new": 500 * time.Millisecond, "another new one": time.Second, "old": -time.Minute} {
		n := established(t, oneLAC, full)
		n.plays(2*time.Minute, alive, succeeds)
		s := n.xl2tpd(oneLAC)
		s.Home().Process.Pid = 101
		if up > 0 {
			n.step(s)
			n.links()
			n.now = n.now.Add(up)
			l := link("ppp0", 9, true)
			l.Xl2tpdPid = 101
			n.links(l)
			n.now = n.now.Add(500 * time.Millisecond)
		} else {
			n.step(s)
		}
		n.links()
		if got := n.lac("tokyo").mayBeHungUp(); got != (up > 0) {
			t.Errorf("%s tunnel: may be hung up %v", name, got)
		}
	}
}

// Without the Hello guard, one of two LACs may have been hung up. Then the other link ends with its xl2tpd. That explains the
// later end alone.
func TestPerhapsHungUpBeforeXl2tpdEnded(t *testing.T) {
	for _, ago := range []time.Duration{3 * time.Second, time.Minute, time.Hour} {
		n := ambiguousUp(t, "", "recover = full\n")
		n.withoutGuard()
		n.links(inUserspace(link("ppp0", 5, true))...)
		n.plays(ago, alive, succeeds)
		n.links()
		s := n.xl2tpd(twoLACs("192.0.2.1", "192.0.2.1", ""))
		s.Home().Process.Pid = 101
		n.step(s)
		for _, of := range []string{"office", "home"} {
			if !n.lac(of).mayBeHungUp() {
				t.Errorf("%v before: %s counts as not hung up", ago, of)
			}
		}
	}
}
