package supervisor

import (
	"slices"
	"testing"
	"time"

	"xl2tpd-keepalive/hook"
	"xl2tpd-keepalive/vici"
)

func TestHook(t *testing.T) {
	n := newBench(t, oneLAC, "[global]\nhook = /bin/tell\n")
	l := link("ppp0", 5, true)
	n.links(l)
	n.counter(l, 70)
	n.result(l, nil)
	for range 3 {
		n.after(11 * time.Second)
		n.counter(l, 70)
		n.result(l, lost)
	}
	n.after(11 * time.Second)
	n.counter(l, 70)
	n.result(l, nil)
	n.links()

	var got []hook.Event
	for _, a := range n.actions {
		if call, ok := a.(CallHook); ok {
			got = append(got, call.Event)
		}
	}
	var want []hook.Event
	for _, e := range []struct{ name, reason string }{
		{hook.Up, ""},
		{hook.Alive, "echo reply in 12ms"},
		{hook.Silent, "3 echo requests unanswered: no answer"},
		{hook.Alive, "echo reply in 12ms"},
		{hook.Down, "the link is gone"},
	} {
		want = append(want, hook.Event{
			Path: "/bin/tell", Name: e.name, Tunnel: "lac tokyo", Peer: addr("192.0.2.1"),
			Link: "ppp0", Local: addr("10.0.0.2"), Remote: addr("10.0.0.1"), Reason: e.reason,
		})
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

// Nobody is told of a tunnel that is left alone, or whose section has no hook.
func TestNoHook(t *testing.T) {
	for _, text := range []string{"[global]\nhook = /bin/tell\nkeepalive = no\n", "[global]\nhook = /bin/tell\n[lac tokyo]\nhook = off\n"} {
		n := newBench(t, oneLAC, text)
		n.links(link("ppp0", 5, true))
		n.links()
		for _, a := range n.actions {
			if call, ok := a.(CallHook); ok {
				t.Errorf("%q: %+v", text, call)
			}
		}
	}
}

// Of recovery it is told what was done, not what was tried in vain.
func TestHookOfRecovery(t *testing.T) {
	for _, err := range []error{nil, lost} {
		n := established(t, redials, "hook = /bin/tell\n")
		n.step(vici.Snapshot{})
		n.links()
		n.actions = nil
		var steps []Step
		var got []hook.Event
		for end := n.now.Add(12 * time.Second); n.now.Before(end); n.after(500 * time.Millisecond) {
			for len(n.actions) > 0 {
				a := n.actions[0]
				n.actions = n.actions[1:]
				switch a := a.(type) {
				case Recover:
					steps = append(steps, a.Step)
					n.step(Recovered{LAC: a.LAC, Step: a.Step, Err: err})
				case CallHook:
					got = append(got, a.Event)
				}
			}
		}
		want := hook.Event{Path: "/bin/tell", Name: hook.Recover, Tunnel: "lac office", Peer: addr("192.0.2.1"), Reason: StepSecure.String()}
		if len(steps) == 0 || err == nil && (len(got) == 0 || got[0] != want) || err != nil && len(got) > 0 {
			t.Errorf("steps %v that end with %v: told %+v", steps, err, got)
		}
	}
}
