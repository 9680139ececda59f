package screen

import "testing"

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
		{4, 24, "one\ntwo\n\x1b[31mthr…\x1b[0m\nfour\n"},
		{8, 3, "one\n… more …\n"},
		{0, 0, page}, // not known
		{80, 1, page},
	} {
		if got := clip(page, tc.columns, tc.rows, nil); got != tc.want {
			t.Errorf("%d × %d: %q, want %q", tc.columns, tc.rows, got, tc.want)
		}
	}
}

// A Japanese letter takes two columns.
func TestCut(t *testing.T) {
	for columns, want := range map[int]string{1: "…", 2: "…", 3: "東…", 4: "東…", 5: "東京…", 7: "東京 a…", 8: "東京 a b", 0: "東京 a b"} {
		if got := cut("東京 a b", columns); got != want {
			t.Errorf("%d columns: %q, want %q", columns, got, want)
		}
	}
}
