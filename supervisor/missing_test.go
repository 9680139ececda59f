package supervisor

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"testing"
	"time"

	"xl2tpd-keepalive/internal/helloguard"
	"xl2tpd-keepalive/internal/xl2tpd"
	"xl2tpd-keepalive/supervisor/recovery/policy"
)

// One of two LACs that can't be told apart is down, xl2tpd redials neither, and nobody knows which one is down. Each is
// dialled, once nobody has asked for a tunnel for long: xl2tpd ignores the dial of the one that is up.
func TestMissingOneOfTwoAmbiguous(t *testing.T) {
	none, both := map[string]int{}, map[string]int{"office": 1, "home": 1}
	for _, tc := range []struct {
		name, more string
		is         func(n *fixture)
		want       map[string]int // dials
	}{
		{"nobody has hung up", "", func(*fixture) {}, both},
		{"one was perhaps hung up", "", func(n *fixture) {
			n.lac("home").possibleEnds = endList{endByOperator(helloguard.OwnedConnection{})}
		}, none},
		{"one is not wanted", "", func(n *fixture) {
			n.step(n.config("[global]\nrecover = full\n[lac home]\nrecover = off\n"))
		}, none},
		{"nobody knows whether one was ever dialled", "", func(n *fixture) {
			n.step(n.config("[global]\nrecover = auto\n"))
			n.lac("office").had, n.lac("home").had = hadOne, mayHaveHad
		}, map[string]int{"office": 1}},
		{"the last call of one was closed alone", "", func(n *fixture) {
			if l := n.lac("home"); l.missingAt.IsZero() {
				l.lastEnd = &end{Ending: Ending{CloseReason: callCloses}, Time: n.now.Add(-time.Hour), sure: true}
			}
		}, both},
		{"no guard sees what xl2tpd asks for", "", (*fixture).withoutGuard, none},
		{"xl2tpd asks for tunnels", "", func(n *fixture) { n.step(Dials{OwnedConnection: closer, Again: true}) }, none},
		{"xl2tpd asks for calls", "", func(n *fixture) { n.step(Calls{closerOf("192.0.2.1", 9)}) }, none},
		{"the other link is gone too", "", func(n *fixture) { n.links() }, none},
		{"a redial may take longer", "redial timeout = 600\n", func(*fixture) {}, none},
	} {
		n := missingOne(t, tc.more)
		dials := map[string]int{}
		for began := n.now; n.now.Sub(began) < 2*policy.MaxPause; {
			if n.now.Sub(began) > policy.MaxPause-time.Minute {
				tc.is(n)
			}
			n.plays(10*time.Second, alive, func(r Recover) error {
				if r.Step == policy.StepDial {
					if early := policy.MaxPause - n.now.Sub(began); early > 0 {
						t.Errorf("%s: dialled %v too early", tc.name, early)
					}
					dials[r.LAC.Name]++
				}
				if linked := len(n.core.tunnels.byKey) > 0; linked && (r.Step == policy.StepHangUp || r.Step == policy.StepRenew) {
					t.Errorf("%s: %v of %s", tc.name, r.Step, r.LAC.Name)
				}
				return nil
			})
		}
		if !maps.Equal(dials, tc.want) {
			t.Errorf("%s: dialled %v, want %v", tc.name, dials, tc.want)
		}
		for _, of := range []string{"office", "home"} {
			if !n.lac(of).missingAt.IsZero() {
				t.Errorf("%s: %s is still taken for down", tc.name, of)
			}
		}
	}
}

// missingOne has one link of two LACs that can't be told apart. xl2tpd could redial either, as far as is known.
func missingOne(t *testing.T, more string) *fixture {
	n := ambiguousUp(t, "redial = yes\n"+more, "recover = full\n")
	n.step(TaskWorks{Task: TaskGuard})
	n.plays(2*policy.MaxPause, alive, succeeds)
	n.ends(closer.LocalID, peerCloses)
	n.links(inUserspace(link("ppp1", 6, true))...)
	return n
}

// While the LNS can't be looked up, xl2tpd may plan redials that nobody sees.
func TestGroupWhoseLNSIsUnknown(t *testing.T) {
	var l lac
	s := &xl2tpd.Section{LNSIPs: []netip.Addr{addr("192.0.2.1")}}
	for i, tc := range []struct{ unresolved, changes bool }{{false, true}, {false, false}, {true, true}, {true, true}, {false, true}, {false, false}} {
		s.Unresolved = tc.unresolved
		now := epoch.Add(time.Duration(i+1) * time.Minute)
		l.noteGroup(&candidates{exact: make([]*tunnel, 1)}, s, now)
		if got := l.groupChangedAt.Equal(now); got != tc.changes {
			t.Errorf("%d: changed %v", i, got)
		}
	}
}

// Just before these dials the other link ends too, or xl2tpd asks for a tunnel: then xl2tpd redials, and would call twice.
func TestMissingOneIsRedialledAfterAll(t *testing.T) {
	for name, happens := range map[string]func(*fixture){
		"the other link ends":      func(n *fixture) { n.ends(8, peerCloses); n.links() },
		"xl2tpd asks for a tunnel": func(n *fixture) { n.step(Dials{OwnedConnection: closer}) },
	} {
		n := missingOne(t, "")
		for n.lac("home").missingAt.IsZero() {
			n.plays(500*time.Millisecond, alive, succeeds)
		}
		happens(n)
		n.plays(30*time.Second, alive, func(r Recover) error {
			if r.Step == policy.StepDial {
				t.Errorf("%s: %v of %s", name, r.Step, r.LAC.Name)
			}
			return nil
		})
	}
}

// beginsHangUp plays time in which no echo request is answered and no step succeeds, until recovery begins to hang up.
func (f *fixture) beginsHangUp() {
	for range 1000 {
		f.after(500 * time.Millisecond)
		for len(f.actions) > 0 {
			a := f.actions[0]
			f.actions = f.actions[1:]
			switch a := a.(type) {
			case Recover:
				if a.Step == policy.StepHangUp {
					return
				}
				f.step(StepDone{LAC: a.LAC, Step: a.Step, Err: lost})
			case ReadCounter:
				f.step(Counters{{Link: a.Link}})
			case SendEcho:
				f.step(Results{{Link: a.Link, Index: a.Index, Err: lost}})
			}
		}
	}
	f.t.Fatal("nothing is hung up")
}

// The service is restarted while it hangs a dead tunnel up, and no Hello guard works. So nobody knows whether xl2tpd redials
// it. It is hung up once more, and dialled when a redial that xl2tpd may have planned is over.
func TestRestartedDuringAHangUp(t *testing.T) {
	const wait = 30*time.Second + 2*policy.AttemptTime // of redials
	for _, tc := range []struct {
		during, guarded, linked bool
		want                    []policy.Step
	}{
		{during: true, want: []policy.Step{policy.StepHangUp, policy.StepDial}},
		{during: true, linked: true, want: []policy.Step{policy.StepHangUp, policy.StepDial}},
		{during: false},
		{during: true, guarded: true, want: []policy.Step{policy.StepDial}}, // it sees that xl2tpd does not redial
	} {
		name := fmt.Sprintf("%+v", tc)
		n := established(t, redials, "")
		n.withoutGuard()
		n.beginsHangUp()
		if !tc.during {
			n.step(StepDone{LAC: LAC{Name: "office"}, Step: policy.StepHangUp, Err: lost})
		}
		links := inUserspace(link("ppp0", 5, true))
		if !tc.linked {
			links = nil
		}
		n.restarted(n.xl2tpd(redials), secured("1"), links...)
		if n.step(TaskWorks{Task: TaskGuard}); !tc.guarded {
			n.withoutGuard()
		}
		n.after(time.Second)
		n.links()
		l := n.lac("office")
		var got []policy.Step
		var hungUp time.Time
		n.plays(10*time.Minute, alive, func(r Recover) error {
			if slices.Contains(got, policy.StepDial) {
				return nil
			}
			switch r.Step {
			case policy.StepSecure, policy.StepRenew:
				return lost
			case policy.StepHangUp:
				hungUp = n.now
			case policy.StepDial:
				if n.step(Dials{OwnedConnection: closer}); !hungUp.IsZero() && n.now.Sub(hungUp) < wait {
					t.Errorf("%s: dialled %v after the hang-up", name, n.now.Sub(hungUp))
				}
			default:
				return nil
			}
			got = append(got, r.Step)
			return nil
		})
		if !slices.Equal(got, tc.want) {
			t.Errorf("%s: %v, want %v\nrules %q, %+v", name, got, tc.want, n.rules, l.lastEnd)
		}
	}
}
