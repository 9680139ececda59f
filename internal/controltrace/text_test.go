package controltrace

import (
	"encoding/binary"
	"encoding/json"
	"flag"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"xl2tpd-keepalive/internal/helloguard/translator"
	"xl2tpd-keepalive/internal/l2tp"
)

var update = flag.Bool("update", false, "write the golden files anew")

var (
	tunnel = l2tp.Connection{
		Local: netip.MustParseAddrPort("192.0.2.1:1701"), Peer: netip.MustParseAddrPort("198.51.100.7:1701"), LocalID: 31415, PeerID: 27182,
	}
	began = time.Date(2026, 11, 29, 16, 5, 36, 123e6, time.UTC)
)

// payload makes a message with further AVPs.
func payload(m l2tp.Message, avps ...string) []byte {
	b := append(l2tp.AppendMessage(nil, m), strings.Join(avps, "")...)
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
	return b
}

func avp(typ uint16, value string) string {
	b := binary.BigEndian.AppendUint16(nil, 0x8000|uint16(6+len(value)))
	return string(binary.BigEndian.AppendUint16(append(b, 0, 0), typ)) + value
}

// made makes a record that both ends see in the same way, some seconds after the first.
func made(after float64, toPeer bool, b []byte, how ...func(*Record)) Record {
	m, err := l2tp.ParseMessage(b)
	if err != nil {
		panic(err)
	}
	r := NewRecord(began.Add(time.Duration(after*float64(time.Second))), toPeer, m, b)
	r.Verdict = Passed
	for _, f := range how {
		f(&r)
	}
	return r
}

func did(v Verdict, why translator.Reason) func(*Record) {
	return func(r *Record) { r.Verdict, r.Why = v, why }
}

// story is the life of a tunnel whose peer is deaf to Hellos, and its end.
func story() []Record {
	hello := func(ns, nr uint16) []byte {
		return payload(l2tp.Message{Type: l2tp.TypeHello, Tunnel: 27182, Ns: ns, Nr: nr})
	}
	zlb := func(tunnel, ns, nr uint16) []byte { return payload(l2tp.Message{Tunnel: tunnel, Ns: ns, Nr: nr}) }
	noPeer := func(r *Record) { r.Peer = End{} }
	noXl2tpd := func(r *Record) { r.Xl2tpd = End{} }
	again := func(r *Record) { r.Again = true }
	peerNumbers := func(ns, nr uint16) func(*Record) { return func(r *Record) { r.Peer.Ns, r.Peer.Nr = ns, nr } }
	xl2tpdNumbers := func(ns, nr uint16) func(*Record) { return func(r *Record) { r.Xl2tpd.Ns, r.Xl2tpd.Nr = ns, nr } }
	return []Record{
		made(0, true, payload(l2tp.Message{Type: l2tp.TypeSCCRQ}, avp(7, "host\x1b[31m"), avp(9, "\x7a\xb7"), avp(10, "\x00\x04"), avp(11, "TOPSECRET"))),
		made(0.1, false, payload(l2tp.Message{Type: l2tp.TypeSCCRP, Tunnel: 31415, Nr: 1}, avp(7, "nvr510"), avp(8, "YAMAHA Corporation"), avp(9, "\x6a\x2e"), avp(13, "TOPSECRET"))),
		made(0.2, true, payload(l2tp.Message{Type: 10, Tunnel: 27182, Ns: 2, Nr: 1}, avp(14, "\x00\x09"))),
		made(0.3, false, payload(l2tp.Message{Type: 99, Tunnel: 31415, Session: 9, Ns: 1, Nr: 3}), again),
		made(60, true, hello(4, 2), did(Passed, translator.HelloPassed)),
		made(61, true, hello(4, 2), did(Passed, translator.HelloPassed), again),
		made(120, true, hello(5, 2), did(Held, translator.HelloAcked), noPeer),
		made(120, false, zlb(31415, 2, 6), did(Sent, translator.HelloAcked), noPeer),
		made(121, true, zlb(27182, 6, 3), did(Renumbered, 0), peerNumbers(5, 3)),
		made(122, true, zlb(27182, 5, 3), did(Sent, translator.PeerHelloAcked), noXl2tpd),
		made(122.5, true, payload(l2tp.Message{Type: l2tp.TypeSCCCN, Tunnel: 27182, Ns: 4, Nr: 3}), did(Asked, 0), noXl2tpd),
		made(123, false, zlb(31415, 2, 5), did(Dropped, translator.OutOfReach), noXl2tpd),
		made(130, true, hello(4, 2), did(Seen, 0)),
		made(151.5, false, payload(l2tp.Message{Type: l2tp.TypeStopCCN, Tunnel: 31415, Ns: 2, Nr: 5}, avp(1, "\x00\x02\x00\x06idle \"timer\"")), did(Renumbered, 0), xl2tpdNumbers(2, 6)),
		made(151.6, true, payload(l2tp.Message{Type: l2tp.TypeCDN, Tunnel: 27182, Session: 9, Ns: 7, Nr: 3}, avp(1, "\x00\x01")), func(r *Record) {
			r.Length, r.Payload = 900, r.Payload[:len(r.Payload)-1]
		}),
		made(152, true, payload(l2tp.Message{Type: l2tp.TypeHello, Tunnel: 27182}), did(200, 200)), // of another version
	}
}

func TestLine(t *testing.T) {
	time.Local = time.UTC
	var got strings.Builder
	for i, r := range story() {
		name := "lac office"
		if i == 2 {
			name = ""
		}
		got.WriteString(Line(tunnel, name, &r) + "\n")
	}
	golden(t, "testdata/lines.golden", got.String())
	if strings.Contains(got.String(), "TOP") {
		t.Error("a secret is in the lines")
	}
}

func TestDiagram(t *testing.T) {
	golden(t, "testdata/diagram.golden", strings.Join(Diagram(story(), began.Add(152*time.Second)), "\n")+"\n")
}

func TestJSON(t *testing.T) {
	b, err := json.MarshalIndent(story()[6], "", "\t")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "testdata/message.golden", string(b)+"\n")
}

func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}
