package checkconfig

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// What is wrong comes with its place, a warning leaves the files valid, and what can't be read is an error.
func TestCheck(t *testing.T) {
	dir := t.TempDir()
	files := map[string]string{
		"xl2tpd.conf": "[lac office]\nlns = 192.0.2.1\n[lac a b]\nlns = 192.0.2.2\n",
		"good":        "[lac office]\ninterval = 5\n",
		"two wrong":   "[lac office]\ninterval = soon\n\nhello = 1\n",
		"no LAC":      "[lac ofice]\n",
		"warning":     "[lac a b]\nrecover = full\n",
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for name, tc := range map[string]struct {
		problems []string // their beginnings
		warns    bool
		err      bool
	}{
		"good":      {},
		"two wrong": {problems: []string{":2: ", ":4: "}},
		"no LAC":    {problems: []string{":1: no xl2tpd has a [lac ofice]"}},
		"warning":   {warns: true},
		"nowhere":   {err: true},
	} {
		path := filepath.Join(dir, name)
		outcome, err := Check(Files{Config: path, Xl2tpd: filepath.Join(dir, "xl2tpd.conf")})
		var problems []string
		warns := false
		for _, r := range outcome.Remarks {
			if warns = warns || r.Warning; !r.Warning {
				problems = append(problems, strings.TrimPrefix(r.Text.String(), path))
			}
		}
		same := slices.EqualFunc(problems, tc.problems, strings.HasPrefix)
		if !same || warns != tc.warns || (err != nil) != tc.err || outcome.Valid() != (tc.problems == nil) {
			t.Errorf("%s: got %v, %+v, want %+v", name, err, outcome.Remarks, tc)
		}
	}
}
