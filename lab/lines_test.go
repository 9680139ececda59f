package main

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"xl2tpd-keepalive/lab/event"
)

func TestGivesUp(t *testing.T) {
	for _, c := range []struct {
		s          sender
		loss, want float64
	}{
		{xl2tpdHello, 0, 0},
		{xl2tpdHello, 0.2, 60 * math.Pow(1-0.81*0.81, 5)},
		{xl2tpdHello, 1, 60 * math.Pow(1-0.05*0.05, 5)},
		{sender{every: 10 * time.Second, tries: 6, same: true}, 0.2, 360 * 0.81 * 0.81 * math.Pow(1-0.81*0.81, 6) / (1 - math.Pow(1-0.81*0.81, 6))},
		{sender{}, 0.2, 0},
	} {
		if got := c.s.givesUp(c.loss); math.Abs(got-c.want) > 1e-9 {
			t.Errorf("%+v gives up %v times an hour with a loss of %v, want %v", c.s, got, c.loss, c.want)
		}
	}
}

// Hellos are drawn as the peers send them, on a line as netem makes it. On one as bad as this, each ends the tunnel in
// minutes.
func TestGivesUpAsDrawn(t *testing.T) {
	const loss = 0.4
	draw := rand.New(rand.NewPCG(1, 2))
	arrives := func() bool { // a packet that comes twice is dropped only when both are
		return draw.Float64() >= loss || draw.Float64() < twice
	}
	for _, s := range []sender{xl2tpdHello, {every: 10 * time.Second, tries: 6, same: true}} {
		var passed time.Duration
		ends := 0
		for ends < 20_000 {
			tries := 1
			for tries <= s.tries && !(arrives() && arrives()) {
				tries++
			}
			if tries > s.tries {
				ends, tries = ends+1, s.tries
			}
			if s.same {
				passed += time.Duration(tries) * s.every
			} else {
				passed += s.every
			}
		}
		got, want := s.givesUp(loss), float64(ends)/passed.Hours()
		if math.Abs(got-want) > 0.03*want {
			t.Errorf("%+v gives up %.2f times an hour, and %.2f of those that are drawn", s, got, want)
		}
	}
}

func TestAddExpected(t *testing.T) {
	all := event.Figures{"kernel.with.xl2tpd-20.tunnels": 4}
	addExpected(all, 2*time.Hour)
	want := 8 * xl2tpdHello.givesUp(0.2)
	if got := all["line.xl2tpd-20.by_client"]; math.Abs(got-want) > 1e-9 || got < 2 || got > 3 {
		t.Errorf("four tunnels drop %v times in two hours, want %v", got, want)
	}
	if got := all["line.nvr510-20.by_client"]; got != 0 {
		t.Errorf("no Hello reaches a deaf router, and a loss ends %v", got)
	}
}
