package supervisor

import (
	"fmt"
	"net/netip"
	"reflect"
	"testing"
	"time"

	"xl2tpd-keepalive/internal/helloguard"
	"xl2tpd-keepalive/internal/l2tp"
	"xl2tpd-keepalive/internal/ppp"
	"xl2tpd-keepalive/internal/status"
	"xl2tpd-keepalive/internal/xl2tpd"
	"xl2tpd-keepalive/probe"
	"xl2tpd-keepalive/vici"
)

// up brings ppp0 of oneLAC up, with an answered echo.
func (f *fixture) up() ppp.Link {
	l := link("ppp0", 5, true)
	f.step(secured("1"))
	f.links(l)
	f.step(Counters{{Link: key("ppp0", 5)}})
	f.step(Results{{Link: "ppp0", Index: 5, RTT: 12 * time.Millisecond}})
	f.notes = nil
	return l
}

func (f *fixture) status() []status.Tunnel {
	details := f.core.Overview(f.now).Details
	var all []status.Tunnel
	for _, d := range details {
		all = append(all, d.Status)
	}
	return all
}

var closer = helloguard.OwnedConnection{Connection: l2tp.Connection{Local: netip.MustParseAddrPort("192.0.2.100:1701"), Peer: netip.MustParseAddrPort("192.0.2.1:1701"), LocalID: 7}}

// The reason of an end is what was reported before it or just after it. Otherwise it is what else has happened.
func TestWhyItEnded(t *testing.T) {
	other := closer
	other.Peer = netip.MustParseAddrPort("192.0.2.77:1701")
	hear := func(e Ending) func(*fixture) { return func(n *fixture) { n.step(e) } }
	for _, tc := range []struct {
		name          string
		before, after func(*fixture)
		want          string
	}{
		{"heard", hear(Ending{OwnedConnection: closer, CloseReason: why{Reason: "hung up"}}), nil, "hung up"},
		{"heard of another", hear(Ending{OwnedConnection: other, CloseReason: why{Reason: "hung up"}}), nil, "the link is gone"},
		{"heard long ago", func(n *fixture) {
			n.step(Ending{OwnedConnection: closer, CloseReason: why{Reason: "hung up"}})
			n.now = n.now.Add(time.Minute)
		}, nil, "the link is gone"},
		{"heard late", nil, hear(Ending{OwnedConnection: closer, CloseReason: why{Reason: "hung up"}}), "hung up"},
		{"unexplained, after data", hear(Ending{OwnedConnection: closer, CloseReason: why{Reason: "closed by the peer", ByPeer: true, Vague: true}}), nil, "closed by the peer"},
		{"unexplained, after a silence", func(n *fixture) {
			n.now = n.now.Add(time.Minute)
			n.step(Ending{OwnedConnection: closer, CloseReason: why{Reason: "closed by the peer", ByPeer: true, Vague: true}})
		}, nil, "the peer's idle timer, it seems: nothing came for 61 s"},
		{"xl2tpd died", func(n *fixture) {
			s := n.xl2tpd(oneLAC)
			s.Home().Process.Pid = 0
			n.step(s)
		}, nil, "xl2tpd ended"},
		{"SA lost", func(n *fixture) { n.step(vici.Snapshot{}) }, nil, "the IPsec SA was lost"},
	} {
		n := newFixture(t, oneLAC, "")
		n.up()
		if tc.before != nil {
			tc.before(n)
		}
		n.now = n.now.Add(time.Second)
		n.links()
		if tc.after != nil {
			tc.after(n)
		}
		all := n.status()
		if len(all) != 1 || all[0].Last == nil || all[0].Last.Reason.String() != tc.want || all[0].State != "down" {
			t.Errorf("%s: %+v, want %s", tc.name, all, tc.want)
		}
	}
}

// The status has all links and the LACs without one, by name.
func TestReport(t *testing.T) {
	n := newFixture(t, oneLAC+"[lac osaka]\nlns = 192.0.2.2\nredial = yes\n[lac nara]\nlns = 192.0.2.3\n[lac kobe]\nlns = 192.0.2.4\n", "[lac nara]\nkeepalive = no\n")
	n.up()
	all := n.status()
	if len(all) != 4 {
		t.Fatalf("got %+v, want four tunnels", all)
	}
	for i, want := range []string{
		"lac kobe 192.0.2.4 down waits to be dialled",
		"lac nara 192.0.2.3 off nothing: keepalive = no",
		"lac osaka 192.0.2.2 down xl2tpd redials, unless it was hung up",
		"lac tokyo 192.0.2.1 alive echo request in 10s unless data comes",
	} {
		if got := fmt.Sprint(all[i].Name, " ", all[i].Peer, " ", all[i].State, " ", all[i].Doing); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	for _, r := range all {
		if r.ByHand != (r.Name == "lac kobe") {
			t.Errorf("%s: by hand: %v", r.Name, r.ByHand)
		}
	}
	got := all[3]
	if got.SA == nil || got.SA.Name != "tokyo" || got.Link == nil || got.Link.Name != "ppp0" || got.Link.Echoes.Sent != 1 ||
		got.Link.Evidence.Reply != n.now || got.Last != nil {
		t.Errorf("got %+v %+v %+v, want the tunnel with its link and SA", got, got.Link, got.SA)
	}
}

// A link that was up before this service started came up when its pppd was started. Later it comes up when it is seen.
func TestUpBeforeUs(t *testing.T) {
	n := newFixture(t, oneLAC, "")
	old := link("ppp0", 5, true)
	old.Started = epoch.Add(-time.Hour)
	n.links(old)
	if got := n.status()[0].Link.Up; !got.Equal(old.Started) {
		t.Errorf("up since %v, want %v", got, old.Started)
	}
	n.now = n.now.Add(time.Minute)
	fresh := link("ppp0", 6, true)
	fresh.Started = n.now.Add(-3 * time.Second)
	n.links(fresh)
	if got := n.status()[0].Link.Up; !got.Equal(n.now) {
		t.Errorf("up since %v, want %v", got, n.now)
	}
}

// Only the latest round trips are kept, lost ones as such.
func TestEchoes(t *testing.T) {
	var e echoes
	for i := range 3*recent + 1 {
		r := probe.Result{RTT: time.Duration(i) * time.Millisecond}
		if i%2 == 0 {
			r.Err = lost
		}
		e.add(r)
	}
	got := e.status()
	if got.Sent != 3*recent+1 || got.Lost != (3*recent+2)/2 || len(got.Recent) != recent {
		t.Fatalf("got %+v, want all requests counted, and the recent ones kept", got)
	}
	if got.Recent[recent-1] != nil || got.Recent[recent-2] == nil || *got.Recent[recent-2] != status.Seconds((3*recent-1)*time.Millisecond) {
		t.Errorf("got %v, want a lost one after a reply", got.Recent)
	}
}

// Callers with always new addresses do not fill the memory.
func TestClosesAreBounded(t *testing.T) {
	n := newFixture(t, "[lns default]\nip range = 10.0.0.1-10.0.255.254\npppoptfile = /etc/ppp/options.l2tpd\n", "")
	for i := range maxEnds + 10 {
		l := link("ppp0", 5+i, true)
		l.OuterPeer = netip.AddrFrom4([4]byte{192, 0, byte(i >> 8), byte(i)})
		n.now = n.now.Add(time.Second)
		n.links(l)
		n.links()
		n.step(Ending{OwnedConnection: closer})
	}
	if len(n.core.tunnels.ends.last) != maxEnds || len(n.core.tunnels.ends.reasons) > 100 {
		t.Errorf("%d closes, %d endings", len(n.core.tunnels.ends.last), len(n.core.tunnels.ends.reasons))
	}
}

// An end names its control connection as the reason did, or else as the kernel did. In userspace mode nobody does.
func TestControlOfAnEnd(t *testing.T) {
	local, peer := netip.MustParseAddrPort("192.0.2.1:1701"), netip.MustParseAddrPort("198.51.100.7:1701")
	named := Ending{OwnedConnection: helloguard.OwnedConnection{Connection: l2tp.Connection{Local: local, Peer: peer, LocalID: 7}}}
	session := identity{session: xl2tpd.Session{Local: local, Peer: peer, LocalTunnel: 8, PeerTunnel: 9}}
	for name, tc := range map[string]struct {
		end  end
		want *l2tp.Connection
	}{
		"reason":         {end{Ending: named, identity: session}, &l2tp.Connection{Local: local, Peer: peer, LocalID: 7}},
		"kernel":         {end{identity: session}, &l2tp.Connection{Local: local, Peer: peer, LocalID: 8, PeerID: 9}},
		"userspace mode": {end{}, nil},
	} {
		if got := tc.end.status().Control; !reflect.DeepEqual(got, tc.want) {
			t.Errorf("%s: got %v, want %v", name, got, tc.want)
		}
	}
}
