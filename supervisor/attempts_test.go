package supervisor

import (
	"errors"
	"fmt"
	"maps"
	"testing"
	"time"

	"xl2tpd-keepalive/internal/ppp"
	"xl2tpd-keepalive/probe"
	"xl2tpd-keepalive/supervisor/recovery/policy"
	"xl2tpd-keepalive/vici"
)

// trouble is a fault that nothing on this host can repair.
type trouble struct {
	name    string
	sa      bool                // there is an SA
	refuses bool                // the LNS answers each attempt, and refuses it
	calls   bool                // an attempt leads to a call, in which PPP fails
	come    func(Recover) error // of each step
}

var troubles = []trouble{
	{"wrong-password", true, true, true, theLNSAnswers},
	{"refused-call", true, true, false, theLNSAnswers},
	{"refused-IKE", false, false, false, func(r Recover) error {
		if r.Step == policy.StepSecure || r.Step == policy.StepRenew {
			return errors.New("no proposal chosen")
		}
		return nil
	}},
	{"away", false, false, false, func(r Recover) error {
		if r.Step == policy.StepSecure || r.Step == policy.StepRenew || r.Step == policy.StepLook {
			return lost
		}
		return nil
	}},
	{"IKE-alone", true, false, false, func(Recover) error { return nil }},
}

// theLNSAnswers is the result of a step if the LNS answers each attempt over the SA.
func theLNSAnswers(r Recover) error {
	if r.Step == policy.StepRenew && !r.LastAttempt.IsZero() {
		return policy.ErrAnswers
	}
	return nil
}

// hourOf is the first hour of a trouble.
type hourOf struct {
	*fixture
	trouble
	redial    time.Duration // of xl2tpd; 0: it does not
	userspace bool
	index     int
	callEnds  time.Time     // zero: there is no call
	dialledAt time.Time     // the latest dial of recovery
	longest   time.Duration // between two dials
	count     map[string]int
}

// link shows the link of the tunnel or call; 0: there is none.
func (h *hourOf) link(index int, up bool) {
	var all []ppp.Link
	if index > 0 {
		all = []ppp.Link{link("ppp0", index, up)}
	}
	if h.userspace {
		all = inUserspace(all...)
	}
	h.links(all...)
}

// attempt is what comes of a dial.
func (h *hourOf) attempt() {
	if h.step(Dials{OwnedConnection: closer}); h.calls {
		h.index++
		h.link(h.index, false)
		h.callEnds = h.now.Add(3 * time.Second)
	}
}

func (h *hourOf) ends() {
	h.step(Ending{OwnedConnection: closer, CloseReason: why{Reason: "closed by the peer"}})
	h.link(0, false)
}

// takes counts a step of recovery, and returns its result.
func (h *hourOf) takes(r Recover) error {
	err := h.come(r)
	switch {
	case r.Step == policy.StepRedial && h.redial > 0:
		return policy.ErrRedialsLater
	case r.Step == policy.StepDial, r.Step == policy.StepRedial:
		h.count["dials"]++
		if !h.dialledAt.IsZero() {
			h.longest = max(h.longest, h.now.Sub(h.dialledAt))
		}
		h.dialledAt = h.now
		h.attempt()
	case r.Step == policy.StepSecure:
		h.count["initiated"]++
	case r.Step == policy.StepRenew && !errors.Is(err, policy.ErrAnswers):
		h.count["initiated"]++
		h.count["ended"]++
	}
	return err
}

func (h *hourOf) play() {
	h.link(1, true)
	h.step(secured("1"))
	h.plays(time.Minute, probe.Result{RTT: time.Millisecond}, h.takes)
	if h.ends(); !h.sa {
		h.step(vici.Snapshot{})
	}
	redials := h.now.Add(h.redial)
	for end := h.now.Add(time.Hour); h.now.Before(end); {
		if h.redial > 0 && !h.now.Before(redials) {
			h.attempt()
			redials = h.now.Add(h.redial + 5*time.Second)
		}
		if !h.callEnds.IsZero() && !h.now.Before(h.callEnds) {
			h.callEnds = time.Time{}
			h.ends()
		}
		h.plays(time.Second, probe.Result{Err: lost}, h.takes)
	}
}

// Recovery tries less and less often, in kernel mode as in userspace mode: at most 30 dials and 30 initiations in an hour. It
// ends no IKE SA for a fault of PPP, and a step that leaves the SA alone costs no pause. docs/recovery.md has the figures (make attempts).
func TestAttemptsInAnHour(t *testing.T) {
	for _, tr := range troubles {
		for _, redial := range []time.Duration{0, 15 * time.Second, 30 * time.Second} {
			conf, keepalive := oneLAC, "[global]\nrecover = auto\n[lac default]\nrecover = full\n"
			if redial > 0 {
				conf, keepalive = oneLAC+fmt.Sprintf("redial = yes\nredial timeout = %d\n", redial/time.Second), "[global]\nrecover = auto\n"
			}
			name := fmt.Sprintf("%s.%.0f", tr.name, redial.Seconds())
			var counts []map[string]int
			for _, userspace := range []bool{false, true} {
				h := &hourOf{fixture: newFixture(t, conf, keepalive), trouble: tr, redial: redial, userspace: userspace, index: 1, count: map[string]int{}}
				h.play()
				if tr.refuses && h.longest > policy.MaxPause+policy.AttemptTime {
					t.Errorf("%s: %v between two dials", name, h.longest)
				}
				counts = append(counts, h.count)
			}
			count := counts[0]
			if !maps.Equal(count, counts[1]) {
				t.Errorf("%s: %v in kernel mode, %v in userspace mode", name, count, counts[1])
			}
			for _, what := range []string{"dials", "initiated", "ended"} {
				if t.Attr(name+"."+what, fmt.Sprint(count[what])); count[what] > 30 {
					t.Errorf("%s: %s %d times", name, what, count[what])
				}
			}
			if tr.refuses && count["ended"] > 0 || redial > 0 && count["dials"] > 0 || redial == 0 && tr.sa && count["dials"] == 0 {
				t.Errorf("%s: a call was ended or dialled that should not be, or none was dialled: %v", name, count)
			}
		}
	}
}
