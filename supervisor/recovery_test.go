package supervisor

import (
	"errors"
	"fmt"
	"math"
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

func TestRecovery(t *testing.T) {
	gone := func(n *fixture) { n.links() }
	after := func(e Ending) func(*fixture) {
		e.OwnedConnection = closer
		return func(n *fixture) { n.step(e); n.links() }
	}
	closedByPeer := after(Ending{CloseReason: why{Reason: "closed by the peer"}})
	hungUp := after(Ending{CloseReason: why{Reason: "hung up on this host", Operator: true}})
	noSA := func(n *fixture) { n.step(vici.Snapshot{}) }
	for _, tc := range []struct {
		name, conf, keepalive string
		happens               func(*fixture)
		want                  []policy.Step
	}{
		{"the peer closes, xl2tpd redials", redials, "", closedByPeer, nil},
		{"the operator hangs up", redials, "[lac default]\nrecover = full", hungUp, nil},
		{"nobody knows why", redials, "", gone, nil},
		{"the SA is lost", redials, "", func(n *fixture) { noSA(n); gone(n) }, []policy.Step{policy.StepSecure, policy.StepSecure}},
		{"the SA is lost, full", oneLAC, "[lac default]\nrecover = full", func(n *fixture) { noSA(n); gone(n) }, []policy.Step{policy.StepSecure, policy.StepSecure}},
		{"nothing says that it is wanted", oneLAC, "", closedByPeer, nil},
		{"[lac default]\nrecover = redial", oneLAC, "[lac default]\nrecover = redial", closedByPeer, []policy.Step{policy.StepDial}},
		{"[lac default]\nrecover = off", redials, "[lac default]\nrecover = off", closedByPeer, nil},
		{"left alone", redials, "keepalive = no", closedByPeer, nil},
		{"the peer was silent", redials, "", after(Ending{CloseReason: why{Reason: "Hello unanswered", Unanswered: true}}), []policy.Step{policy.StepRenew, policy.StepRedial}},
		{"xl2tpd is stopped", redials, "", func(n *fixture) {
			s := n.xl2tpd(redials)
			s.Home().Process.Pid = 0
			n.step(s)
			gone(n)
		}, nil},
	} {
		n := established(t, tc.conf, tc.keepalive)
		n.now = n.now.Add(time.Second)
		tc.happens(n)
		if got := n.steps(12*time.Second, nil); !slices.Equal(got, tc.want) {
			t.Errorf("%s: %v, want %v", tc.name, got, tc.want)
		}
	}
}

// xl2tpd redials first. A step that keeps failing is logged once.
func TestRecoveryInTurn(t *testing.T) {
	n := established(t, redials+"max redials = 1\n", "")
	n.step(Ending{OwnedConnection: closer, CloseReason: why{Reason: "closed by the peer"}})
	n.links()
	n.notes = nil
	if got := n.steps(64*time.Second, nil); got != nil {
		t.Errorf("%v while xl2tpd redials", got)
	}
	if got := n.steps(60*time.Second, errors.New("charon is busy")); !slices.Equal(got, []policy.Step{policy.StepRenew, policy.StepRenew, policy.StepRenew, policy.StepDial}) {
		t.Errorf("then %v", got)
	}
	n.wantNotes("can't renew the IPsec SA, trying again tunnel=lac office peer=192.0.2.1 reason=charon is busy", "can't dial, trying again")
	if doing := n.status()[0].Doing; !strings.HasPrefix(doing.String(), "tries again in") {
		t.Errorf("status: %s", doing)
	}
	n.links(link("ppp0", 6, true))
	if got := n.steps(20*time.Second, nil); got != nil {
		t.Errorf("%v though it is up", got)
	}
}

// After a dial by recovery, xl2tpd counts its redials from the beginning.
func TestRecoveryLetsXl2tpdRedialAgain(t *testing.T) {
	n := established(t, redials+"max redials = 1\n", "")
	n.step(Ending{OwnedConnection: closer, CloseReason: why{Reason: "closed by the peer"}})
	n.links()
	if got := n.steps(101*time.Second, nil); !slices.Equal(got, []policy.Step{policy.StepRenew, policy.StepRedial, policy.StepDial}) {
		t.Fatalf("got %v, want %v", got, []policy.Step{policy.StepRenew, policy.StepRedial, policy.StepDial})
	}
	if got := n.steps(95*time.Second, nil); slices.Contains(got, policy.StepDial) {
		t.Errorf("%v while xl2tpd redials", got)
	}
}

// If a link is up and silent for long, recovery renews its SA, and at last hangs it up. That hang-up does not count as
// the operator's.
func TestRecoveryOfTheDead(t *testing.T) {
	n := established(t, redials, "")
	n.asked = errors.New("the LNS does not answer either")
	if got := n.steps(60*time.Second, nil); got != nil {
		t.Errorf("%v without proof", got)
	}
	if got := n.steps(3*time.Minute, nil); len(got) < 2 || got[0] != policy.StepRenew || got[1] != policy.StepHangUp {
		t.Errorf("got %v, want StepRenew, then StepHangUp", got)
	}
	n.step(Ending{OwnedConnection: closer, CloseReason: why{Reason: "hung up on this host"}})
	n.links()
	if got := n.steps(80*time.Second, nil); !slices.Contains(got, policy.StepDial) {
		t.Errorf("%v after our own hanging up", got)
	}
}

// The silence of a link begins with its first lost echo request, even if the last sign of life is much older.
func TestRecoveryOfTheIdle(t *testing.T) {
	n := established(t, redials, "interval = 300")
	n.asked = errors.New("the LNS does not answer either")
	if got := n.steps(200*time.Second+deadAfter, nil); got != nil {
		t.Errorf("%v, asked for %v", got, deadAfter)
	}
	if got := n.steps(4*time.Minute, nil); len(got) < 2 || got[0] != policy.StepRenew || got[1] != policy.StepHangUp {
		t.Errorf("got %v, want StepRenew, then StepHangUp", got)
	}
}

// If a step fails after xl2tpd has hung up, only recovery redials.
func TestRecoveryAfterAHalfDoneStep(t *testing.T) {
	n := established(t, redials, "")
	n.step(Ending{OwnedConnection: closer, CloseReason: why{Reason: "Hello unanswered", Unanswered: true, StopAcked: true}})
	n.links()
	if got := n.steps(5*time.Second, fmt.Errorf("%w, and then: %w", policy.ErrHungUp, lost)); !slices.Equal(got, []policy.Step{policy.StepRenew, policy.StepRedial}) {
		t.Fatalf("got %v, want %v", got, []policy.Step{policy.StepRenew, policy.StepRedial})
	}
	if got := n.steps(firstPause+time.Second, nil); len(got) == 0 || got[0] != policy.StepDial {
		t.Errorf("got %v, want StepDial first", got)
	}
}

// xl2tpd drops an attempt for recovery, and the LNS has answered it in that moment. The Hello guard knows that no operator has
// hung up the new tunnel, so recovery goes on. What an operator hangs up in that moment stays down.
func TestRecoveryDropsAnAttempt(t *testing.T) {
	for operator, want := range map[bool][]policy.Step{false: {policy.StepRedial, policy.StepRenew, policy.StepRedial}, true: {policy.StepRedial}} {
		n := established(t, redials, "")
		n.step(Ending{OwnedConnection: closer, CloseReason: why{Reason: "Hello unanswered", Unanswered: true}})
		n.links()
		n.after(5 * time.Second)
		n.actions, n.notes = nil, nil
		n.step(StepDone{LAC: LAC{Name: "office"}, Step: policy.StepRenew})
		dropped := Ending{OwnedConnection: closer, CloseReason: why{Reason: "hung up on this host", Operator: operator}}
		dropped.LocalID++
		n.links(link("ppp0", 5, true))
		n.step(dropped) // it is heard before the step has ended
		n.links()
		if got := n.steps(40*time.Second, nil); !slices.Equal(got, want) {
			t.Errorf("by an operator: %v: got %v, want %v", operator, got, want)
		}
	}
}

// With proof that the peer is dead, the step comes earlier. While the peer speaks, there is none.
func TestRecoveryOfTheProvenDead(t *testing.T) {
	for _, tc := range []struct {
		asked error
		want  []policy.Step
	}{{nil, []policy.Step{policy.StepRenew, policy.StepHangUp}}, {policy.ErrAlive, nil}} {
		n := established(t, redials, "")
		n.asked = tc.asked
		if got := n.steps(35*time.Second, nil); !slices.Equal(got, tc.want) {
			t.Errorf("asked %v: %v, want %v", tc.asked, got, tc.want)
		}
	}
}

// xl2tpd closes a tunnel within a second if the Hello guard has acknowledged its StopCCN for the dead peer.
func TestRecoveryAfterAnAckedStop(t *testing.T) {
	for stopAcked, want := range map[bool]time.Duration{false: closingTime, true: ackedClosingTime} {
		n := established(t, redials, "")
		if got := n.steps(35*time.Second, nil); !slices.Equal(got, []policy.Step{policy.StepRenew, policy.StepHangUp}) {
			t.Fatalf("got %v, want %v", got, []policy.Step{policy.StepRenew, policy.StepHangUp})
		}
		n.step(Ending{OwnedConnection: closer, CloseReason: why{Reason: "hung up on this host", StopAcked: stopAcked}})
		n.links()
		if got := n.steps(want-time.Second, nil); got != nil {
			t.Errorf("stopAcked %v: %v within %v", stopAcked, got, want)
		}
		if got := n.steps(2*time.Second, nil); !slices.Equal(got, []policy.Step{policy.StepDial}) {
			t.Errorf("stopAcked %v: %v after %v", stopAcked, got, want)
		}
	}
}

// If pppd waits for LCP for ever, recovery hangs up the call and makes another one. Before the hang-up xl2tpd would
// refuse to dial.
func TestRecoveryOfAStuckCall(t *testing.T) {
	n := established(t, redials, "")
	n.step(Ending{OwnedConnection: closer, CloseReason: why{Reason: "closed by the peer"}})
	n.links(link("ppp1", 8, false))
	if got := n.steps(60*time.Second, nil); slices.Contains(got, policy.StepHangUp) {
		t.Errorf("%v while LCP still has time", got)
	}
	if got := n.steps(20*time.Second, nil); !slices.Contains(got, policy.StepHangUp) || slices.Contains(got, policy.StepDial) {
		t.Errorf("%v, want it hung up", got)
	}
	own := Ending{OwnedConnection: closer, CloseReason: why{Reason: "hung up on this host"}}
	own.LocalID++
	n.step(own) // it is heard after the step has ended
	n.links()
	if got := n.steps(40*time.Second, nil); !slices.Equal(got, []policy.Step{policy.StepDial}) {
		t.Errorf("%v, want another call", got)
	}
}

// A tunnel may stay after its call has ended, and xl2tpd may never make another call in it. After some time recovery
// hangs up the tunnel and dials. It does not if the tunnel ends before, or the operator hangs up.
func TestRecoveryOfAHalfClosedTunnel(t *testing.T) {
	half := Ending{OwnedConnection: closer, CloseReason: why{Reason: "closed by xl2tpd: loss of carrier", CallOnly: true}}
	hungUp := Ending{OwnedConnection: closer, CloseReason: why{Reason: "hung up on this host", Operator: true}}
	own := Ending{OwnedConnection: closer, CloseReason: why{Reason: "hung up on this host"}}
	n := established(t, redials, "")
	n.step(half)
	n.links()
	if got := n.steps(39*time.Second, nil); got != nil {
		t.Errorf("%v while xl2tpd may redial", got)
	}
	n.now = n.now.Add(2 * time.Second)
	n.step(Tick{})
	n.step(own) // it is heard before the step has ended
	if got := n.steps(5*time.Second, nil); !slices.Equal(got, []policy.Step{policy.StepHangUp, policy.StepDial}) {
		t.Errorf("got %v, want %v", got, []policy.Step{policy.StepHangUp, policy.StepDial})
	}

	for _, then := range []Ending{hungUp, {OwnedConnection: closer, CloseReason: why{Reason: "closed by the peer"}}} {
		n := established(t, redials, "")
		n.step(half)
		n.links()
		n.now = n.now.Add(5 * time.Second)
		n.step(then)
		if got := n.steps(55*time.Second, nil); slices.Contains(got, policy.StepHangUp) || then.Operator && got != nil {
			t.Errorf("got %v, want none after %q", got, then.Reason)
		}
	}

	// The peer has restarted, and has lost the SA too.
	n = established(t, redials, "")
	n.step(half)
	n.links()
	n.now = n.now.Add(41 * time.Second)
	n.step(Tick{})
	n.step(own)
	if got := n.steps(5*time.Second, policy.ErrPeerDead); !slices.Equal(got, []policy.Step{policy.StepHangUp, policy.StepRenew, policy.StepDial}) {
		t.Errorf("got %v, want %v", got, []policy.Step{policy.StepHangUp, policy.StepRenew, policy.StepDial})
	}

	// xl2tpd does not redial: the first dial does not help.
	n = established(t, oneLAC, "[lac default]\nrecover = full")
	n.step(half)
	n.links()
	if got := n.steps(15*time.Second, nil); !slices.Equal(got, []policy.Step{policy.StepDial, policy.StepHangUp, policy.StepDial}) {
		t.Errorf("got %v, want %v", got, []policy.Step{policy.StepDial, policy.StepHangUp, policy.StepDial})
	}
}

// A peer may end PPP first. The reason that xl2tpd gives then comes later.
func TestRecoveryHearsLate(t *testing.T) {
	n := newFixture(t, redials, "[global]\nrecover = auto")
	s := n.xl2tpd(redials)
	s.Sessions = []xl2tpd.Session{{Ifname: "ppp0", Ifindex: 5, Local: closer.Local, Peer: closer.Peer, LocalTunnel: closer.LocalID}}
	n.step(s)
	n.step(secured("1"))
	n.links(link("ppp0", 5, true))
	n.now = n.now.Add(time.Minute)
	n.links()
	if got := n.steps(4*time.Second, nil); got != nil {
		t.Errorf("%v though nobody knows", got)
	}
	n.step(Ending{OwnedConnection: closer, CloseReason: why{Reason: "closed by xl2tpd: loss of carrier", CallOnly: true}})
	if got := n.steps(40*time.Second, nil); !slices.Equal(got, []policy.Step{policy.StepHangUp, policy.StepDial}) {
		t.Errorf("got %v, want %v", got, []policy.Step{policy.StepHangUp, policy.StepDial})
	}
}

// A tunnel that has never answered is unknown, not dead.
func TestRecoveryLeavesTheUnknown(t *testing.T) {
	n := newFixture(t, redials, "[global]\nrecover = auto")
	n.step(secured("1"))
	n.links(link("ppp0", 5, true))
	if got := n.steps(10*time.Minute, nil); got != nil {
		t.Errorf("got %v, want none", got)
	}
}

// No number of redials and no redial timeout overflows to a negative time.
func TestRedialling(t *testing.T) {
	for _, tc := range []struct {
		times int
		pause time.Duration
		want  time.Duration
	}{
		{3, 30 * time.Second, 300 * time.Second},
		{0, 30 * time.Second, 100 * 365 * 24 * time.Hour},
		{99_999_999, 30 * time.Second, 100 * 365 * 24 * time.Hour},
		{999_999_999, 30 * time.Second, 100 * 365 * 24 * time.Hour},
		{2, math.MaxInt32 * time.Second, 100 * 365 * 24 * time.Hour},
	} {
		if got := redialTime(&xl2tpd.Section{MaxRedials: tc.times, RedialTimeout: tc.pause}); got != tc.want {
			t.Errorf("%d times after %v: %v, want %v", tc.times, tc.pause, got, tc.want)
		}
	}
}

// After a restart, the restored state of a LAC counts until every watcher has reported. Until then nobody knows whether
// it has a link or an SA.
func TestRecoveryWaitsForTheWatchers(t *testing.T) {
	n := established(t, redials, "")
	n.step(Ending{OwnedConnection: closer, CloseReason: why{Reason: "Hello unanswered", Unanswered: true}})
	n.links()
	m, _ := n.core.SavedState()
	n.core = New(n.core.topology.config, n.core.lacs.jitter)
	n.core.Restore(m, n.now)
	n.actions = nil
	n.step(n.config("[global]\nrecover = auto\n"))
	n.step(n.xl2tpd(redials))
	n.links()
	if got := n.steps(time.Minute, nil); got != nil {
		t.Errorf("%v before charon was seen", got)
	}
	n.step(secured("2"))
	if got := n.steps(2*policy.Grace, nil); len(got) == 0 {
		t.Error("recovery takes no step after the new SA")
	}
}

// The SA of a tunnel is the one with the address of its far end, even if the name has other addresses too.
func TestRecoveryRenewsTheSAOfTheTunnel(t *testing.T) {
	connecting := vici.SA{Name: "tokyo", UniqueID: "3", State: "CONNECTING", RemoteHost: netip.MustParseAddrPort("192.0.2.1:500")}
	n := named(t, []string{"192.0.2.1", "192.0.2.2"}, connecting, worksWith("192.0.2.2"))
	n.lives(10 * time.Minute) // while another SA comes
	n = named(t, []string{"192.0.2.1", "192.0.2.2"}, worksWith("192.0.2.1"), worksWith("192.0.2.2"))
	renewed := false
	n.plays(3*time.Minute, probe.Result{Err: lost}, func(r Recover) error {
		if r.Step == policy.StepRenew && (r.SA != "192.0.2.2" || r.SAName != "tokyo" || r.SAPeer != addr("192.0.2.2") || r.Peer != addr("192.0.2.2")) {
			t.Errorf("renews %s of %s with %v for %v", r.SA, r.SAName, r.SAPeer, r.Peer)
		}
		renewed = renewed || r.Step == policy.StepRenew
		return nil
	})
	if !renewed {
		t.Error("recovery has renewed no SA")
	}
}

// Without charon nothing is dialled: the call would be in the clear.
func TestRecoveryWithoutCharon(t *testing.T) {
	n := established(t, oneLAC, "[lac default]\nrecover = full")
	n.step(TaskFailed{Task: WatcherVICI, Err: errors.New("no such socket")})
	n.after(5 * time.Second)
	n.step(Ending{OwnedConnection: closer, CloseReason: why{Reason: "closed by the peer"}})
	n.links()
	if got := n.steps(5*time.Minute, errors.New("no such socket")); slices.Contains(got, policy.StepDial) {
		t.Errorf("got %v, want no dial", got)
	}
	n.step(TaskWorks{WatcherVICI})
	n.step(secured("2"))
	if got := n.steps(5*time.Minute, nil); !slices.Contains(got, policy.StepDial) {
		t.Errorf("%v when it is back", got)
	}
}

// The far ends of silent links are asked through the links, if the target of the echo requests is another host. Before an SA
// is renewed, the far ends of the others that it may carry are asked too, targets or not: they may have been asked over an
// earlier SA alone.
func TestFarEndsAreAsked(t *testing.T) {
	for name, tc := range map[string]struct {
		keepalive      string
		inside, beside []probe.Request
	}{
		"the target is the far end":    {"", nil, farEnd("ppp1", 6)},
		"the target is another host":   {"[lac default]\ntarget = 172.16.0.1\n", farEnd("ppp0", 5), farEnd("ppp1", 6)},
		"the targets are of each kind": {"[lac home]\ntarget = 172.16.0.1\n", nil, farEnd("ppp1", 6)},
	} {
		n, _ := oneLNS(t, "redial = yes\n", tc.keepalive)
		n.plays(time.Minute, probe.Result{RTT: time.Millisecond}, func(Recover) error { return nil })
		asked := false
		n.plays(time.Minute, probe.Result{Err: lost}, func(r Recover) error {
			asked = asked || r.LAC.Name == "office" && r.Step == policy.StepRenew
			if r.LAC.Name == "office" && r.Up && !slices.Equal(r.Inside, tc.inside) {
				t.Errorf("%s: %v asks %+v inside, want %+v", name, r.Step, r.Inside, tc.inside)
			}
			if r.LAC.Name == "office" && r.Step == policy.StepRenew && !slices.Equal(r.Beside, tc.beside) {
				t.Errorf("%s: %v asks %+v beside, want %+v", name, r.Step, r.Beside, tc.beside)
			}
			return nil
		})
		if !asked {
			t.Errorf("%s: the SA is not renewed", name)
		}
	}
}

// farEnd is an echo request through a link to its far end.
func farEnd(name string, index int) []probe.Request {
	l := link(name, index, true)
	return []probe.Request{{Link: name, Index: index, Source: l.Local, Target: l.Peer}}
}
