package supervisor

import (
	"errors"
	"testing"
	"time"

	"xl2tpd-keepalive/probe"
)

// While charon does not say what there is, no step carries an id of before: a charon that was
// restarted gives its ids anew.
func TestNoIDOfAnEarlierCharon(t *testing.T) {
	n := established(t, redials, "[lac default]\nrecover = full\n")
	n.plays(time.Minute, probe.Result{RTT: time.Millisecond}, func(Recover) error { return nil })
	n.step(TaskFailed{Task: EyeVICI, Err: errors.New("connection refused")})
	renewed := 0
	n.plays(10*time.Minute, probe.Result{Err: lost}, func(r Recover) error {
		if r.SA != "" {
			t.Errorf("%+v", r)
		}
		if r.Step == StepRenew {
			renewed++
		}
		return lost
	})
	if renewed == 0 {
		t.Error("the SA is never renewed, so nothing was shown")
	}
}
