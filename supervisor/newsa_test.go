package supervisor

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"xl2tpd-keepalive/probe"
	"xl2tpd-keepalive/supervisor/recovery/policy"
	"xl2tpd-keepalive/vici"
)

// The wait for that ends by itself.
func TestOwnNewSAIsRenewedAfterItsTime(t *testing.T) {
	n := established(t, oneLAC, full)
	n.plays(time.Minute, alive, succeeds)
	n.plays(20*time.Second, probe.Result{Err: lost}, func(Recover) error { return lost })
	n.lac("tokyo").progress = policy.Progress{}
	n.took(n.lac("tokyo"), policy.StepSecure, nil, n.now)
	n.took(n.lac("tokyo"), policy.StepAsk, nil, n.now)
	n.core.lacs.agenda.mark(n.lac("tokyo"))
	n.step(Tick{})
	n.actions = nil
	if got := n.steps(policy.HelpTime-time.Second, nil); slices.Contains(got, policy.StepRenew) {
		t.Errorf("%v in its time", got)
	}
	if got := n.steps(2*time.Second, nil); !slices.Contains(got, policy.StepRenew) {
		t.Errorf("%v after its time", got)
	}
}

// While charon lists nothing, a new SA for one of two LACs is seen in charon's answer alone. What the other one's peer was
// asked before says nothing about that SA.
func TestAskedBeforeANewSA(t *testing.T) {
	for name, tc := range map[string]struct {
		step policy.Step
		err  error
		dead bool
	}{
		"renewed":              {policy.StepRenew, nil, false},
		"initiated":            {policy.StepSecure, nil, false},
		"could not be renewed": {policy.StepRenew, lost, true},
	} {
		n, _ := oneLNS(t, "", full)
		n.step(TaskFailed{Task: WatcherVICI, Err: lost})
		n.plays(20*time.Second, probe.Result{Err: lost}, func(Recover) error { return lost })
		office, home := n.lac("office"), n.lac("home")
		n.takes(office, tc.step)
		n.takes(home, policy.StepAsk)
		n.core.lacs.agenda.slotsTaken++
		n.step(StepDone{LAC: LAC{Name: "office"}, Step: tc.step, Err: tc.err})
		n.step(StepDone{LAC: LAC{Name: "home"}, Step: policy.StepAsk})
		if got := home.progress.PeerSilentSince(time.Time{}); got != tc.dead {
			t.Errorf("%s: dead %v, want %v", name, got, tc.dead)
		}
	}
}

// Without the Hello guard nobody sees xl2tpd's redial over a new SA. So the SA has the time of that redial before it is
// renewed for the other LAC.
func TestNewSAHasTheTimeOfARedial(t *testing.T) {
	for _, timeout := range []string{"15", "30", "60"} {
		n, _ := oneLNS(t, "redial = yes\nredial timeout = "+timeout+"\n", "")
		if timeout == "60" {
			n, _ = oneLNS(t, "redial = yes\nredial timeout = 60\n", full)
		}
		n.withoutGuard()
		for _, l := range []string{"office", "home"} {
			n.lac(l).had = hadOne
		}
		n.links()
		n.took(n.lac("office"), policy.StepRenew, nil, n.now)
		n.lac("office").lastEnd = &end{sure: true, failed: true}
		pause, _ := time.ParseDuration(timeout + "s")
		if got := n.core.lacs.situations.trialTime(n.lac("office")); got != pause+policy.AttemptTime {
			t.Errorf("redial timeout %s: %v", timeout, got)
		}
		n.step(Fault{What: TaskGuard})
		if got := n.core.lacs.situations.trialTime(n.lac("office")); got != policy.HelpTime {
			t.Errorf("redial timeout %s, with the guard: %v", timeout, got)
		}
	}
}

// Without the Hello guard nobody sees that an operator dials what may have been hung up. If xl2tpd redials it, its SA is
// kept in order, also after xl2tpd was replaced.
func TestSAOfADialThatNobodySees(t *testing.T) {
	for name, tc := range map[string]struct {
		more    string
		replace bool
		want    bool
	}{
		"redial":                      {"redial = yes\n", false, true},
		"redial, and a new xl2tpd":    {"redial = yes\n", true, true},
		"no redial":                   {"", false, false},
		"no redial, and a new xl2tpd": {"", true, false},
	} {
		n, _ := oneLNS(t, tc.more, full)
		n.withoutGuard()
		n.links()
		n.after(time.Minute)
		if tc.replace {
			n.replaced(tc.more, 101)
		}
		n.step(vici.Snapshot{})
		got := n.steps(10*time.Minute, nil)
		if slices.Contains(got, policy.StepSecure) != tc.want || slices.Contains(got, policy.StepDial) {
			t.Errorf("%s: the steps are %v, want no dial, and %v: %v", name, got, policy.StepSecure, tc.want)
		}
	}
}

// While charon lists nothing, xl2tpd redials one of two LACs that is refused. Its SA is not initiated for each attempt.
func TestRedialsWhileCharonListsNothing(t *testing.T) {
	for _, every := range []time.Duration{16 * time.Second, 20 * time.Second, 60 * time.Second} {
		n, _ := oneLNS(t, "redial = yes\nredial timeout = 15\n", full)
		n.step(TaskFailed{Task: WatcherVICI, Err: lost})
		n.ends(8, peerCloses)
		office, call := officeAndHome()
		call.Index, call.Up, call.Local, call.Peer = 9, false, netip.Addr{}, netip.Addr{}
		n.links(office)
		initiated := 0
		come := func(r Recover) error {
			if r.Step == policy.StepSecure || r.Step == policy.StepRenew {
				initiated++
			}
			return waits(r)
		}
		for end := n.now.Add(time.Hour); n.now.Before(end); call.Index++ {
			n.step(Dials{OwnedConnection: closer})
			n.links(office, call)
			n.plays(3*time.Second, alive, come)
			n.links(office)
			n.plays(every-3*time.Second, alive, come)
		}
		if initiated > mostAttempts {
			t.Errorf("dialled every %v: initiated %d times", every, initiated)
		}
	}
}

// xl2tpd is killed while the LNS refuses a LAC. The next step is a dial: that nobody answered the last attempt says nothing
// about the SA.
func TestXl2tpdKilledWhileTheLNSRefuses(t *testing.T) {
	for _, dials := range []int{1, 2, 4} {
		n, _ := oneLNS(t, "redial = yes\n", "")
		office, _ := officeAndHome()
		n.ends(8, peerCloses)
		n.links(office)
		n.after(time.Minute)
		for range dials {
			n.took(n.lac("home"), policy.StepDial, nil, n.now)
		}
		n.replaced("redial = yes\n", 0) // it is gone, and then its links
		n.after(time.Second)
		n.replaced("redial = yes\n", 101)
		var first policy.Step
		n.plays(10*time.Second, alive, func(r Recover) error {
			if first == policy.StepNone && r.LAC.Name == "home" && !r.Step.Asks() {
				first = r.Step
			}
			return nil
		})
		if first != policy.StepDial {
			t.Errorf("after %d dials: %q", dials, first)
		}
	}
}

// Recovery has hung a LAC up, so a link that may be of either LAC is the other one's. Its far end is asked before the SA is
// ended.
func TestLinkOfTheOtherOneIsAskedBeforeARenewal(t *testing.T) {
	for name, down := range map[string]bool{"hung up": true, "perhaps its own link": false} {
		n := ambiguousUp(t, "", "recover = full\n")
		n.step(TaskWorks{Task: TaskGuard})
		n.links(inUserspace(link("ppp0", 5, true))...)
		l, s := n.lac("home"), n.core.topology.section(n.lac("home"))
		n.now = n.now.Add(time.Second)
		if down {
			l.downAt = n.now
		}
		for _, t := range n.core.tunnels.byKey {
			t.state, t.target = Silent, addr("172.16.0.1")
		}
		r := n.core.lacs.request(l, s, n.core.lacs.candidates(l), policy.Situation{}, policy.StepRenew, n.now)
		if got := len(r.Beside) == 1 && len(r.Inside) == 0; got != down {
			t.Errorf("%s: inside %v, beside %v", name, r.Inside, r.Beside)
		}
	}
}
