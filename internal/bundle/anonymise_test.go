package bundle

import (
	"encoding/binary"
	"net/netip"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// ipv4Of draws an address.
func ipv4Of(t *rapid.T, what string) netip.Addr {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], rapid.Uint32().Draw(t, what))
	b[0] = rapid.SampledFrom([]byte{10, 172, 192, 100, 169, 1, 198, 203}).Draw(t, what+", kind")
	return netip.AddrFrom4(b)
}

// common is how many bits at the beginning two addresses share.
func common(a, b netip.Addr) int {
	for n := 32; ; n-- {
		if p, _ := a.Prefix(n); p.Contains(b) {
			return n
		}
	}
}

// Two addresses share as much as before, so networks stay networks and different addresses stay different.
func TestAnonymousAddresses(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := newAnonymiser([]byte(rapid.String().Draw(t, "key")), nil)
		one, other := ipv4Of(t, "one"), ipv4Of(t, "other")
		if rapid.Bool().Draw(t, "near") {
			b := one.As4()
			b[3] ^= byte(rapid.IntRange(0, 255).Draw(t, "bits"))
			other = netip.AddrFrom4(b)
		}
		text := strings.Split(a.text(one.String()+" "+other.String()+" "+one.String()), " ")
		to, toOther := netip.MustParseAddr(text[0]), netip.MustParseAddr(text[1])
		if text[2] != text[0] || common(one, other) != common(to, toOther) || one.IsPrivate() != to.IsPrivate() {
			t.Fatalf("%v and %v became %v", one, other, text)
		}
		network := netip.PrefixFrom(one, rapid.IntRange(8, 32).Draw(t, "length")).Masked()
		hidden := netip.MustParsePrefix(a.text(network.String()))
		if hidden.Bits() != network.Bits() || hidden.Masked() != hidden || network.Bits() >= ownBits(one) && !hidden.Contains(to) {
			t.Fatalf("%v in %v became %v in %v", one, network, to, hidden)
		}
	})
}

func TestAnonymousText(t *testing.T) {
	a := newAnonymiser([]byte("key"), []string{"office", "gw", "gw.example.jp", "l2tp", "default", "", "x", "10.0.0.1", "d4a4", "東京"})
	for text, want := range map[string]string{
		"lac office, [lac office] gw.example.jp:1701 gw":                       "lac name-2, [lac name-2] name-1:1701 name-5",
		"office office offices l2tp default x":                                 "name-2 name-2 offices l2tp default x",
		"/run/nm-l2tp-d4a4/xl2tpd.conf":                                        "/run/nm-l2tp-name-4/xl2tpd.conf",
		"東京 東京都":                                                               "name-3 東京都",
		"127.0.0.1 0.0.0.0 224.0.0.1 255.255.255.255":                          "127.0.0.1 0.0.0.0 224.0.0.1 255.255.255.255",
		"link/ether 52:54:00:12:34:56 brd ff:ff:ff:ff:ff:ff 52:54:00:12:34:56": "link/ether 02:00:00:00:00:01 brd ff:ff:ff:ff:ff:ff 02:00:00:00:00:01",
		"2400:4050::7 fe80::5054:ff:fe12:3456 ::1 2400:4050::7":                "2001:db8::1 fe80::2 ::1 2001:db8::1",
		"at 12:34:56, 2026-11-23T12:00:00+09:00":                               "at 12:34:56, 2026-11-23T12:00:00+09:00",
	} {
		if got := a.text(text); got != want {
			t.Errorf("%s\nbecame %s\nwant   %s", text, got, want)
		}
	}
}
