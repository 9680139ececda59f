package main

import (
	"slices"
	"testing"
	"time"
)

// A tunnel is up before, closes twice in the time and once before it and once after it, and is up in the end. Once PPP
// begins anew.
func TestLives(t *testing.T) {
	at := func(second int) time.Time { return time.Unix(int64(second), 0) }
	var records []record
	add := func(second int, kind, tunnel string) {
		records = append(records, record{at: at(second), kind: kind, tunnel: tunnel})
	}
	add(1, "up", "a")
	add(2, "down", "a")
	add(5, "up", "a")
	add(5, "up", "other")
	add(30, "down", "a")
	add(31, "down", "other")
	add(38, "up", "a")
	add(39, "down", "a")
	add(40, "up", "a")
	add(55, "down", "a")
	add(90, "up", "a")
	add(120, "down", "a")
	closed, up := lives(records, "a", at(10), at(100))
	if !slices.Equal(closed, []time.Time{at(30), at(55)}) || up != 45*time.Second {
		t.Errorf("closed at %v, up for %v; want 30 and 55 s, up for 20 + 15 + 10 s", closed, up)
	}
}
