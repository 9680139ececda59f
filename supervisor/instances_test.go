package supervisor

import (
	"fmt"
	"io/fs"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"xl2tpd-keepalive/internal/config"
	"xl2tpd-keepalive/internal/ppp"
	"xl2tpd-keepalive/internal/procfs"
	"xl2tpd-keepalive/internal/xl2tpd"
	"xl2tpd-keepalive/probe"
	"xl2tpd-keepalive/supervisor/recovery/policy"
	"xl2tpd-keepalive/vici"
)

// branch is a second xl2tpd's file: its LAC has the name, the LNS and the pppoptfile of the
// first one's.
const (
	branchPath = "/etc/xl2tpd/branch.conf"
	branchPipe = "/run/branch/control"
	branchPid  = 300
)

// several returns a host with a second xl2tpd, whose file is the same.
func (f *fixture) several(text string) xl2tpd.Snapshot {
	s := f.xl2tpd(text)
	s.Instances[0].Key = xl2tpd.Key{Path: xl2tpd.DefaultConfPath, Pipe: "/run/xl2tpd/l2tp-control"}
	s.Instances[0].Process.Start, s.Instances[0].Unit = 1, "xl2tpd.service"
	second := f.xl2tpd(text).Instances[0]
	second.Key = xl2tpd.Key{Path: branchPath, Pipe: branchPipe}
	second.Process, second.Unit = procfs.ID{Pid: branchPid, Start: 3}, "branch.service"
	s.Instances = append(s.Instances, second)
	return s
}

// ofBranch makes a link the second xl2tpd's.
func ofBranch(l ppp.Link) ppp.Link {
	l.Xl2tpdPid = branchPid
	return l
}

func newSeveral(t *testing.T, conf, keepalive string) (*fixture, xl2tpd.Snapshot) {
	n := &fixture{t: t, core: New(config.Default(""), func() float64 { return 0.5 }), now: epoch}
	s := n.several(conf)
	n.step(s)
	n.step(n.config(keepalive))
	n.step(secured("1"))
	n.links()
	n.actions, n.notes = nil, nil
	return n, s
}

// A link belongs to the xl2tpd that is the parent of its pppd, and to no section of another one.
func TestLinkOfAnotherXl2tpd(t *testing.T) {
	other := link("ppp2", 7, true)
	other.Xl2tpdPid = 999
	n, _ := newSeveral(t, oneLAC, "")
	n.links(link("ppp0", 5, true), ofBranch(link("ppp1", 6, true)), other)
	n.after(sessionWait)
	got := map[string]string{}
	for _, r := range n.status() {
		if r.Link != nil {
			got[r.Link.Name] = r.Instance + "|" + r.Name
		}
	}
	want := map[string]string{"ppp0": "xl2tpd.service|lac tokyo", "ppp1": "branch.service|lac tokyo", "ppp2": "|"}
	for link, is := range want {
		if got[link] != is {
			t.Errorf("%s is %q, want %q", link, got[link], is)
		}
	}
}

// An operator hangs up or dials in one xl2tpd: the LAC of that name in another one does not change.
func TestOperatorOfOneInstance(t *testing.T) {
	const conf = redials
	n, s := newSeveral(t, conf, "[lac default]\nrecover = full\n")
	first, second := link("ppp0", 5, true), ofBranch(link("ppp1", 6, true))
	n.links(first, second)
	n.after(time.Minute)
	n.actions = nil
	hungUp := Ending{OwnedConnection: closer, CloseReason: why{Reason: "hung up on this host", Operator: true}}
	hungUp.Owner = s.Instances[1].Process
	n.step(hungUp)
	n.links(first)
	if last := n.lac("office").lastEnd; last != nil {
		t.Errorf("the first one's is hung up too: %+v", last)
	}
	other := n.core.lacs.ensureLAC(name{"lac", "office", instanceID(1, s.Instances[1].Key)})
	if other.lastEnd == nil || !other.lastEnd.Operator {
		t.Fatalf("got %+v, want a hang-up by the operator", other.lastEnd)
	}
	n.step(dialBy(s.Instances[0].Process))
	if other.lastEnd == nil {
		t.Error("a dial of the first one has cleared it")
	}
	n.step(dialBy(s.Instances[1].Process))
	if other.lastEnd != nil {
		t.Errorf("it was dialled, and is %+v", other.lastEnd)
	}
}

// If several xl2tpds run, an end with an unknown owner in userspace mode counts for no LAC.
func TestEndOfAnUnknownOwner(t *testing.T) {
	n, _ := newSeveral(t, oneLAC, "")
	n.links(link("ppp0", 5, true), ofBranch(link("ppp1", 6, true)))
	n.after(time.Minute)
	n.step(Ending{OwnedConnection: closer, CloseReason: why{Reason: "hung up on this host", Operator: true}})
	n.links()
	for _, r := range n.status() {
		if r.Last == nil || strings.Contains(r.Last.Reason.String(), "hung up") {
			t.Errorf("%s %s: got %+v, want another reason", r.Instance, r.Name, r.Last)
		}
	}
}

// A step goes to the xl2tpd of its LAC, and its result counts for that LAC.
func TestRecoveryOfOneInstance(t *testing.T) {
	n, s := newSeveral(t, oneLAC, "[lac "+branchPath+" tokyo]\nrecover = redial\n")
	first, second := link("ppp0", 5, true), ofBranch(link("ppp1", 6, true))
	n.links(first, second)
	n.after(2 * time.Minute)
	closed := Ending{OwnedConnection: closer, CloseReason: why{Reason: "closed by the peer"}}
	closed.Owner = s.Instances[1].Process
	n.step(closed)
	n.links(first)
	n.actions = nil
	dials := 0
	n.plays(5*time.Minute, probe.Result{}, func(r Recover) error {
		if r.Step == policy.StepDial {
			dials++
		}
		if r.To != (xl2tpd.Target{Process: s.Instances[1].Process, Pipe: branchPipe}) || r.LAC != (LAC{branchPath + " " + branchPipe, "tokyo"}) {
			t.Errorf("got %+v, want the LAC and the pipe of the second xl2tpd", r)
		}
		return nil
	})
	if l := n.core.lacs.ensureLAC(name{"lac", "tokyo", branchPath + " " + branchPipe}); dials == 0 || l.dialledAt.IsZero() {
		t.Errorf("never dialled: %+v", l.progress)
	}
	if l := n.lac("tokyo"); !l.dialledAt.IsZero() {
		t.Errorf("the first one's is dialled: %+v", l.progress)
	}
}

// NetworkManager brings its tunnels back itself.
func TestNetworkManagersAreLeftToIt(t *testing.T) {
	n := &fixture{t: t, core: New(config.Default(""), func() float64 { return 0.5 }), now: epoch}
	s := n.several(redials)
	s.Instances[1].Connection = "d4a4d2b0"
	n.step(s)
	n.step(n.config("[lac default]\nrecover = full\n"))
	n.step(secured("1"))
	n.links(ofBranch(link("ppp1", 6, true)))
	n.after(2 * time.Minute)
	n.links()
	n.actions = nil
	n.plays(10*time.Minute, probe.Result{}, func(r Recover) error {
		if r.LAC.Instance != "" {
			t.Errorf("got %+v, want the first xl2tpd", r)
		}
		return nil
	})
	for _, r := range n.status() {
		if strings.HasPrefix(r.Instance, "NetworkManager") && r.Doing != "waits for NetworkManager" {
			t.Errorf("got %+v, want a tunnel that is left to NetworkManager", r)
		}
	}
	// Its xl2tpd ends with the tunnel, and its file goes.
	s.Instances = s.Instances[:1]
	n.step(s)
	for _, r := range n.status() {
		if r.Instance != "" {
			t.Errorf("got %+v, want no instance", r)
		}
	}
	if m, _ := n.core.SavedState(); len(m.Others) != 0 || slices.ContainsFunc(m.LACs, func(k SavedLAC) bool { return k.Instance != "" }) {
		t.Errorf("got %+v, want the first xl2tpd alone", m)
	}
}

// Links have no section, and some end. Then the status of each that is there again shows its own end, and that of another
// one shows none.
func TestCloseOfAnUnknownLink(t *testing.T) {
	for name, tc := range map[string]struct {
		all   int
		ends  []int // one a minute
		peers bool  // have addresses of their own
	}{
		"the second of two":              {2, []int{1}, false},
		"the first of two":               {2, []int{0}, false},
		"the one in the middle":          {3, []int{1}, false},
		"two of three":                   {3, []int{2, 0}, false},
		"both, one after the other":      {2, []int{0, 1}, false},
		"one of two that call from afar": {2, []int{1}, true},
	} {
		t.Run(name, func(t *testing.T) {
			n := newFixture(t, "", "")
			n.step(vici.Snapshot{})
			var there []ppp.Link
			for i := range tc.all {
				l := link(fmt.Sprintf("ppp%d", i), 5+i, true)
				if tc.peers {
					l.OuterPeer = netip.AddrFrom4([4]byte{198, 51, 100, byte(1 + i)})
				}
				there = append(there, l)
			}
			n.links(there...)
			ended := map[string]time.Time{}
			for _, i := range tc.ends {
				n.after(time.Minute)
				there[i].Up = false
				n.links(slices.DeleteFunc(slices.Clone(there), func(l ppp.Link) bool { return !l.Up })...)
				ended[there[i].Name] = n.now
				for _, r := range n.status() {
					if r.Last != nil {
						t.Errorf("%s is up and shows %+v", r.Link.Name, r.Last)
					}
				}
			}
			for _, i := range tc.ends {
				there[i].Up = true
				there[i].Index += 100
			}
			n.links(there...)
			for _, r := range n.status() {
				at, is := ended[r.Link.Name]
				if is != (r.Last != nil) || is && !r.Last.Time.Equal(at) {
					t.Errorf("%s ended at %v and shows %+v", r.Link.Name, at, r.Last)
				}
			}
		})
	}
}

// After a restart of this service, a hang-up still counts for its own xl2tpd only. The state of a single instance has
// no ids.
func TestSavedStateOfSeveral(t *testing.T) {
	n, s := newSeveral(t, redials, "[lac default]\nrecover = full\n")
	first, second := link("ppp0", 5, true), ofBranch(link("ppp1", 6, true))
	n.links(first, second)
	n.after(time.Minute)
	hungUp := Ending{OwnedConnection: closer, CloseReason: why{Reason: "hung up on this host", Operator: true}}
	hungUp.Owner = s.Instances[1].Process
	n.step(hungUp)
	n.links(first)
	n.after(time.Minute)
	n.restarted(s, secured("1"), first)
	n.actions = nil
	n.plays(10*time.Minute, probe.Result{}, func(r Recover) error {
		t.Errorf("got %+v, want no step", r)
		return nil
	})
	for _, r := range n.status() {
		if r.Instance == "branch.service" && r.Doing != "stays down until it is dialled again" {
			t.Errorf("got %+v, want a tunnel that stays down", r)
		}
	}
}

// A host that only has NetworkManager's tunnels needs no other xl2tpd. If a file has tunnels, or there is no xl2tpd at
// all, that is a fault.
func TestMissingXl2tpd(t *testing.T) {
	nm := xl2tpd.Instance{Key: xl2tpd.Key{Path: "/run/nm-l2tp-u/xl2tpd.conf"}, Connection: "u", Process: procfs.ID{Pid: 3}}
	lac := &xl2tpd.Conf{Sections: []xl2tpd.Section{{Kind: "lac", Name: "a", LNSIPs: []netip.Addr{addr("192.0.2.1")}}}}
	home := func(c *xl2tpd.Conf) xl2tpd.Instance { return xl2tpd.Instance{Conf: c} }
	unreadable := nm
	unreadable.ConfErr = fs.ErrPermission
	stopped := xl2tpd.Instance{Key: xl2tpd.Key{Path: branchPath}, Conf: lac}
	for name, tc := range map[string]struct {
		all  []xl2tpd.Instance
		want []string
	}{
		"nothing":                       {[]xl2tpd.Instance{home(nil)}, []string{"xl2tpd not running"}},
		"a file with tunnels":           {[]xl2tpd.Instance{home(lac), nm}, []string{"xl2tpd not running"}},
		"an empty file":                 {[]xl2tpd.Instance{home(&xl2tpd.Conf{}), nm}, nil},
		"NetworkManager's, and no file": {[]xl2tpd.Instance{home(nil), nm}, nil},
		"NetworkManager's file":         {[]xl2tpd.Instance{home(&xl2tpd.Conf{}), unreadable}, nil},
		"another unreadable file":       {[]xl2tpd.Instance{home(&xl2tpd.Conf{}), {Key: nm.Key, Process: nm.Process, ConfErr: fs.ErrPermission}}, []string{fs.ErrPermission.Error()}},
		"a second one that has ended":   {[]xl2tpd.Instance{home(&xl2tpd.Conf{}), stopped}, []string{"xl2tpd of " + branchPath + " not running"}},
	} {
		b := New(config.Default(""), func() float64 { return 0.5 })
		b.Step(xl2tpd.Snapshot{Instances: tc.all}, epoch)
		var got []string
		for _, p := range b.health.problems() {
			got = append(got, p.Text.String())
		}
		if !slices.Equal(got, tc.want) {
			t.Errorf("%s: %q, want %q", name, got, tc.want)
		}
	}
}

// While an unknown xl2tpd dials an LNS, recovery dials no LAC of that LNS that xl2tpd redials.
func TestDialOfAnUnknownOwner(t *testing.T) {
	n, _ := newSeveral(t, redials, "[lac default]\nrecover = auto\n")
	n.links(link("ppp0", 5, true), ofBranch(link("ppp1", 6, true)))
	n.plays(time.Minute, probe.Result{RTT: time.Millisecond}, func(Recover) error { return nil })
	n.links(ofBranch(link("ppp1", 6, true)))
	for end := n.now.Add(time.Hour); n.now.Before(end); {
		n.step(Dials{OwnedConnection: closer})
		n.plays(30*time.Second, probe.Result{RTT: time.Millisecond}, func(r Recover) error {
			switch r.Step {
			case policy.StepDial:
				t.Errorf("got %+v, want no dial", r)
			case policy.StepRedial:
				return policy.ErrRedialsLater
			}
			return nil
		})
	}
}

// If a second xl2tpd has the same file and pipe, nobody knows which one reads the pipe. So nothing is dialled.
func TestSameFileTwice(t *testing.T) {
	n, s := newSeveral(t, redials, "")
	n.links(link("ppp0", 5, true))
	n.plays(time.Minute, probe.Result{RTT: time.Millisecond}, func(Recover) error { return nil })
	twin := s.Instances[0]
	twin.Key.Pid, s.Instances[0].Process = twin.Process.Pid, procfs.ID{Pid: 400, Start: 4}
	s.Instances[1] = twin
	n.step(s)
	n.plays(20*time.Minute, probe.Result{RTT: time.Millisecond}, func(r Recover) error {
		t.Errorf("got %+v, want no step", r)
		return nil
	})
}

// An xl2tpd that ends leaves the reasons of another one's tunnels as they are.
func TestReasonsOfAnotherXl2tpd(t *testing.T) {
	first, second := procfs.ID{Pid: 100, Start: 1}, procfs.ID{Pid: branchPid, Start: 3}
	for _, tc := range []struct {
		owner, ended procfs.ID
		want         bool
	}{
		{first, first, true},
		{first, second, false},
		{procfs.ID{}, second, true},
		{unknownOwner, second, true},
		{first, procfs.ID{}, false},
	} {
		c := ends{xl2tpdEndedAt: map[string]time.Time{}}
		e := Ending{OwnedConnection: closer}
		e.Owner = tc.owner
		c.reasons = []heardEnding{{Ending: e, at: epoch, spent: epoch}}
		c.xl2tpdEnded([]processChange{{was: tc.ended}}, epoch)
		if got := c.reasons[0].over; got != tc.want {
			t.Errorf("%+v: over %v", tc, got)
		}
	}
}
