package xl2tpd

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// What glibc's gethostbyname makes of each, which xl2tpd asks for every address; empty: no address.
func TestParseAddr(t *testing.T) {
	for text, want := range map[string]string{
		"203.0.113.9":       "203.0.113.9",
		"203.0.113.010":     "203.0.113.8",
		"192.168.001.002":   "192.168.1.2",
		"00000000001.2.3.4": "1.2.3.4",
		"1.2.3.0377":        "1.2.3.255",
		"010.1":             "8.0.0.1",
		"10.1":              "10.0.0.1",
		"10.1.515":          "10.1.2.3",
		"2001":              "0.0.7.209",
		"0":                 "0.0.0.0",
		"192.168.1.08":      "",
		"203.0.113.256":     "",
		"1.2.3.0400":        "",
		"10.16777216":       "",
		"4294967296":        "",
		"1.2.3.4.5":         "",
		"1..2":              "",
		"10.0.0.1.":         "",
		".10":               "",
		"0x7f.1":            "",
		"10.0.0.1 ":         "",
		" 10.1":             "",
		"+1.2.3.4":          "",
		"vpn.example.net":   "",
		"2001:db8::1":       "",
		"":                  "",
	} {
		a, ok := ParseAddr(text)
		if got := a.String(); ok != (want != "") || ok && got != want {
			t.Errorf("%q: %s, want %q", text, got, want)
		}
	}
}

// Every address of the file is read in that way.
func TestAddressesInConf(t *testing.T) {
	c, err := ParseConf("f", []byte(`
[global]
listen-addr = 192.0.2.010
[lns a]
ip range = 192.168.001.002-192.168.001.007
ip range = 10.0.0.010 - 017
lac = 10.1 - 10.2
no lac = 203.0.113.010
`))
	if err != nil {
		t.Fatal(err)
	}
	addr := netip.MustParseAddr
	if c.ListenAddr != addr("192.0.2.8") {
		t.Errorf("listen-addr %v", c.ListenAddr)
	}
	got := append(c.Sections[0].IPRanges, c.Sections[0].Callers...)
	want := []Range{
		{From: addr("192.168.1.2"), To: addr("192.168.1.7")},
		{From: addr("10.0.0.8"), To: addr("10.0.0.15")},
		{From: addr("10.0.0.1"), To: addr("10.0.0.2")},
		{From: addr("203.0.113.8"), To: addr("203.0.113.8"), Deny: true},
	}
	if len(got) != len(want) {
		t.Fatalf("got %+v, want one for each section", got)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("%+v, want %+v", got[i], want[i])
		}
	}
}

// An address is none that a name server would be asked for, also if it is none at all.
func TestAddressesAreNotLookedUp(t *testing.T) {
	r := resolver{hosts: map[string]*host{}, done: make(chan answer, 9), lookup: func(_ context.Context, host string) ([]netip.Addr, error) {
		t.Errorf("%s was looked up", host)
		return nil, errors.New("none")
	}}
	for host, want := range map[string]string{"203.0.113.010": "203.0.113.8", "10.1": "10.0.0.1", "203.0.113.256": "", "192.168.1.08": ""} {
		got := r.addrs(t.Context(), host, time.Time{})
		if len(got) != min(1, len(want)) || len(got) == 1 && got[0].String() != want {
			t.Errorf("%s: %v, want %s", host, got, want)
		}
		if r.failing(host) != (want == "") {
			t.Errorf("%s: failing %v", host, r.failing(host))
		}
	}
	r.wg.Wait()
}

// What is known of a host stays if a lookup fails, and that is told until one succeeds. Before the first answer a host
// counts neither as failed nor as known.
func TestFailedLookup(t *testing.T) {
	const name = "vpn.example.net"
	r := resolver{hosts: map[string]*host{name: {}}}
	if r.failing(name) || r.failing("vpn.example.org") {
		t.Error("failing before the first answer")
	}
	now, known := time.Unix(1000, 0), []netip.Addr{netip.MustParseAddr("192.0.2.1")}
	for i, tc := range []struct {
		answer  answer
		failing bool
		addrs   int
	}{
		{answer{name, nil, errors.New("no answer")}, true, 0},
		{answer{name, known, nil}, false, 1},
		{answer{name, nil, errors.New("no answer")}, true, 1},
		{answer{name, known, nil}, false, 1},
	} {
		r.take(tc.answer, now)
		if got := r.failing(name); got != tc.failing || len(r.hosts[name].addrs) != tc.addrs {
			t.Errorf("%d: failing %v, want %v", i, got, tc.failing)
		}
	}
}

// These LACs can never be dialled, and others can.
func TestLNSFault(t *testing.T) {
	for value, want := range map[string]string{
		"192.0.2.1 # office":        `"192.0.2.1 # office", and xl2tpd looks all of that up as one name: a comment starts with ';'`,
		"192.0.2.1\t#office:1":      `a comment starts with ';'`,
		"vpn.example.net # ours":    `a comment starts with ';'`,
		"192.0.2.1#x":               `a comment starts with ';'`,
		"192.0.2.1, 192.0.2.2":      "one name: give one host",
		"192.0.2.1 : 1701":          "one name: give one host",
		"192.0.2.1/32":              "one name: give one host",
		`"vpn.example.net"`:         "one name: give one host",
		"203.0.113.256":             "which is no address",
		"203.0.113.08":              "which is no address: a number that begins with 0 is octal",
		":1701":                     "nobody to dial",
		"":                          "nobody to dial",
		"203.0.113.010":             "",
		"192.0.2.1:1701 # office":   "",
		"192.0.2.1 ; office":        "",
		"vpn.example.net.":          "",
		"my_router":                 "",
		"b\u00fcro.example.net":     "",
		"vpn-1.example.net:1702":    "",
		"10.1":                      "",
		"192.0.2.1\nlns = 1.2 # no": "", // the second is not dialled
	} {
		c, err := ParseConf("f", []byte("[lac a]\n;\nlns = "+value+"\n"))
		if err != nil {
			t.Fatal(err)
		}
		s := &c.Sections[0]
		if got := s.LNSFault(); (got == "") != (want == "") || !strings.Contains(got.String(), want) || s.LNSLine != 3 {
			t.Errorf("%q: line %d, %q, want %q", value, s.LNSLine, got, want)
		}
	}
	c, err := ParseConf("f", []byte("[lac default]\nlns = 1.2.3.4 # all\n[lac a]\n[lac b]\nlns = 1.2.3.4\n"))
	if err != nil || c.Sections[0].LNSFault() == "" || c.Sections[0].LNSLine != 2 || c.Sections[1].LNSFault() != "" {
		t.Errorf("got %+v, %v, want a fault in the first section alone, with its line", c, err)
	}
}
