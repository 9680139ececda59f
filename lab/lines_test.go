package main

import (
	"testing"
	"time"

	"xl2tpd-keepalive/lab/event"
)

func TestAddExpected(t *testing.T) {
	all := event.Figures{"kernel.without.xl2tpd-20.tunnels": 4, "kernel.with.xl2tpd-20.tunnels": 4}
	if err := addExpected(all, 2*time.Hour); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		figure    string
		low, high float64
	}{
		{"line.without.xl2tpd-20.drops", 5, 10},
		{"line.with.xl2tpd-20.drops", 2, 5},
		{"line.with.nvr510-20.drops", 0, 0}, // there is no such tunnel
	} {
		if got, ok := all[c.figure]; !ok || got < c.low || got > c.high {
			t.Errorf("%s: %v, want %v to %v", c.figure, got, c.low, c.high)
		}
	}
}
