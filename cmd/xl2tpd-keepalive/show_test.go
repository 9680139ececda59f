package main

import (
	"strings"
	"testing"
)

// A page never fills more than the terminal less the row of the cursor; its beginning stays.
func TestClip(t *testing.T) {
	page := "one\ntwo\n\x1b[31mthree\x1b[0m\nfour\n"
	for _, tc := range []struct {
		columns, rows int
		want          string
	}{
		{80, 24, page},
		{80, 5, page},
		{80, 4, "one\ntwo\n… more lines: 2; name tunnels, or use --short\n"},
		{2, 7, "one\ntwo\n… more lines: 2; name tunnels, or use --short\n"}, // lines of two rows, and of three
		{0, 0, page}, // not known
		{80, 1, page},
	} {
		if got := clip(page, tc.columns, tc.rows); got != tc.want {
			t.Errorf("%d × %d: %q, want %q", tc.columns, tc.rows, got, tc.want)
		}
	}
	if got := clip(strings.Repeat("x", 100)+"\n", 10, 5); !strings.HasPrefix(got, "… more lines: 1;") {
		t.Errorf("%q", got)
	}
}
