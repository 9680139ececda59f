package xl2tpd

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestForksPossible(t *testing.T) {
	for name, tc := range map[string]struct {
		pids []string      // at each look
		age  time.Duration // of the last search
		want bool          // at the last look
	}{
		"the first look":                 {[]string{"5"}, time.Second, true},
		"a fork":                         {[]string{"5", "5", "5", "6"}, time.Second, true},
		"a fork before the look before":  {[]string{"5", "5", "5", "6", "6"}, time.Second, true},
		"none for two looks":             {[]string{"5", "5", "5", "6", "6", "6"}, time.Second, false},
		"none, and no search for long":   {[]string{"5", "5", "5"}, searchAtLeast, true},
		"not known":                      {[]string{"", "", ""}, time.Second, true},
		"not known any more":             {[]string{"5", "5", "5", ""}, time.Second, true},
		"the pids begin again at a hole": {[]string{"32767", "32767", "32767", "300"}, time.Second, true},
	} {
		var f forks
		var got bool
		for _, pid := range tc.pids {
			got = f.possible(pid, tc.age)
		}
		if got != tc.want {
			t.Errorf("%s: got %v, want %v", name, got, tc.want)
		}
	}
}

func TestLatestPid(t *testing.T) {
	p := procs{root: t.TempDir()}
	if got := p.latestPid(); got != "" {
		t.Errorf("without a file: got %q", got)
	}
	for text, want := range map[string]string{"0.20 0.18 0.12 1/80 11206\n": "11206", "0.20 0.18": "", "": ""} {
		if err := os.WriteFile(filepath.Join(p.root, "loadavg"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if got := p.latestPid(); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
	if theProcs().latestPid() == "" {
		t.Error("this host's is not known")
	}
}
