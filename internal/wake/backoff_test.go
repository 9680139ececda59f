package wake

import (
	"slices"
	"testing"
	"time"
)

func TestBackoff(t *testing.T) {
	b := Backoff{First: time.Second, Longest: 5 * time.Second, Healthy: time.Minute}
	pauses := func(ran ...time.Duration) (all []time.Duration) {
		for _, d := range ran {
			all = append(all, b.Next(d)/time.Second)
		}
		return all
	}
	if got, want := pauses(0, 0, 0, 0, 0), []time.Duration{1, 2, 4, 5, 5}; !slices.Equal(got, want) {
		t.Errorf("after failures in a row: got %d, want %d", got, want)
	}
	if got, want := pauses(time.Minute-1, time.Minute, 0), []time.Duration{5, 1, 2}; !slices.Equal(got, want) {
		t.Errorf("after a healthy run: got %d, want %d", got, want)
	}
	b.Reset()
	if got, want := pauses(0, 0), []time.Duration{1, 2}; !slices.Equal(got, want) {
		t.Errorf("after a reset: got %d, want %d", got, want)
	}
	if b = (Backoff{First: time.Second, Longest: 3 * time.Second}); pauses(time.Hour)[0] != 1 || pauses(time.Hour)[0] != 2 {
		t.Error("without Healthy, a long run counts")
	}
}
