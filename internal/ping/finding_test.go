package ping

import (
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"xl2tpd-keepalive/probe"
)

// figures are those of a number of lost requests, and of replies.
func figures(lost int, trips ...time.Duration) *probe.Stats {
	var s probe.Stats
	for range lost {
		s.Lose()
	}
	for _, rtt := range trips {
		s.Reply(rtt)
	}
	return &s
}

// around are n round trips a little apart from each other.
func around(rtt time.Duration, n int) (trips []time.Duration) {
	for i := range n {
		trips = append(trips, rtt+time.Duration(i%5-2)*rtt/50)
	}
	return trips
}

func TestFinding(t *testing.T) {
	const ms = time.Millisecond
	for _, tt := range []struct {
		name         string
		inner, outer *probe.Stats
		want         string // its beginning
	}{
		{"nothing sent", figures(0), figures(0), ""},
		{"too few", figures(2), figures(0, ms, ms, ms), ""},
		{"both healthy", figures(0, around(9*ms, 20)...), figures(0, around(8*ms, 20)...), ""},
		{"both silent", figures(3), figures(3), "Neither half answers"},
		{"inner silent", figures(3), figures(0, ms, ms, ms), "The inner half loses everything"},
		{"outer silent", figures(0, ms, ms, ms), figures(3), "The LNS answers no echo requests"},
		{"one lost by chance", figures(1, around(9*ms, 19)...), figures(0, around(8*ms, 20)...), ""},
		{"inner loses", figures(20, around(9*ms, 80)...), figures(0, around(8*ms, 100)...), "The inner half loses packets (20.0 %, outer 0.0 %)"},
		{"outer loses", figures(1, around(9*ms, 99)...), figures(30, around(8*ms, 70)...), "The outer half loses more (30.0 %, inner 1.0 %)"},
		{"both lose", figures(9, around(9*ms, 91)...), figures(7, around(8*ms, 93)...), "Both halves lose packets equally (inner 9.0 %, outer 7.0 %)"},
		{"hardly any lost", figures(4, around(9*ms, 996)...), figures(4, around(9*ms, 996)...), ""},
		{"inner slow", figures(0, around(40*ms, 20)...), figures(0, around(8*ms, 20)...), "The inner half is slow: it takes 40.00 ms, the path to the LNS only 8.00 ms"},
		{"inner loses, and is slow", figures(20, around(40*ms, 80)...), figures(0, around(8*ms, 100)...), "The inner half loses"},
		{"inner slow, but in the noise", figures(0, ms, ms, 50*ms), figures(0, ms, ms, ms), ""},
		{"slow by too little", figures(0, around(3*ms, 20)...), figures(0, around(ms, 20)...), ""},
		{"outer slow", figures(0, around(250*ms, 20)...), figures(0, around(240*ms, 20)...), "The outer half is slow: the path to the LNS alone takes 240.00 ms"},
		{"the LNS is slow to answer", figures(0, around(9*ms, 20)...), figures(0, around(240*ms, 20)...), ""},
		{"one reply each", figures(2, 300*ms), figures(2, ms), ""},
	} {
		got := finding(tt.inner, tt.outer).String()
		if !strings.HasPrefix(got, tt.want) || tt.want == "" && got != "" {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
		if n := len(strings.Fields(got)); n > 25 {
			t.Errorf("%s: %d words: %s", tt.name, n, got)
		}
	}
}

// Where both halves do the same there is no word against the inner one, whatever chance does.
func TestFindingBlamesNobody(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		lost := rapid.IntRange(0, 50).Draw(t, "lost")
		trips := rapid.SliceOfN(rapid.Int64Range(0, int64(time.Second)), 0, 50).Draw(t, "trips")
		var rtts []time.Duration
		for _, rtt := range trips {
			rtts = append(rtts, time.Duration(rtt))
		}
		if says := finding(figures(lost, rtts...), figures(lost, rtts...)); strings.HasPrefix(says.String(), "The inner") {
			t.Errorf("the finding is %q, although nothing was lost inside alone", says)
		}
	})
}
