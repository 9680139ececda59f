package options

import (
	"embed"
	"fmt"
	"path"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Option files as they occur in the field. Beside each lies how it is read (.want), or why pppd
// would not start with it (.err). Those called unknown-* hold a word that pppd does not know; the
// package accepts it, because a plugin may add options.
//
//go:embed testdata/options
var sampleFiles embed.FS

const sampleDir = "testdata/options"

func readSample(name string) ([]byte, error) { return sampleFiles.ReadFile(path.Join(sampleDir, name)) }

// sampleNames are the files that a pppd may be started with.
func sampleNames(t *testing.T) (names []string) {
	t.Helper()
	entries, err := sampleFiles.ReadDir(sampleDir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if path.Ext(e.Name()) == "" {
			names = append(names, e.Name())
		}
	}
	return names
}

// expected is a file's .want or .err, in lines.
func expected(t *testing.T, name string) (want []string, fault string) {
	t.Helper()
	if b, err := readSample(name + ".err"); err == nil {
		return nil, strings.TrimSpace(string(b))
	}
	b, err := readSample(name + ".want")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSpace(string(b)), "\n"), ""
}

// line is an option in a .want, where "+" marks one that pppd's own list does not show.
func line(o Option) string {
	return strings.TrimSpace(fmt.Sprintf("%s:%d %s %s", o.Path, o.Line, o.Name, o.Value))
}

func TestSamples(t *testing.T) {
	for _, name := range sampleNames(t) {
		t.Run(name, func(t *testing.T) {
			want, fault := expected(t, name)
			all, err := Of(readSample, name)
			if err != nil || fault != "" {
				if got := fmt.Sprint(err); got != fault {
					t.Errorf("got %s\nwant %s", got, fault)
				}
				return
			}
			got := []string{"connects again: never"}
			if by, ok := Persist(all); ok {
				got[0] = "connects again: " + line(by)
			}
			for _, o := range all {
				got = append(got, line(o))
			}
			for i := range want {
				want[i] = strings.TrimPrefix(want[i], "+ ")
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("mismatch (-want +got):\n%s", d)
			}
		})
	}
}
