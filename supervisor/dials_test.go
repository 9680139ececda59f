package supervisor

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"xl2tpd-keepalive/internal/helloguard"
	"xl2tpd-keepalive/internal/xl2tpd"
	"xl2tpd-keepalive/probe"
	"xl2tpd-keepalive/supervisor/recovery/policy"
	"xl2tpd-keepalive/vici"
)

// A step that tells xl2tpd nothing is no reason to overlook a dial of what was hung up.
func TestDialWhileRecoveryAsks(t *testing.T) {
	for step, want := range map[policy.Step]bool{
		policy.StepNone: true, policy.StepLook: true, policy.StepAsk: true, policy.StepSecure: true, policy.StepRenew: true, policy.StepDial: false, policy.StepRedial: false, policy.StepHangUp: false,
	} {
		n, _ := oneLNS(t, "autodial = yes\n", full)
		for _, id := range []uint16{7, 8} {
			n.ends(id, operatorEnds)
		}
		n.links()
		n.after(time.Minute)
		n.replaced("autodial = yes\n", 101)
		n.takes(n.lac("home"), step)
		n.step(Dials{OwnedConnection: closer})
		if got := !n.lac("home").mayBeHungUp(); got != want {
			t.Errorf("%q under way: dialled again %v, want %v", step, got, want)
		}
		if got := n.lac("home").attemptAt.Equal(n.now); want && !got {
			t.Errorf("%q under way: the dial is no attempt", step)
		}
	}
}

// Nobody has seen who was dialled before, and xl2tpd now redials one of two LACs, as somebody has asked it to. Neither gets
// a second call.
func TestRedialOfWhatNobodyHasSeenDialled(t *testing.T) {
	for name, more := range map[string]string{"15 s": "redial = yes\nredial timeout = 15\n", "60 s": "redial = yes\nredial timeout = 60\n", "30 s": "redial = yes\n"} {
		n, _ := oneLNS(t, more, full)
		n.replaced(more, 101)
		n.rests(n.lac("office"), n.now.Add(2*time.Minute))
		n.rests(n.lac("home"), n.now.Add(2*time.Minute))
		for _, r := range n.attempts(6*time.Minute, 20*time.Second, waits) {
			if r.Step == policy.StepDial {
				t.Errorf("redial after %s: %v of %s", name, r.Step, r.LAC.Name)
			}
		}
	}
}

// Neither LAC has ever been dialled when somebody dials one. xl2tpd may redial either from then on, so it gets no second
// call. And neither is known to be wanted, so with `recover = auto` the other one stays down.
func TestFirstDialOfOneOfTwo(t *testing.T) {
	for _, keepalive := range []string{full, ""} {
		for _, timeout := range []time.Duration{15 * time.Second, 30 * time.Second, time.Minute} {
			more := fmt.Sprintf("redial = yes\nredial timeout = %d\n", timeout/time.Second)
			n := newFixture(t, twoLACs("192.0.2.1", "192.0.2.1", more), "[global]\nrecover = auto\n"+keepalive)
			n.step(TaskWorks{Task: TaskGuard})
			n.step(secured("1"))
			n.links()
			n.step(Dials{OwnedConnection: closer})
			lasts := 20 * time.Minute
			if keepalive == full {
				lasts = timeout + 2*policy.AttemptTime - time.Second // until xl2tpd should have redialled
			}
			n.plays(lasts, alive, func(r Recover) error {
				if r.Step == policy.StepDial {
					t.Errorf("%q, redial after %v: %v of %s", keepalive, timeout, r.Step, r.LAC.Name)
				}
				return waits(r)
			})
		}
	}
}

// Somebody dials before xl2tpd would redial, because nobody has answered its last attempt, or the LNS has refused it. xl2tpd
// redials in its time all the same. Made to dial anew before, it would call twice.
func TestDialBeforeARedial(t *testing.T) {
	const redial = 30 * time.Second
	gaveUp := why{Unanswered: true, StopAcked: true}
	for name, tc := range map[string]struct {
		conf  string
		lasts time.Duration // the last attempt; 0: it lasts
		fails why
		after time.Duration // the last attempt began
		again bool
		want  time.Duration // after the beginning; 0: no other redial is waited for
	}{
		"before":                     {redials, attemptLasts, gaveUp, 45 * time.Second, false, attemptLasts + ackedClosingTime + redial},
		"just before":                {redials, attemptLasts, gaveUp, 60 * time.Second, false, attemptLasts + ackedClosingTime + redial},
		"xl2tpd itself":              {redials, attemptLasts, gaveUp, 62 * time.Second, false, 0},
		"later":                      {redials, attemptLasts, gaveUp, 63 * time.Second, false, 0},
		"nobody acknowledges it":     {redials, attemptLasts, why{Unanswered: true}, 80 * time.Second, false, attemptLasts + closingTime + redial},
		"while the attempt lasts":    {redials, 0, why{}, 10 * time.Second, false, 0},
		"the LNS has refused":        {redials, time.Second, peerCloses, 10 * time.Second, false, time.Second + redial},
		"it has, long before":        {redials, time.Second, peerCloses, 45 * time.Second, false, 0},
		"the same request is copied": {redials, attemptLasts, gaveUp, 45 * time.Second, true, 0},
		"no redial":                  {oneLAC, attemptLasts, gaveUp, 45 * time.Second, false, 0},
	} {
		n := newFixture(t, tc.conf, "[lac default]\nrecover = full\n")
		n.step(TaskWorks{Task: TaskGuard})
		n.step(secured("1"))
		n.links()
		n.step(Dials{OwnedConnection: closer})
		began := n.now
		if n.now = began.Add(tc.lasts); tc.lasts > 0 {
			n.step(AttemptFailed{closer, tc.fails})
		}
		n.now = began.Add(tc.after)
		n.step(Dials{OwnedConnection: closer, Again: tc.again})
		got := time.Time{}
		for _, l := range n.core.lacs.byKey {
			got = l.plannedUntil
		}
		want := time.Time{}
		if tc.want > 0 {
			want = began.Add(tc.want + policy.TimerDelay)
		}
		if !got.Equal(want) {
			t.Errorf("%s: planned until %v, want %v", name, got.Sub(began), want.Sub(began))
		}
	}
}

// An operator dials while recovery hangs up. xl2tpd goes on to redial after the hang-up, and gets no second call.
func TestRedialsOnAfterAHangUp(t *testing.T) {
	const more = "redial = yes\nredial timeout = 30\n"
	for name, dials := range map[string]int{"once": 1, "twice": 2, "nobody": 0} {
		n, _ := oneLNS(t, more, full)
		n.step(TaskWorks{Task: TaskGuard})
		_, home := officeAndHome()
		n.ends(7, why{Reason: "Hello unanswered", Unanswered: true, StopAcked: true})
		n.lac("office").noRedial()
		n.links(home)
		n.takes(n.lac("home"), policy.StepHangUp)
		n.core.lacs.agenda.slotsTaken++
		n.ends(8, why{Reason: "hung up"})
		n.links()
		n.lac("office").notRedialled = true
		for range dials {
			n.step(Dials{OwnedConnection: closer})
		}
		n.step(StepDone{LAC: LAC{Name: "home"}, Step: policy.StepHangUp, Err: policy.ErrPeerDead})
		if got := n.lac("home").notRedialled; got != (dials == 0) {
			t.Errorf("%s: not redialled %v", name, got)
		}
		n.plays(60*time.Second, probe.Result{Err: lost}, func(r Recover) error {
			if dials > 0 && r.LAC.Name == "home" && r.Step == policy.StepDial {
				t.Errorf("%s: got %v, want no second dial", name, r.Step)
			}
			return waits(r)
		})
	}
}

// A call that never got addresses shows which LAC was dialled. It is brought back after xl2tpd was replaced.
func TestRefusedCallShowsTheLAC(t *testing.T) {
	for name, calls := range map[string]bool{"a call": true, "none": false} {
		n, _ := oneLNS(t, "redial = yes\n", "")
		n.replaced("redial = yes\n", 101)
		_, home := officeAndHome()
		home.Xl2tpdPid, home.Index = 101, 7
		n.links(home)
		n.plays(2*time.Minute, alive, succeeds)
		n.step(Dials{OwnedConnection: closer})
		if calls {
			call := link("ppp0", 8, false)
			call.Xl2tpdPid = 101
			n.links(call, home)
		}
		n.step(Ending{OwnedConnection: closerOf("192.0.2.1", 9), CloseReason: peerCloses})
		n.links(home)
		n.lac("office").had = min(n.lac("office").had, map[bool]history{true: hadOne, false: mayHaveHad}[calls])
		n.replaced("redial = yes\n", 102)
		if got := n.lac("office").had == hadOne; got != calls {
			t.Errorf("%s: known to have been dialled %v", name, got)
		}
	}
}

// xl2tpd takes recovery's dial, so the tunnel of the closed call does not stand any more, and nothing is hung up.
func TestDialAfterAClosedCall(t *testing.T) {
	for name, other := range map[string]bool{"the other one is up": true, "the other one is down": false} {
		n, _ := oneLNS(t, "", full)
		office, _ := officeAndHome()
		n.ends(8, callCloses)
		if !other {
			n.ends(7, peerCloses)
			n.links()
		} else {
			n.links(office)
		}
		n.takes(n.lac("home"), policy.StepDial)
		n.core.lacs.agenda.slotsTaken++
		n.lac("home").ownDialAt = n.now
		n.step(Dials{OwnedConnection: closer})
		if got := n.lac("home").lastEnd.CallOnly; got == other {
			t.Errorf("%s: the tunnel stands: %v", name, got)
		}
	}
}

// An operator dials the one of two LACs that has no link. That is its attempt: recovery neither dials beside it nor gives it up.
func TestDialOfTheOneThatIsDown(t *testing.T) {
	for _, after := range []time.Duration{500 * time.Millisecond, 10 * time.Second, 30 * time.Second} {
		n, _ := oneLNS(t, "", full)
		office, _ := officeAndHome()
		n.ends(8, peerCloses)
		n.links(office)
		n.rests(n.lac("home"), n.now.Add(after))
		n.step(Dials{OwnedConnection: closer})
		if n.lac("home").attemptAt != n.now {
			t.Errorf("the attempt is not known")
		}
		n.plays(after+time.Second, alive, func(r Recover) error {
			if r.Step == policy.StepDial || r.Step == policy.StepRedial {
				t.Errorf("%v %v after the dial", r.Step, after)
			}
			return nil
		})
	}
}

// A dead link may be either LAC's, and xl2tpd dials one of them. Nothing is hung up in the time of that attempt, unless the
// silence has lasted too long.
func TestDeadBesideADialOfOneLikeIt(t *testing.T) {
	for name, dials := range map[string]bool{"xl2tpd dials": true, "it does not": false} {
		n := ambiguousUp(t, "redial = yes\n", "recover = full\n")
		s := secured("1")
		s.SAs[0].Children = append(s.SAs[0].Children, vici.Child{State: "INSTALLED", Mode: "TUNNEL", RemoteTS: []string{"10.1.0.0/16"}})
		n.step(s)
		n.ends(8, peerCloses)
		n.links(inUserspace(link("ppp0", 5, true))...)
		hungUp := false
		for range 4 {
			if dials {
				n.step(Dials{OwnedConnection: closer})
			}
			hungUp = hungUp || slices.Contains(n.steps(30*time.Second, nil), policy.StepHangUp)
		}
		if hungUp == dials {
			t.Errorf("%s: hung up %v", name, hungUp)
		}
	}
}

// xl2tpd may redial what was perhaps hung up, or another LAC: the dial does not show which.
func TestPerhapsHungUpExplainsNoDial(t *testing.T) {
	for name, perhaps := range map[string]bool{"perhaps hung up": true, "redialled": false} {
		n, _ := oneLNS(t, "redial = yes\n", full)
		for _, id := range []uint16{7, 8} {
			n.ends(id, peerCloses)
		}
		n.links()
		if perhaps {
			n.lac("office").possibleEnds = endList{endByOperator(helloguard.OwnedConnection{})}
		}
		n.lac("home").notRedialled = true
		n.step(Dials{OwnedConnection: closer})
		if got := n.lac("home").notRedialled; got == perhaps {
			t.Errorf("the other LAC is %s: not redialled %v", name, got)
		}
	}
}

// xl2tpd closes a call that never got addresses, and keeps its tunnel. The tunnel is hung up, as it takes no other call.
func TestTunnelOfACallWithoutAddresses(t *testing.T) {
	for name, tc := range map[string]struct {
		kernel bool
		reason why
		want   bool
	}{
		"kernel mode":             {true, callCloses, true},
		"userspace mode":          {false, callCloses, true},
		"the tunnel goes as well": {true, peerCloses, false},
	} {
		n, sessions := oneLNS(t, "", full)
		office, home := officeAndHome()
		n.ends(8, peerCloses)
		n.links(office)
		n.plays(10*time.Minute, alive, func(r Recover) error { return nil })
		home.Index, home.Up, home.Local, home.Peer = 9, false, netip.Addr{}, netip.Addr{}
		s := n.xl2tpd(twoLACs("192.0.2.1", "192.0.2.1", ""))
		s.Home().Conf.Sections[1].PPPOptFile = "/etc/ppp/home"
		s.Sessions = sessions[:1]
		if tc.kernel {
			s.Sessions = append(slices.Clone(s.Sessions), xl2tpd.Session{Ifindex: 9, Local: closer.Local, Peer: closer.Peer, LocalTunnel: 11})
		}
		n.step(s)
		n.links(office, home)
		n.after(time.Second)
		n.ends(11, tc.reason)
		n.links(office)
		hungUp := false
		n.plays(5*time.Minute, alive, func(r Recover) error {
			hungUp = hungUp || r.Step == policy.StepHangUp && r.LAC.Name == "home"
			return nil
		})
		if hungUp != tc.want {
			t.Errorf("%s: hung up %v", name, hungUp)
		}
	}
}

// That xl2tpd does not redial can't be known while nobody would see it: the LNS has no known address.
func TestNotRedialledIsNotConcludedBlindly(t *testing.T) {
	for name, known := range map[string]bool{"known": true, "unknown": false} {
		n, _ := oneLNS(t, "redial = yes\nredial timeout = 30\n", full)
		n.step(TaskWorks{Task: TaskGuard})
		n.ends(8, peerCloses)
		office, _ := officeAndHome()
		s := n.xl2tpd(twoLACs("192.0.2.1", "192.0.2.1", "redial = yes\nredial timeout = 30\n"))
		s.Home().Conf.Sections[1].PPPOptFile = "/etc/ppp/home"
		if !known {
			s.Home().Conf.Sections[1].LNSIPs = nil
		}
		n.step(s)
		n.links(office)
		n.lac("home").notDiallingSince = n.now
		dialled := false
		n.plays(4*time.Minute, alive, func(r Recover) error {
			dialled = dialled || r.Step == policy.StepDial
			return waits(r)
		})
		if dialled != known {
			t.Errorf("address %s: dialled %v", name, dialled)
		}
	}
}

// One of two LACs was hung up, and the other one may have been. xl2tpd dials, so somebody wants one of them. The SA of both is
// kept in order, and neither is dialled.
func TestDialOfWhatWasPerhapsHungUp(t *testing.T) {
	for name, perhaps := range map[string]bool{"perhaps hung up": true, "hung up": false} {
		n, _ := oneLNS(t, "redial = yes\n", full)
		for _, id := range []uint16{7, 8} {
			n.ends(id, operatorEnds)
		}
		n.links()
		n.after(time.Minute)
		if perhaps {
			n.lac("home").lastEnd, n.lac("home").possibleEnds = nil, endList{endByOperator(helloguard.OwnedConnection{})}
		}
		n.step(Dials{OwnedConnection: closer})
		n.step(vici.Snapshot{})
		secures := map[string]bool{}
		n.plays(10*time.Minute, alive, func(r Recover) error {
			if r.Step == policy.StepDial {
				t.Errorf("%s: %v of %s", name, r.Step, r.LAC.Name)
			}
			secures[r.LAC.Name] = secures[r.LAC.Name] || r.Step == policy.StepSecure
			return nil
		})
		if !secures["office"] || !secures["home"] {
			t.Errorf("%s: the SA is kept in order for %v", name, secures)
		}
	}
}

// With `recover = auto` nobody knows whether a LAC that was perhaps dialled once is redialled. So it explains no dial: xl2tpd
// may redial the other one.
func TestPerhapsDialledExplainsNoDial(t *testing.T) {
	for had, want := range map[history]bool{mayHaveHad: false, hadOne: true} {
		n, _ := oneLNS(t, "redial = yes\n", "")
		for _, id := range []uint16{7, 8} {
			n.ends(id, peerCloses)
		}
		n.links()
		n.lac("office").had, n.lac("home").notRedialled = had, true
		n.step(Dials{OwnedConnection: closer})
		if got := n.lac("home").notRedialled; got != want {
			t.Errorf("history %d of the other LAC: not redialled %v", had, got)
		}
	}
}
