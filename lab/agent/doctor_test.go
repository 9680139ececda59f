package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const said = `✓ xl2tpd: running, pid 378, of xl2tpd.service
✗ lac b, control pipe: no pipe
    → rm /run/ctl
    → end pid 378, and start xl2tpd
✗ lac a, state: down
2 problems, 1 check passed
`

func TestFinding(t *testing.T) {
	s := saying(strings.Split(strings.TrimSpace(said), "\n"))
	line, steps, err := s.finding("lac b")
	if err != nil || line != "✗ lac b, control pipe: no pipe" || !slices.Equal(steps, []string{"rm /run/ctl", "end pid 378, and start xl2tpd"}) {
		t.Errorf("%q %q %v", line, steps, err)
	}
	for _, about := range []string{"lac", "xl2tpd", "nobody"} {
		if line, _, err := s.finding(about); err == nil {
			t.Errorf("%s: %q", about, line)
		}
	}
	for arg, want := range map[string]string{
		"rm /run/ctl": "rm /run/ctl",
		"end pid PID, and start xl2tpd => kill 1": "kill 1",
		"end pid PID…":          "end pid 378, and start xl2tpd",
		"end pid":               "",
		"rm /run/ctl/x => true": "",
	} {
		if got, err := commandFor(arg, steps); got != want || (err != nil) != (want == "") {
			t.Errorf("%s: %q %v", arg, got, err)
		}
	}
}

// A host's file is compared with what changes left out, and whatever the order of the findings.
func TestFindings(t *testing.T) {
	other := "✗ lac a, state: down\n✓ xl2tpd: running, pid PID, of xl2tpd.service\n✗ lac b, control pipe: no pipe\n" +
		"    → rm /run/ctl\n    → end pid PID, and start xl2tpd\n2 problems, 1 check passed\n"
	if got := unchanging(said); !slices.Equal(findings(got), findings(other)) {
		t.Errorf("%q", findings(got))
	}
	swapped := strings.Replace(other, "    → rm /run/ctl\n", "", 1)
	if slices.Equal(findings(other), findings(swapped)) {
		t.Error("a step is missed")
	}
}

// Each host's file is as doctor writes it, with nothing in it that changes.
func TestHosts(t *testing.T) {
	files, err := filepath.Glob("../../internal/doctor/testdata/hosts/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if unchanging(string(text)) != string(text) || !strings.HasSuffix(string(text), " passed\n") {
			t.Errorf("%s is not as doctor writes it", name)
		}
	}
}
