package main

import (
	"net/netip"
	"testing"
	"time"

	"xl2tpd-keepalive/hello"
	"xl2tpd-keepalive/hello/guard"
	"xl2tpd-keepalive/vici"
)

func TestConnection(t *testing.T) {
	lns := netip.MustParseAddr("192.0.2.1")
	l2tp := []vici.ChildConfig{{Name: "net", Mode: "TUNNEL"}, {Name: "l2tp", Mode: "TRANSPORT"}}
	for _, tc := range []struct {
		name             string
		remotes          []string
		children         []vici.ChildConfig
		wantIKE, wantSub string
	}{
		{"address", []string{"192.0.2.1"}, l2tp, "conn", "l2tp"},
		{"one of several", []string{"192.0.2.9", "192.0.2.1"}, l2tp[:1], "conn", "net"},
		{"by name", []string{"vpn.example.org"}, l2tp, "conn", "l2tp"},
		{"another address", []string{"192.0.2.9"}, l2tp, "", ""},
		{"whoever", []string{"%any"}, l2tp, "", ""},
		{"a prefix", []string{"192.0.2.0/24"}, l2tp, "", ""},
		{"no child", []string{"192.0.2.1"}, nil, "", ""},
		{"none", nil, l2tp, "", ""},
	} {
		all := []vici.Connection{{Name: "conn", RemoteAddrs: tc.remotes, Children: tc.children}}
		ike, child, ok := connection(all, lns, "VPN.example.org")
		if ike != tc.wantIKE || child != tc.wantSub || ok != (tc.wantIKE != "") {
			t.Errorf("%s: %q %q %v", tc.name, ike, child, ok)
		}
	}
}

func TestHeard(t *testing.T) {
	now, peer := time.Unix(1_000_000, 0), netip.MustParseAddr("192.0.2.1")
	channel := func(ago time.Duration) []guard.Channel {
		return []guard.Channel{{Tunnel: hello.Tunnel{Peer: netip.AddrPortFrom(peer, 1701)}, Heard: now.Add(-ago)}}
	}
	if !heard(channel(59*time.Second), peer, now) || heard(channel(time.Minute), peer, now) || heard(channel(0), peer.Next(), now) ||
		heard([]guard.Channel{{Tunnel: hello.Tunnel{Peer: netip.AddrPortFrom(peer, 1701)}}}, peer, now) {
		t.Error("wrong")
	}
}
