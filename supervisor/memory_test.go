package supervisor

import (
	"slices"
	"testing"
	"time"
)

// A restart of ours is none for xl2tpd, which may still hold on to a tunnel that was
// hung up: nothing is dialled through that.
func TestDyingTunnelOfBeforeARestart(t *testing.T) {
	for _, tc := range []struct {
		name   string
		buried bool
		from   time.Duration // since the tunnel's end, dialled by then
	}{
		{"xl2tpd waits for the peer", false, dyingFor},
		{"the guard has answered for the peer", true, buriedFor},
	} {
		n := established(t, redials, "")
		n.links()
		n.b.lac("office").last = &closing{sure: true, failed: true, buried: tc.buried}
		n.b.lac("office").silent, n.b.lac("office").idle = n.now, true
		n.step(n.config("[global]\nrecover = auto\n"))
		end := n.now.Add(tc.from)
		n.restarted()
		n.step(n.xl2tpd(redials))
		n.step(n.b.config)
		n.step(secured("2"))
		n.links()
		if got := n.steps(end.Sub(n.now), nil); slices.Contains(got, StepDial) {
			t.Errorf("%s: %v within %v", tc.name, got, tc.from)
		}
		if got := n.steps(2*grace, nil); !slices.Contains(got, StepDial) {
			t.Errorf("%s: only %v after that", tc.name, got)
		}
	}
}
