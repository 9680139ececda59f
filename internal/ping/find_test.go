package ping

import (
	"net/netip"
	"testing"

	"xl2tpd-keepalive/internal/status"
)

// tunnels are some of a host with two xl2tpds.
func tunnels() []status.Tunnel {
	addr := netip.MustParseAddr
	link := func(name string) *status.Link {
		return &status.Link{Name: name, Local: addr("10.0.0.2"), Remote: addr("10.0.0.1"), Target: addr("10.0.0.1")}
	}
	return []status.Tunnel{
		{Name: "lac office", Link: link("ppp0"), Peer: addr("192.0.2.1"), Local: addr("198.51.100.7")},
		{Name: "lac l2tp", Instance: "a.service", Link: link("ppp1")},
		{Name: "lac l2tp", Instance: "/run/b/xl2tpd.conf", Link: link("ppp2")},
		{Name: "lns callers", Link: link("ppp3")},
		{Name: "lns callers", Link: link("ppp4")},
		{Name: "lac branch", Doing: "xl2tpd redials"},
		{Name: "lac slow\x1b", Link: &status.Link{Name: "ppp5"}, Doing: "waits for the link's addresses"},
		{Link: link("ppp6")},
	}
}

func TestFindTunnel(t *testing.T) {
	all := tunnels()
	for name, want := range map[string]string{
		"office": "ppp0", "lac office": "ppp0", "ppp0": "ppp0",
		"l2tp (a.service)": "", "lac l2tp (a.service)": "ppp1", "a.service l2tp": "ppp1", "lac a.service l2tp": "ppp1",
		"lac /run/b/xl2tpd.conf l2tp": "ppp2", "ppp2": "ppp2",
		"l2tp": "", "callers": "", "ppp4": "ppp4", "ppp6": "ppp6", "": "", "lac": "", "Office": "ppp0", "branch": "",
	} {
		found, err := FindTunnel(all, name)
		switch {
		case want == "" && err == nil:
			t.Errorf("%q is %s", name, found.Link.Name)
		case want != "" && err != nil:
			t.Errorf("%q: got %v, want %s", name, err, want)
		case want != "" && found.Link.Name != want:
			t.Errorf("%q is %s, want %s", name, found.Link.Name, want)
		}
	}
}

// Each error is one line that says which tunnels there are, or what to do.
func TestFindTunnelErrors(t *testing.T) {
	for _, tt := range []struct {
		name string
		all  []status.Tunnel
		want string
	}{
		{"office", nil, "there is no tunnel (xl2tpd-keepalive doctor looks for the reason)"},
		{"ofice\x1b", tunnels()[:2], `there is no tunnel "ofice?": name one of lac office, ppp0; lac l2tp (a.service), ppp1`},
		{"l2tp", tunnels(), `"l2tp" is not one tunnel alone: name one of lac l2tp (a.service), ppp1; lac l2tp (/run/b/xl2tpd.conf), ppp2 by its pppN`},
		{"branch", tunnels(), "lac branch has no link now, so there is nothing to ping: xl2tpd redials (xl2tpd-keepalive status)"},
		{"ppp5", tunnels(), "lac slow? has no link now, so there is nothing to ping: waits for the link's addresses (xl2tpd-keepalive status)"},
		{"ppp9", tunnels()[5:], `there is no tunnel "ppp9": name one of lac branch, no link; lac slow?, ppp5; (unknown section), ppp6`},
	} {
		if _, err := FindTunnel(tt.all, tt.name); err == nil || err.Error() != tt.want {
			t.Errorf("%q: %v\nwant %s", tt.name, err, tt.want)
		}
	}
}
