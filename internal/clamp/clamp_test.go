package clamp

import (
	"slices"
	"testing"

	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/xt"
)

// texts returns the rules for a link in one line each.
func texts(all []ruleset, link string) (lines []string) {
	for _, t := range all {
		for _, r := range t.find(link) {
			lines = append(lines, r.String())
		}
	}
	return lines
}

func TestSaved(t *testing.T) {
	for _, tc := range []struct {
		name, rules string
		want        []string
	}{
		{"none", "*filter\n:FORWARD ACCEPT [0:0]\n-A FORWARD -j ACCEPT\nCOMMIT\n", nil},
		{"nothing", "", nil},
		{"to the route's", "*mangle\n-A FORWARD -o ppp+ -p tcp -m tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu\nCOMMIT\n",
			[]string{"to the MTU of the route by iptables -t mangle FORWARD"}},
		{"to a number", "*filter\n-A FORWARD -p tcp -m tcp --tcp-flags SYN,RST SYN -m tcpmss --mss 1361:1536 -j TCPMSS --set-mss 1360\n",
			[]string{"to 1360 by iptables -t filter FORWARD"}},
		{"of another link", "*mangle\n-A FORWARD -o ppp1 -p tcp -j TCPMSS --clamp-mss-to-pmtu\n-A FORWARD -o ppp -j TCPMSS --clamp-mss-to-pmtu\n", nil},
		{"each but another link", "*mangle\n-A FORWARD ! -o eth0 -p tcp -j TCPMSS --clamp-mss-to-pmtu\n",
			[]string{"to the MTU of the route by iptables -t mangle FORWARD"}},
		{"each but this", "*mangle\n-A FORWARD ! -o ppp0 -p tcp -j TCPMSS --clamp-mss-to-pmtu\n", nil},
		{"of what comes in by it", "*mangle\n-A FORWARD -i ppp0 -p tcp -j TCPMSS --clamp-mss-to-pmtu\n", nil},
		{"of one network", "*mangle\n-A POSTROUTING -s 192.0.2.0/24 -o ppp0 -p tcp -j TCPMSS --set-mss 1200\n",
			[]string{"to 1200 by iptables -t mangle POSTROUTING, for some connections only"}},
		{"of this host alone", "*mangle\n-A OUTPUT -o ppp0 -p tcp -j TCPMSS --set-mss 1200\n", nil},
		{"in a chain of its own", "*mangle\n-A FORWARD -o ppp+ -j mss\n-A FORWARD -o eth0 -j lan\n-A mss -p tcp -j TCPMSS --set-mss 1300\n-A lan -p tcp -j TCPMSS --set-mss 1400\n",
			[]string{"to 1300 by iptables -t mangle FORWARD, mss"}},
		{"a circle", "*mangle\n-A FORWARD -j a\n-A a -j b\n-A b -j a\n", nil},
	} {
		if got := texts(saved(tc.rules), "ppp0"); !slices.Equal(got, tc.want) {
			t.Errorf("%s: %q, want %q", tc.name, got, tc.want)
		}
	}
}

// field is an interface's name as nft compares a whole one.
func field(name string) []byte { return append([]byte(name), make([]byte, 16-len(name))...) }

func TestParse(t *testing.T) {
	out := func(data []byte, op expr.CmpOp) []expr.Any {
		return []expr.Any{&expr.Meta{Key: expr.MetaKeyOIFNAME, Register: 1}, &expr.Cmp{Op: op, Register: 1, Data: data}}
	}
	syn := []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1}, &expr.Cmp{Register: 1, Data: []byte{6}},
		&expr.Payload{Base: expr.PayloadBaseTransportHeader, Offset: 13, Len: 1}, &expr.Bitwise{}, &expr.Cmp{Register: 1, Data: []byte{2}},
	}
	set := &expr.Exthdr{Op: expr.ExthdrOpTcpopt, Type: tcpMSS, SourceRegister: 1}
	route := []expr.Any{&expr.Rt{Key: expr.RtTCPMSS}, &expr.Byteorder{}, set}
	number := []expr.Any{&expr.Immediate{Register: 1, Data: []byte{0x05, 0x50}}, set}
	target := func(mss uint16) []expr.Any {
		info := xt.Unknown(binaryutil.NativeEndian.PutUint16(mss))
		return []expr.Any{&expr.Match{Name: "tcp"}, &expr.Counter{}, &expr.Target{Name: "TCPMSS", Info: &info}}
	}
	for _, tc := range []struct {
		name  string
		exprs []expr.Any
		want  string // empty: it does not clamp what leaves by ppp0
	}{
		{"to the route's", slices.Concat(syn, route), "to the MTU of the route by table"},
		{"to a number", slices.Concat(out(field("ppp0"), expr.CmpOpEq), syn, number), "to 1360 by table"},
		{"by a pattern", slices.Concat(out([]byte("ppp"), expr.CmpOpEq), syn, number), "to 1360 by table"},
		{"of another link", slices.Concat(out(field("ppp"), expr.CmpOpEq), syn, number), ""},
		{"each but this", slices.Concat(out(field("ppp0"), expr.CmpOpNeq), syn, number), ""},
		{"iptables-nft, to the route's", slices.Concat(out([]byte("ppp"), expr.CmpOpEq), target(0xffff)), "to the MTU of the route by table"},
		{"iptables-nft, to a number", target(1300), "to 1300 by table"},
		{"of one network", slices.Concat([]expr.Any{&expr.Payload{Base: expr.PayloadBaseNetworkHeader, Offset: 12, Len: 4}, &expr.Cmp{Data: []byte{192, 0, 2, 1}}}, syn, route),
			"to the MTU of the route by table, for some connections only"},
		{"new connections", slices.Concat([]expr.Any{&expr.Ct{Key: expr.CtKeySTATE}, &expr.Bitwise{}, &expr.Cmp{Op: expr.CmpOpNeq}}, syn, route), "to the MTU of the route by table"},
		{"of some links", slices.Concat([]expr.Any{&expr.Meta{Key: expr.MetaKeyOIFNAME}, &expr.Lookup{}}, syn, route),
			"to the MTU of the route by table, for some connections only"},
		{"it only reads the MSS", []expr.Any{&expr.Exthdr{Op: expr.ExthdrOpTcpopt, Type: tcpMSS, DestRegister: 1}, &expr.Cmp{}}, ""},
		{"another option", []expr.Any{&expr.Exthdr{Op: expr.ExthdrOpTcpopt, Type: 3, SourceRegister: 1}}, ""},
	} {
		r := ruleset{table: "table", bases: []string{""}, chains: map[string][]rule{"": {parse(tc.exprs)}}}
		got := ""
		if found := r.find("ppp0"); len(found) > 0 {
			found[0].Where = "table"
			got = found[0].String()
		}
		if got != tc.want {
			t.Errorf("%s: %q, want %q", tc.name, got, tc.want)
		}
	}
}

func TestFits(t *testing.T) {
	for _, tc := range []struct {
		rule Rule
		want bool
	}{
		{Rule{}, true}, {Rule{MSS: 1334}, true}, {Rule{MSS: 1335}, false}, {Rule{Limited: true}, false},
	} {
		if got := tc.rule.Fits(1374); got != tc.want {
			t.Errorf("%+v: got %v, want %v", tc.rule, got, tc.want)
		}
	}
}
