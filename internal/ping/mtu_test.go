package ping

import (
	"bytes"
	"encoding/json"
	"errors"
	"testing"

	"xl2tpd-keepalive/internal/clamp"
	"xl2tpd-keepalive/internal/doctor"
	"xl2tpd-keepalive/internal/message"
	"xl2tpd-keepalive/probe"
)

func TestMTUText(t *testing.T) {
	tunnel := &tunnels()[0]
	finding := doctor.Finding{Check: "path MTU", Tunnel: "lac office", Kind: doctor.Problem, Text: "it is too much", Remedy: []message.Text{"less"}}
	const end = "✗ lac office, path MTU: it is too much\n    → less\n"
	inner := probe.PathMTU{Claimed: 1500, Passes: 1374, Sent: 11, Certain: true}
	for _, tc := range []struct {
		m    doctor.MTU
		want string
	}{
		{doctor.MTU{Inner: inner},
			"inner: ppp0 claims 1500 bytes; 1374 pass, larger ones are lost without a word\n" +
				"outer: not known; the LNS answers no echo request outside the tunnel\n" +
				"forwarded TCP: none, this host forwards no packets into the tunnel\n"},
		{doctor.MTU{Inner: inner, Outer: &probe.PathMTU{Claimed: 1500, Passes: 1454, Told: true}, Forwards: true,
			Clamps: []clamp.Rule{{Where: "a"}, {Where: "b", MSS: 1300}}},
			"inner: ppp0 claims 1500 bytes; 1374 pass, larger ones are lost without a word\n" +
				"outer: the device to 192.0.2.1 claims 1500 bytes; 1454 pass, larger ones are refused (ICMP \"fragmentation needed\", or the route)\n" +
				"IPsec and L2TP need 80 bytes of each packet\n" +
				"forwarded TCP: clamped to the MTU of the route by a; to 1300 by b\n"},
		{doctor.MTU{Inner: probe.PathMTU{Claimed: 1400, Passes: 1400}, Outer: &probe.PathMTU{Claimed: 1500, Passes: 1500}, Forwards: true},
			"inner: ppp0 claims 1400 bytes; 1400 pass\nouter: the device to 192.0.2.1 claims 1500 bytes; 1500 pass\n" +
				"forwarded TCP: not clamped, there is no rule for it\n"},
		{doctor.MTU{Inner: probe.PathMTU{Claimed: 1400}, Forwards: true, ClampErr: errors.New("no right")},
			"inner: ppp0 claims 1400 bytes; no echo request has a reply\n" +
				"outer: not known; the LNS answers no echo request outside the tunnel\n" +
				"forwarded TCP: not known whether it is clamped: no right\n"},
	} {
		var b bytes.Buffer
		if err := MTUText(&b, tunnel, tc.m, finding, false, nil); err != nil || b.String() != tc.want+end {
			t.Errorf("%v\n%swant\n%s", err, &b, tc.want+end)
		}
	}
}

func TestMTUJSON(t *testing.T) {
	m := doctor.MTU{Inner: probe.PathMTU{Claimed: 1500, Passes: 1374, Sent: 11, Certain: true}, Outer: &probe.PathMTU{Claimed: 1500, Passes: 1454, Told: true}}
	got, err := json.Marshal(NewMTUResult(&tunnels()[0], m, doctor.Finding{Check: "path MTU"}))
	const want = `{"name":"lac office","link":"ppp0","inner":{"claimed":1500,"passes":1374,"told":false,"sent":11,"certain":true},` +
		`"outer":{"claimed":1500,"passes":1454,"told":true,"sent":0,"certain":false},"overhead":80,"forwards":false,"clamps":null,` +
		`"finding":{"check":"path MTU","ok":false,"kind":"","text":""}}`
	if err != nil || string(got) != want {
		t.Errorf("%v\n%s\nwant\n%s", err, got, want)
	}
}

func TestMTUTextInJapanese(t *testing.T) {
	m := doctor.MTU{
		Inner: probe.PathMTU{Claimed: 1500, Passes: 1374}, Outer: &probe.PathMTU{Claimed: 1500, Passes: 1454, Told: true},
		Forwards: true, Clamps: []clamp.Rule{{Where: "a"}, {Where: "b", MSS: 1300, Limited: true}},
	}
	finding := doctor.Finding{Check: "path MTU", Tunnel: "lac office", Kind: doctor.Problem, Text: "down"}
	const want = "inner: ppp0 の MTU は 1500 バイト、1374 バイトまで通過（それより大きいものは通知なしに失われる）\n" +
		"outer: 192.0.2.1 へのインターフェースの MTU は 1500 バイト、1454 バイトまで通過（それより大きいものは拒否される。" +
		"ICMP \"fragmentation needed\" か、経路の設定による）\n" +
		"IPsec と L2TP が各パケットに加える分: 80 バイト\n" +
		"転送する TCP の MSS: 制限あり（a で経路の MTU に合わせて; b で 1300 に（一部の接続のみ））\n" +
		"✗ lac office、パス MTU: 切断\n"
	var b bytes.Buffer
	if err := MTUText(&b, &tunnels()[0], m, finding, false, message.Japanese()); err != nil || b.String() != want {
		t.Errorf("%v\n%swant\n%s", err, &b, want)
	}
}
