package supervisor

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"xl2tpd-keepalive/internal/helloguard"
)

// One of two LACs that can't be told apart is down, xl2tpd redials neither, and nobody knows which one is down. Each is
// dialled, once nobody has asked for a tunnel for long: xl2tpd ignores the dial of the one that is up.
func TestMissingOneOfTwoAmbiguous(t *testing.T) {
	for _, tc := range []struct {
		name string
		is   func(n *fixture)
		want bool
	}{
		{"nobody has hung up", func(*fixture) {}, true},
		{"one was perhaps hung up", func(n *fixture) {
			n.lac("home").possibleEnd = endByOperator(helloguard.OwnedConnection{})
		}, false},
		{"one is not wanted", func(n *fixture) {
			n.step(n.config("[global]\nrecover = full\n[lac home]\nrecover = off\n"))
		}, false},
		{"no guard sees what xl2tpd asks for", (*fixture).withoutGuard, false},
		{"xl2tpd asks for tunnels", func(n *fixture) { n.step(Dials{Peer: closer.Peer.Addr(), Again: true}) }, false},
		{"xl2tpd asks for calls", func(n *fixture) { n.step(Calls{closerOf("192.0.2.1", 9)}) }, false},
		{"the other link is gone too", func(n *fixture) { n.links() }, false},
	} {
		n := ambiguousUp(t, "redial = yes\n", "recover = full\n")
		n.step(TaskWorks{Task: TaskGuard})
		n.plays(2*maxPause, alive, succeeds)
		n.ends(closer.LocalID, peerCloses)
		n.links(inUserspace(link("ppp1", 6, true))...)
		for _, of := range []string{"office", "home"} { // somebody's redial was taken for that of the other one
			n.lac(of).notRedialled = false
		}
		dials := map[string]int{}
		for began := n.now; n.now.Sub(began) < 2*maxPause; {
			if n.now.Sub(began) > maxPause-time.Minute {
				tc.is(n)
			}
			n.plays(10*time.Second, alive, func(r Recover) error {
				if r.Step == StepDial {
					if early := maxPause - n.now.Sub(began); early > 0 {
						t.Errorf("%s: dialled %v too early", tc.name, early)
					}
					dials[r.LAC.Name]++
				}
				if linked := len(n.core.tunnels.byKey) > 0; linked && (r.Step == StepHangUp || r.Step == StepRenew) {
					t.Errorf("%s: %v of %s", tc.name, r.Step, r.LAC.Name)
				}
				return nil
			})
		}
		if got := dials["office"] == 1 && dials["home"] == 1; got != tc.want || len(dials) > 0 && !tc.want {
			t.Errorf("%s: dialled %v, want a dial of each: %v", tc.name, dials, tc.want)
		}
	}
}

// beginsHangUp plays time in which no echo request is answered and no step succeeds, until recovery begins to hang up.
func (n *fixture) beginsHangUp() {
	for range 1000 {
		n.after(500 * time.Millisecond)
		for len(n.actions) > 0 {
			a := n.actions[0]
			n.actions = n.actions[1:]
			switch a := a.(type) {
			case Recover:
				if a.Step == StepHangUp {
					return
				}
				n.step(StepDone{LAC: a.LAC, Step: a.Step, Err: lost})
			case ReadCounter:
				n.step(Counters{{Link: a.Link}})
			case SendEcho:
				n.step(Results{{Link: a.Link, Index: a.Index, Err: lost}})
			}
		}
	}
	n.t.Fatal("nothing is hung up")
}

// The service is restarted while it hangs a dead tunnel up, and no Hello guard works. So nobody knows whether xl2tpd redials
// it. It is hung up once more, and dialled when a redial that xl2tpd may have planned is over.
func TestRestartedDuringAHangUp(t *testing.T) {
	const wait = 30*time.Second + 2*answerTime // of redials
	for _, tc := range []struct {
		during, guarded, linked bool
		want                    []Step
	}{
		{during: true, want: []Step{StepHangUp, StepDial}},
		{during: true, linked: true, want: []Step{StepHangUp, StepDial}},
		{during: false},
		{during: true, guarded: true, want: []Step{StepDial}}, // it sees that xl2tpd does not redial
	} {
		name := fmt.Sprintf("%+v", tc)
		n := established(t, redials, "")
		n.withoutGuard()
		n.beginsHangUp()
		l := n.lac("office")
		if !tc.during {
			n.step(StepDone{LAC: LAC{Name: "office"}, Step: StepHangUp, Err: lost})
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
		l = n.lac("office")
		var got []Step
		var hungUp time.Time
		n.plays(10*time.Minute, alive, func(r Recover) error {
			if slices.Contains(got, StepDial) {
				return nil
			}
			switch r.Step {
			case StepSecure, StepRenew:
				return lost
			case StepHangUp:
				hungUp = n.now
			case StepDial:
				if n.step(Dials{Peer: closer.Peer.Addr()}); !hungUp.IsZero() && n.now.Sub(hungUp) < wait {
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
