package supervisor

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"xl2tpd-keepalive/internal/ppp"
	"xl2tpd-keepalive/internal/xl2tpd"
	"xl2tpd-keepalive/supervisor/recovery/policy"
	"xl2tpd-keepalive/vici"
)

const bothRoles = `
[lac tokyo]
lns = 192.0.2.1
pppoptfile = /etc/ppp/client
[lac osaka]
lns = 192.0.2.2
pppoptfile = /etc/ppp/client
[lac nagoya]
lns = vpn.example.net
pppoptfile = /etc/ppp/nagoya
[lac kobe-a]
lns = 192.0.2.9
pppoptfile = /etc/ppp/kobe-a
[lac kobe-b]
lns = 192.0.2.9
pppoptfile = /etc/ppp/kobe-b
[lac kyoto]
lns = 192.0.2.3
pppoptfile = /etc/ppp/shared
[lns default]
ip range = 10.1.0.10-10.1.0.99
pppoptfile = /etc/ppp/server
[lns branches]
lac = 198.51.100.0-198.51.100.255
ip range = 10.2.0.10-10.2.0.99
no ip range = 10.2.0.50-10.2.0.59
pppoptfile = /etc/ppp/server
[lns annex]
pppoptfile = /etc/ppp/annex
[lns partner]
lac = 192.0.2.3
pppoptfile = /etc/ppp/shared
`

func TestJoin(t *testing.T) {
	n := &fixture{t: t}
	session := func(peer string, lns bool) []xl2tpd.Session {
		return []xl2tpd.Session{{Ifname: "ppp0", Ifindex: 5, Peer: netip.AddrPortFrom(addr(peer), 1701), LNS: lns}}
	}
	for name, c := range map[string]struct {
		sessions []xl2tpd.Session
		link     ppp.Link
		names    []string
		outer    string
	}{
		"kernel, by address":           {session("192.0.2.2", false), ppp.Link{OptFile: "/etc/ppp/client"}, []string{"lac osaka"}, "192.0.2.2"},
		"kernel, edited pppoptfile":    {session("192.0.2.2", false), ppp.Link{OptFile: "/etc/ppp/old"}, []string{"lac osaka"}, "192.0.2.2"},
		"kernel, by name of the LNS":   {session("203.0.113.7", false), ppp.Link{OptFile: "/etc/ppp/nagoya"}, []string{"lac nagoya"}, "203.0.113.7"},
		"kernel, two to one LNS":       {session("192.0.2.9", false), ppp.Link{OptFile: "/etc/ppp/kobe-b"}, []string{"lac kobe-b"}, "192.0.2.9"},
		"kernel, a removed section":    {session("203.0.113.7", false), ppp.Link{OptFile: "/etc/ppp/client"}, nil, "203.0.113.7"},
		"kernel, caller":               {session("203.0.113.7", true), ppp.Link{OptFile: "/etc/ppp/server"}, []string{"lns default"}, "203.0.113.7"},
		"kernel, caller of a section":  {session("198.51.100.7", true), ppp.Link{OptFile: "/etc/ppp/server"}, []string{"lns branches"}, "198.51.100.7"},
		"kernel, peer not told":        {[]xl2tpd.Session{{Ifname: "ppp0", Ifindex: 5}}, ppp.Link{OptFile: "/etc/ppp/nagoya"}, []string{"lac nagoya"}, ""},
		"userspace, pass peer":         {nil, ppp.Link{OptFile: "/etc/ppp/client", OuterPeer: addr("192.0.2.1")}, []string{"lac tokyo"}, "192.0.2.1"},
		"userspace, caller, pass peer": {nil, ppp.Link{OptFile: "/etc/ppp/server", OuterPeer: addr("198.51.100.7"), Peer: addr("10.2.0.10")}, []string{"lns branches"}, "198.51.100.7"},
		"userspace, call of the LNS":   {nil, ppp.Link{OptFile: "/etc/ppp/server", OuterPeer: addr("192.0.2.1"), Peer: addr("10.1.0.10")}, []string{"lns default"}, "192.0.2.1"},
		"userspace, call without end":  {nil, ppp.Link{OptFile: "/etc/ppp/server", OuterPeer: addr("192.0.2.1")}, []string{"lns default"}, "192.0.2.1"},
		"userspace, call of two LNSs'": {nil, ppp.Link{OptFile: "/etc/ppp/server", OuterPeer: addr("192.0.2.9"), Peer: addr("10.1.0.10")}, []string{"lns default"}, "192.0.2.9"},
		"userspace, address of no one": {nil, ppp.Link{OptFile: "/etc/ppp/server", OuterPeer: addr("192.0.2.1"), Peer: addr("10.3.0.1")}, []string{"lac tokyo"}, "192.0.2.1"},
		"userspace, one for both":      {nil, ppp.Link{OptFile: "/etc/ppp/shared", OuterPeer: addr("192.0.2.3"), Peer: addr("10.3.0.1")}, []string{"lac kyoto"}, "192.0.2.3"},
		"userspace, edited pppoptfile": {nil, ppp.Link{OptFile: "/etc/ppp/old", OuterPeer: addr("192.0.2.1")}, []string{"lac tokyo"}, "192.0.2.1"},
		"kernel, the LAC's own":        {session("192.0.2.1", false), ppp.Link{OptFile: "/etc/ppp/server", Peer: addr("10.1.0.10")}, []string{"lac tokyo"}, "192.0.2.1"},
		"userspace, own pppoptfile":    {nil, ppp.Link{OptFile: "/etc/ppp/kobe-a"}, []string{"lac kobe-a"}, "192.0.2.9"},
		"userspace, shared pppoptfile": {nil, ppp.Link{OptFile: "/etc/ppp/client"}, []string{"lac tokyo", "lac osaka"}, ""},
		"userspace, caller by range":   {nil, ppp.Link{OptFile: "/etc/ppp/server", Peer: addr("10.2.0.10")}, []string{"lns branches"}, ""},
		"userspace, kept from callers": {nil, ppp.Link{OptFile: "/etc/ppp/server", Peer: addr("10.2.0.55")}, nil, ""},
		"userspace, pppd's addresses":  {nil, ppp.Link{OptFile: "/etc/ppp/annex", Peer: addr("10.3.0.1")}, []string{"lns annex"}, ""},
		"userspace, call":              {nil, ppp.Link{OptFile: "/etc/ppp/server"}, []string{"lns default", "lns branches"}, ""},
		"of a link that had the name":  {[]xl2tpd.Session{{Ifname: "ppp0", Ifindex: 4, Peer: netip.MustParseAddrPort("192.0.2.1:1701")}}, ppp.Link{OptFile: "/etc/ppp/nagoya"}, []string{"lac nagoya"}, ""},
		"another link's session":       {[]xl2tpd.Session{{Ifname: "ppp1", Ifindex: 6, Peer: netip.MustParseAddrPort("192.0.2.1:1701")}}, ppp.Link{OptFile: "/etc/ppp/nagoya"}, []string{"lac nagoya"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := n.xl2tpd(bothRoles)
			s.Sessions = c.sessions
			var a topology
			a.updateInstances(s)
			c.link.Name, c.link.Index, c.link.Xl2tpdPid = "ppp0", 5, 100
			p := a.identify(c.link)
			var names []string
			for _, n := range p.names {
				names = append(names, n.String())
			}
			var outer string
			if p.outer.IsValid() {
				outer = p.outer.String()
			}
			if !slices.Equal(names, c.names) || outer != c.outer {
				t.Errorf("got %q by %q, want %q by %q", names, outer, c.names, c.outer)
			}
		})
	}
}

// In userspace mode, a router that is the LNS of a LAC calls this host too. While its call is up, the LAC is still dialled.
// Who hangs up that call has not hung up the LAC, unless it was the LAC's attempt that he hung up.
func TestLNSThatCalls(t *testing.T) {
	const (
		sections = "[lac office]\nlns = 192.0.2.1\npppoptfile = /etc/ppp/lac\n[lns default]\nip range = 10.0.0.1-10.0.0.9\npppoptfile = /etc/ppp/callers\n"
		settings = "[global]\nrecover = auto\n[lac office]\nrecover = full\n"
	)
	for name, tc := range map[string]struct {
		then    func(*fixture)
		dialled bool
	}{
		"its call stays":          {func(*fixture) {}, true},
		"its call ends by itself": {func(n *fixture) { n.ends(8, why{Reason: "closed by the peer"}); n.links() }, true},
		"its call is hung up":     {func(n *fixture) { n.ends(8, operatorEnds); n.links() }, true},
		"the attempt is hung up":  {func(n *fixture) { n.ends(9, operatorEnds) }, false},
		"both are hung up": {func(n *fixture) {
			n.ends(9, operatorEnds)
			n.ends(8, operatorEnds)
			n.links()
		}, false},
	} {
		for peer, outer := range map[string]netip.Addr{"pass peer": addr("192.0.2.1"), "no pass peer": {}} {
			t.Run(name+", "+peer, func(t *testing.T) {
				n := newFixture(t, sections, settings)
				n.step(vici.Snapshot{})
				n.step(TaskWorks{Task: TaskGuard})
				office, call := link("ppp0", 5, true), link("ppp1", 6, true)
				office.OptFile, office.OuterPeer = "/etc/ppp/lac", outer
				call.OptFile, call.OuterPeer = "/etc/ppp/callers", outer
				n.links(office, call)
				dials := 0
				outcome := func(r Recover) error {
					switch r.Step {
					case policy.StepDial:
						dials++
					case policy.StepSecure, policy.StepRenew:
						return policy.ErrNoConnection
					}
					return nil
				}
				n.plays(time.Minute, alive, outcome)
				n.ends(7, why{Reason: "closed by the peer"})
				n.links(call)
				n.plays(10*time.Second, alive, outcome)
				tc.then(n)
				dials = 0
				if n.plays(30*time.Minute, alive, outcome); dials > 0 != tc.dialled {
					t.Errorf("%d dials", dials)
				}
			})
		}
	}
}

func TestJoinWithoutConf(t *testing.T) {
	var a topology
	a.updateInstances(xl2tpd.Snapshot{Sessions: []xl2tpd.Session{{Ifname: "ppp0", Ifindex: 5, LNS: true, Peer: netip.MustParseAddrPort("192.0.2.1:1701")}}})
	if p := a.identify(ppp.Link{Name: "ppp0", Index: 5}); len(p.names) != 0 || p.outer != addr("192.0.2.1") {
		t.Errorf("got %+v, want the peer of the session, and no section", p)
	}
}

func TestJoinSA(t *testing.T) {
	peer := netip.MustParseAddrPort("[::ffff:192.0.2.1]:4500")
	old := vici.SA{Name: "tokyo", UniqueID: "1", State: "ESTABLISHED", RemoteHost: peer}
	fresh := vici.SA{Name: "tokyo", UniqueID: "2", State: "ESTABLISHED", RemoteHost: peer}
	dying := vici.SA{Name: "tokyo", UniqueID: "3", State: "DELETING", RemoteHost: peer}
	var a topology
	a.updateSAs(vici.Snapshot{SAs: []vici.SA{dying, old, fresh, dying}}, time.Time{})
	if p := a.identify(ppp.Link{OuterPeer: addr("192.0.2.1")}); p.sa.UniqueID != "2" {
		t.Errorf("got %+v, want the SA 2", p.sa)
	}

	// A CHILD SA for another network does not count.
	site := vici.SA{Name: "site", UniqueID: "9", State: "ESTABLISHED", RemoteHost: peer, Children: []vici.Child{
		{State: "INSTALLED", Mode: "TUNNEL", RemoteTS: []string{"198.51.100.0/24"}},
	}}
	a.updateSAs(vici.Snapshot{SAs: []vici.SA{old, site}}, time.Time{})
	if is := a.sas[addr("192.0.2.1")]; is.UniqueID != "1" || is.Child {
		t.Errorf("got %+v, want the SA 1 without a CHILD SA", is)
	}
	site.Children = append(site.Children, vici.Child{State: "REKEYING", Mode: "TUNNEL", RemoteTS: []string{"192.0.2.1/32[udp/l2f]"}})
	a.updateSAs(vici.Snapshot{SAs: []vici.SA{old, site}}, time.Time{})
	if is := a.sas[addr("192.0.2.1")]; is.UniqueID != "9" || !is.Child {
		t.Errorf("got %+v, want the SA 9 with a CHILD SA", is)
	}

	// A route-based VPN does not count either, with any traffic selectors.
	vti := vici.SA{Name: "vti", UniqueID: "10", State: "ESTABLISHED", RemoteHost: peer, Children: []vici.Child{
		{State: "INSTALLED", Mode: "TUNNEL", RemoteTS: []string{"0.0.0.0/0"}, RouteBased: true},
	}}
	a.updateSAs(vici.Snapshot{SAs: []vici.SA{old, vti}}, time.Time{})
	if is := a.sas[addr("192.0.2.1")]; is.UniqueID != "1" || is.Child {
		t.Errorf("got %+v, want the SA 1 without a CHILD SA", is)
	}

	// An SA without children does not count if another connection has one for L2TP.
	office := vici.SA{Name: "office", UniqueID: "11", State: "ESTABLISHED", RemoteHost: peer}
	carrier := vici.SA{Name: "tokyo", UniqueID: "12", State: "ESTABLISHED", RemoteHost: peer, Children: []vici.Child{
		{State: "INSTALLED", Mode: "TRANSPORT", LocalTS: []string{"192.0.2.2/32[udp/l2f]"}, RemoteTS: []string{"192.0.2.1/32[udp/l2f]"}},
	}}
	vxlan := vici.SA{Name: "vxlan", UniqueID: "13", State: "ESTABLISHED", RemoteHost: peer, Children: []vici.Child{
		{State: "INSTALLED", Mode: "TRANSPORT", LocalTS: []string{"192.0.2.2/32[udp]"}, RemoteTS: []string{"192.0.2.1/32[udp/4789]"}},
	}}
	for _, all := range [][]vici.SA{{carrier, office}, {office, carrier}, {vxlan, carrier}, {carrier, vxlan}, {vxlan, office, carrier, office}} {
		a.updateSAs(vici.Snapshot{SAs: all}, time.Time{})
		if is := a.sas[addr("192.0.2.1")]; is.UniqueID != "12" || !is.Child {
			t.Errorf("%+v of %+v", is, all)
		}
	}
	a.updateSAs(vici.Snapshot{SAs: []vici.SA{vxlan}}, time.Time{})
	if is, ok := a.sas[addr("192.0.2.1")]; ok {
		t.Errorf("VXLAN's SA is L2TP's: %+v", is)
	}

	// The CHILD SA may belong to another IKE SA with that peer.
	old.Children = []vici.Child{{State: "REKEYED", Encap: true}}
	dying.Children = []vici.Child{{State: "DELETING", Encap: true}}
	for want, sas := range map[bool][]vici.SA{true: {old, fresh}, false: {fresh, dying}} {
		a.updateSAs(vici.Snapshot{SAs: sas}, time.Time{})
		if is := a.sas[addr("192.0.2.1")]; is.UniqueID != "2" || is.Child != want || is.Encap != want {
			t.Errorf("got %+v, want SA 2 with child and encap %v", is, want)
		}
	}
}

// If sections that can't be told apart have different settings, [global] counts, and the log says so.
func TestAmbiguous(t *testing.T) {
	l := link("ppp0", 5, true)
	l.OptFile = "/etc/ppp/client"
	for name, c := range map[string]struct {
		conf  string
		on    bool
		notes []string
	}{
		"agree":    {"[lac tokyo]\nkeepalive = no\n[lac osaka]\nkeepalive = no\n", false, []string{"tunnel left alone link=ppp0"}},
		"disagree": {"[lac tokyo]\nkeepalive = no\n", true, []string{"tunnel up link=ppp0", "can't tell which section"}},
	} {
		t.Run(name, func(t *testing.T) {
			n := newFixture(t, bothRoles, c.conf)
			n.links(l)
			if on := len(n.actions) == 1; on != c.on {
				t.Errorf("recovery is on: %v, want %v", on, c.on)
			}
			n.wantNotes(c.notes...)
		})
	}
}

// The start of an SA is the same in each snapshot, although charon rounds its age. So nothing has changed then.
func TestJoinSAsAge(t *testing.T) {
	at := func(after time.Duration) vici.SA {
		return vici.SA{
			Name: "tokyo", UniqueID: "1", State: "ESTABLISHED", Established: after.Truncate(time.Second),
			RemoteHost: netip.MustParseAddrPort("192.0.2.1:4500"),
		}
	}
	is := at(0)
	is.State = "CONNECTING"
	var a topology
	a.updateSAs(vici.Snapshot{SAs: []vici.SA{is}}, epoch.Add(-time.Second))
	for i, after := range []time.Duration{300 * time.Millisecond, 1200 * time.Millisecond, 2900 * time.Millisecond} {
		news, _ := a.updateSAs(vici.Snapshot{SAs: []vici.SA{at(after)}}, epoch.Add(after))
		if since := a.sas[addr("192.0.2.1")].Since; news != (i == 0) || !since.Equal(epoch.Add(300*time.Millisecond)) {
			t.Errorf("after %v: since %v, news: %v", after, since, news)
		}
	}
	is = at(time.Second)
	is.UniqueID = "2"
	a.updateSAs(vici.Snapshot{SAs: []vici.SA{is}}, epoch.Add(time.Minute))
	if since := a.sas[addr("192.0.2.1")].Since; !since.Equal(epoch.Add(59 * time.Second)) {
		t.Errorf("another one since %v", since)
	}
}
