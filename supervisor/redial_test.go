package supervisor

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"xl2tpd-keepalive/internal/status"
	"xl2tpd-keepalive/internal/xl2tpd"
	"xl2tpd-keepalive/probe"
	"xl2tpd-keepalive/supervisor/recovery/policy"
	"xl2tpd-keepalive/vici"
)

// died returns a host with a LAC, or two of one LNS, whose tunnel ends, and that xl2tpd does not redial.
func died(t *testing.T, keepalive, more string, secured, two bool) *fixture {
	n := established(t, redials+"redial timeout = 15\n"+more, keepalive)
	if two {
		n, _ = oneLNS(t, "redial = yes\nredial timeout = 15\n"+more, keepalive)
	}
	n.step(TaskWorks{Task: TaskGuard})
	if !secured {
		n.step(vici.Snapshot{})
	}
	n.plays(time.Minute, probe.Result{RTT: time.Millisecond}, plainly(secured))
	n.step(Ending{OwnedConnection: closerOf("192.0.2.1", closer.LocalID), CloseReason: why{Reason: "closed by the peer"}})
	n.step(Ending{OwnedConnection: closerOf("192.0.2.1", 7), CloseReason: why{Reason: "closed by the peer"}})
	return n
}

// plainly returns the result of each step, on a host without IPsec or one where each step succeeds. xl2tpd does not
// redial.
func plainly(secured bool) func(Recover) error {
	return func(r Recover) error {
		switch {
		case !secured && (r.Step == policy.StepSecure || r.Step == policy.StepRenew):
			return policy.ErrNoConnection
		case r.Step == policy.StepRedial:
			return policy.ErrRedialsLater
		}
		return nil
	}
}

// dialledIn returns the dials in a time, by LAC: when the first one was, and how many.
func (f *fixture) dialledIn(d time.Duration, come func(Recover) error) (first map[string]time.Duration, dials map[string]int) {
	began := f.now
	first, dials = map[string]time.Duration{}, map[string]int{}
	f.plays(d, probe.Result{Err: lost}, func(r Recover) error {
		if r.Step == policy.StepDial {
			if dials[r.LAC.Name]++; dials[r.LAC.Name] == 1 {
				first[r.LAC.Name] = f.now.Sub(began)
			}
		}
		return come(r)
	})
	return first, dials
}

// xl2tpd can stop redialling. With each setting of recover, the LAC is dialled once nothing was sent for as long as a
// redial takes.
func TestRedialThatHasDied(t *testing.T) {
	for name, tc := range map[string]struct {
		keepalive, more string
		secured, two    bool
	}{
		"auto":                            {"", "", true, false},
		"auto, no IPsec":                  {"", "", false, false},
		"auto, autodial":                  {"", "autodial = yes\n", false, false},
		"auto, max redials":               {"", "max redials = 100\n", false, false},
		"redial":                          {"[lac default]\nrecover = redial\n", "", true, false},
		"redial, no IPsec":                {"[lac default]\nrecover = redial\n", "", false, false},
		"full":                            {"[lac default]\nrecover = full\n", "", true, false},
		"full, no IPsec":                  {"[lac default]\nrecover = full\n", "", false, false},
		"auto, one of two":                {"", "", true, true},
		"auto, no IPsec, one of two":      {"", "", false, true},
		"redial, one of two":              {"[lac default]\nrecover = redial\n", "", true, true},
		"full, no IPsec, one of two":      {"[lac default]\nrecover = full\n", "", false, true},
		"full, max redials, one of two":   {"[lac default]\nrecover = full\n", "max redials = 100\n", true, true},
		"redial, max redials, one of two": {"[lac default]\nrecover = redial\n", "max redials = 100\n", false, true},
	} {
		t.Run(name, func(t *testing.T) {
			n := died(t, tc.keepalive, tc.more, tc.secured, tc.two)
			n.links()
			if tc.two {
				home := link("ppp1", 6, true)
				home.OptFile = "/etc/ppp/home"
				n.links(home)
			}
			chance := 15*time.Second + 2*policy.AttemptTime
			first, dials := n.dialledIn(time.Hour, plainly(tc.secured))
			if at, is := first["office"]; !is || at < chance || at > chance+2*time.Minute {
				t.Errorf("dialled after %v", at)
			}
			if dials["office"] > 30 {
				t.Errorf("dialled %d times in an hour", dials["office"])
			}
		})
	}
}

// A LAC is not dialled as long as xl2tpd redials, or nobody can see that it does not.
func TestRedialThatLives(t *testing.T) {
	for name, happens := range map[string]func(*fixture){
		"it asks":  func(n *fixture) { n.step(Dials{OwnedConnection: closer}) },
		"it calls": func(n *fixture) { n.links(link("ppp0", 100, false)); n.after(time.Second); n.links() },
		"it calls in a tunnel that stands": func(n *fixture) {
			if l := n.lac("office"); l.notDiallingSince.IsZero() {
				l.notDiallingSince = n.now
			}
			n.step(Calls{closerOf("192.0.2.1", 7)})
		},
		"no guard": func(n *fixture) {
			n.step(Fault{What: TaskGuard, Problem: status.Problem{Text: "hello guard unavailable"}})
		},
		"the LNS can't be looked up": func(n *fixture) {
			s := n.xl2tpd(redials + "redial timeout = 15\n")
			s.Home().Conf.Sections[0].Unresolved = true
			n.step(s)
		},
	} {
		n := died(t, "", "", false, false)
		n.links()
		for range 60 {
			happens(n)
			if _, dials := n.dialledIn(time.Minute, plainly(false)); dials["office"] > 0 {
				t.Errorf("%s: dialled", name)
				break
			}
		}
	}
}

// Recovery assumes that xl2tpd redials neither LAC of an LNS. If xl2tpd dials, it may redial either.
func TestRedialThatLivesAgain(t *testing.T) {
	n, _ := oneLNS(t, "redial = yes\nredial timeout = 15\n", "")
	n.step(TaskWorks{Task: TaskGuard})
	for _, id := range []uint16{7, 8} {
		n.step(Ending{OwnedConnection: closerOf("192.0.2.1", id), CloseReason: why{Reason: "closed by the peer"}})
	}
	n.links()
	n.plays(10*time.Minute, probe.Result{Err: lost}, func(r Recover) error {
		if r.Step == policy.StepDial {
			return lost
		}
		return plainly(true)(r)
	})
	names := []string{"home", "office"}
	for _, name := range names {
		if !n.lac(name).notRedialled {
			t.Fatalf("%s counts as redialled", name)
		}
	}
	n.step(Dials{OwnedConnection: closer})
	for _, name := range names {
		if n.lac(name).notRedialled {
			t.Errorf("%s counts as not redialled", name)
		}
	}
	first, _ := n.dialledIn(time.Hour, plainly(true))
	if got := slices.Sorted(maps.Keys(first)); !slices.Equal(got, names) {
		t.Errorf("then %q are dialled", got)
	}
	for name, at := range first {
		if at < 15*time.Second+2*policy.AttemptTime {
			t.Errorf("%s is dialled after %v", name, at)
		}
	}
}

// Without recovery, status and log say that xl2tpd does not redial any more, as soon as that is known.
func TestRedialThatHasDiedIsSaid(t *testing.T) {
	for name, tc := range map[string]struct {
		keepalive, more string
		two             bool
	}{
		"redial":       {"[lac default]\nrecover = off\n", "", false},
		"autodial":     {"[lac default]\nrecover = off\n", "autodial = yes\n", false},
		"max redials":  {"[lac default]\nrecover = off\n", "max redials = 100\n", false},
		"only watched": {"[lac default]\nkeepalive = observe\n", "", false},
		"one of two":   {"[lac default]\nrecover = off\n", "", true},
	} {
		t.Run(name, func(t *testing.T) {
			n := died(t, tc.keepalive, tc.more, false, tc.two)
			n.links()
			if tc.two {
				home := link("ppp1", 6, true)
				home.OptFile = "/etc/ppp/home"
				n.links(home)
			}
			doing := func() string {
				all := n.status()
				return all[slices.IndexFunc(all, func(s status.Tunnel) bool { return s.Name == "lac office" })].Doing.String()
			}
			chance := 15*time.Second + 2*policy.AttemptTime
			n.notes, n.actions = nil, nil
			if at, ok := n.core.NextWake(); !tc.two && (!ok || at.Sub(n.now) > chance) {
				t.Errorf("wakes in %v, %v", at.Sub(n.now), ok)
			}
			n.after(chance - time.Second)
			if got := doing(); got != "xl2tpd redials, unless it was hung up" || n.notes != nil {
				t.Errorf("before: %s, %q", got, n.notes)
			}
			n.after(2 * time.Second)
			const text = "xl2tpd does not redial any more"
			if got := doing(); got != "xl2tpd does not redial it: it has to be dialled" ||
				len(n.notes) != 1 || !strings.HasPrefix(n.notes[0], text) {
				t.Errorf("after: %s, %q", got, n.notes)
			}
			n.step(Dials{OwnedConnection: closer})
			if got := doing(); got != "xl2tpd redials, unless it was hung up" {
				t.Errorf("once xl2tpd dials: %s", got)
			}
		})
	}
}

// xl2tpd calls in a tunnel that stands, and each call is refused before there is a link. So xl2tpd redials that tunnel's
// LAC, and nobody says the contrary. Another LAC of that LNS may have died, unless nobody knows whose the tunnel is.
func TestRedialsInATunnelThatStands(t *testing.T) {
	const text = "xl2tpd does not redial any more"
	for name, tc := range map[string]struct {
		in   uint16 // the control connection
		says []string
	}{
		"the tunnel of office":    {7, []string{"lac home"}},
		"the tunnel of home":      {8, []string{"lac office"}},
		"a tunnel of one of them": {9, nil},
		"nobody calls":            {0, []string{"lac home", "lac office"}},
	} {
		n := died(t, "[lac default]\nrecover = off\n", "", false, true)
		n.ends(8, peerCloses)
		n.links()
		n.notes = nil
		says := func() (lacs []string) {
			for _, of := range []string{"lac home", "lac office"} {
				if slices.ContainsFunc(n.notes, func(s string) bool { return strings.HasPrefix(s, text) && strings.Contains(s, of) }) {
					lacs = append(lacs, of)
				}
			}
			return lacs
		}
		for range 20 {
			if tc.in > 0 {
				n.step(Calls{closerOf("192.0.2.1", tc.in)})
			}
			n.after(18 * time.Second)
		}
		if got := says(); !slices.Equal(got, tc.says) {
			t.Errorf("%s: %q, want %q", name, got, tc.says)
		}
		n.after(15*time.Second + 2*policy.AttemptTime)
		if got := says(); len(got) != 2 {
			t.Errorf("%s, and no longer: %q", name, got)
		}
		n.step(Calls{closerOf("192.0.2.1", tc.in)}) // after all
		for of, in := range map[string]uint16{"office": 7, "home": 8} {
			if got := n.lac(of).notRedialled; got != (in != tc.in) {
				t.Errorf("%s, and again: %s is not redialled: %v", name, of, got)
			}
		}
	}
}

// While the name of the LNS can't be looked up, that is said. It is not said of a name that nobody has looked up yet.
func TestUnresolvedIsSaid(t *testing.T) {
	never := func(s *xl2tpd.Section) { s.LNSIPs, s.Unresolved = nil, true }
	notYet := func(s *xl2tpd.Section) { s.LNSIPs = nil }
	const fails, waits = "vpn.example.net can't be looked up", "waits for the lookup of vpn.example.net"
	for name, tc := range map[string]struct {
		keepalive string
		is        func(*xl2tpd.Section)
		want      string
	}{
		"it could before":              {"[lac default]\nrecover = off\n", func(s *xl2tpd.Section) { s.Unresolved = true }, fails},
		"it never could":               {"[lac default]\nrecover = off\n", never, fails},
		"not yet":                      {"[lac default]\nrecover = off\n", notYet, waits},
		"a LAC to bring back":          {"", never, fails},
		"a LAC to bring back, not yet": {"", notYet, waits},
	} {
		n := died(t, tc.keepalive, "", false, false)
		n.links()
		s := n.xl2tpd(redials + "redial timeout = 15\n")
		s.Home().Conf.Sections[0].LNS = []string{"vpn.example.net"}
		tc.is(&s.Home().Conf.Sections[0])
		n.step(s)
		n.after(time.Hour)
		if got := n.status()[0].Doing.String(); got != tc.want {
			t.Errorf("%s: got %s, want %s", name, got, tc.want)
		}
	}
}

// Before a redial counts as dead, the name of the LNS is looked up once more. If that fails, xl2tpd may be trying the same.
func TestLooksUpBeforeARedialIsDead(t *testing.T) {
	for name, tc := range map[string]struct {
		lns     string
		fails   bool
		lookUps int
		dead    bool
	}{
		"a name that fails":   {"vpn.example.net", true, 1, false},
		"a name that answers": {"vpn.example.net", false, 1, true},
		"an address":          {"192.0.2.1", false, 0, true},
	} {
		t.Run(name, func(t *testing.T) {
			n := died(t, "[lac default]\nrecover = off\n", "", false, false)
			n.links()
			s := n.xl2tpd(redials + "redial timeout = 15\n")
			office := &s.Home().Conf.Sections[0]
			office.LNS[0] = tc.lns
			n.step(s)
			n.actions = nil
			var asked int
			for end := n.now.Add(2 * time.Minute); n.now.Before(end); n.after(time.Second) {
				for _, a := range n.actions {
					if a == (LookUp{tc.lns}) {
						asked++
						office.Unresolved = tc.fails
						n.step(s)
					}
				}
				n.actions = nil
				n.core.lacs.agenda.mark(n.lac("office")) // something happens to it each second
			}
			if asked != tc.lookUps || n.lac("office").notRedialled != tc.dead {
				t.Errorf("%d lookups, dead: %v", asked, n.lac("office").notRedialled)
			}
		})
	}
}

// If the name of the LNS could not be looked up for a while, the LAC is dialled as soon as a redial would have shown after
// that.
func TestRedialThatHasDiedOfAFailedLookup(t *testing.T) {
	for name, tc := range map[string]struct {
		keepalive string
		away      time.Duration
	}{
		"auto":                  {"", time.Minute},
		"redial":                {"[lac default]\nrecover = redial\n", 4 * time.Minute},
		"full":                  {"[lac default]\nrecover = full\n", 10 * time.Minute},
		"redial, after an hour": {"[lac default]\nrecover = redial\n", time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			n := died(t, tc.keepalive, "", false, false)
			s := n.xl2tpd(redials + "redial timeout = 15\n")
			s.Home().Conf.Sections[0].Unresolved = true
			n.step(s)
			n.links()
			if _, dials := n.dialledIn(tc.away, plainly(false)); dials["office"] > 0 {
				t.Error("dialled while xl2tpd may be trying")
			}
			n.step(n.xl2tpd(redials + "redial timeout = 15\n"))
			chance := 15*time.Second + 2*policy.AttemptTime
			first, _ := n.dialledIn(time.Hour, plainly(false))
			if at := first["office"]; at < chance || at > chance+10*time.Second {
				t.Errorf("dialled after %v", at)
			}
		})
	}
}

// The LNS has answered the attempt that recovery would have dropped. A dial now would be a second call, so the attempt has its
// time.
func TestAnsweredAttemptHasItsTime(t *testing.T) {
	for name, conf := range map[string]string{"tokyo": oneLAC, "office": redials} {
		n := established(t, conf, "[lac default]\nrecover = full\n")
		n.step(Ending{OwnedConnection: closer, CloseReason: why{Reason: "closed by the peer"}})
		n.links()
		n.after(time.Second) // the trouble begins
		l := n.lac(name)
		n.takes(l, policy.StepRedial)
		n.core.lacs.agenda.slotsTaken++
		n.step(StepDone{LAC: LAC{Name: name}, Step: policy.StepRedial, Err: policy.ErrAnswered})
		if got := n.steps(policy.AttemptTime-time.Second, nil); len(got) > 0 {
			t.Errorf("%s: got %v while the attempt has its time, want nothing", name, got)
		}
		if got := n.steps(2*policy.MaxPause, nil); !slices.Contains(got, policy.StepDial) && !slices.Contains(got, policy.StepRedial) {
			t.Errorf("%s: got %v after that, want a dial", name, got)
		}
	}
}

// xl2tpd had given the attempt up before it hung up, so it has planned a redial, which a dial would allow again. There is no
// dial before that.
func TestNoDialBeforeAPlannedRedial(t *testing.T) {
	n := established(t, redials, "[lac default]\nrecover = full\n")
	n.step(Ending{OwnedConnection: closer, CloseReason: why{Reason: "closed by the peer"}})
	n.links()
	l := n.lac("office")
	n.takes(l, policy.StepRedial)
	n.core.lacs.agenda.slotsTaken++
	n.step(StepDone{LAC: LAC{Name: "office"}, Step: policy.StepRedial, Err: errors.Join(policy.ErrHungUp, policy.ErrGaveUp)})
	s := n.core.topology.section(l)
	if got := n.steps(s.RedialTimeout, nil); slices.Contains(got, policy.StepDial) || slices.Contains(got, policy.StepRedial) {
		t.Errorf("within the redial timeout: got %v, want no dial", got)
	}
	if got := n.steps(time.Minute, nil); !slices.Contains(got, policy.StepDial) {
		t.Errorf("after it: got %v, want a dial", got)
	}
}
