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

// charon initiates, and does not list what it has: the SA is not initiated again and again, and the
// tunnel is dialled.
func TestInitiatedButNotListed(t *testing.T) {
	n := established(t, oneLAC, "[lac default]\nrecover = full\n")
	n.plays(time.Minute, probe.Result{RTT: time.Millisecond}, func(Recover) error { return nil })
	n.step(TaskFailed{Task: EyeVICI, Err: errors.New("no answer within 10s")})
	n.step(Ending{Tunnel: closer, Reason: "closed by the peer"})
	n.links()
	var all []Step
	n.plays(time.Hour, probe.Result{Err: lost}, func(r Recover) error {
		if !r.Step.asks() {
			all = append(all, r.Step)
		}
		return nil
	})
	count := map[Step]int{}
	for _, s := range all {
		count[s]++
	}
	if count[StepSecure] > 3 || count[StepDial] == 0 || count[StepDial]+count[StepRedial] > 30 {
		t.Errorf("%v", all)
	}
}
