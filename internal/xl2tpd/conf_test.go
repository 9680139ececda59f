package xl2tpd

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"xl2tpd-keepalive/internal/xl2tpdconf"
)

// has reports whether there is a section of this kind and name.
func (c *Conf) has(kind, name string) bool {
	return slices.ContainsFunc(c.Sections, func(s Section) bool {
		return s.Kind == kind && xl2tpdconf.SameName(s.Name, name)
	})
}

var addrs = cmp.Comparer(func(a, b netip.Addr) bool { return a == b })

func TestParseConf(t *testing.T) {
	ip := netip.MustParseAddr
	c, err := ParseConf("f", []byte(`
; written with all that the dialect allows
[global]						; Global parameters:
port = 1702					 	; * Bind to port
listen-addr = 192.0.2.1
auth file = /etc/xl2tpd/l2tp-secrets
Force Userspace = YES
max retries = 30
rand source = dev
access control = y
some key of a later xl2tpd = whatever

[lac Office]
lns = vpn.example.net			; * Who is our LNS?
lns = 198.51.100.7:1234			; * A backup
redial = yes
redial timeout = 15
max redials = 5
autodial = true
pppoptfile = /etc/ppp/options.l2tpd.office	; * its options

[lac default]
lns = 198.51.100.9:1703
redial = yes

[lac branch]
[LAC OFFICE]
redial = no

[lns default]
exclusive = no
ip range = 192.168.0.1-192.168.0.20
no ip range = 192.168.0.3 - 9
ip range = 192.168.0.5
ip range = lac1-lac2
ip range = lac-1
ip range = 10.0.0.250 - 1.3
lac = 192.0.2.4 - 192.0.2.8
no lac = untrusted.example.net
name = myhostname
`))
	if err != nil {
		t.Fatal(err)
	}
	want := &Conf{
		Path: "f", Port: 1702, ListenAddr: ip("192.0.2.1"), ForceUserspace: true, MaxRetries: 30, AccessControl: true,
		Sections: []Section{
			{Kind: "lac", Name: "OFFICE", Line: 13, PPPOptFile: "/etc/ppp/options.l2tpd.office",
				LNS: []string{"vpn.example.net", "198.51.100.7"}, LNSLine: 14, LNSPort: 1701, Autodial: true, RedialTimeout: 15 * time.Second, MaxRedials: 5},
			{Kind: "lac", Name: "branch", Line: 26, LNS: []string{"198.51.100.9"}, LNSLine: 23, LNSPort: 1703, RedialTimeout: 30 * time.Second},
			{Kind: "lns", Name: "default", Line: 30, IPRanges: []Range{
				{From: ip("192.168.0.1"), To: ip("192.168.0.20")},
				{From: ip("192.168.0.3"), To: ip("192.168.0.9"), Deny: true},
				{From: ip("192.168.0.5"), To: ip("192.168.0.5")},
				{From: ip("10.0.0.250"), To: ip("10.0.1.3")},
			}, Callers: []Range{{From: ip("192.0.2.4"), To: ip("192.0.2.8")}}},
		},
		Unknown: []Unknown{{Name: "some key of a later xl2tpd", Line: 11}},
	}
	if d := cmp.Diff(want, c, addrs); d != "" {
		t.Errorf("mismatch (-want +got):\n%s", d)
	}
	if !c.has("lac", "office") || !c.has("lns", "DEFAULT") || c.has("lns", "office") || c.has("lac", "default") {
		t.Error("has finds the wrong sections")
	}

	c, err = ParseConf("f", nil)
	if err != nil {
		t.Fatal(err)
	}
	want = &Conf{Path: "f", Port: 1701, ListenAddr: ip("0.0.0.0"), MaxRetries: 5}
	if d := cmp.Diff(want, c, addrs); d != "" {
		t.Errorf("mismatch (-want +got):\n%s", d)
	}
	c, err = ParseConf("f", []byte("[global]\nport = -1\nmax retries = -1\nlisten-addr = myhost\nipsec saref = yes\n[lac]\n[lac]\n"))
	if err != nil {
		t.Fatal(err)
	}
	if c.Port != 1701 || c.MaxRetries != 5 || c.ListenAddr.IsValid() || !c.ForceUserspace || !c.Saref || len(c.Sections) != 2 {
		t.Errorf("the file is read as %+v", c)
	}
	c, err = ParseConf("f", []byte("[global]\nipsec saref = no\n"))
	if err != nil || !c.Saref {
		t.Errorf("%+v %v: any value counts", c, err)
	}
}

func TestParseConfErrors(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{"redial = yes", `f:1: "redial = yes" appears before the first section; start with [global], [lac NAME] or [lns NAME]`},
		{"[lac a]\nredial = maybe", `f:2: 'redial' is "maybe", must be 'yes' or 'no'`},
		{"[lac a]\nautodial =", `f:2: 'autodial' is "", must be 'yes' or 'no'`},
		{"[lac a]\nredial timeout = 0", `f:2: 'redial timeout' is "0", must be a number of at least 1`},
		{"[lac a]\nmax redials = many", `f:2: 'max redials' is "many", must be a number of at least 1`},
		{"[lac a]\nip range = 10.0.0.1", `f:2: 'ip range' does not belong in a [lac] section`},
		{"[lns a]\nlns = 10.0.0.1", `f:2: 'lns' does not belong in a [lns] section`},
		{"[global]\npppoptfile = /x", `f:2: 'pppoptfile' does not belong in a [global] section`},
		{"[lns a]\nip range = 10.0.0.9-10.0.0.1", `f:2: 'ip range' is "10.0.0.9-10.0.0.1", its start lies behind its end`},
		{"[lns a]\nno ip range = - 10.0.0.1", `f:2: 'no ip range' is "- 10.0.0.1", must be 'address' or 'address - address', with nothing behind it`},
		{"[lns a]\nlac =", `f:2: 'lac' is "", must be 'address' or 'address - address', with nothing behind it`},
		{"[global]\naccess control = 1", `f:2: 'access control' is "1", must be 'yes' or 'no'`},
		{"[global]\nipsec saref = 1", `f:2: 'ipsec saref' is "1", must be 'yes' or 'no'`},
		{"[global]\nforce userspace = 1", `f:2: 'force userspace' is "1", must be 'yes' or 'no'`},
	} {
		if _, err := ParseConf("f", []byte(tt.in)); err == nil || err.Error() != tt.want {
			t.Errorf("%q: got %v\nwant %s", tt.in, err, tt.want)
		}
	}
}

func TestLNSFor(t *testing.T) {
	const two = "[lns a]\nlac = 10.0.0.1 - 10.0.0.9\nno lac = 10.0.0.5\n[lns b]\nlac = 10.0.0.9\n[lac x]\nlns = 10.0.0.1\n"
	for _, tt := range []struct{ conf, caller, want string }{
		{two, "10.0.0.1", "a"},
		{two, "::ffff:10.0.0.1", "a"},
		{two, "10.0.0.9", "b"}, // the later section first
		{two, "10.0.0.5", ""},
		{two + "[lns default]\n", "10.0.0.5", "default"},
		{two + "[lns default]\n[global]\naccess control = yes\n", "10.0.0.5", ""},
		{two + "[lns default]\nlac = 10.0.0.5\n[global]\naccess control = yes\n", "10.0.0.5", "default"},
		{"", "10.0.0.5", ""},
	} {
		c, err := ParseConf("f", []byte(tt.conf))
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		if s := c.LNSFor(netip.MustParseAddr(tt.caller)); s != nil {
			got = s.Name
		}
		if got != tt.want {
			t.Errorf("%q, caller %s: %q, want %q", tt.conf, tt.caller, got, tt.want)
		}
	}
}

func TestAtoi(t *testing.T) {
	for in, want := range map[string]int{"12": 12, " +7x": 7, "-3": -3, "": 0, "x": 0, "1 2": 1, "99999999999999999999": 1<<31 - 1} {
		if got := atoi(in); got != want {
			t.Errorf("%q: got %d, want %d", in, got, want)
		}
	}
}

func FuzzParseConf(f *testing.F) {
	f.Add("[lns a]\nip range = 1.2.3.4-5\nlac = -\n[lac b]\nlns = a:b:c\nredial timeout = 9\n")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := ParseConf("f", []byte(text))
		if (c == nil) == (err == nil) || err != nil && (!strings.HasPrefix(err.Error(), "f:") || strings.Contains(err.Error(), "\n")) {
			t.Fatalf("got %v and the error %v, want one of them, the error with its place", c, err)
		}
	})
}
