package supervisor

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"xl2tpd-keepalive/probe"
	"xl2tpd-keepalive/supervisor/recovery/policy"
	"xl2tpd-keepalive/vici"
)

var noSAs vici.Snapshot

const autodialled = oneLAC + "autodial = yes\n"

// restartedWithCharon restarts the service, and charon, which has not loaded its connections.
func (f *fixture) restartedWithCharon(pid int, up bool) {
	s := f.xl2tpd(autodialled)
	s.Home().Process.Pid = pid
	if up {
		f.restarted(s, noSAs, link("ppp0", 5, true))
	} else {
		f.restarted(s, noSAs)
	}
	f.step(TaskWorks{Task: TaskGuard})
}

// redialledWithoutSA ends the tunnel while charon lists no SA. Another one comes up.
func (f *fixture) redialledWithoutSA() {
	f.step(noSAs)
	f.step(Ending{OwnedConnection: closer, CloseReason: peerCloses})
	f.links()
	f.after(500 * time.Millisecond)
	f.links(link("ppp0", 6, true))
}

// connections plays time in which charon has no connections, and the executor's answer is as the step's own connection says.
// It returns the connections of the steps that ask charon for an SA, and whether there was a dial.
func (f *fixture) connections(d time.Duration) (all []string, dials bool) {
	f.plays(d, probe.Result{Err: lost}, func(r Recover) error {
		switch r.Step {
		case policy.StepSecure, policy.StepRenew:
			if !slices.Contains(all, r.IKE) {
				all = append(all, r.IKE)
			}
			if r.IKE == "" {
				return policy.ErrNoConnection
			}
			return errors.New("strongSwan has no connection for the LNS any more")
		case policy.StepDial, policy.StepRedial:
			dials = true
		}
		return nil
	})
	return all, dials
}

// Whatever was restarted, and however often: nothing is dialled in the clear where strongSwan had a connection.
func TestConnectionIsNotForgotten(t *testing.T) {
	operator := Ending{OwnedConnection: closer, CloseReason: operatorEnds}
	failed := Ending{OwnedConnection: closer, CloseReason: peerCloses}
	for name, then := range map[string]func(*fixture){
		"charon is restarted": func(n *fixture) {
			n.step(noSAs)
			n.plays(time.Hour, alive, func(Recover) error { return lost })
		},
		"charon is restarted, and the tunnel comes up again": func(n *fixture) {
			n.redialledWithoutSA()
			n.lives(time.Hour)
		},
		"the service too": func(n *fixture) { n.restartedWithCharon(100, true) },
		"the service too, some times": func(n *fixture) {
			for range 3 {
				n.restartedWithCharon(100, true)
				n.lives(time.Minute)
			}
		},
		"all are restarted": func(n *fixture) { n.restartedWithCharon(200, false) },
		"the tunnel ends meanwhile": func(n *fixture) {
			n.restartedWithCharon(100, false)
			n.restartedWithCharon(100, false)
		},
		"it is being recovered": func(n *fixture) {
			n.step(failed)
			n.links()
			n.after(time.Second)
			n.restartedWithCharon(100, false)
		},
		"it was hung up, and is dialled again": func(n *fixture) {
			n.step(operator)
			n.links()
			n.after(time.Minute)
			n.restartedWithCharon(100, false)
			n.after(time.Minute)
			n.step(Dials{OwnedConnection: closer})
		},
		"it was hung up, and xl2tpd is restarted": func(n *fixture) {
			n.step(operator)
			n.links()
			n.after(time.Minute)
			n.restartedWithCharon(200, false)
			n.step(Dials{OwnedConnection: closer})
		},
		"another SA has no children": func(n *fixture) {
			site := secured("2")
			site.SAs[0].Name, site.SAs[0].Children = "site", nil
			n.redialledWithoutSA()
			n.step(site)
			n.lives(time.Minute)
			n.step(noSAs)
		},
		"charon is away for days": func(n *fixture) {
			n.redialledWithoutSA()
			n.step(TaskFailed{Task: WatcherVICI, Err: lost})
			n.lives(2 * inClearTime)
			n.step(TaskWorks{WatcherVICI})
			n.step(noSAs)
		},
	} {
		n := established(t, autodialled, full)
		n.step(TaskWorks{Task: TaskGuard})
		n.lives(time.Minute)
		then(n)
		n.step(failed)
		n.links()
		if got, dials := n.connections(10 * time.Minute); dials || !slices.Equal(got, []string{"tokyo"}) {
			t.Errorf("%s: dialled %v, with the connections %q", name, dials, got)
		}
	}
}

// A LAC of which only the connection is known had no tunnel: after a restart it is as little wanted as before.
func TestConnectionAloneIsNoTunnel(t *testing.T) {
	for _, restarts := range []int{0, 1, 2} {
		n := newFixture(t, redials, "[global]\nrecover = auto\n")
		n.step(secured("1"))
		n.links()
		for range restarts {
			n.restarted(n.xl2tpd(redials), noSAs)
		}
		if got, dials := n.connections(10 * time.Minute); dials || got != nil || n.lac("office").ike != "tokyo" {
			t.Errorf("%d restarts: dialled %v, with the connections %q, known %q", restarts, dials, got, n.lac("office").ike)
		}
	}
}

// Each of several LACs with one pppoptfile has the connection, although nobody knows which link is whose.
func TestConnectionOfAnyLAC(t *testing.T) {
	n := ambiguousUp(t, "", full)
	n.step(secured("1"))
	n.lives(time.Minute)
	for _, called := range []string{"office", "home"} {
		if got := n.lac(called).ike; got != "tokyo" {
			t.Errorf("%s: %q", called, got)
		}
	}
}

// An LNS may be used without IPsec from now on. recover = redial says so, and so does a tunnel that lives for a day while
// charon lists no SA for it. Another connection, or another LNS, takes the place of the last one.
func TestConnectionIsReplaced(t *testing.T) {
	osaka := secured("2")
	osaka.SAs[0].Name = "osaka"
	for name, tc := range map[string]struct {
		then  func(*fixture)
		want  []string
		dials bool
	}{
		"it lives for a day": {func(n *fixture) { n.redialledWithoutSA(); n.lives(inClearTime + time.Minute) }, []string{""}, true},
		"it lives for less":  {func(n *fixture) { n.redialledWithoutSA(); n.lives(inClearTime - time.Minute) }, []string{"tokyo"}, false},
		"another connection": {func(n *fixture) { n.step(osaka); n.lives(time.Second); n.step(noSAs) }, []string{"osaka"}, false},
		"a day later the SA is back": {func(n *fixture) {
			n.redialledWithoutSA()
			n.lives(2 * inClearTime)
			n.step(secured("3"))
			n.step(noSAs)
		}, []string{"tokyo"}, false},
		"another LNS": {func(n *fixture) {
			n.step(n.xl2tpd(strings.ReplaceAll(autodialled, "192.0.2.1", "192.0.2.9")))
			n.step(noSAs)
		}, []string{""}, true},
		"keepalive.conf says so itself": {func(n *fixture) { n.step(n.config("[global]\nrecover = redial\n")); n.step(noSAs) }, nil, true},
	} {
		n := established(t, autodialled, full)
		n.step(TaskWorks{Task: TaskGuard})
		n.lives(time.Minute)
		tc.then(n)
		n.step(Ending{OwnedConnection: closer, CloseReason: peerCloses})
		n.links()
		if got, dials := n.connections(10 * time.Minute); dials != tc.dials || !slices.Equal(got, tc.want) {
			t.Errorf("%s: dialled %v, with the connections %q, want %v, %q", name, dials, got, tc.dials, tc.want)
		}
	}
}

// The name of the LNS has another address by now than the tunnel that is up.
func TestConnectionOfALNSThatHasMoved(t *testing.T) {
	for _, known := range [][]string{{"192.0.2.2"}, {"192.0.2.1", "192.0.2.2"}, {"192.0.2.1"}, nil} {
		if got := named(t, known, worksWith("192.0.2.2")).lac("office").ike; got != "tokyo" {
			t.Errorf("the name has %q: the connection is %q", known, got)
		}
	}
}
