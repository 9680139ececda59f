package supervisor

import (
	"slices"
	"testing"
	"time"

	"xl2tpd-keepalive/internal/config"
	"xl2tpd-keepalive/supervisor/recovery/policy"
)

// xl2tpd may still keep a tunnel that was hung up before this service was restarted: no call is dialled inside it.
func TestDyingTunnelOfBeforeARestart(t *testing.T) {
	for _, tc := range []struct {
		name      string
		stopAcked bool
		from      time.Duration // since the tunnel's end, dialled by then
	}{
		{"xl2tpd waits for the peer", false, closingTime},
		{"the guard has answered for the peer", true, ackedClosingTime},
	} {
		n := established(t, redials, "")
		n.links()
		n.lac("office").lastEnd = &end{Ending: Ending{CloseReason: why{StopAcked: tc.stopAcked}}, sure: true, failed: true}
		n.lac("office").silentAt, n.lac("office").notRedialled = n.now, true
		n.step(n.config("[global]\nrecover = auto\n"))
		end := n.now.Add(tc.from)
		n.restarted(n.xl2tpd(redials), secured("2"))
		if got := n.steps(end.Sub(n.now), nil); slices.Contains(got, policy.StepDial) {
			t.Errorf("%s: %v within %v", tc.name, got, tc.from)
		}
		if got := n.steps(2*policy.Grace, nil); !slices.Contains(got, policy.StepDial) {
			t.Errorf("%s: only %v after that", tc.name, got)
		}
	}
}

// A LAC that was hung up is reported as such, also after a restart. One that may have been is not.
func TestHungUpIsReported(t *testing.T) {
	for _, tc := range []struct {
		ends *Ending
		want string
	}{
		{&Ending{CloseReason: why{Reason: "hung up", Operator: true}}, "stays down until it is dialled again"},
		{nil, "xl2tpd redials, unless it was hung up"},
	} {
		n := established(t, redials, "")
		if tc.ends != nil {
			tc.ends.OwnedConnection = closer
			n.step(*tc.ends)
		}
		n.links()
		n.after(2 * policy.ReasonDelay)
		for range 2 {
			all := n.status()
			if len(all) != 1 || all[0].Doing.String() != tc.want || all[0].ByHand != (tc.ends != nil) {
				t.Errorf("%+v: the status is %+v, want one tunnel, %s", tc.ends, all, tc.want)
			}
			n.restarted(n.xl2tpd(redials), secured("1"))
		}
	}
}

// If xl2tpd was restarted together with this service, or while it did not run, the tunnels are gone.
func TestXl2tpdRestartedToo(t *testing.T) {
	for pid, want := range map[int]bool{200: true, 100: false} {
		n := established(t, redials, "")
		n.after(time.Minute)
		s := n.xl2tpd(redials)
		s.Home().Process.Pid = pid
		n.restarted(s, secured("2"))
		if got := n.steps(10*time.Minute, nil); slices.Contains(got, policy.StepDial) != want {
			t.Errorf("pid %d: %v", pid, got)
		}
		if want {
			continue
		}
		// It ended while this service did not run, so its end has no reason: a later xl2tpd does not matter.
		s.Home().Process.Pid = 200
		n.step(s)
		if got := n.steps(10*time.Minute, nil); got != nil {
			t.Errorf("a later xl2tpd: %v", got)
		}
	}
}

// If the clock was set back, saved times that lie in the future are not waited for.
func TestClockSetBackBeforeARestart(t *testing.T) {
	n := established(t, oneLAC, "[lac default]\nrecover = full")
	n.step(Ending{OwnedConnection: closer, CloseReason: why{Reason: "Hello unanswered", Unanswered: true}})
	n.links()
	n.after(time.Second)
	n.now = n.now.Add(-2 * time.Hour)
	n.restarted(n.xl2tpd(oneLAC), secured("2"))
	if got := n.steps(5*time.Minute, nil); !slices.Contains(got, policy.StepDial) {
		t.Errorf("got %v, want a dial", got)
	}
}

// A LAC that was only taken for down, because one of those like it is, may be up. After a restart xl2tpd may redial it.
func TestTakenForDownIsNotSavedAsIdle(t *testing.T) {
	for name, missing := range map[string]bool{"it is down": false, "it was only taken for down": true} {
		n := established(t, redials, "[lac default]\nrecover = full\n")
		n.step(Ending{OwnedConnection: closer, CloseReason: why{Reason: "closed by the peer"}})
		n.links()
		l := n.lac("office")
		if l.notRedialled = true; missing {
			l.missingAt = n.now
		}
		n.core.lacs.save(l)
		if m, _ := n.core.SavedState(); len(m.LACs) != 1 || m.LACs[0].Idle == missing {
			t.Errorf("%s: saved %+v", name, m.LACs)
		}
	}
}

// Of several LACs with one LNS one is up, and another one is being dialled. After a restart the attempt still counts.
func TestAttemptBesideALinkIsSaved(t *testing.T) {
	n := established(t, redials, "")
	l := n.lac("office")
	l.had, l.attemptAt = hadOne, n.now
	n.core.lacs.save(l)
	m, _ := n.core.SavedState()
	next := New(config.Default(""), func() float64 { return 0 })
	next.Restore(m, n.now)
	if got := next.lacs.ensureLAC(name{"lac", "office", ""}).attemptAt; !got.Equal(n.now) {
		t.Errorf("the attempt began at %v, want %v", got, n.now)
	}
}
