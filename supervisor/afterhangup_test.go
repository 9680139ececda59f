package supervisor

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"xl2tpd-keepalive/probe"
	"xl2tpd-keepalive/supervisor/recovery/policy"
	"xl2tpd-keepalive/vici"
)

// done ends a step of home's.
func (f *fixture) done(step policy.Step, err error) {
	f.takes(f.lac("home"), step)
	f.core.lacs.agenda.slotsTaken++
	f.step(StepDone{LAC: LAC{Name: "home"}, Step: step, Err: err})
}

// Recovery has hung a silent tunnel up, and its link goes only after another step. That is no operator's hang-up.
func TestLinkGoesAfterAnotherStep(t *testing.T) {
	for name, tc := range map[string]struct {
		err     error // of the hang-up
		between func(*fixture)
		hungUp  bool // by an operator, it may be
	}{
		"nothing comes between":     {nil, func(*fixture) {}, false},
		"the step failed after it":  {errors.Join(policy.ErrHungUp, lost), func(*fixture) {}, false},
		"a new SA of a neighbour's": {nil, func(n *fixture) { n.step(secured("2")) }, false},
		"the SA is initiated":       {nil, func(n *fixture) { n.done(policy.StepSecure, nil) }, false},
		"the SA can't be initiated": {nil, func(n *fixture) { n.done(policy.StepSecure, lost) }, false},
		"another hang-up fails":     {nil, func(n *fixture) { n.done(policy.StepHangUp, lost) }, false},
		"only a hang-up that fails": {lost, func(*fixture) {}, true},
		"it has lived since":        {nil, func(n *fixture) { n.plays(20*time.Second, alive, succeeds) }, true},
		"it was dialled since":      {nil, func(n *fixture) { n.done(policy.StepDial, nil) }, true},
		"long ago": {nil, func(n *fixture) {
			n.now = n.now.Add(policy.ReasonTTL)
			n.took(n.lac("home"), policy.StepAsk, policy.ErrAlive, n.now)
		}, true},
	} {
		n, _ := oneLNS(t, "", full)
		n.step(TaskWorks{Task: TaskGuard})
		n.plays(20*time.Second, probe.Result{Err: lost}, func(r Recover) error { return policy.ErrAlive }) // only the target is silent
		n.done(policy.StepHangUp, tc.err)
		tc.between(n)
		office, _ := officeAndHome()
		n.links(office)
		if got := n.lac("home").mayBeHungUp(); got != tc.hungUp {
			t.Errorf("%s: perhaps hung up %v", name, got)
		}
	}
}

// A tunnel comes up in the moment in which recovery hangs up. Its end is no operator's hang-up either.
func TestLinkComesUpInAHangUp(t *testing.T) {
	for name, tc := range map[string]struct {
		up, gone time.Duration // after the hang-up began
		hungUp   bool
	}{
		"at once":            {0, time.Second, false},
		"half a second late": {policy.TimerDelay / 2, time.Second, false},
		"and lives for 9 s":  {0, 9 * time.Second, false},
		"it is a new one":    {3 * time.Second, 5 * time.Second, true},
		"it is not it":       {0, policy.ReasonTTL, true},
	} {
		n, _ := oneLNS(t, "", full)
		n.step(TaskWorks{Task: TaskGuard})
		office, home := officeAndHome()
		n.ends(8, peerCloses)
		n.links(office)
		l := n.lac("home")
		n.takes(l, policy.StepHangUp)
		l.hangUpAt = n.now
		n.core.lacs.agenda.slotsTaken++
		n.now = n.now.Add(tc.up)
		home.Index = 7
		if tc.up > policy.TimerDelay {
			n.step(StepDone{LAC: LAC{Name: "home"}, Step: policy.StepHangUp})
		}
		n.links(office, home)
		n.plays(time.Second/2, alive, succeeds)
		if tc.up <= policy.TimerDelay {
			n.step(StepDone{LAC: LAC{Name: "home"}, Step: policy.StepHangUp})
		}
		n.plays(tc.gone-tc.up, alive, succeeds)
		n.links(office)
		if got := l.mayBeHungUp(); got != tc.hungUp {
			t.Errorf("%s: perhaps hung up %v", name, got)
		}
	}
}

// Recovery dials beside a tunnel that may stand without a call. That dial has its time before the tunnel is hung up.
func TestDialBesideATunnelWithoutCall(t *testing.T) {
	for name, tc := range map[string]struct {
		wait time.Duration // before the dial
		asks bool          // xl2tpd asks for a tunnel then
		want time.Duration // from the dial to the hang-up
	}{
		"soon":               {time.Second, false, callStart - time.Second},
		"late":               {callStart - time.Second, false, policy.Grace},
		"soon, and it asks":  {time.Second, true, policy.AttemptTime},
		"late, and it asks":  {callStart - time.Second, true, policy.AttemptTime},
		"a second too late":  {callStart + time.Second, false, policy.Grace},
		"too late, and asks": {callStart + time.Second, true, policy.AttemptTime},
	} {
		n, _ := oneLNS(t, "", full)
		n.step(TaskWorks{Task: TaskGuard})
		n.ends(7, callCloses)
		n.ends(8, callCloses)
		n.links()
		l, s := n.lac("home"), n.core.topology.section(n.lac("home"))
		n.now = n.now.Add(tc.wait)
		l.dialBegan = n.now
		if tc.asks {
			n.step(Dials{OwnedConnection: closer})
		}
		n.done(policy.StepDial, nil)
		noCall := func(at time.Duration) bool {
			is, _ := n.core.lacs.situations.of(l, s, l.dialledAt.Add(at))
			return is.NoCall
		}
		if noCall(tc.want-time.Second/2) || !noCall(tc.want) {
			t.Errorf("%s: not hung up after %v", name, tc.want)
		}
	}
}

// The LNS can't be looked up, so nobody sees when xl2tpd redials. Hung up, it keeps to that, and gets no second call.
func TestHangUpWhileTheNameIsUnknown(t *testing.T) {
	for name, tc := range map[string]struct {
		ago  time.Duration // it was known again
		want bool          // recovery waits for xl2tpd's redial
	}{
		"it is unknown":    {0, true},
		"known since 1 s":  {time.Second, true},
		"known since 29 s": {29 * time.Second, true},
		"known since 40 s": {40 * time.Second, false},
	} {
		n := established(t, redials, "")
		n.step(TaskWorks{Task: TaskGuard})
		n.step(Ending{OwnedConnection: closer, CloseReason: callCloses})
		n.links()
		n.now = n.now.Add(2 * time.Minute)
		l := n.lac("office")
		l.hiddenAt, l.hidden = n.now.Add(-tc.ago), false
		n.step(Tick{})
		if !l.progress.Takes(policy.StepHangUp) {
			t.Fatalf("%s: %v is under way", name, l.progress.UnderWay())
		}
		n.step(StepDone{LAC: LAC{Name: "office"}, Step: policy.StepHangUp})
		if got := l.plannedUntil.After(n.now); got != tc.want {
			t.Errorf("%s: waits for a redial %v", name, got)
		}
	}
}

// In userspace mode, an operator hangs up a call or an attempt of one LAC. Then xl2tpd ends, and with it the link of the other
// one. That link does not show that the first one was not hung up, and if it has lived meanwhile, it was not hung up itself.
func TestXl2tpdEndsAfterAHangUp(t *testing.T) {
	for name, tc := range map[string]struct {
		call   bool // without addresses; else it is an attempt
		after  time.Duration
		echoes probe.Result // of the other one's
		hungUp bool         // the other one, it may be
	}{
		"a call, at once":             {true, policy.ReasonDelay, alive, true},
		"a call, later":               {true, 20 * time.Second, alive, false},
		"a call, much later":          {true, policy.ReasonTTL, alive, false},
		"an attempt, at once":         {false, policy.ReasonDelay, alive, true},
		"an attempt, later":           {false, 20 * time.Second, alive, false},
		"an attempt, much later":      {false, policy.ReasonTTL, alive, false},
		"a call, and silence":         {true, 20 * time.Second, probe.Result{Err: lost}, true},
		"an attempt, and silence":     {false, 20 * time.Second, probe.Result{Err: lost}, true},
		"silence for longer than 40s": {false, policy.ReasonTTL + time.Second, probe.Result{Err: lost}, false},
	} {
		n, _ := oneLNS(t, "", full)
		n.step(TaskWorks{Task: TaskGuard})
		n.replaced("", 100)
		office, home := officeAndHome()
		fails := func(Recover) error { return lost }
		n.ends(8, peerCloses)
		n.links(inUserspace(office)...)
		n.plays(time.Minute, alive, fails)
		if tc.call {
			home.Up, home.Index = false, 7
			n.links(inUserspace(office, home)...)
			n.plays(5*time.Second, alive, fails)
		}
		n.ends(9, operatorEnds)
		n.links(inUserspace(office)...)
		n.plays(tc.after, tc.echoes, fails)
		n.replaced("", 101)
		if !n.lac("home").mayBeHungUp() {
			t.Errorf("%s: the one that was hung up counts as not hung up", name)
		}
		if got := n.lac("office").mayBeHungUp(); got != tc.hungUp {
			t.Errorf("%s: the other one is perhaps hung up %v", name, got)
		}
	}
}

// The same with a link that may be of either of two LACs.
func TestAmbiguousLinkComesUpInAHangUp(t *testing.T) {
	for name, tc := range map[string]struct {
		up     time.Duration // after the hang-up began
		hungUp bool
	}{"at once": {0, false}, "a second late": {policy.TimerDelay, false}, "it is another one": {2 * time.Second, true}} {
		n := ambiguousUp(t, "", "recover = full\n")
		office, home := link("ppp0", 5, true), link("ppp1", 7, true)
		n.ends(8, peerCloses)
		n.links(inUserspace(office)...)
		l := n.lac("home")
		n.takes(l, policy.StepHangUp)
		l.hangUpAt = n.now
		n.core.lacs.agenda.slotsTaken++
		n.now = n.now.Add(tc.up)
		n.links(inUserspace(office, home)...)
		n.step(StepDone{LAC: LAC{Name: "home"}, Step: policy.StepHangUp})
		n.plays(5*time.Second, alive, succeeds)
		n.links(inUserspace(office)...)
		if got := l.mayBeHungUp(); got != tc.hungUp {
			t.Errorf("%s: perhaps hung up %v", name, got)
		}
	}
}

// While the name of an LNS can't be looked up, another LAC with that name shares the LNS: no attempt is given up that may
// be the other one's.
func TestSharedNameThatIsUnknown(t *testing.T) {
	for name, tc := range map[string]struct {
		other string // its LNS
		known bool
		want  bool
	}{
		"the same name":     {"vpn.example.net", false, true},
		"another name":      {"vpn.example.org", false, false},
		"an address":        {"192.0.2.1", false, false},
		"known again":       {"vpn.example.net", true, true},
		"known, an address": {"192.0.2.1", true, true},
	} {
		n := newFixture(t, twoLACs("vpn.example.net", tc.other, "redial = yes\n"), full)
		s := n.xl2tpd(twoLACs("vpn.example.net", tc.other, "redial = yes\n"))
		for i := range s.Home().Conf.Sections {
			if tc.known {
				s.Home().Conf.Sections[i].LNSIPs = []netip.Addr{closer.Peer.Addr()}
			}
		}
		n.step(s)
		l := n.lac("office")
		if got := n.core.topology.sharesLNS(l, n.core.topology.section(l)); got != tc.want {
			t.Errorf("%s: shares its LNS %v", name, got)
		}
	}
}

// A tunnel has lost its SA. charon makes a new one and lists nothing, and the tunnel ends without a reason. Neither the lost SA
// nor the silence before the new one shows that nobody has hung up.
func TestEndOverANewSA(t *testing.T) {
	for name, tc := range map[string]struct {
		made   time.Duration // the new SA, before the end; 0: there is none
		silent bool
		hungUp bool // by an operator, it may be
	}{
		"no new SA":             {0, false, false},
		"no new SA, and silent": {0, true, false},
		"new":                   {time.Second, false, true},
		"new, and silent":       {9 * time.Second, true, true},
		"older, and silent":     {policy.HelpTime + time.Second, true, false},
		"older":                 {policy.HelpTime + time.Second, false, true},
	} {
		n, _ := oneLNS(t, "", full)
		n.withoutGuard()
		n.step(vici.Snapshot{})
		n.step(TaskFailed{Task: WatcherVICI, Err: lost})
		n.now = n.now.Add(time.Minute)
		if tc.made > 0 {
			n.done(policy.StepSecure, nil)
			n.now = n.now.Add(tc.made)
		}
		if tc.silent {
			n.core.tunnels.byKey[key("ppp1", 6)].state = Silent
		}
		office, _ := officeAndHome()
		n.links(office)
		if got := n.lac("home").mayBeHungUp(); got != tc.hungUp {
			t.Errorf("%s: perhaps hung up %v", name, got)
		}
	}
}

// Recovery has hung a LAC up, and its link is still there: pppd waits for the peer. A dial may be of that LAC, and then xl2tpd
// redials it.
func TestDialWhileTheLinkLingers(t *testing.T) {
	for name, tc := range map[string]struct {
		hungUp, redialled bool
	}{
		"the LAC is up":       {false, false},
		"recovery hung it up": {true, true},
	} {
		n, _ := oneLNS(t, "redial = yes\n", full)
		n.step(TaskWorks{Task: TaskGuard})
		if n.plays(20*time.Second, probe.Result{Err: lost}, func(Recover) error { return policy.ErrAlive }); tc.hungUp {
			n.done(policy.StepHangUp, nil)
		}
		n.lac("home").notRedialled = true
		n.step(Dials{OwnedConnection: closer})
		if got := !n.lac("home").notRedialled; got != tc.redialled {
			t.Errorf("%s: got redialled %v, want %v", name, got, tc.redialled)
		}
	}
}

// The peer of a silent tunnel has answered in another way, and nobody has asked it since; or another target is silent, and the
// peer could not be asked. So it is not the silence that has ended the tunnel.
func TestEndOfASilenceOfTheTargetAlone(t *testing.T) {
	for name, tc := range map[string]struct {
		answer error  // of the peer, when it is asked
		target string // empty: the peer
		hungUp bool   // by an operator, it may be
	}{
		"the peer lives":                       {policy.ErrAlive, "", true},
		"the peer is dead":                     {nil, "", false},
		"nobody could ask":                     {lost, "", false},
		"another target, and the peer is dead": {nil, "target = 192.168.7.1\n", false},
		"another target, and nobody could ask": {lost, "target = 192.168.7.1\n", true},
	} {
		n, _ := oneLNS(t, "", full+tc.target)
		n.step(TaskWorks{Task: TaskGuard}) // which asks the peer
		n.plays(20*time.Second, alive, succeeds)
		n.plays(30*time.Second, probe.Result{Err: lost}, func(r Recover) error {
			if r.Step == policy.StepAsk {
				return tc.answer
			}
			return policy.ErrSAInUse
		})
		n.now = n.now.Add(4 * time.Minute) // another link that may be the LAC's was up meanwhile
		office, _ := officeAndHome()
		n.links(office)
		if got := n.lac("home").mayBeHungUp(); got != tc.hungUp {
			t.Errorf("%s: got perhaps hung up %v, want %v", name, got, tc.hungUp)
		}
	}
}
