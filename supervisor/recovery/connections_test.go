package recovery

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"xl2tpd-keepalive/supervisor"
	"xl2tpd-keepalive/vici"
)

func TestConnection(t *testing.T) {
	transport := vici.ChildConfig{Name: "l2tp", Mode: "TRANSPORT", RemoteTS: []string{"dynamic[udp/l2f]"}}
	net := vici.ChildConfig{Name: "net", Mode: "TUNNEL", RemoteTS: []string{"198.51.100.0/24"}}
	host := vici.ChildConfig{Name: "host", Mode: "TUNNEL", RemoteTS: []string{"dynamic"}}
	conn := func(name, remote string, children ...vici.ChildConfig) vici.Connection {
		return vici.Connection{Name: name, RemoteAddrs: []string{"198.51.100.0/24", remote}, Children: children}
	}
	for _, tc := range []struct {
		name             string
		all              []vici.Connection
		last             string // the connection of the last tunnel
		wantIKE, wantSub string
	}{
		{"address", []vici.Connection{conn("a", "192.0.2.1", net, transport)}, "", "a", "l2tp"},
		{"by name", []vici.Connection{conn("a", "vpn.example.org", transport)}, "", "a", "l2tp"},
		{"tunnel mode", []vici.Connection{conn("a", "192.0.2.1", net, host)}, "", "a", "host"},
		{"another for a network", []vici.Connection{conn("site", "192.0.2.1", net), conn("a", "192.0.2.1", host)}, "", "a", "host"},
		{"for a network only", []vici.Connection{conn("site", "192.0.2.1", net)}, "", "", ""},
		{"transport mode first", []vici.Connection{conn("a", "192.0.2.1", host), conn("b", "192.0.2.1", transport)}, "", "b", "l2tp"},
		{"another protocol's", []vici.Connection{conn("a", "192.0.2.1", vici.ChildConfig{Name: "gre", Mode: "TRANSPORT", RemoteTS: []string{"dynamic[gre]"}}, transport)}, "", "a", "l2tp"},
		{"another address", []vici.Connection{conn("a", "192.0.2.9", transport)}, "", "", ""},
		{"whoever", []vici.Connection{conn("a", "%any", transport)}, "", "", ""},
		{"a prefix", []vici.Connection{conn("a", "192.0.2.0/24", transport)}, "", "", ""},
		{"another name, as the last time", []vici.Connection{conn("b", "b.example.org", transport), conn("a", "a-1.example.org", transport)}, "a", "a", "l2tp"},
		{"not as the last time", []vici.Connection{conn("a", "%any", transport), conn("b", "192.0.2.1", transport)}, "a", "b", "l2tp"},
		{"the second address", []vici.Connection{
			{Name: "a", RemoteAddrs: []string{"2001:db8::1", "192.0.2.1"}, Children: []vici.ChildConfig{transport}},
			{Name: "b", RemoteAddrs: []string{"%any", "192.0.2.1"}, Children: []vici.ChildConfig{transport}},
			conn("c", "192.0.2.1", transport)}, "", "c", "l2tp"},
		{"whoever, as the last time", []vici.Connection{{Name: "a", RemoteAddrs: []string{"%any", "192.0.2.1"}, Children: []vici.ChildConfig{transport}}}, "a", "", ""},
		{"a shunt", []vici.Connection{conn("a", "192.0.2.1", vici.ChildConfig{Name: "clear", Mode: "PASS", RemoteTS: []string{"192.0.2.1/32[udp/l2f]"}})}, "", "", ""},
		{"no child", []vici.Connection{conn("a", "192.0.2.1")}, "a", "", ""},
		{"a name with a dot", []vici.Connection{conn("a", "vpn.example.org.", transport)}, "", "a", "l2tp"},
		{"none", nil, "a", "", ""},
	} {
		r := supervisor.Recover{LNS: netip.MustParseAddr("192.0.2.1"), Host: "VPN.example.org", IKE: tc.last}
		ike, child, ok := connection(tc.all, r)
		if ike != tc.wantIKE || child != tc.wantSub || ok != (tc.wantIKE != "") {
			t.Errorf("%s: got %q %q %v, want %q %q", tc.name, ike, child, ok, tc.wantIKE, tc.wantSub)
		}
	}
}

// A connection with a name that leads to the LNS is the LNS's. A failed lookup is not "none": the tunnel would continue
// in the clear.
func TestConnectionByName(t *testing.T) {
	down := errors.New("no name server")
	l2tp := []vici.ChildConfig{{Name: "l2tp", Mode: "TRANSPORT", RemoteTS: []string{"dynamic[udp/l2f]"}}}
	site := []vici.ChildConfig{{Name: "net", Mode: "TUNNEL", RemoteTS: []string{"198.51.100.0/24"}}}
	lns := netip.MustParseAddr("192.0.2.1")
	for name, tc := range map[string]struct {
		all    []vici.Connection
		lns    netip.Addr
		answer []netip.Addr
		err    error
		want   string // the connection
		fails  bool
	}{
		"leads to it":              {[]vici.Connection{{Name: "a", RemoteAddrs: []string{"vpn.example.net."}, Children: l2tp}}, lns, []netip.Addr{lns}, nil, "a", false},
		"the address behind it":    {[]vici.Connection{{Name: "a", RemoteAddrs: []string{"vpn.example.net", "192.0.2.1"}, Children: l2tp}}, lns, []netip.Addr{lns.Next()}, nil, "", true},
		"and one that leads to it": {[]vici.Connection{{Name: "a", RemoteAddrs: []string{"192.0.2.9", "192.0.2.1"}, Children: l2tp}, {Name: "b", RemoteAddrs: []string{"vpn.example.net"}, Children: l2tp}}, lns, []netip.Addr{lns}, nil, "b", false},
		"no such name, an address": {[]vici.Connection{{Name: "a", RemoteAddrs: []string{"gone.example.net", "192.0.2.1"}, Children: l2tp}}, lns, nil, &net.DNSError{IsNotFound: true}, "a", false},
		"leads elsewhere":          {[]vici.Connection{{Name: "a", RemoteAddrs: []string{"vpn.example.net"}, Children: l2tp}}, lns, []netip.Addr{lns.Next()}, nil, "", false},
		"can't be looked up":       {[]vici.Connection{{Name: "a", RemoteAddrs: []string{"vpn.example.net"}, Children: l2tp}}, lns, nil, down, "", true},
		"there is no such name":    {[]vici.Connection{{Name: "a", RemoteAddrs: []string{"gone.example.net"}, Children: l2tp}}, lns, nil, &net.DNSError{IsNotFound: true}, "", false},
		"the second one leads":     {[]vici.Connection{{Name: "a", RemoteAddrs: []string{"192.0.2.9"}, Children: l2tp}, {Name: "b", RemoteAddrs: []string{"x.example.net"}, Children: l2tp}}, lns, []netip.Addr{lns}, nil, "b", false},
		"of another network":       {[]vici.Connection{{Name: "a", RemoteAddrs: []string{"vpn.example.net"}, Children: site}}, lns, nil, down, "", false},
		"whoever":                  {[]vici.Connection{{Name: "a", RemoteAddrs: []string{"%any"}, Children: l2tp}}, lns, nil, down, "", false},
		"the LNS can't be":         {[]vici.Connection{{Name: "a", RemoteAddrs: []string{"192.0.2.1"}, Children: l2tp}}, netip.Addr{}, nil, down, "", true},
		"nor can it, and no IPsec": {nil, netip.Addr{}, nil, down, "", false},
	} {
		lists := func() ([]vici.Connection, error) { return tc.all, nil }
		l := newListing(&fakeCharon{connections: lists}, fakeNames(func(host string) ([]netip.Addr, error) {
			if strings.HasSuffix(host, ".") {
				t.Errorf("%s: %q is looked up", name, host)
			}
			return tc.answer, tc.err
		}))
		ike, _, ok, err := l.find(t.Context(), supervisor.Recover{LNS: tc.lns, Host: "lns.example.org"})
		if ike != tc.want || ok != (tc.want != "") || (err != nil) != tc.fails {
			t.Errorf("%s: got %q, %v, want %q; error: %v, want one: %v", name, ike, ok, tc.want, err, tc.fails)
		}
	}
}

// Only a single host can be dialled.
func TestSingle(t *testing.T) {
	for remote, want := range map[string]bool{
		"192.0.2.1": true, "2001:db8::1": true, "vpn-1.example.org": true,
		"%any": false, "%any4": false, "192.0.2.0/24": false, "192.0.2.1-192.0.2.9": false,
	} {
		if isOneHost(remote) != want {
			t.Errorf("isOneHost(%q) is %v", remote, !want)
		}
	}
}

// Many LACs together need only a few lists. For a LAC that is not in the list, charon is asked again.
func TestListing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 100
		lns := func(i int) supervisor.Recover {
			return supervisor.Recover{LNS: netip.AddrFrom4([4]byte{192, 0, 2, byte(i)})}
		}
		var lists, known int // how often charon was asked, and how many connections it has
		var fails error
		l := newListing(&fakeCharon{connections: func() (all []vici.Connection, err error) {
			lists++
			for i := range known {
				all = append(all, vici.Connection{
					Name: fmt.Sprint(i), RemoteAddrs: []string{lns(i).LNS.String()}, Children: []vici.ChildConfig{{Name: "l2tp", Mode: "TRANSPORT"}},
				})
			}
			time.Sleep(time.Second)
			return all, fails
		}}, unknownNames)
		find := func(i int, want bool) {
			t.Helper()
			if ike, _, ok, err := l.find(t.Context(), lns(i)); err != nil || ok != want || ok && ike != fmt.Sprint(i) {
				t.Errorf("%d: %q, %v, %v, want %v", i, ike, ok, err, want)
			}
		}

		known = n / 2 // the others are not loaded yet
		var all sync.WaitGroup
		for i := range n {
			all.Go(func() { find(i, i < n/2) })
		}
		all.Wait()
		if lists > 2 {
			t.Errorf("%d lists for %d LACs", lists, n)
		}
		lists, known = 0, n
		find(n-1, true)
		find(0, true)
		if lists != 1 {
			t.Errorf("%d lists, want 1", lists)
		}
		time.Sleep(listedFor)
		known = 0
		find(0, false)

		fails = errors.New("charon is busy")
		if _, _, _, err := l.find(t.Context(), lns(0)); err != fails {
			t.Errorf("%v, want %v", err, fails)
		}
		all.Go(func() { l.find(t.Context(), lns(0)) })
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if _, _, _, err := l.find(ctx, lns(0)); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("while another asks: %v", err)
		}
		all.Wait()
	})
}
