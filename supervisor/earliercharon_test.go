package supervisor

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"xl2tpd-keepalive/probe"
	"xl2tpd-keepalive/supervisor/recovery/policy"
	"xl2tpd-keepalive/vici"
)

// While charon can't be asked, no step has an earlier id of an SA: a restarted charon reuses the ids.
func TestNoIDOfAnEarlierCharon(t *testing.T) {
	n := established(t, redials, "[lac default]\nrecover = full\n")
	n.plays(time.Minute, probe.Result{RTT: time.Millisecond}, func(Recover) error { return nil })
	n.step(TaskFailed{Task: WatcherVICI, Err: errors.New("connection refused")})
	renewed := 0
	n.plays(10*time.Minute, probe.Result{Err: lost}, func(r Recover) error {
		if r.SA != "" {
			t.Errorf("got %+v, want no SA", r)
		}
		if r.Step == policy.StepRenew {
			renewed++
		}
		return lost
	})
	if renewed == 0 {
		t.Error("the SA is never renewed, so nothing was shown")
	}
}

// A restarted charon gives the earlier id to another IKE SA. The step then has the new id of L2TP's own SA, or none.
func TestIDOfARestartedCharon(t *testing.T) {
	site := vici.SA{Name: "site", UniqueID: "1", State: "ESTABLISHED", RemoteHost: netip.MustParseAddrPort("192.0.2.1:4500"),
		Children: []vici.Child{{State: "INSTALLED", Mode: "TUNNEL", RemoteTS: []string{"10.1.0.0/16"}}}}
	both := secured("2")
	both.SAs = append(both.SAs, site)
	exchanged, other := secured("1"), site
	other.UniqueID = "2"
	exchanged.SAs = append(exchanged.SAs, other)
	for name, tc := range map[string]struct {
		is   vici.Snapshot
		want string
	}{
		"L2TP's SA is back": {both, "2"}, "it is not": {vici.Snapshot{SAs: []vici.SA{site}}, ""}, "with its earlier id": {exchanged, "1"},
	} {
		n := established(t, redials, "[lac default]\nrecover = full\n")
		n.plays(time.Minute, probe.Result{RTT: time.Millisecond}, func(Recover) error { return nil })
		n.step(TaskFailed{Task: WatcherVICI, Err: errors.New("connection refused")})
		n.plays(70*time.Second, probe.Result{Err: lost}, func(Recover) error { return nil })
		n.step(tc.is)
		steps := 0
		n.plays(10*time.Minute, probe.Result{Err: lost}, func(r Recover) error {
			if steps++; r.SA != tc.want {
				t.Errorf("%s: %v with the SA %q", name, r.Step, r.SA)
			}
			return lost
		})
		if steps == 0 {
			t.Errorf("%s: no step", name)
		}
	}
}

// charon initiates, but does not list its SAs. Recovery initiates the SA once for each dial: charon may have dropped it
// after the last one.
func TestInitiatedButNotListed(t *testing.T) {
	for name, tc := range map[string]struct {
		conf   string
		reason why
		dials  policy.Step
	}{
		"the peer closes":              {oneLAC, why{Reason: "closed by the peer"}, policy.StepDial},
		"the peer was silent":          {oneLAC, why{Reason: "Hello unanswered", Unanswered: true}, policy.StepDial},
		"the peer closes, with redial": {redials, why{Reason: "closed by the peer"}, policy.StepRedial},
	} {
		n := established(t, tc.conf, "[lac default]\nrecover = full\n")
		n.plays(time.Minute, probe.Result{RTT: time.Millisecond}, func(Recover) error { return nil })
		n.step(TaskFailed{Task: WatcherVICI, Err: errors.New("no answer within 10s")})
		n.step(Ending{OwnedConnection: closer, CloseReason: tc.reason})
		n.links()
		var all []policy.Step
		n.plays(time.Hour, probe.Result{Err: lost}, func(r Recover) error {
			if !r.Step.Asks() {
				all = append(all, r.Step)
			}
			return nil
		})
		count := map[policy.Step]int{}
		for _, s := range all {
			count[s]++
		}
		if count[policy.StepSecure]+count[policy.StepRenew] > count[tc.dials]+2 || count[tc.dials] == 0 || count[policy.StepDial]+count[policy.StepRedial] > 30 {
			t.Errorf("%s: the steps are %v, want %v, at most 30 times, and hardly another", name, all, tc.dials)
		}
	}
}

// While charon lists nothing, each dial follows an initiate that has just succeeded: charon may have dropped an earlier
// SA.
func TestNoDialAfterAnOldInitiate(t *testing.T) {
	n := established(t, oneLAC, "[lac default]\nrecover = full\n")
	n.step(TaskFailed{Task: WatcherVICI, Err: errors.New("no answer within 10s")})
	n.step(Ending{OwnedConnection: closer, CloseReason: why{Reason: "closed by the peer"}})
	n.links()
	var initiated time.Time
	dials := 0
	n.plays(time.Hour, probe.Result{Err: lost}, func(r Recover) error {
		switch r.Step {
		case policy.StepSecure, policy.StepRenew:
			initiated = n.now
		case policy.StepDial, policy.StepRedial:
			if dials++; n.now.Sub(initiated) > unlistedTime {
				t.Errorf("%v %v after the latest initiate", r.Step, n.now.Sub(initiated))
			}
		}
		return nil
	})
	if dials == 0 || dials > mostAttempts {
		t.Errorf("%d dials", dials)
	}
}

// While charon negotiates, recovery does not initiate the same CHILD SA. It does once charon has had its time.
func TestWhileCharonConnects(t *testing.T) {
	for connecting, want := range map[bool]time.Duration{true: connectTime, false: policy.Grace} {
		n := newFixture(t, oneLAC, "[lac default]\nrecover = full\n")
		sas := vici.Snapshot{}
		if connecting {
			sas.SAs = []vici.SA{{Name: "tokyo", UniqueID: "1", State: "CONNECTING", RemoteHost: netip.MustParseAddrPort("192.0.2.1:500")}}
		}
		n.step(sas)
		n.links()
		began := n.now
		n.step(Dials{OwnedConnection: closer})
		var first time.Duration
		n.plays(30*time.Second, probe.Result{Err: lost}, func(r Recover) error {
			if r.Step == policy.StepSecure && first == 0 {
				first = n.now.Sub(began)
			}
			return lost
		})
		if first < want || first > want+time.Second {
			t.Errorf("connecting %v: initiated after %v, want %v", connecting, first, want)
		}
	}
}
