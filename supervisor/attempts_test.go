package supervisor

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"xl2tpd-keepalive/probe"
	"xl2tpd-keepalive/vici"
)

// Recovery tries less and less often: at most 30 dials and 30 initiations in an hour. It ends no IKE SA for a fault of
// PPP. The table is that of docs/recovery.md (go test -v).
func TestAttemptsInAnHour(t *testing.T) {
	refused := errors.New("no proposal chosen")
	table := []string{
		"| trouble | `redial` | dials by recover | IKE SAs initiated | IKE SAs ended |",
		"|---|---|---|---|---|",
	}
	for _, tc := range []struct {
		name string
		sa   bool // there is an SA
		come func(Recover) error
	}{
		{"wrong password, or the call is refused", true, func(r Recover) error {
			if r.Step == StepRenew && !r.LastAttempt.IsZero() {
				return ErrAnswers
			}
			return nil
		}},
		{"IKE is refused", false, func(r Recover) error {
			if r.Step == StepSecure || r.Step == StepRenew {
				return refused
			}
			return nil
		}},
		{"the LNS is away", false, func(r Recover) error {
			if r.Step == StepSecure || r.Step == StepRenew || r.Step == StepLook {
				return lost
			}
			return nil
		}},
		{"the LNS answers IKE, and no L2TP", true, func(r Recover) error { return nil }},
	} {
		for _, redial := range []time.Duration{0, 15 * time.Second, 30 * time.Second} {
			conf, keepalive := oneLAC, "[lac default]\nrecover = full\n"
			if redial > 0 {
				conf, keepalive = oneLAC+fmt.Sprintf("redial = yes\nredial timeout = %d\n", redial/time.Second), ""
			}
			n := established(t, conf, keepalive)
			n.plays(time.Minute, probe.Result{RTT: time.Millisecond}, func(Recover) error { return nil })
			n.step(Ending{Tunnel: closer, CloseReason: why{Reason: "closed by the peer"}})
			n.links()
			if !tc.sa {
				n.step(vici.Snapshot{})
			}
			count := map[string]int{}
			come := func(r Recover) error {
				err := tc.come(r)
				if redial > 0 && r.Step == StepRedial {
					return ErrRedialsLater
				}
				switch {
				case r.Step == StepDial, r.Step == StepRedial:
					count["dials"]++
				case r.Step == StepSecure:
					count["initiated"]++
				case r.Step == StepRenew && !errors.Is(err, ErrAnswers):
					count["initiated"]++
					count["ended"]++
				}
				return err
			}
			if redial > 0 {
				n.attempts(time.Hour, redial+5*time.Second, come)
			} else {
				n.plays(time.Hour, probe.Result{Err: lost}, come)
			}
			called := "no"
			if redial > 0 {
				called = redial.String()
			}
			table = append(table, fmt.Sprintf("| %s | %s | %d | %d | %d |", tc.name, called, count["dials"], count["initiated"], count["ended"]))
			if count["dials"] > 30 || count["initiated"] > 30 || strings.HasPrefix(tc.name, "wrong") && count["ended"] > 0 {
				t.Errorf("%s, redial %s: %v", tc.name, called, count)
			}
		}
	}
	if !slices.ContainsFunc(table, func(row string) bool { return strings.Contains(row, "| no | ") }) {
		t.Fatal("nothing was played")
	}
	t.Log("\n" + strings.Join(table, "\n"))
}
