package main

import (
	"fmt"
	"math"
	"os"
	"strings"
	"testing"
	"time"

	"xl2tpd-keepalive/lab/lns/l2tp"
)

func closes(t *testing.T, span time.Duration, b l2tp.Behaviour, loss float64, guarded bool) float64 {
	t.Helper()
	n, err := closesIn(span, 10, b, loss, guarded)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func peerCalled(t *testing.T, name string) l2tp.Behaviour {
	t.Helper()
	b, err := badPeer(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// The lines of the simulation are those of the scenario.
func TestLinesOfTheScenario(t *testing.T) {
	text, err := os.ReadFile("scenarios/" + linesScenario)
	if err != nil {
		t.Fatal(err)
	}
	for _, loss := range badLoss {
		want := fmt.Sprintf(" delay %dms %dms reorder %.0f%% duplicate %.0f%%", lineDelay.Milliseconds(), lineJitter.Milliseconds(), 100*overtakes, 100*twice)
		if loss > 0 {
			want += fmt.Sprintf(" loss %.0f%%", 100*loss)
		}
		if n := strings.Count(string(text), want+"\n"); n != 1 {
			t.Errorf("the scenario has a line%s %d times, want one", want, n)
		}
	}
	if want := fmt.Sprintf(" redial=%.0f\n", redialAfter.Seconds()); !strings.Contains(string(text), want) {
		t.Errorf("the scenario has no%s", want)
	}
}

// On a line that loses nothing, only a deaf peer without the guard closes: after 91 s, and again and again.
func TestClosesWithoutLoss(t *testing.T) {
	for _, p := range badPeers {
		for _, guarded := range []bool{false, true} {
			want := 0.0
			if p == "nvr510" && !guarded {
				want = 11 // the first after 91 s, then one every 691 s
			}
			if got := closes(t, 2*time.Hour, peerCalled(t, p), 0, guarded); got != want {
				t.Errorf("%s, guarded %v: closes %v times in two hours, want %v", p, guarded, got, want)
			}
		}
	}
}

// Where one end alone sends Hellos, and each try has the same chance, the rate can be calculated.
func TestClosesAsCalculated(t *testing.T) {
	const loss = 0.4
	arrives := 1 - loss*(1-twice)
	fails := 1 - arrives*arrives
	const down = redialAfter

	client := peerCalled(t, "xl2tpd")
	client.KeepaliveInterval = 0
	lives := time.Duration(float64(xl2tpdHello)/math.Pow(fails, xl2tpdTries)) + 31*time.Second
	same(t, "xl2tpd alone sends Hellos", closes(t, 50*time.Hour, client, loss, false), 50*time.Hour, lives+down)

	router := peerCalled(t, "nvr510")
	tries := float64(router.KeepaliveTries)
	gaveUp := math.Pow(fails, tries)
	mean := (1 - gaveUp) / (1 - fails) // tries of a Hello
	lives = time.Duration(mean/gaveUp*float64(router.KeepaliveInterval)) + time.Duration(router.KeepaliveInterval)
	same(t, "the router alone sends Hellos", closes(t, 50*time.Hour, router, loss, true), 50*time.Hour, lives+down)
}

func same(t *testing.T, what string, got float64, span, every time.Duration) {
	t.Helper()
	if want := float64(span) / float64(every); math.Abs(got-want) > 0.07*want {
		t.Errorf("%s: closes %.1f times in %v, calculated %.1f", what, got, span, want)
	}
}

// The Hellos of two xl2tpds cross. Until one has the other's, it ignores the acknowledgements behind that. So each gives
// up more often than if it alone sent Hellos. The guard leaves the peer's.
func TestClosesByCrossing(t *testing.T) {
	const loss, span = 0.4, 50 * time.Hour
	peer := peerCalled(t, "xl2tpd")
	quiet := peer
	quiet.KeepaliveInterval = 0
	stubborn := peer
	stubborn.RetransmitTries = 50
	rate := func(b l2tp.Behaviour, guarded bool) float64 { // in an hour that it is up
		n := closes(t, span, b, loss, guarded)
		return n / (span.Hours() - n*redialAfter.Hours())
	}
	alone, both := rate(quiet, false), rate(peer, false)
	for _, c := range []struct {
		who         string
		rate, least float64
	}{
		{"xl2tpd", rate(stubborn, false), 1.08 * alone},
		{"peer", rate(peer, true), 1.25 * alone},
	} {
		if c.rate < c.least || c.rate > 0.9*both {
			t.Errorf("the %s gives up %.1f times in an hour, both %.1f times, one that alone sends Hellos %.1f times", c.who, c.rate, both, alone)
		}
	}
}
