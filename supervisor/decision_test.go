package supervisor

import (
	"slices"
	"testing"
	"time"

	"xl2tpd-keepalive/probe"
	"xl2tpd-keepalive/supervisor/recovery/policy"
)

// The debug log says which rule has decided.
func TestRulesAreLogged(t *testing.T) {
	n := established(t, oneLAC, "[lac default]\nrecover = full\n")
	n.step(Ending{OwnedConnection: closer, CloseReason: why{Reason: "closed by the peer"}})
	n.links()
	n.steps(time.Minute, nil)
	if want := []string{"nobody dials", "dialled without answer", "nobody dials"}; !slices.Equal(n.rules, want) {
		t.Errorf("%q, want %q", n.rules, want)
	}
}

// A new xl2tpd dials the LACs with autodial. The SA that they need is not ended meanwhile for a LAC that may have been hung
// up.
func TestNewXl2tpdHasItsTime(t *testing.T) {
	const autodials = redials + "autodial = yes\n"
	n := established(t, autodials, "hello guard = off\n")
	n.plays(time.Minute, probe.Result{RTT: time.Millisecond}, func(Recover) error { return nil })
	n.links()
	n.steps(time.Minute, nil)
	s := n.xl2tpd(autodials)
	s.Home().Process.Pid = 101
	n.step(s)
	if got := n.steps(policy.AttemptTime-time.Second, nil); got != nil {
		t.Errorf("%v, although xl2tpd has just begun to dial", got)
	}
	if got := n.steps(10*time.Second, nil); !slices.Contains(got, policy.StepRenew) {
		t.Errorf("%v, and the SA may be what fails", got)
	}
}
