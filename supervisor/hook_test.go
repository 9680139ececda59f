package supervisor

import (
	"slices"
	"testing"
	"time"

	"xl2tpd-keepalive/internal/hook"
	"xl2tpd-keepalive/supervisor/recovery/policy"
	"xl2tpd-keepalive/vici"
)

func TestHook(t *testing.T) {
	n := newFixture(t, oneLAC, "[global]\nhook = /bin/tell\n")
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
	if !slices.Equal(n.told, want) {
		t.Errorf("got  %+v\nwant %+v", n.told, want)
	}
}

// No hook is called for a tunnel that is left alone, or whose section has no hook.
func TestNoHook(t *testing.T) {
	for _, text := range []string{"[global]\nhook = /bin/tell\nkeepalive = no\n", "[global]\nhook = /bin/tell\n[lac tokyo]\nhook = off\n"} {
		n := newFixture(t, oneLAC, text)
		n.links(link("ppp0", 5, true))
		n.links()
		if len(n.told) > 0 {
			t.Errorf("%q: got %+v, want no call", text, n.told)
		}
	}
}

// The hook is called for a step of recovery that has succeeded, and not for one that has failed.
func TestHookOfRecovery(t *testing.T) {
	for _, err := range []error{nil, lost} {
		n := established(t, redials, "hook = /bin/tell\n")
		n.step(vici.Snapshot{})
		n.links()
		n.actions, n.told = nil, nil
		steps := n.steps(12*time.Second, err)
		got := n.told
		want := hook.Event{Path: "/bin/tell", Name: hook.Recover, Tunnel: "lac office", Peer: addr("192.0.2.1"), Reason: policy.StepSecure.String()}
		if len(steps) == 0 || err == nil && (len(got) == 0 || got[0] != want) || err != nil && len(got) > 0 {
			t.Errorf("steps %v that end with %v: told %+v", steps, err, got)
		}
	}
}
