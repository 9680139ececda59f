package l2tp

import (
	"bytes"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func anyAVP(t *rapid.T) AVP {
	return AVP{
		Mandatory: rapid.Bool().Draw(t, "mandatory"),
		Hidden:    rapid.Bool().Draw(t, "hidden"),
		Vendor:    rapid.Uint16().Draw(t, "vendor"),
		Type:      rapid.Uint16().Draw(t, "type"),
		Value:     rapid.SliceOfN(rapid.Byte(), 0, MaxValue).Draw(t, "value"),
	}
}

func anyPacket(t *rapid.T) Packet {
	p := Packet{
		Tunnel:  rapid.Uint16().Draw(t, "tunnel"),
		Session: rapid.Uint16().Draw(t, "session"),
		Ns:      rapid.Uint16().Draw(t, "ns"),
		Nr:      rapid.Uint16().Draw(t, "nr"),
	}
	if rapid.Bool().Draw(t, "zlb") {
		return p
	}
	p.AVPs = []AVP{MessageType(rapid.Uint16().Draw(t, "message")).avp()}
	for range rapid.IntRange(0, 8).Draw(t, "avps") {
		p.AVPs = append(p.AVPs, anyAVP(t))
	}
	return p
}

func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := anyPacket(t)
		wire := want.Marshal()
		if !IsControl(wire) {
			t.Fatal("not taken for a control message")
		}
		got, err := Parse(wire)
		if err != nil {
			t.Fatal(err)
		}
		for i := range wire {
			wire[i] ^= 0xff // the packet must not depend on the buffer
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("got %+v, want %+v", got, want)
		}
	})
}

// The ZLB as in the RFC's figure: 12 bytes, flags T, L, S and version 2.
func TestZLBBytes(t *testing.T) {
	got := Packet{Tunnel: 0x1234, Ns: 5, Nr: 6}.Marshal()
	want := []byte{0xc8, 0x02, 0, 12, 0x12, 0x34, 0, 0, 0, 5, 0, 6}
	if !bytes.Equal(got, want) {
		t.Fatalf("got % x, want % x", got, want)
	}
}

func TestParseErrors(t *testing.T) {
	header := func(flags uint16, length byte, body ...byte) []byte {
		return append([]byte{byte(flags >> 8), byte(flags), 0, length, 0, 1, 0, 0, 0, 0, 0, 0}, body...)
	}
	for name, c := range map[string]struct {
		wire []byte
		want string
	}{
		"empty":             {nil, "0 bytes"},
		"short":             {header(0xc802, 12)[:11], "11 bytes"},
		"L2TPv3":            {header(0xc803, 12), "version 3"},
		"data":              {header(0x4802, 12), "flags"},
		"no length":         {header(0x8802, 12), "flags"},
		"offset":            {header(0xca02, 12), "flags"},
		"longer than said":  {header(0xc802, 12, 0), "header says 12 bytes, the packet has 13"},
		"shorter than said": {header(0xc802, 20), "header says 20 bytes, the packet has 12"},
		"half an AVP":       {header(0xc802, 14, 0x80, 8), "2 bytes left"},
		"AVP too short":     {header(0xc802, 20, 0x80, 5, 0, 0, 0, 0, 0, 6), "AVP length 5"},
		"AVP too long":      {header(0xc802, 20, 0x80, 9, 0, 0, 0, 0, 0, 6), "AVP length 9, 8 bytes are left"},
		"first is another":  {header(0xc802, 20, 0x80, 8, 0, 0, 0, 9, 0, 6), "not a Message Type"},
		"hidden type":       {header(0xc802, 20, 0xc0, 8, 0, 0, 0, 0, 0, 6), "not a Message Type"},
	} {
		if _, err := Parse(c.wire); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want one with %q", name, err, c.want)
		}
	}
}

// FuzzReceive throws bytes at the codec and, when they parse, at a tunnel of
// every mood: nothing may panic, and what parses must come out the same.
func FuzzReceive(f *testing.F) {
	f.Add(Packet{Tunnel: 7, Ns: 2, Nr: 1}.Marshal())
	f.Add(Packet{Tunnel: 7, Ns: 2, Nr: 1, AVPs: []AVP{Hello.avp()}}.Marshal())
	f.Add(Packet{Tunnel: 7, Ns: 2, Nr: 1, AVPs: []AVP{StopCCN.avp(), mandatory16(AVPAssignedTunnel, 9), resultCode(1, 0, "bye")}}.Marshal())
	f.Add(Packet{Tunnel: 7, Session: 3, Ns: 2, Nr: 1, AVPs: []AVP{CDN.avp(), mandatory16(AVPAssignedSession, 9)}}.Marshal())
	f.Add(Packet{Tunnel: 7, Ns: 2, AVPs: []AVP{ICRQ.avp(), mandatory16(AVPAssignedSession, 9)}}.Marshal())
	f.Add(Packet{AVPs: []AVP{SCCRQ.avp(), mandatory16(AVPAssignedTunnel, 9)}}.Marshal())
	f.Fuzz(func(t *testing.T, wire []byte) {
		p, err := Parse(wire)
		if err != nil {
			return
		}
		again, err := Parse(p.Marshal())
		if err != nil || !reflect.DeepEqual(again, p) {
			t.Fatalf("%+v becomes %+v, %v", p, again, err)
		}
		for _, mode := range []HelloMode{HelloAck, HelloDeaf, HelloCountOnly} {
			for _, strict := range []bool{true, false} {
				b := Defaults()
				b.Hello, b.StrictNs = mode, strict
				peer := newPeer(t, b)
				peer.establish()
				peer.tunnel.Receive(peer.now, p)
				peer.tunnel.Receive(peer.now, p)
				peer.tunnel.Tick(peer.now)
			}
		}
		_, _, _ = Accept(start, Defaults(), 7, 1, p, "")
	})
}
