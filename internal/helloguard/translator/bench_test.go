package translator

import (
	"testing"
	"time"

	"xl2tpd-keepalive/internal/l2tp"
)

// One round: a Hello swallowed, the peer's Hello and its acknowledgement
// renumbered.
func BenchmarkTranslator(b *testing.B) {
	tr := inStep(b)
	own := parsed(packet(true, l2tp.TypeHello, 0, 0, 0))
	theirs := parsed(packet(false, l2tp.TypeHello, 0, 0, 0))
	zlb := parsed(packet(true, l2tp.TypeNone, 0, 0, 0))
	set := func(p *l2tp.Packet, ns, nr uint16) *l2tp.Packet {
		p.SetSeq(ns, nr)
		return p
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
	if b.N > 1 && tr.Offset() == 0 {
		b.Fatal("nothing swallowed")
	}
}
