package l2tp

import (
	"bytes"
	_ "embed"
	"encoding/binary"
	"net/netip"
	"strconv"
	"strings"
	"testing"
)

var (
	hostAddr = netip.MustParseAddrPort("192.0.2.1:1701")
	peerAddr = netip.MustParseAddrPort("198.51.100.7:1701")
)

func packet(m Message) []byte { return AppendPacket(nil, hostAddr, peerAddr, m) }

// packets is what fuzzing has found before, one input per line in Go's notation. make fuzz
// adds to it.
//
//go:embed testdata/packet.corpus
var packets string

func corpus(f *testing.F) [][]byte {
	var all [][]byte
	for line := range strings.Lines(packets) {
		s, err := strconv.Unquote(strings.TrimSuffix(line, "\n"))
		if err != nil {
			f.Fatalf("%v: %s", err, line)
		}
		all = append(all, []byte(s))
	}
	return all
}

// Every input gives a message or an error; what is a message keeps all but its
// numbers when they are rewritten, and its checksum stays right.
func FuzzPacket(f *testing.F) {
	f.Add(packet(Message{Tunnel: 1, Type: TypeHello, Ns: 1, Nr: 2}), uint16(3), uint16(4))
	f.Add(withOptions(packet(Message{Tunnel: 1, Ns: 1, Nr: 2})), uint16(65535), uint16(0))
	for i, pkt := range corpus(f) {
		f.Add(pkt, uint16(i), uint16(-i))
	}
	f.Fuzz(func(t *testing.T, b []byte, ns, nr uint16) {
		AssignedTunnel(b)
		Result(b)
		ParseAttributes(b)
		Blank(bytes.Clone(b))
		was := bytes.Clone(b)
		p, err := ParsePacket(b)
		if !bytes.Equal(b, was) {
			t.Fatal("parsing changed the packet")
		}
		if err != nil {
			return
		}
		p.SetSeq(ns, nr)
		q, err := ParsePacket(b)
		if err != nil {
			t.Fatalf("rewritten: %v", err)
		}
		if q.Msg != p.Msg || q.Msg.Ns != ns || q.Msg.Nr != nr || q.Src != p.Src || q.Dst != p.Dst {
			t.Fatalf("rewritten: %+v, want %+v", q, p)
		}
		q.SetSeq(binary.BigEndian.Uint16(was[p.udp+16:]), binary.BigEndian.Uint16(was[p.udp+18:]))
		if sum := was[p.udp+6 : p.udp+8]; !bytes.Equal(sum, b[p.udp+6:p.udp+8]) && !bytes.Equal(sum, []byte{255, 255}) {
			t.Fatalf("checksum %x there and back: %x", sum, b[p.udp+6:p.udp+8])
		}
	})
}
