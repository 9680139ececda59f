package main

import (
	"encoding/hex"
	"net/netip"
	"strings"
	"testing"
)

// A client gets its address, and its echo requests are answered, whichever way it writes its frames.
func TestAnswers(t *testing.T) {
	var said []string
	a := &answerer{local: netip.MustParseAddr("10.0.0.1"), send: func(to netip.AddrPort, b []byte) {
		said = append(said, hex.EncodeToString(b))
	}}
	tunnel, _ := a.tunnel(netip.MustParseAddrPort("192.0.2.100:1701"), 0x11, 0x22, nil)
	news := make(chan pppNews, 1)
	s, _ := tunnel.session(0x33, 0x44, netip.MustParseAddr("10.0.0.2"), func(n pppNews) { news <- n })
	const to = "000200220044ff03"
	ip := "4500001c0000400040010000" + "0a000002" + "0a000001" + "0800f7fb" + "00010003"
	for _, c := range []struct{ got, want string }{
		{"0002" + "00110033" + "ff03c021" + "0105000a050611223344", to + "c021" + "0205000a050611223344 " + to + "c021" + "01010004"},
		{"0002" + "00110033" + "ff03c021" + "02010004", ""},
		{"0002" + "00110033" + "ff03c021" + "0901000811223344", to + "c021" + "0a01000800000000"},
		{"4002001c" + "00110033" + "ff038021" + "01010010" + "030600000000" + "0206002d0f01", to + "8021" + "0401000a0206002d0f01 " + to + "8021" + "0101000a03060a000001"},
		{"0002" + "00110033" + "ff038021" + "0102000a" + "030600000000", to + "8021" + "0302000a03060a000002"},
		{"4002001c" + "00110033" + "ff038021" + "01010010" + "030600000000" + "0206002d0f01", to + "8021" + "0401000a0206002d0f01 " + to + "8021" + "0101000a03060a000001"},
		{"0002" + "00110033" + "8021" + "0201000a" + "03060a000001", ""},
		{"0002" + "00110033" + "8021" + "0103000a" + "03060a000002", to + "8021" + "0203000a03060a000002"},
		{"0a02" + "00110033" + "00000000" + "0002abcd" + "21" + ip, to + "0021" + "4500001c0000400040010000" + "0a000001" + "0a000002" + "0000fffb" + "00010003"},
		{"0002" + "00110033" + "ff0380fd" + "01010004", to + "c021" + "0801000a80fd01010004"},
		{"0002" + "00110033" + "c021" + "05060004", to + "c021" + "06060004"},
		{"0002" + "00110034" + "c021" + "05060004", ""},
		{"0002" + "0011", ""},
	} {
		b, err := hex.DecodeString(c.got)
		if err != nil {
			t.Fatal(err)
		}
		said = nil
		a.receive(b)
		if got := strings.Join(said, " "); got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.got, got, c.want)
		}
	}
	if n := <-news; n.assigned != "10.0.0.2" || n.local != "10.0.0.1" {
		t.Errorf("%+v", n)
	}
	s.stop()
	if n := <-news; !n.ended {
		t.Errorf("%+v", n)
	}
	if n, _ := tunnel.packets(); n != 23 {
		t.Errorf("%d packets", n)
	}
}
