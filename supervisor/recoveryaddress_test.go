package supervisor

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"xl2tpd-keepalive/internal/xl2tpd"
	"xl2tpd-keepalive/probe"
	"xl2tpd-keepalive/supervisor/recovery/policy"
	"xl2tpd-keepalive/vici"
)

// The connection of the last tunnel is only used for the LNS of that tunnel.
func TestRecoveryKnowsTheConnection(t *testing.T) {
	for _, tc := range []struct {
		conf, want string
		kernel     bool // the link shows the address of its LNS
	}{
		{redials, "tokyo", false},
		{redials, "tokyo", true},
		{strings.ReplaceAll(redials, "192.0.2.1", "192.0.2.9"), "", false},
		{strings.ReplaceAll(redials, "192.0.2.1", "192.0.2.9"), "", true},
	} {
		n := established(t, redials, "")
		for _, conf := range []string{redials, tc.conf} {
			s := n.xl2tpd(conf)
			if tc.kernel {
				s.Sessions = []xl2tpd.Session{{Ifname: "ppp0", Ifindex: 5, Local: closer.Local, Peer: closer.Peer, LocalTunnel: closer.LocalID}}
			}
			n.step(s)
		}
		n.step(Ending{OwnedConnection: closer, CloseReason: why{Reason: "closed by the peer"}})
		n.links()
		n.step(vici.Snapshot{})
		got := "no step"
		for range 60 {
			n.after(time.Second)
			for _, a := range n.actions {
				if r, ok := a.(Recover); ok {
					got = r.IKE
				}
			}
		}
		if got != tc.want {
			t.Errorf("in the kernel %v, %s%q, want %q", tc.kernel, tc.conf, got, tc.want)
		}
	}
}

// Links outlive their xl2tpd for a moment, and then LACs that share a pppoptfile can't be told apart. The core still
// knows the LAC of each link.
func TestRecoveryTellsLACsApart(t *testing.T) {
	conf := redials + "[lac home]\nlns = 192.0.2.2\npppoptfile = /etc/ppp/options.l2tpd\nredial = yes\n"
	n := newFixture(t, conf, "[global]\nrecover = auto")
	session := func(index int, peer string, id uint16) xl2tpd.Session {
		return xl2tpd.Session{Ifindex: index, Local: closer.Local, Peer: netip.AddrPortFrom(addr(peer), 1701), LocalTunnel: id}
	}
	s := n.xl2tpd(conf)
	s.Sessions = []xl2tpd.Session{session(5, "192.0.2.1", 7), session(6, "192.0.2.2", 8)}
	n.step(s)
	n.step(vici.Snapshot{})
	n.links(link("ppp0", 5, true), link("ppp1", 6, true))
	n.step(Ending{OwnedConnection: closerOf("192.0.2.2", 8), CloseReason: why{Reason: "hung up", Operator: true}})
	n.links(link("ppp0", 5, true))

	s = n.xl2tpd(conf)
	s.Home().Process.Pid = 0
	n.step(s)
	n.links()
	n.wantNotes("tunnel up tunnel=lac office", "tunnel up tunnel=lac home", "tunnel down tunnel=lac home", "xl2tpd is not running", "tunnel down tunnel=lac office")
	s.Home().Process.Pid = 200
	n.step(s)
	n.actions = nil
	n.after(5 * time.Second)
	if len(n.actions) != 1 || n.actions[0].(Recover).LAC.Name != "office" {
		t.Errorf("got %v, want a step for office alone", show(n.actions))
	}
}

// xl2tpd dials any address of a name: recovery uses the address that it has dialled.
func TestRecoveryOfOneOfSeveralAddresses(t *testing.T) {
	n := newFixture(t, redials, "[global]\nrecover = auto")
	s := n.xl2tpd(redials)
	s.Home().Conf.Sections[0].LNSIPs = []netip.Addr{addr("192.0.2.9"), closer.Peer.Addr()}
	n.step(s)
	n.step(secured("1"))
	l := link("ppp0", 5, true)
	l.OuterPeer = closer.Peer.Addr()
	n.step(dialOf(l.OuterPeer))
	n.links(l)
	n.step(Ending{OwnedConnection: closer, CloseReason: why{Reason: "Hello unanswered", Unanswered: true, StopAcked: true}})
	n.links()
	for n.after(time.Minute); len(n.actions) > 0; n.actions = n.actions[1:] {
		if r, ok := n.actions[0].(Recover); ok && r.Step == policy.StepRenew {
			n.step(StepDone{LAC: r.LAC, Step: r.Step})
		} else if ok && (r.Step != policy.StepRedial || r.Peer != closer.Peer.Addr() || r.LNS != addr("192.0.2.9")) {
			t.Errorf("got %+v, want StepRedial, with the peer that xl2tpd dials", r)
		} else if ok {
			return
		}
	}
	t.Error("nothing was dialled")
}

// There may also be SAs with two addresses. Then the tunnel's own SA is initiated first, and no tunnel that is alive is
// hung up.
func TestRecoveryAtAnLNSWithTwoAddresses(t *testing.T) {
	for echo, want := range map[error][]policy.Step{lost: {policy.StepSecure, policy.StepHangUp}, nil: {policy.StepSecure}} {
		n := named(t, []string{"192.0.2.9", "192.0.2.2"}, worksWith("192.0.2.2"), worksWith("192.0.2.9"))
		n.step(vici.Snapshot{SAs: []vici.SA{worksWith("192.0.2.9")}})
		var got []policy.Step
		n.plays(2*time.Minute, probe.Result{Err: echo}, func(r Recover) error {
			if !r.Step.Asks() && !slices.Contains(got, r.Step) {
				got = append(got, r.Step)
			}
			return nil
		})
		if !slices.Equal(got, want) {
			t.Errorf("echo %v: %v, want %v", echo, got, want)
		}
	}
}

// The renewed SA may be with another address than the tunnel: the LNS has moved.
func TestRecoveryOfAnLNSThatHasMoved(t *testing.T) {
	n := named(t, []string{"192.0.2.9", "192.0.2.2"}, worksWith("192.0.2.2"))
	var got []policy.Step
	n.plays(45*time.Second, probe.Result{Err: lost}, func(r Recover) error {
		if r.Step.Asks() {
			return nil
		}
		if got = append(got, r.Step); r.Step == policy.StepRenew {
			n.step(vici.Snapshot{SAs: []vici.SA{worksWith("192.0.2.9")}})
		}
		return nil
	})
	if want := []policy.Step{policy.StepRenew, policy.StepHangUp}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// Its tunnel is then hung up without a pause, unless its peer was heard after the SA was made. In that case the peer is
// asked again later.
func TestAnLNSThatHasMovedIsHungUpAtOnce(t *testing.T) {
	n := named(t, []string{"192.0.2.9", "192.0.2.2"}, worksWith("192.0.2.2"))
	var renewed time.Time
	var hangUps []time.Time
	n.plays(45*time.Second, probe.Result{Err: lost}, func(r Recover) error {
		switch r.Step {
		case policy.StepRenew:
			renewed = n.now
			n.step(vici.Snapshot{SAs: []vici.SA{worksWith("192.0.2.9")}})
		case policy.StepHangUp:
			if !r.Since.Equal(renewed) {
				t.Errorf("the peer's messages count since %v, renewed at %v", r.Since, renewed)
			}
			hangUps = append(hangUps, n.now)
			return policy.ErrAlive
		}
		return nil
	})
	if len(hangUps) < 2 || !hangUps[0].Equal(renewed) || hangUps[1].Sub(renewed) != aliveLook {
		t.Errorf("renewed at %v, to be hung up at %v", renewed, hangUps)
	}
}

// A tunnel still belongs to its LAC if a name resolves to another address for xl2tpd than for this service.
func TestRecoveryOfAnotherAddress(t *testing.T) {
	n := named(t, []string{"192.0.2.1"}, worksWith("192.0.2.2"))
	if r := n.status()[0]; r.Name != "lac office" || r.Link == nil {
		t.Errorf("got %+v, want office with its link", r)
	}
	n.lives(20 * time.Minute)
}

// Recovery names the control connection of its LAC's only link, if the kernel has its session.
func TestStepNamesItsTunnel(t *testing.T) {
	for name, want := range map[string]uint16{"kernel mode": closer.LocalID, "userspace mode": 0} {
		n := established(t, redials, "")
		if want != 0 {
			s := n.xl2tpd(redials)
			s.Sessions = []xl2tpd.Session{{Ifindex: 5, Local: closer.Local, Peer: closer.Peer, LocalTunnel: closer.LocalID}}
			n.step(s)
		}
		steps := 0
		n.plays(2*time.Minute, probe.Result{Err: lost}, func(r Recover) error {
			if steps++; r.Up && r.TunnelID != want {
				t.Errorf("%s: %v of the tunnel %d, want %d", name, r.Step, r.TunnelID, want)
			}
			return nil
		})
		if steps == 0 {
			t.Errorf("%s: no step", name)
		}
	}
}

// A link may only carry IPv6. Then it is not a stuck call.
func TestRecoveryOfIPv6Alone(t *testing.T) {
	for conf, want := range map[string]policy.Step{oneLAC: policy.StepDial, redials: policy.StepRedial} {
		n := newFixture(t, conf, "[lac default]\nrecover = full")
		n.step(secured("1"))
		l := link("ppp0", 5, false)
		l.Local, l.Peer, l.Raised = netip.Addr{}, netip.Addr{}, true
		n.links(l)
		if got := n.steps(30*time.Minute, nil); got != nil {
			t.Errorf("got %v, want none", got)
		}
		n.links()
		got := n.steps(10*time.Minute, nil)
		if !slices.Contains(got, want) || want == policy.StepRedial && slices.Contains(got, policy.StepDial) {
			t.Errorf("%v after it has gone, want %v", got, want)
		}
	}
}

// xl2tpd may send from an address of its own, and only that one may lead to the LNS. Steps look for the LNS from there.
func TestStepLooksFromXl2tpdsAddress(t *testing.T) {
	for conf, want := range map[string]netip.Addr{
		"": {},
		"[global]\nlisten-addr = 198.51.100.77\n": addr("198.51.100.77"),
		"[global]\nlisten-addr = 0.0.0.0\n":       {},
	} {
		n := established(t, conf+oneLAC, "[lac default]\nrecover = full\n")
		n.step(Ending{OwnedConnection: closer, CloseReason: why{Reason: "closed by the peer"}})
		n.links()
		steps := 0
		n.plays(10*time.Minute, probe.Result{Err: lost}, func(r Recover) error {
			if steps++; r.From != want {
				t.Errorf("%q: %v from %v, want %v", conf, r.Step, r.From, want)
			}
			return lost
		})
		if steps == 0 {
			t.Errorf("%q: no step", conf)
		}
	}
}
