package translator

import (
	"flag"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
)

// A table of what becomes of tunnels: go test -run TestRates -v ./internal/helloguard/translator -args -histories 1000
var histories = flag.Int("histories", 10, "histories of each line and implementation in TestRates")

// lines are the ways between xl2tpd and the peer.
var lines = []struct {
	name  string
	set   func(h *course)
	lossy bool
}{
	{"calm", func(h *course) {}, false},
	{"6 s round trip", func(h *course) { h.delay = 2980 }, false},
	{"28 s round trip", func(h *course) { h.delay = 13_980 }, false},
	{"200 ms, 5 % lost", func(h *course) { h.delay, h.loss = 80, 0.05 }, true},
	{"200 ms, 20 % lost", func(h *course) { h.delay, h.loss = 80, 0.2 }, true},
	{"20 % late, 10 % twice", func(h *course) { h.late, h.dup = 0.2, 0.1 }, false},
}

// Of twenty minutes with and without the guard: it closes no tunnel that would live without it on a
// line that loses nothing, and not more on one that does.
func TestRates(t *testing.T) {
	var table strings.Builder
	fmt.Fprintf(&table, "tunnels closed in 20 minutes without the guard and with it, of %d\n%-22s", *histories, "")
	for _, name := range slices.Sorted(maps.Keys(implementations)) {
		fmt.Fprintf(&table, " %12s", name)
	}
	for _, line := range lines {
		fmt.Fprintf(&table, "\n%-22s", line.name)
		for _, name := range slices.Sorted(maps.Keys(implementations)) {
			without, with := 0, 0
			for seed := range uint64(*histories) {
				h := course{
					seed: seed, name: name, peer: implementations[name], helloEvery: 60_000, length: 1_200_000,
					xStart: 3, pStart: 1, passFirst: true, messages: int(seed % 3),
				}
				line.set(&h)
				w := world{h: h}
				w.run()
				alone := h.without()
				if w.fault != "" || w.gaveUp() && !alone && !line.lossy {
					t.Fatalf("%s, %s: %s; xl2tpd %q, peer %q\n%+v", name, line.name, w.fault, w.xWhy, w.pWhy, h)
				}
				if w.gaveUp() {
					with++
				}
				if alone {
					without++
				}
			}
			if with > without {
				t.Errorf("%s, %s: %d closed, %d without the guard", name, line.name, with, without)
			}
			fmt.Fprintf(&table, " %5d → %4d", without, with)
			rate := strings.ReplaceAll(name+"."+line.name, " ", "-")
			t.Attr(rate+".without", fmt.Sprint(without))
			t.Attr(rate+".with", fmt.Sprint(with))
		}
	}
	t.Log("\n" + table.String())
}
