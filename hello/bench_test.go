package hello

import (
	"testing"
	"time"
)

func BenchmarkParsePacket(b *testing.B) {
	pkt := packet(true, TypeHello, 0, 1, 2)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ParsePacket(pkt); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSetSeq(b *testing.B) {
	p, err := ParsePacket(packet(true, TypeHello, 0, 1, 2))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		p.SetSeq(p.Msg.Nr, p.Msg.Ns)
	}
}

func BenchmarkAppendPacket(b *testing.B) {
	buf := make([]byte, 0, MaxInjectLen)
	b.ReportAllocs()
	for b.Loop() {
		AppendPacket(buf, peerAddr, hostAddr, Message{Tunnel: xID, Ns: 1, Nr: 2})
	}
}

// One round: a Hello swallowed, the peer's Hello and its acknowledgement
// renumbered.
func BenchmarkTranslator(b *testing.B) {
	tr := synced(b)
	own := packet(true, TypeHello, 0, 0, 0)
	theirs := packet(false, TypeHello, 0, 0, 0)
	zlb := packet(true, TypeNone, 0, 0, 0)
	set := func(pkt []byte, ns, nr uint16) []byte {
		p, err := ParsePacket(pkt)
		if err != nil {
			b.Fatal(err)
		}
		p.SetSeq(ns, nr)
		return pkt
	}
	xs, ps := uint16(3), uint16(2)
	now := epoch
	b.ReportAllocs()
	for b.Loop() {
		now = now.Add(time.Minute)
		v := tr.Out(set(own, xs, ps), now, alive)
		if v.Action != Drop || len(v.Inject) != 1 {
			b.Fatalf("%+v", v)
		}
		xs++
		tr.In(set(theirs, ps, 3), now)
		ps++
		tr.Out(set(zlb, xs, ps), now, alive)
	}
	if b.N > 1 && tr.Debt() == 0 {
		b.Fatal("nothing swallowed")
	}
}
