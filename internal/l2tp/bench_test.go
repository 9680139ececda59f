package l2tp

import "testing"

func BenchmarkParsePacket(b *testing.B) {
	pkt := packet(Message{Tunnel: 1, Type: TypeHello, Ns: 1, Nr: 2})
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ParsePacket(pkt); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSetSeq(b *testing.B) {
	p, err := ParsePacket(packet(Message{Tunnel: 1, Type: TypeHello, Ns: 1, Nr: 2}))
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
		AppendPacket(buf, peerAddr, hostAddr, Message{Tunnel: 1, Ns: 1, Nr: 2})
	}
}
