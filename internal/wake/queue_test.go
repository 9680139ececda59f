package wake

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// It does what a plain list would do.
func TestQueue(t *testing.T) {
	epoch := time.Unix(1000, 0)
	rapid.Check(t, func(t *rapid.T) {
		var q Queue[int]
		want := map[int]time.Time{}
		clock := rapid.Custom(func(t *rapid.T) time.Time {
			return epoch.Add(time.Duration(rapid.IntRange(0, 20).Draw(t, "s")) * time.Second)
		})
		t.Repeat(map[string]func(*rapid.T){
			"set": func(t *rapid.T) {
				who, at := rapid.IntRange(0, 9).Draw(t, "who"), clock.Draw(t, "at")
				q.Set(who, at)
				want[who] = at
			},
			"clear": func(t *rapid.T) {
				who := rapid.IntRange(0, 9).Draw(t, "who")
				q.Set(who, time.Time{})
				delete(want, who)
			},
			"take": func(t *rapid.T) {
				now := clock.Draw(t, "now")
				got := q.Take(now)
				if !slices.IsSortedFunc(got, func(a, b int) int { return want[a].Compare(want[b]) }) {
					t.Fatalf("%v of %v", got, want)
				}
				for _, who := range got {
					if at, ok := want[who]; !ok || at.After(now) {
						t.Fatalf("%d at %v, of %v", who, now, want)
					}
					delete(want, who)
				}
				for who, at := range want {
					if !at.After(now) {
						t.Fatalf("%d is left at %v, of %v", who, now, want)
					}
				}
			},
			"": func(t *rapid.T) {
				var next time.Time
				for _, at := range want {
					if next.IsZero() || at.Before(next) {
						next = at
					}
				}
				if got := q.Next(); got != next {
					t.Fatalf("next at %v, of %v", got, want)
				}
			},
		})
	})
}
