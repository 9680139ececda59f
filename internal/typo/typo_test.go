package typo

import "testing"

func TestDistance(t *testing.T) {
	for _, tc := range []struct {
		a, b string
		want int
	}{
		{"", "", 0},
		{"json", "json", 0},
		{"jsn", "json", 1},
		{"jsoon", "json", 1},
		{"jzon", "json", 1},
		{"josn", "json", 1},
		{"", "json", 4},
		{"watch", "json", 5},
	} {
		if got := Distance(tc.a, tc.b); got != tc.want {
			t.Errorf("%q, %q: got %d, want %d", tc.a, tc.b, got, tc.want)
		}
		if got := Distance(tc.b, tc.a); got != tc.want {
			t.Errorf("%q, %q: got %d, want %d", tc.b, tc.a, got, tc.want)
		}
	}
}

func TestNearest(t *testing.T) {
	for typed, want := range map[string]string{"stauts": "status", "status": "status", "pnig": "ping", "xyz": "", "": ""} {
		if got := Nearest(typed, []string{"status", "ping", "a"}); got != want {
			t.Errorf("%q: got %q, want %q", typed, got, want)
		}
	}
}
