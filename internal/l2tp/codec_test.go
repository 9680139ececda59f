package l2tp

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"net/netip"
	"slices"
	"testing"
)

func TestZLBBytes(t *testing.T) {
	got := AppendMessage(nil, Message{Tunnel: 0x1234, Ns: 5, Nr: 6})
	want, _ := hex.DecodeString("c802000c1234000000050006")
	if !bytes.Equal(got, want) {
		t.Errorf("ZLB: %x, want %x", got, want)
	}
}

func TestHelloBytes(t *testing.T) {
	got := AppendMessage(nil, Message{Tunnel: 0x1234, Ns: 5, Nr: 6, Type: TypeHello})
	want, _ := hex.DecodeString("c80200141234000000050006" + "8008000000000006")
	if !bytes.Equal(got, want) {
		t.Errorf("Hello: %x, want %x", got, want)
	}
}

func TestParseMessageErrors(t *testing.T) {
	good := AppendMessage(nil, Message{Tunnel: 1, Type: TypeHello})
	edit := func(i int, b byte) []byte {
		c := bytes.Clone(good)
		c[i] = b
		return c
	}
	for _, tc := range []struct {
		name string
		b    []byte
		want error
	}{
		{"empty", nil, errShort},
		{"one byte", good[:1], errShort},
		{"half a header", good[:11], errShort},
		{"data", edit(0, 0x48), errData},
		{"no length", edit(0, 0x88), errFlags},
		{"no sequence", edit(0, 0xC0), errFlags},
		{"longer than said", append(bytes.Clone(good), 0), errLength},
		{"cut", good[:len(good)-1], errLength},
	} {
		if _, err := ParseMessage(tc.b); !errors.Is(err, tc.want) {
			t.Errorf("%s: %v, want %v", tc.name, err, tc.want)
		}
	}
}

// xl2tpd looks at neither the version nor the reserved bits before it counts a message.
func TestParseMessageOddHeader(t *testing.T) {
	for name, flags := range map[string][2]byte{
		"L2F": {0xC8, 1}, "L2TPv3": {0xC8, 3}, "priority": {0xC9, 2}, "reserved bits": {0xF8, 0xF2},
	} {
		b := AppendMessage(nil, Message{Tunnel: 1, Type: TypeHello})
		copy(b, flags[:])
		if m, err := ParseMessage(b); err != nil || m.Type != TypeHello {
			t.Errorf("%s: got %+v, %v; want a Hello", name, m, err)
		}
	}
}

func TestParseMessageOddAVP(t *testing.T) {
	good := AppendMessage(nil, Message{Tunnel: 1, Type: TypeHello})
	for _, tc := range []struct {
		name string
		i    int
		b    byte
	}{
		{"hidden", 12, 0xC0},
		{"length", 13, 9},
		{"vendor", 15, 9},
		{"another AVP", 17, 9},
		{"offset", 0, 0xCA},
	} {
		b := bytes.Clone(good)
		b[tc.i] = tc.b
		m, err := ParseMessage(b)
		if err != nil || m.Type != TypeNone || m.ZLB() {
			t.Errorf("%s: %+v, %v: want a message of no type", tc.name, m, err)
		}
	}
}

func TestAssignedTunnel(t *testing.T) {
	b := AppendMessage(nil, Message{Tunnel: 1, Type: TypeSCCRP})
	b = append(b, 0x80, 8, 0, 0, 0, 2, 1, 0) // Protocol Version
	if id, ok := AssignedTunnel(b); ok {
		t.Errorf("found %d where there is none", id)
	}
	b = append(b, 0x80, 8, 0, 0, 0, 9, 0x12, 0x34)
	if id, ok := AssignedTunnel(b); !ok || id != 0x1234 {
		t.Errorf("got %#x, %v", id, ok)
	}
	binary.BigEndian.PutUint16(b[HeaderLen:], 0x8000) // an AVP of length 0
	if id, ok := AssignedTunnel(b); ok {
		t.Errorf("found %d behind a broken AVP", id)
	}
}

// withOptions puts four bytes of IP options into the packet b.
func withOptions(b []byte) []byte {
	c := append(bytes.Clone(b[:ipHeaderLen]), 1, 1, 1, 0)
	c[0] = 0x46
	c = append(c, b[ipHeaderLen:]...)
	binary.BigEndian.PutUint16(c[2:], uint16(len(c)))
	return c
}

func TestParsePacket(t *testing.T) {
	m := Message{Tunnel: 7, Ns: 8, Nr: 9, Type: TypeHello}
	good := AppendPacket(nil, hostAddr, peerAddr, m)
	m.Length = HelloLen
	padded := append(bytes.Clone(good), 0, 0, 0)
	for name, b := range map[string][]byte{"plain": good, "padded": padded, "options": withOptions(good)} {
		p, err := ParsePacket(b)
		if err != nil || p.Msg != m || p.Src != hostAddr || p.Dst != peerAddr {
			t.Errorf("%s: got %+v, %v, want %+v", name, p, err, m)
		}
		if !bytes.Equal(p.Payload(), AppendMessage(nil, m)) {
			t.Errorf("%s: payload %x", name, p.Payload())
		}
	}
}

func TestParsePacketErrors(t *testing.T) {
	good := AppendPacket(nil, hostAddr, peerAddr, Message{Tunnel: 7, Type: TypeHello})
	edit := func(i int, b byte) []byte {
		c := bytes.Clone(good)
		c[i] = b
		return c
	}
	for _, tc := range []struct {
		name string
		b    []byte
		want error
	}{
		{"short", good[:19], errIPv4},
		{"IPv6", edit(0, 0x65), errIPv4},
		{"header length", edit(0, 0x44), errIPv4},
		{"cut", good[:len(good)-1], errIPv4},
		{"first fragment", edit(6, 0x20), errFragment},
		{"later fragment", edit(7, 1), errFragment},
		{"TCP", edit(9, 6), errUDP},
		{"UDP length", edit(25, 200), errUDP},
		{"checksum", edit(36, 1), errChecksum},
		{"payload", edit(24, 0)[:], errLength},
	} {
		if tc.name == "payload" {
			tc.b[25]-- // the datagram one byte shorter than its message
		}
		if _, err := ParsePacket(tc.b); !errors.Is(err, tc.want) {
			t.Errorf("%s: %v, want %v", tc.name, err, tc.want)
		}
	}
}

// A number rewritten is as good as a number built in; a missing checksum stays
// missing and a wrong one wrong.
func TestSetSeq(t *testing.T) {
	for ns := 0; ns < 65536; ns += 251 {
		for _, nr := range []uint16{0, 1, 0x7FFF, 0xFFFF} {
			m := Message{Tunnel: 7, Ns: 8, Nr: 9, Type: TypeHello}
			b := AppendPacket(nil, hostAddr, peerAddr, m)
			p, err := ParsePacket(b)
			if err != nil {
				t.Fatal(err)
			}
			p.SetSeq(uint16(ns), nr)
			m.Ns, m.Nr = uint16(ns), nr
			if want := AppendPacket(nil, hostAddr, peerAddr, m); !bytes.Equal(b, want) {
				t.Fatalf("Ns %d Nr %d:\n%x, want\n%x", ns, nr, b, want)
			}
		}
	}
	b := AppendPacket(nil, hostAddr, peerAddr, Message{Tunnel: 7})
	b[26], b[27] = 0, 0
	p, err := ParsePacket(b)
	if err != nil {
		t.Fatal(err)
	}
	p.SetSeq(1, 2)
	if b[26] != 0 || b[27] != 0 {
		t.Errorf("checksum %x where there was none", b[26:28])
	}
}

// A checksum that comes out as 0 is sent as 0xFFFF: 0 says that there is none.
func TestChecksumZero(t *testing.T) {
	m := Message{Tunnel: 7, Ns: 8, Nr: 0, Type: TypeHello}
	plain := AppendPacket(nil, hostAddr, peerAddr, m)
	m.Nr = binary.BigEndian.Uint16(plain[26:]) // added to the sum, it makes that 0xFFFF
	p, err := ParsePacket(plain)
	if err != nil {
		t.Fatal(err)
	}
	p.SetSeq(m.Ns, m.Nr)
	for name, b := range map[string][]byte{"built": AppendPacket(nil, hostAddr, peerAddr, m), "rewritten": plain} {
		if _, err := ParsePacket(b); err != nil || binary.BigEndian.Uint16(b[26:]) != 0xFFFF {
			t.Errorf("%s: checksum %x, %v; want ffff", name, b[26:28], err)
		}
	}
}

// A checksum that the kernel has verified is taken out, wherever the IP header
// ends; nothing else is touched.
func TestTrustChecksum(t *testing.T) {
	src, dst := netip.MustParseAddrPort("192.0.2.1:1701"), netip.MustParseAddrPort("192.0.2.2:1701")
	good := AppendPacket(nil, src, dst, Message{Type: TypeHello, Tunnel: 1})
	wrong := bytes.Clone(good)
	wrong[13]++ // as behind a NAT
	if _, err := ParsePacket(wrong); err != errChecksum {
		t.Errorf("got %v, want %v", err, errChecksum)
	}
	TrustChecksum(wrong)
	if _, err := ParsePacket(wrong); err != nil {
		t.Error(err)
	}
	options := slices.Insert(bytes.Clone(good), 20, 1, 1, 1, 1)
	options[0]++
	TrustChecksum(options)
	if options[30] != 0 || options[31] != 0 || !bytes.Equal(options[32:], good[28:]) {
		t.Errorf("got %x, want no checksum, and the rest as before", options)
	}
	for n := range len(good) {
		TrustChecksum(bytes.Clone(good[:n])) // must not panic
	}
}

// The result code is found behind other AVPs; the words are the sender's.
func TestResult(t *testing.T) {
	avp := func(typ uint16, value string) string {
		b := binary.BigEndian.AppendUint16(nil, avpMandatory|uint16(6+len(value)))
		return string(binary.BigEndian.AppendUint16(append(b, 0, 0), typ)) + value
	}
	stop := string(AppendMessage(nil, Message{Type: TypeStopCCN})) + avp(avpAssignedTunnel, "\x00\x07")
	for _, tc := range []struct {
		payload, message string
		code             uint16
		ok               bool
	}{
		{stop + avp(avpResult, "\x00\x06\x00\x00Goodbye!"), "Goodbye!", 6, true},
		{stop + avp(avpResult, "\x00\x01"), "", 1, true},
		{stop + avp(avpResult, "\x00\x01\x00"), "", 1, true},
		{stop + avp(avpResult, "\x00"), "", 0, false},
		{stop, "", 0, false},
		{"short", "", 0, false},
	} {
		if code, message, ok := Result([]byte(tc.payload)); code != tc.code || message != tc.message || ok != tc.ok {
			t.Errorf("%x: got %d %q %v, want %d %q %v", tc.payload, code, message, ok, tc.code, tc.message, tc.ok)
		}
	}
}
