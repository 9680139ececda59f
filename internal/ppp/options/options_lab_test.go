//go:build lab

package options

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
)

// persistLine is how `pppd dryrun` lists what it has understood.
var persistLine = regexp.MustCompile(`(?m)^persist\b`)

// dryrun asks the real pppd whether it persists.
func dryrun(t *testing.T, path string) bool {
	t.Helper()
	out, err := exec.Command("pppd", "dryrun", "noauth", "/dev/null", "file", path).CombinedOutput()
	if err != nil {
		t.Fatalf("pppd dryrun: %v\n%s", err, out)
	}
	return persistLine.Match(out)
}

// The real pppd takes each of these files as it is taken here.
func TestAsPppdDoes(t *testing.T) {
	for _, tt := range persisting {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "options")
			if err := os.WriteFile(path, []byte(tt.text), 0o644); err != nil {
				t.Fatal(err)
			}
			if got := dryrun(t, path); got != tt.want {
				t.Errorf("pppd: %v, here: %v", got, tt.want)
			}
		})
	}
}

// So it does with a file that names another.
func TestFileInFileAsPppdDoes(t *testing.T) {
	dir := t.TempDir()
	inner, outer := filepath.Join(dir, "inner"), filepath.Join(dir, "outer")
	for text, want := range map[string]bool{"": true, "nopersist": false} {
		for path, text := range map[string]string{inner: "# ours\npersist\n", outer: "file " + inner + " " + text} {
			if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		all, err := Of(os.ReadFile, outer)
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := Persist(all); ok != want || dryrun(t, outer) != want {
			t.Errorf("%q: here %v, want %v", text, ok, want)
		}
	}
}
