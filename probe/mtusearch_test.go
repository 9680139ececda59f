package probe

import (
	"testing"

	"pgregory.net/rapid"
)

// line is a simulated path to a target that answers echo requests.
type line struct {
	mtu  int
	told int                 // the MTU that a router reports for a packet that is too long; -1: it reports nothing
	lost func(size int) bool // whether the next echo request of that size is lost, whatever its size

	reported bool // the kernel has the router's report
	sent     int
}

// try sends one echo request and reports to the search what came of it. A router's report is too late for the request
// that it is about: the kernel refuses the next ones.
func (l *line) try(s *mtuSearch, size int) {
	l.sent++
	switch {
	case size > l.mtu && l.reported:
		s.TooBig(size, l.told)
	case l.lost != nil && l.lost(size):
		s.Silent(size)
	case size <= l.mtu:
		s.Passed(size)
	default:
		l.reported = l.told >= 0
		s.Silent(size)
	}
}

// search runs a search to its end.
func (l *line) search(s *mtuSearch) PathMTU {
	for size, ok := s.Next(); ok; size, ok = s.Next() {
		l.try(s, size)
	}
	return s.Result()
}

func TestMTUSearchCost(t *testing.T) {
	for _, tc := range []struct {
		name     string
		line     line
		top      int
		suggest  []int
		sent     int
		told     bool
		expected int
	}{
		{"all passes", line{mtu: 1500, told: -1}, 1500, nil, 2, false, 1500},
		{"all passes, others were likely", line{mtu: 1500, told: -1}, 1500, []int{1454, 1280}, 2, false, 1500},
		{"a router reports", line{mtu: 1454, told: 1454}, 1500, nil, 5, true, 1454},
		{"a router reports nothing of use", line{mtu: 1454, told: 0}, 1500, nil, 14, true, 1454},
		{"a black hole, foreseen", line{mtu: 1374, told: -1}, 1500, []int{1374}, 11, false, 1374},
		{"a black hole, one of several", line{mtu: 1454, told: -1}, 1500, []int{1492, 1480, 1460, 1454, 1400, 1280}, 15, false, 1454},
		{"a black hole", line{mtu: 1374, told: -1}, 1500, nil, 26, false, 1374},
		{"no answer at all", line{mtu: 0, told: -1}, 1500, nil, 3, false, 0},
		{"a link that takes no more", line{mtu: 68, told: -1}, 68, nil, 1, false, 68},
	} {
		s := newMTUSearch(tc.top)
		for _, size := range tc.suggest {
			s.Suggest(size)
		}
		r := tc.line.search(s)
		if r.Passes != tc.expected || r.Sent != tc.sent || r.Sent != tc.line.sent || r.Told != tc.told || !r.Certain {
			t.Errorf("%s: %+v, want %d after %d echo requests, told: %v", tc.name, r, tc.expected, tc.sent, tc.told)
		}
		if want := tc.expected > 0 && tc.expected < tc.top; r.Limited() != want || s.Failed() != want {
			t.Errorf("%s: limited %v, failed %v, want %v", tc.name, r.Limited(), s.Failed(), want)
		}
	}
}

// A size that stayed silent by chance does not hide what passes.
func TestMTUSearchAfterLosses(t *testing.T) {
	lost := map[int]int{1400: believed} // then it passes
	l := &line{mtu: 1450, told: -1, lost: func(size int) bool { lost[size]--; return lost[size] >= 0 }}
	s := newMTUSearch(1500)
	s.Suggest(1400)
	if r := l.search(s); r.Passes != 1450 || !r.Certain {
		t.Errorf("%+v, want 1450", r)
	}
}

// drawn returns a path and a search on it, with wrong and right suggestions.
func drawn(t *rapid.T) (*line, *mtuSearch) {
	top := rapid.IntRange(leastMTU, 9000).Draw(t, "top")
	l := &line{mtu: rapid.IntRange(leastMTU, 9000).Draw(t, "mtu")}
	l.told = rapid.OneOf(rapid.Just(-1), rapid.Just(0), rapid.Just(l.mtu), rapid.IntRange(0, 70000)).Draw(t, "told")
	s := newMTUSearch(top)
	for _, size := range rapid.SliceOfN(rapid.IntRange(-10, 70000), 0, 5).Draw(t, "suggestions") {
		s.Suggest(size)
	}
	return l, s
}

// Whatever routers report and whoever suggests what, the search finds the exact size, if no size is unlucky too often.
func TestMTUSearchExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l, s := drawn(t)
		luck := map[int]int{}
		l.lost = func(size int) bool {
			if luck[size]++; luck[size] >= believed {
				return false
			}
			return rapid.Bool().Draw(t, "lost")
		}
		r := l.search(s)
		if want := min(l.mtu, s.top); r.Passes != want || !r.Certain {
			t.Fatalf("%+v, want %d", r, want)
		}
	})
}

// On a line that loses anything, the search ends and never promises more than what passes. Where it says that it is
// certain, the next size has failed often.
func TestMTUSearchLossy(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l, s := drawn(t)
		share := rapid.IntRange(0, 100).Draw(t, "share")
		l.lost = func(int) bool { return rapid.IntRange(0, 99).Draw(t, "lost") < share }
		r := l.search(s)
		if r.Passes > l.mtu || r.Sent > mostEchoes {
			t.Fatalf("%+v on a line of %d", r, l.mtu)
		}
		if f := s.failures[r.Passes+1]; r.Certain && r.Limited() && !f.told && f.silences < confirmed {
			t.Fatalf("%+v is certain after %+v", r, f)
		}
	})
}
