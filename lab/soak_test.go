package main

import (
	"maps"
	"testing"
	"time"

	"xl2tpd-keepalive/lab/event"
)

// One tunnel closes without the guard and drops once with it, the other one stays up in both parts.
func TestSoakFigures(t *testing.T) {
	s := &soaking{began: time.Now(), part: map[string]string{}}
	at := func(second int, kind, tunnel, text string) {
		s.add(event.Event{Time: time.Unix(int64(second), 0), Run: "kernel", Kind: kind, Tunnel: tunnel, Text: text, Reason: text})
	}
	at(0, event.Mark, "", unguarded)
	at(1, event.Up, "deaf", "")
	at(1, event.Up, "linux", "")
	at(91, event.Down, "deaf", "hello-unanswered")
	at(200, event.Down, "linux", "operator")
	at(300, event.Mark, "", guarded)
	at(301, event.Up, "deaf", "")
	at(301, event.Up, "linux", "")
	at(400, event.Down, "deaf", "idle")
	at(410, event.Up, "deaf", "")
	at(900, event.Mark, "", end)
	got := s.figures([]string{"kernel"})
	want := event.Figures{
		"tunnels": 2, "drops": 1, "kernel.deaf.drops": 1, "kernel.linux.drops": 0,
		"unguarded.closed": 1, "kernel.deaf.unguarded_s": 90,
		"unguarded.closed_after_s.low": 90, "unguarded.closed_after_s.high": 90,
	}
	if !maps.Equal(got, want) {
		t.Errorf("figures are %v, want %v", got, want)
	}
}
