package translator

import (
	"testing"

	"pgregory.net/rapid"
)

// The sequence map agrees with a list of every message and whether it was swallowed.
func TestSequenceMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var l sequenceMap
		start := rapid.Uint16().Draw(t, "start")
		swallowed := rapid.SliceOfN(rapid.Bool(), 1, 30).Draw(t, "swallowed")
		for i, s := range swallowed {
			if s {
				l.add(start + uint16(i))
			}
		}
		wire := start
		for i, s := range swallowed {
			ns := start + uint16(i)
			if l.has(ns) != s || l.wire(ns) != wire {
				t.Fatalf("%d: has %v, wire %d; want %v, %d", ns, l.has(ns), l.wire(ns), s, wire)
			}
			if !s {
				wire++
			}
			next := ns + 1
			for j := i + 1; j < len(swallowed) && swallowed[j]; j++ {
				next++
			}
			if got := l.local(wire); got != next {
				t.Fatalf("wire %d: local %d, want %d", wire, got, next)
			}
		}
		end := start + uint16(len(swallowed))
		old := l
		l.forget(start + uint16(rapid.IntRange(0, len(swallowed)).Draw(t, "forget")))
		if l.wire(end) != old.wire(end) || l.local(wire) != old.local(wire) {
			t.Fatalf("forgetting changed the newest: %+v, was %+v", l, old)
		}
	})
}

// Years of nothing but Hellos: the numbers stay right through every wrap.
func TestSequenceMapLongLife(t *testing.T) {
	var l sequenceMap
	for i := range 300_000 {
		ns := uint16(i)
		l.add(ns)
		l.forget(ns - history)
		if got := l.wire(ns + 1); got != 0 {
			t.Fatalf("after %d Hellos: wire %d, want 0", i+1, got)
		}
		if got := l.local(0); got != ns+1 {
			t.Fatalf("after %d Hellos: local %d, want %d", i+1, got, ns+1)
		}
	}
}

// More runs than fit: the newest numbers stay right.
func TestSequenceMapFull(t *testing.T) {
	var l sequenceMap
	for i := range uint16(100) {
		l.add(2 * i)
		if got := l.wire(2*i + 2); got != i+1 {
			t.Fatalf("wire %d, want %d", got, i+1)
		}
	}
	if l.n != maxRuns {
		t.Errorf("%d runs", l.n)
	}
}
