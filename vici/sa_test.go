package vici

import (
	"net/netip"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	govici "github.com/strongswan/govici/vici"
	"pgregory.net/rapid"
)

func TestParse(t *testing.T) {
	type msg = *govici.Message
	f := func(kv ...any) msg { return fields(t, kv...) }
	tests := []struct {
		name string
		in   msg
		want []SA
	}{
		{"nothing", nil, nil},
		{"empty", f(), nil},
		{"no section", f("ppp", "a string", "other", []string{"a", "list"}), nil},
		{"empty section", f("nvr510", f()), []SA{{Name: "nvr510"}}},
		{"as charon 5.9.8 has it", f("nvr510", f(
			"uniqueid", "7", "version", "1", "state", "ESTABLISHED",
			"local-host", "192.168.0.2", "local-port", "4500", "local-id", "192.168.0.2",
			"remote-host", "203.0.113.9", "remote-port", "4500", "remote-id", "203.0.113.9",
			"initiator", "yes", "initiator-spi", "0123456789abcdef", "responder-spi", "fedcba9876543210",
			"nat-local", "yes", "nat-any", "yes",
			"encr-alg", "AES_CBC", "encr-keysize", "128", "integ-alg", "HMAC_SHA1_96", "dh-group", "MODP_2048",
			"established", "61", "reauth-time", "9671",
			"child-sas", f("l2tp-3", f(
				"name", "l2tp", "uniqueid", "3", "reqid", "1", "state", "INSTALLED", "mode", "TRANSPORT",
				"protocol", "ESP", "encap", "yes", "spi-in", "c0ffee00", "spi-out", "0badcafe",
				"encr-alg", "AES_CBC", "encr-keysize", "256", "integ-alg", "HMAC_SHA2_256_128",
				"bytes-in", "1000", "packets-in", "10", "use-in", "2",
				"bytes-out", "18446744073709551615", "packets-out", "20", "use-out", "1",
				"rekey-time", "3000", "life-time", "3899", "install-time", "61",
				"local-ts", []string{"192.168.0.2/32[udp/l2f]"},
				"remote-ts", []string{"203.0.113.9/32[udp/l2f]"})))),
			[]SA{{
				Name: "nvr510", UniqueID: "7", State: "ESTABLISHED", Initiator: true,
				RemoteHost:  netip.MustParseAddrPort("203.0.113.9:4500"),
				Established: 61 * time.Second, NATLocal: true,
				Children: []Child{{
					Name: "l2tp", State: "INSTALLED", Mode: "TRANSPORT", Encap: true,
					LocalTS:  []string{"192.168.0.2/32[udp/l2f]"},
					RemoteTS: []string{"203.0.113.9/32[udp/l2f]"},
					Cipher:   "AES_CBC", Integrity: "HMAC_SHA2_256_128",
				}},
			}}},
		{"route-based", f("vti", f("child-sas", f("a-1", f("if-id-out", "0000002a"), "b-2", f("mark-out", "00000001"), "c-3", f("if-id-out", "00000000")))),
			[]SA{{Name: "vti", Children: []Child{{Name: "a-1", RouteBased: true}, {Name: "b-2", RouteBased: true}, {Name: "c-3"}}}}},
		{"connecting: no age, peer not known", f("rw", f(
			"uniqueid", "8", "state", "CONNECTING", "local-host", "%any", "remote-host", "%any", "remote-port", "500",
			"child-sas", f())),
			[]SA{{Name: "rw", UniqueID: "8", State: "CONNECTING"}}},
		{"IPv6", f("six", f("remote-host", "2001:db8::1", "remote-port", "500")),
			[]SA{{Name: "six", RemoteHost: netip.MustParseAddrPort("[2001:db8::1]:500")}}},
		{"host without a port", f("x", f("remote-host", "192.0.2.1")),
			[]SA{{Name: "x", RemoteHost: netip.MustParseAddrPort("192.0.2.1:0")}}},
		{"senseless values", f("x", f(
			"remote-host", "192.0.2.1", "remote-port", "70000", "established", "-1", "nat-remote", "perhaps",
			"child-sas", f("c-1", f("encap", "", "local-ts", "not a list")))),
			[]SA{{Name: "x", RemoteHost: netip.MustParseAddrPort("192.0.2.1:0"), Children: []Child{{Name: "c-1"}}}}},
		{"an age beyond reason", f("x", f("established", "9223372036854775807")), []SA{{Name: "x"}}},
		{"other kinds of element than expected", f("x", f(
			"uniqueid", []string{"7"}, "state", f(), "child-sas", "none", "remote-host", f("a", "b"))),
			[]SA{{Name: "x"}}},
		{"children of other kinds", f("x", f("child-sas", f("a", "b", "c", []string{"d"}))), []SA{{Name: "x"}}},
		{"two SAs and two children in order", f(
			"b", f("uniqueid", "2", "child-sas", f("z-1", f("uniqueid", "1"), "a-2", f("uniqueid", "2"))),
			"a", f("uniqueid", "1")),
			[]SA{
				{Name: "b", UniqueID: "2", Children: []Child{{Name: "z-1"}, {Name: "a-2"}}},
				{Name: "a", UniqueID: "1"},
			}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, parse(tt.in), cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); diff != "" {
				t.Errorf("want -, got +:\n%s", diff)
			}
		})
	}
}

func TestSettled(t *testing.T) {
	up := SA{State: "ESTABLISHED", Children: []Child{{State: "INSTALLED"}}}
	for _, tt := range []struct {
		name string
		sas  []SA
		want bool
	}{
		{"none", nil, true},
		{"up", []SA{up, up}, true},
		{"going", []SA{up, {State: "DELETING"}}, false},
		{"child coming", []SA{{State: "ESTABLISHED", Children: []Child{{State: "INSTALLED"}, {State: "INSTALLING"}}}}, false},
		{"rekeyed", []SA{{State: "REKEYED"}, {State: "ESTABLISHED", Children: []Child{{State: "INSTALLED"}, {State: "REKEYED"}}}}, true},
	} {
		if got := (Snapshot{tt.sas}).stable(); got != tt.want {
			t.Errorf("%s: got %t, want %t", tt.name, got, tt.want)
		}
	}
}

// message draws any message: the known keys or others, with values of any kind.
func message(depth int) *rapid.Generator[*govici.Message] {
	return rapid.Custom(func(t *rapid.T) *govici.Message {
		m := govici.NewMessage()
		for range rapid.IntRange(0, 8).Draw(t, "fields") {
			key := rapid.OneOf(rapid.SampledFrom([]string{
				"uniqueid", "state", "local-host", "local-port", "remote-host", "remote-port", "established",
				"child-sas", "name", "mode", "encap", "local-ts", "nat-local",
			}), rapid.String()).Draw(t, "key")
			value := rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{"", "yes", "%any", "::1", "1.2.3.4", "99999999999999999999"}),
				rapid.Map(rapid.Int64(), func(n int64) string { return strconv.FormatInt(n, 10) })).Draw(t, "value")
			var err error
			switch kind := rapid.IntRange(0, 3).Draw(t, "kind"); {
			case kind == 0:
				err = m.Set(key, rapid.SliceOf(rapid.String()).Draw(t, "list"))
			case kind < 3 && depth > 0:
				err = m.Set(key, message(depth-1).Draw(t, "section"))
			default:
				err = m.Set(key, value)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		return m
	})
}

func TestParseAnything(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := message(3).Draw(t, "message")
		sas := parse(m)
		want := 0
		for _, k := range m.Keys() {
			if _, ok := m.Get(k).(*govici.Message); ok {
				want++
			}
		}
		if len(sas) != want {
			t.Fatalf("%d SAs from %d sections", len(sas), want)
		}
		for _, sa := range sas {
			if sa.Established < 0 {
				t.Fatalf("negative age %s", sa.Established)
			}
		}
	})
}
