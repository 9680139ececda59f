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

	"xl2tpd-keepalive/internal/procfs"
	"xl2tpd-keepalive/internal/xl2tpd"
	"xl2tpd-keepalive/probe"
	"xl2tpd-keepalive/vici"
)

const redials = "[lac office]\nlns = 192.0.2.1\npppoptfile = /etc/ppp/options.l2tpd\nredial = yes\nredial timeout = 30\n"

func secured(id string) vici.Snapshot {
	return vici.Snapshot{SAs: []vici.SA{{
		Name: "tokyo", UniqueID: id, State: "ESTABLISHED", RemoteHost: netip.MustParseAddrPort("192.0.2.1:4500"),
		Children: []vici.Child{{State: "INSTALLED"}},
	}}}
}

// steps plays time and returns the steps of that time. Each step ends immediately with err. No echo is answered.
func (f *fixture) steps(d time.Duration, err error) (all []Step) {
	f.plays(d, probe.Result{Err: lost}, func(r Recover) error {
		if len(all) > 1000 {
			f.t.Fatalf("no pause between steps: %v", all[:10])
		}
		result := err
		switch r.Step {
		case StepAsk:
			result = f.asked
		case StepLook:
		default:
			all = append(all, r.Step)
			if result == ErrNoConnection && r.Step != StepSecure && r.Step != StepRenew {
				result = nil
			}
			if errors.Is(result, ErrHungUp) && r.Step != StepRedial {
				result = nil
			}
			if result == ErrPeerDead && r.Step != StepHangUp {
				result = nil
			}
		}
		return result
	})
	return all
}

// plays plays time. Each echo request ends with echo, and each step with the error of outcome.
func (f *fixture) plays(d time.Duration, echo probe.Result, outcome func(Recover) error) {
	for end := f.now.Add(d); f.now.Before(end); f.after(500 * time.Millisecond) {
		for done := 0; len(f.actions) > 0; done++ {
			if done > 10_000 {
				f.t.Fatalf("no pause between actions: %v", show(f.actions))
			}
			a := f.actions[0]
			f.actions = f.actions[1:]
			switch a := a.(type) {
			case Recover:
				f.step(StepDone{LAC: a.LAC, Step: a.Step, Err: outcome(a)})
			case ReadCounter:
				f.step(Counters{{Link: a.Link}})
			case SendEcho:
				echo.Link, echo.Index = a.Link, a.Index
				f.step(Results{echo})
			}
		}
	}
}

// established returns a fixture with the tunnel of a LAC up. All watchers have reported.
func established(t *testing.T, xl2tpdConf, keepaliveConf string) *fixture {
	n := newFixture(t, xl2tpdConf, "[global]\nrecover = auto\n"+keepaliveConf)
	n.up()
	n.step(secured("1"))
	n.notes = nil
	return n
}

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
		want                  []Step
	}{
		{"the peer closes, xl2tpd redials", redials, "", closedByPeer, nil},
		{"the operator hangs up", redials, "[lac default]\nrecover = full", hungUp, nil},
		{"nobody knows why", redials, "", gone, nil},
		{"the SA is lost", redials, "", func(n *fixture) { noSA(n); gone(n) }, []Step{StepSecure, StepSecure}},
		{"the SA is lost, full", oneLAC, "[lac default]\nrecover = full", func(n *fixture) { noSA(n); gone(n) }, []Step{StepSecure, StepSecure}},
		{"nothing says that it is wanted", oneLAC, "", closedByPeer, nil},
		{"[lac default]\nrecover = redial", oneLAC, "[lac default]\nrecover = redial", closedByPeer, []Step{StepDial}},
		{"[lac default]\nrecover = off", redials, "[lac default]\nrecover = off", closedByPeer, nil},
		{"left alone", redials, "keepalive = no", closedByPeer, nil},
		{"the peer was silent", redials, "", after(Ending{CloseReason: why{Reason: "Hello unanswered", Unanswered: true}}), []Step{StepRenew, StepRedial}},
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
	if got := n.steps(60*time.Second, errors.New("charon is busy")); !slices.Equal(got, []Step{StepRenew, StepRenew, StepRenew, StepDial}) {
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
	if got := n.steps(101*time.Second, nil); !slices.Equal(got, []Step{StepRenew, StepRedial, StepDial}) {
		t.Fatalf("got %v, want %v", got, []Step{StepRenew, StepRedial, StepDial})
	}
	if got := n.steps(95*time.Second, nil); slices.Contains(got, StepDial) {
		t.Errorf("%v while xl2tpd redials", got)
	}
}

// After a restart of xl2tpd, recovery brings back a LAC that was up, and not one that had been hung up.
func TestRecoveryOfXl2tpd(t *testing.T) {
	for _, operator := range []bool{false, true} {
		n := established(t, redials, "")
		if operator {
			n.step(Ending{OwnedConnection: closer, CloseReason: why{Reason: "hung up", Operator: true}})
			n.links()
		}
		s := n.xl2tpd(redials)
		s.Home().Process.Pid = 200
		n.step(s)
		n.links()
		got := n.steps(70*time.Second, nil)
		if want := !operator; (len(got) > 0) != want {
			t.Errorf("hung up before: %v; steps %v", operator, got)
		}
	}
}

// xl2tpd may end before its own redial, which recovery waits for, has succeeded.
func TestRecoveryOfXl2tpdInTheClear(t *testing.T) {
	n := newFixture(t, redials, "[global]\nrecover = auto")
	n.step(vici.Snapshot{})
	n.links(link("ppp0", 5, true))
	n.step(Ending{OwnedConnection: closer, CloseReason: why{Reason: "closed by the peer"}})
	n.links()
	if got := n.steps(5*time.Minute, ErrNoConnection); slices.Contains(got, StepDial) {
		t.Errorf("%v while xl2tpd redials", got)
	}
	s := n.xl2tpd(redials)
	s.Home().Process.Pid = 200
	n.step(s)
	if got := n.steps(10*time.Second, ErrNoConnection); !slices.Contains(got, StepDial) {
		t.Errorf("%v after its end", got)
	}
}

// The links may be seen to go before their xl2tpd.
func TestRecoveryOfXl2tpdSeenLate(t *testing.T) {
	n := established(t, redials, "")
	n.now = n.now.Add(time.Second)
	n.links()
	n.now = n.now.Add(time.Second)
	s := n.xl2tpd(redials)
	s.Home().Process.Pid = 200
	n.step(s)
	if why := n.status()[0].Last.Reason; why != xl2tpdEnded {
		t.Errorf("status: %s", why)
	}
	if got := n.steps(70*time.Second, nil); !slices.Contains(got, StepDial) {
		t.Errorf("got %v, want a dial", got)
	}
}

// The result of a step that began before xl2tpd was restarted says nothing about the attempt of the new xl2tpd. That
// attempt has its time, and no other step begins meanwhile.
func TestRecoveryOfXl2tpdDuringAStep(t *testing.T) {
	for _, err := range []error{nil, lost} {
		conf := redials + "autodial = yes\n"
		n := established(t, conf, "")
		n.step(Ending{OwnedConnection: closer, CloseReason: why{Reason: "Hello unanswered", Unanswered: true}})
		n.links()
		n.actions = nil
		n.after(5 * time.Second)
		if len(n.actions) != 1 || n.actions[0].(Recover).Step != StepRenew {
			t.Fatal(show(n.actions))
		}
		n.actions = nil
		s := n.xl2tpd(conf)
		s.Home().Process.Pid = 200
		n.step(s)
		if got := n.steps(10*time.Second, nil); got != nil {
			t.Errorf("%v beside another step", got)
		}
		n.step(StepDone{LAC: LAC{Name: "office"}, Step: StepRenew, Err: err})
		if got := n.steps(24*time.Second, nil); got != nil {
			t.Errorf("%v: got %v, want no step", err, got)
		}
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
	if got := n.steps(3*time.Minute, nil); len(got) < 2 || got[0] != StepRenew || got[1] != StepHangUp {
		t.Errorf("got %v, want StepRenew, then StepHangUp", got)
	}
	n.step(Ending{OwnedConnection: closer, CloseReason: why{Reason: "hung up on this host"}})
	n.links()
	if got := n.steps(80*time.Second, nil); !slices.Contains(got, StepDial) {
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
	if got := n.steps(4*time.Minute, nil); len(got) < 2 || got[0] != StepRenew || got[1] != StepHangUp {
		t.Errorf("got %v, want StepRenew, then StepHangUp", got)
	}
}

// playsUntilHungUp lets the tunnel fall silent, until recovery hangs it up, and returns when that was. during is called
// before the result of that step.
func (f *fixture) playsUntilHungUp(during func()) (hungUp time.Time) {
	f.t.Helper()
	f.plays(time.Minute, probe.Result{RTT: time.Millisecond}, func(Recover) error { return nil })
	for end := f.now.Add(6 * time.Minute); hungUp.IsZero(); {
		f.plays(500*time.Millisecond, probe.Result{Err: lost}, func(r Recover) error {
			if r.Step == StepHangUp {
				hungUp = f.now
				during()
			}
			return nil
		})
		if f.now.After(end) {
			f.t.Fatal("recovery has not hung up")
		}
	}
	return hungUp
}

// A tunnel ends by itself just before recovery hangs it up. xl2tpd has planned its redial by then, and a dial before that
// would make it call twice. What is seen of the end may come before or after the result of the step.
func TestHangUpOfATunnelThatHasJustEnded(t *testing.T) {
	byItself, byRecovery := time.Minute+timerDelay, ackedClosingTime
	for name, tc := range map[string]struct {
		says why
		want time.Duration // from the hang-up to the dial
	}{
		"xl2tpd gave up":       {why{Reason: "Hello unanswered", Unanswered: true, StopAcked: true}, byItself},
		"the peer closed it":   {why{Reason: "closed by the peer", ByPeer: true}, byItself},
		"pppd ended":           {why{Reason: "closed by xl2tpd", Vague: true}, byItself},
		"recovery has hung up": {why{Reason: "hung up on this host", StopAcked: true}, byRecovery},
		"nobody has said why":  {want: byItself},
	} {
		says := func(n *fixture) {
			if tc.says.Reason != "" {
				n.step(Ending{OwnedConnection: closer, CloseReason: tc.says})
			}
		}
		gone := func(n *fixture) { n.links() }
		for order, happens := range map[string]struct{ before, after []func(*fixture) }{
			"reason, end, result": {before: []func(*fixture){says, gone}},
			"end, result, reason": {[]func(*fixture){gone}, []func(*fixture){says}},
			"reason, result, end": {[]func(*fixture){says}, []func(*fixture){gone}},
			"result, reason, end": {after: []func(*fixture){says, gone}},
			"result, end, reason": {after: []func(*fixture){gone, says}},
		} {
			n := established(t, redials+"redial timeout = 60\n", "")
			happen := func(all []func(*fixture)) {
				for _, one := range all {
					one(n)
				}
			}
			hungUp, dialled := n.playsUntilHungUp(func() { happen(happens.before) }), time.Time{}
			happen(happens.after)
			n.plays(2*time.Minute, probe.Result{Err: lost}, func(r Recover) error {
				if r.Step == StepDial && dialled.IsZero() {
					dialled = n.now
				}
				return nil
			})
			if got := dialled.Sub(hungUp); got < tc.want || got > tc.want+10*time.Second {
				t.Errorf("%s, %s: dialled after %v, want %v", name, order, got, tc.want)
			}
		}
	}
}

// Somebody dials while recovery hangs up, so xl2tpd may redial. Why the tunnel has ended is no reason to dial before that.
func TestDialDuringAHangUp(t *testing.T) {
	for _, says := range []why{{Reason: "hung up on this host"}, {Reason: "closed by the peer", ByPeer: true}} {
		n := established(t, redials, "")
		n.playsUntilHungUp(func() { n.step(Dials{Peer: closer.Peer.Addr()}) })
		planned := n.lac("office").plannedUntil
		n.step(Ending{OwnedConnection: closer, CloseReason: says})
		n.links()
		if got := n.lac("office").plannedUntil; got != planned || !got.After(n.now) {
			t.Errorf("%s: xl2tpd may redial until %v, want %v", says.Reason, got, planned)
		}
	}
}

// xl2tpd keeps a call that has ended, and ignores each dial: it asks the LNS for nothing. Recovery makes it drop that call,
// unless nobody could see what xl2tpd asks for.
func TestDialThatXl2tpdIgnores(t *testing.T) {
	for name, tc := range map[string]struct {
		guarded bool
		asks    func(*fixture) // what comes of each dial
		want    bool           // to be hung up
	}{
		"ignored":             {true, func(*fixture) {}, true},
		"nobody would see it": {false, func(*fixture) {}, false},
		"asks for a tunnel":   {true, func(n *fixture) { n.step(Dials{Peer: closer.Peer.Addr()}) }, false},
		"asks for a call":     {true, func(n *fixture) { n.step(Calls{closer}) }, false},
		"another one asks": {true, func(n *fixture) {
			n.step(Dials{Daemon: procfs.ID{Pid: branchPid}, Peer: closer.Peer.Addr()})
		}, true},
		"asks somebody else": {true, func(n *fixture) { n.step(Dials{Peer: addr("203.0.113.9")}) }, false},
	} {
		n := established(t, oneLAC, "[lac default]\nrecover = full\n")
		if n.step(TaskWorks{Task: TaskGuard}); !tc.guarded {
			n.withoutGuard()
		}
		n.plays(time.Minute, probe.Result{RTT: time.Millisecond}, func(Recover) error { return nil })
		n.step(Ending{OwnedConnection: closer, CloseReason: why{Reason: "closed by the peer", ByPeer: true}})
		n.links()
		var dialled, hungUp time.Time
		n.plays(time.Minute, probe.Result{Err: lost}, func(r Recover) error {
			switch {
			case r.Step == StepDial:
				if tc.asks(n); dialled.IsZero() {
					dialled = n.now
				}
			case r.Step == StepHangUp && hungUp.IsZero():
				hungUp = n.now
			}
			return nil
		})
		if dialled.IsZero() || !hungUp.IsZero() != tc.want || tc.want && hungUp.Sub(dialled) > callStart+time.Second {
			t.Errorf("%s: dialled at %v, hung up at %v", name, dialled.Sub(epoch), hungUp.Sub(epoch))
		}
	}
}

// If a step fails after xl2tpd has hung up, only recovery redials.
func TestRecoveryAfterAHalfDoneStep(t *testing.T) {
	n := established(t, redials, "")
	n.step(Ending{OwnedConnection: closer, CloseReason: why{Reason: "Hello unanswered", Unanswered: true, StopAcked: true}})
	n.links()
	if got := n.steps(5*time.Second, fmt.Errorf("%w, and then: %w", ErrHungUp, lost)); !slices.Equal(got, []Step{StepRenew, StepRedial}) {
		t.Fatalf("got %v, want %v", got, []Step{StepRenew, StepRedial})
	}
	if got := n.steps(pause(1, 0)+time.Second, nil); len(got) == 0 || got[0] != StepDial {
		t.Errorf("got %v, want StepDial first", got)
	}
}

// xl2tpd drops an attempt for recovery, and the LNS has answered it in that moment. The Hello guard knows that no operator has
// hung up the new tunnel, so recovery goes on. What an operator hangs up in that moment stays down.
func TestRecoveryDropsAnAttempt(t *testing.T) {
	for operator, want := range map[bool][]Step{false: {StepRedial, StepRenew, StepRedial}, true: {StepRedial}} {
		n := established(t, redials, "")
		n.step(Ending{OwnedConnection: closer, CloseReason: why{Reason: "Hello unanswered", Unanswered: true}})
		n.links()
		n.after(5 * time.Second)
		n.actions, n.notes = nil, nil
		n.step(StepDone{LAC: LAC{Name: "office"}, Step: StepRenew})
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

// The connection of the last tunnel is only used for the LNS of that tunnel.
func TestRecoveryKnowsTheConnection(t *testing.T) {
	for conf, want := range map[string]string{redials: "tokyo", strings.ReplaceAll(redials, "192.0.2.1", "192.0.2.9"): ""} {
		n := established(t, redials, "")
		n.step(n.xl2tpd(conf))
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
		if got != want {
			t.Errorf("%s%q, want %q", conf, got, want)
		}
	}
}

// With proof that the peer is dead, the step comes earlier. While the peer speaks, there is none.
func TestRecoveryOfTheProvenDead(t *testing.T) {
	for _, tc := range []struct {
		asked error
		want  []Step
	}{{nil, []Step{StepRenew, StepHangUp}}, {ErrAlive, nil}} {
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
		if got := n.steps(35*time.Second, nil); !slices.Equal(got, []Step{StepRenew, StepHangUp}) {
			t.Fatalf("got %v, want %v", got, []Step{StepRenew, StepHangUp})
		}
		n.step(Ending{OwnedConnection: closer, CloseReason: why{Reason: "hung up on this host", StopAcked: stopAcked}})
		n.links()
		if got := n.steps(want-time.Second, nil); got != nil {
			t.Errorf("stopAcked %v: %v within %v", stopAcked, got, want)
		}
		if got := n.steps(2*time.Second, nil); !slices.Equal(got, []Step{StepDial}) {
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
	if got := n.steps(60*time.Second, nil); slices.Contains(got, StepHangUp) {
		t.Errorf("%v while LCP still has time", got)
	}
	if got := n.steps(20*time.Second, nil); !slices.Contains(got, StepHangUp) || slices.Contains(got, StepDial) {
		t.Errorf("%v, want it hung up", got)
	}
	own := Ending{OwnedConnection: closer, CloseReason: why{Reason: "hung up on this host"}}
	own.LocalID++
	n.step(own) // it is heard after the step has ended
	n.links()
	if got := n.steps(40*time.Second, nil); !slices.Equal(got, []Step{StepDial}) {
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
	if got := n.steps(5*time.Second, nil); !slices.Equal(got, []Step{StepHangUp, StepDial}) {
		t.Errorf("got %v, want %v", got, []Step{StepHangUp, StepDial})
	}

	for _, then := range []Ending{hungUp, {OwnedConnection: closer, CloseReason: why{Reason: "closed by the peer"}}} {
		n := established(t, redials, "")
		n.step(half)
		n.links()
		n.now = n.now.Add(5 * time.Second)
		n.step(then)
		if got := n.steps(55*time.Second, nil); slices.Contains(got, StepHangUp) || then.Operator && got != nil {
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
	if got := n.steps(5*time.Second, ErrPeerDead); !slices.Equal(got, []Step{StepHangUp, StepRenew, StepDial}) {
		t.Errorf("got %v, want %v", got, []Step{StepHangUp, StepRenew, StepDial})
	}

	// xl2tpd does not redial: the first dial does not help.
	n = established(t, oneLAC, "[lac default]\nrecover = full")
	n.step(half)
	n.links()
	if got := n.steps(15*time.Second, nil); !slices.Equal(got, []Step{StepDial, StepHangUp, StepDial}) {
		t.Errorf("got %v, want %v", got, []Step{StepDial, StepHangUp, StepDial})
	}
}

// The operator may hang up while there is no link: an attempt of xl2tpd, or a tunnel whose calls all fail. The LAC
// stays down until it has been up again. A LAC that recovery hangs up does not.
func TestRecoveryOfWhatWasHungUpBefore(t *testing.T) {
	hungUp := Ending{OwnedConnection: closer, CloseReason: why{Reason: "hung up on this host", Operator: true}}
	full := "[lac default]\nrecover = full"
	n := newFixture(t, oneLAC, "[global]\nrecover = full")
	n.step(secured("1"))
	n.links()
	if got := n.steps(10*time.Second, nil); !slices.Equal(got, []Step{StepDial}) {
		t.Fatalf("got %v, want %v", got, []Step{StepDial})
	}
	n.step(hungUp)
	if got := n.steps(time.Hour, nil); got != nil {
		t.Errorf("got %v, want none after the first attempt was hung up", got)
	}
	n.links(link("ppp0", 5, true))
	n.step(Ending{OwnedConnection: closer, CloseReason: why{Reason: "closed by the peer"}})
	n.links()
	if got := n.steps(10*time.Second, nil); !slices.Equal(got, []Step{StepDial}) {
		t.Errorf("%v after it was up again", got)
	}

	n = established(t, redials, full)
	n.step(Ending{OwnedConnection: closer, CloseReason: why{Reason: "Hello unanswered", Unanswered: true}})
	n.links()
	other := hungUp
	other.LocalID++ // it is another attempt
	n.now, n.notes = n.now.Add(time.Minute), nil
	n.step(other)
	n.step(other)
	n.wantNotes("tunnel left down tunnel=lac office")
	if got := n.steps(time.Hour, nil); got != nil {
		t.Errorf("got %v, want none after a later attempt was hung up", got)
	}
}

// If somebody dials it again, it is wanted again, even if that dial fails.
func TestRecoveryOfWhatIsDialledAgain(t *testing.T) {
	for _, conf := range []string{redials, oneLAC} {
		n := established(t, conf, "[lac default]\nrecover = full")
		n.step(Ending{OwnedConnection: closer, CloseReason: why{Reason: "hung up on this host", Operator: true}})
		n.links()
		n.notes = nil
		for range 3 {
			n.step(Dials{Peer: closer.Peer.Addr()})
		}
		n.wantNotes("tunnel dialled again on this host tunnel=lac")
		if got := n.steps(34*time.Second, nil); got != nil {
			t.Errorf("%v while that is under way", got)
		}
		if got := n.steps(2*time.Second, nil); len(got) != 2 || got[0] != StepRenew {
			t.Errorf("then %v", got)
		}
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
	if got := n.steps(40*time.Second, nil); !slices.Equal(got, []Step{StepHangUp, StepDial}) {
		t.Errorf("got %v, want %v", got, []Step{StepHangUp, StepDial})
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
	n.step(Dials{Peer: l.OuterPeer})
	n.links(l)
	n.step(Ending{OwnedConnection: closer, CloseReason: why{Reason: "Hello unanswered", Unanswered: true, StopAcked: true}})
	n.links()
	for n.after(time.Minute); len(n.actions) > 0; n.actions = n.actions[1:] {
		if r, ok := n.actions[0].(Recover); ok && r.Step == StepRenew {
			n.step(StepDone{LAC: r.LAC, Step: r.Step})
		} else if ok && (r.Step != StepRedial || r.Peer != closer.Peer.Addr() || r.LNS != addr("192.0.2.9")) {
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
	for echo, want := range map[error][]Step{lost: {StepSecure, StepHangUp}, nil: {StepSecure}} {
		n := named(t, []string{"192.0.2.9", "192.0.2.2"}, worksWith("192.0.2.2"), worksWith("192.0.2.9"))
		n.step(vici.Snapshot{SAs: []vici.SA{worksWith("192.0.2.9")}})
		var got []Step
		n.plays(2*time.Minute, probe.Result{Err: echo}, func(r Recover) error {
			if !r.Step.asks() && !slices.Contains(got, r.Step) {
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
	var got []Step
	n.plays(45*time.Second, probe.Result{Err: lost}, func(r Recover) error {
		if r.Step.asks() {
			return nil
		}
		if got = append(got, r.Step); r.Step == StepRenew {
			n.step(vici.Snapshot{SAs: []vici.SA{worksWith("192.0.2.9")}})
		}
		return nil
	})
	if want := []Step{StepRenew, StepHangUp}; !slices.Equal(got, want) {
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
		case StepRenew:
			renewed = n.now
			n.step(vici.Snapshot{SAs: []vici.SA{worksWith("192.0.2.9")}})
		case StepHangUp:
			if !r.Since.Equal(renewed) {
				t.Errorf("the peer's messages count since %v, renewed at %v", r.Since, renewed)
			}
			hangUps = append(hangUps, n.now)
			return ErrAlive
		}
		return nil
	})
	if len(hangUps) < 2 || !hangUps[0].Equal(renewed) || hangUps[1].Sub(renewed) != aliveLook {
		t.Errorf("renewed at %v, to be hung up at %v", renewed, hangUps)
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
	if got := n.steps(2*grace, nil); len(got) == 0 {
		t.Error("recovery takes no step after the new SA")
	}
}

const byName = "[lac office]\nlns = vpn.example.net\npppoptfile = /etc/ppp/options.l2tpd\nredial = yes\nautodial = yes\n"

// named returns a fixture with a tunnel up to the second address of a name. The core knows the given addresses and SAs.
func named(t *testing.T, known []string, sas ...vici.SA) *fixture {
	n := newFixture(t, byName, "[global]\nrecover = auto")
	s := n.xl2tpd(byName)
	for _, a := range known {
		s.Home().Conf.Sections[0].LNSIPs = append(s.Home().Conf.Sections[0].LNSIPs, addr(a))
	}
	s.Sessions = []xl2tpd.Session{{Ifindex: 5, Local: closer.Local, Peer: netip.MustParseAddrPort("192.0.2.2:1701"), LocalTunnel: 7}}
	n.step(s)
	n.step(vici.Snapshot{SAs: sas})
	n.links(link("ppp0", 5, true))
	n.step(Counters{{Link: key("ppp0", 5)}})
	n.step(Results{{Link: "ppp0", Index: 5, RTT: time.Millisecond}})
	n.actions = nil
	return n
}

func worksWith(peer string) vici.SA {
	return vici.SA{Name: "tokyo", UniqueID: peer, State: "ESTABLISHED", RemoteHost: netip.AddrPortFrom(addr(peer), 4500),
		Children: []vici.Child{{State: "INSTALLED", Mode: "TRANSPORT"}}}
}

// lives plays time with a tunnel whose echo requests are answered: no step may be taken.
func (f *fixture) lives(d time.Duration) {
	f.t.Helper()
	f.plays(d, probe.Result{RTT: time.Millisecond}, func(r Recover) error {
		f.t.Fatalf("%v of a tunnel that lives", r.Step)
		return nil
	})
}

// A tunnel still belongs to its LAC if a name resolves to another address for xl2tpd than for this service.
func TestRecoveryOfAnotherAddress(t *testing.T) {
	n := named(t, []string{"192.0.2.1"}, worksWith("192.0.2.2"))
	if r := n.status()[0]; r.Name != "lac office" || r.Link == nil {
		t.Errorf("got %+v, want office with its link", r)
	}
	n.lives(20 * time.Minute)
}

// The SA of a tunnel is the one with the address of its far end, even if the name has other addresses too.
func TestRecoveryRenewsTheSAOfTheTunnel(t *testing.T) {
	connecting := vici.SA{Name: "tokyo", UniqueID: "3", State: "CONNECTING", RemoteHost: netip.MustParseAddrPort("192.0.2.1:500")}
	n := named(t, []string{"192.0.2.1", "192.0.2.2"}, connecting, worksWith("192.0.2.2"))
	n.lives(10 * time.Minute) // while another SA comes
	n = named(t, []string{"192.0.2.1", "192.0.2.2"}, worksWith("192.0.2.1"), worksWith("192.0.2.2"))
	renewed := false
	n.plays(3*time.Minute, probe.Result{Err: lost}, func(r Recover) error {
		if r.Step == StepRenew && (r.SA != "192.0.2.2" || r.Peer != addr("192.0.2.2")) {
			t.Errorf("renews %s for %v", r.SA, r.Peer)
		}
		renewed = renewed || r.Step == StepRenew
		return nil
	})
	if !renewed {
		t.Error("recovery has renewed no SA")
	}
}

// The operator hangs up while recovery still asks the peer before its own hang-up. The step then does nothing. Without
// the Hello guard nobody says that it was the operator.
func TestOperatorHangsUpInThatStep(t *testing.T) {
	for _, guarded := range []bool{true, false} {
		n := established(t, redials, "")
		for n.lac("office").lastEnd == nil {
			n.plays(time.Second, probe.Result{Err: lost}, func(r Recover) error {
				switch {
				case r.Step == StepAsk && !guarded:
					return ErrAlive
				case r.Step != StepHangUp:
					return nil
				case guarded:
					n.step(Ending{OwnedConnection: closer, CloseReason: why{Reason: "hung up on this host", Operator: true}})
				}
				n.links()
				return ErrAlive
			})
		}
		if got := n.steps(5*time.Minute, nil); got != nil {
			t.Errorf("guarded %v: %v of what the operator has hung up", guarded, got)
		}
	}
}

// The guard does not know the owner of a tunnel, so it can't tell whether the operator or recovery hangs up. Recovery
// knows when it hangs up itself. Any other time it may be the operator.
func TestHangUpOfAnUnknownOwner(t *testing.T) {
	for name, during := range map[string]bool{"during a hang-up by recovery": true, "at any other time": false} {
		n := established(t, redials, "")
		hangUp := func() {
			n.step(Ending{OwnedConnection: closer, CloseReason: why{Reason: "hung up on this host", MayBeOperator: true}})
			n.links()
		}
		if !during {
			hangUp()
		}
		for n.lac("office").lastEnd == nil {
			n.plays(time.Second, probe.Result{Err: lost}, func(r Recover) error {
				if r.Step == StepHangUp {
					hangUp()
				}
				return nil
			})
		}
		if got := n.steps(5*time.Minute, nil); slices.Contains(got, StepDial) != during {
			t.Errorf("%s: the steps are %v, want a dial: %v", name, got, during)
		}
	}
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

// If recovery fails to hang up, the next hang-up is the operator's.
func TestRecoveryFailsToHangUp(t *testing.T) {
	n := established(t, redials, "")
	for hung := false; !hung; {
		n.plays(time.Second, probe.Result{Err: lost}, func(r Recover) error {
			if r.Step == StepHangUp {
				hung = true
				return errors.New("nobody to ask")
			}
			return nil
		})
	}
	n.step(Ending{OwnedConnection: closer, CloseReason: why{Reason: "hung up on this host", Operator: true}})
	n.links()
	if got := n.steps(5*time.Minute, nil); got != nil {
		t.Errorf("%v of what the operator has hung up", got)
	}
}

// Without charon nothing is dialled: the call would be in the clear.
func TestRecoveryWithoutCharon(t *testing.T) {
	n := established(t, oneLAC, "[lac default]\nrecover = full")
	n.step(TaskFailed{Task: WatcherVICI, Err: errors.New("no such socket")})
	n.after(5 * time.Second)
	n.step(Ending{OwnedConnection: closer, CloseReason: why{Reason: "closed by the peer"}})
	n.links()
	if got := n.steps(5*time.Minute, errors.New("no such socket")); slices.Contains(got, StepDial) {
		t.Errorf("got %v, want no dial", got)
	}
	n.step(TaskWorks{WatcherVICI})
	n.step(secured("2"))
	if got := n.steps(5*time.Minute, nil); !slices.Contains(got, StepDial) {
		t.Errorf("%v when it is back", got)
	}
}

// A link may only carry IPv6. Then it is not a stuck call.
func TestRecoveryOfIPv6Alone(t *testing.T) {
	for conf, want := range map[string]Step{oneLAC: StepDial, redials: StepRedial} {
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
		if !slices.Contains(got, want) || want == StepRedial && slices.Contains(got, StepDial) {
			t.Errorf("%v after it has gone, want %v", got, want)
		}
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
			asked = asked || r.LAC.Name == "office" && r.Step == StepRenew
			if r.LAC.Name == "office" && r.Up && !slices.Equal(r.Inside, tc.inside) {
				t.Errorf("%s: %v asks %+v inside, want %+v", name, r.Step, r.Inside, tc.inside)
			}
			if r.LAC.Name == "office" && r.Step == StepRenew && !slices.Equal(r.Beside, tc.beside) {
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

// The end of a silent link is a failure, unless its peer has just answered recovery: then an operator may have hung up.
func TestEndOfASilentLink(t *testing.T) {
	for name, tc := range map[string]struct {
		before probe.Result
		asked  error
		want   bool
	}{
		"its peer is silent":    {probe.Result{RTT: time.Millisecond}, lost, true},
		"its peer answers":      {probe.Result{RTT: time.Millisecond}, ErrAlive, false},
		"nothing has ever come": {probe.Result{Err: lost}, lost, false},
	} {
		n := newFixture(t, oneLAC, "[lac default]\nrecover = full\n")
		n.step(secured("1"))
		n.links(link("ppp0", 5, true))
		n.plays(time.Minute, tc.before, func(Recover) error { return tc.asked })
		n.plays(time.Minute, probe.Result{Err: lost}, func(Recover) error { return tc.asked })
		n.links()
		if got := n.lac("tokyo").lastEnd.failed; got != tc.want {
			t.Errorf("%s: got a failure: %v, want %v", name, got, tc.want)
		}
	}
}

// Once xl2tpd has closed a call, its pppd may take some seconds to end, and a dial does not wait for that. If the call ends
// by itself, xl2tpd refuses to dial until it has.
func TestDialBesideAPPPDThatEnds(t *testing.T) {
	const pppdEnds = 6 * time.Second
	for name, tc := range map[string]struct {
		hangsUp bool // recovery does; else the tunnel just ends
		losesSA bool
		says    Ending
		want    time.Duration
	}{
		"recovery hangs up": {true, false, Ending{CloseReason: why{Reason: "hung up", StopAcked: true}}, ackedClosingTime},
		"the peer closes":   {false, false, Ending{CloseReason: why{Reason: "closed by the peer"}}, grace},
		"it ends by itself": {false, true, Ending{}, pppdEnds},
	} {
		n := established(t, oneLAC, "[lac default]\nrecover = full\n")
		n.plays(time.Minute, probe.Result{RTT: time.Millisecond}, func(Recover) error { return nil })
		var ended, dialled time.Time
		ends := func() {
			if tc.says.OwnedConnection = closer; tc.says.Reason != "" {
				n.step(tc.says)
			}
			n.links(link("ppp0", 5, false))
			ended = n.now
		}
		if tc.losesSA {
			n.step(vici.Snapshot{})
		}
		if !tc.hangsUp {
			ends()
		}
		for limit := n.now.Add(2 * time.Minute); dialled.IsZero() && n.now.Before(limit); {
			n.plays(500*time.Millisecond, probe.Result{Err: lost}, func(r Recover) error {
				switch r.Step {
				case StepSecure:
					n.step(secured("2"))
				case StepHangUp:
					ends()
				case StepDial:
					dialled = n.now
				}
				return nil
			})
			if !ended.IsZero() && n.now.Sub(ended) >= pppdEnds {
				n.links()
			}
		}
		if got := dialled.Sub(ended); got < tc.want || got > tc.want+500*time.Millisecond {
			t.Errorf("%s: dialled after %v, want %v", name, got, tc.want)
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
