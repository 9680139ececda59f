package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Whoever has no Go, or Debian's, is told so in one line, and before anything is built or deleted.
func TestMakeWithoutTheRightGo(t *testing.T) {
	old := filepath.Join(t.TempDir(), "go")
	script := "#!/bin/sh\n[ \"$1\" != env ] || [ \"$2\" != GOVERSION ] || { echo go1.19.8; exit; }\necho invalid go version >&2\nexit 1\n"
	if err := os.WriteFile(old, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	for goCommand, says := range map[string]string{old: "is go1.19.8.", "/nonexistent/go": "is not there."} {
		for _, target := range []string{"build", "deb", "release"} {
			make := exec.Command("make", "-C", root, "--no-print-directory", "-B", target, "GO="+goCommand,
				"NEEDED=", "DEB="+t.TempDir(), "RELEASE="+filepath.Join(t.TempDir(), "release"))
			make.Env = append(os.Environ(), "MAKEFLAGS=", "LC_ALL=C")
			out, err := make.CombinedOutput()
			text := string(out)
			if err == nil || !strings.Contains(text, "or later is needed, and "+goCommand+" "+says) || strings.Count(text, "\n") != 1 {
				t.Errorf("make %s: %v\n%s", target, err, text)
			}
		}
	}
}

// What a target sets for its run reaches the lab.
func TestMakeSettings(t *testing.T) {
	for target, want := range map[string]string{"scale": "GUARD=auto", "instances": "DURATION=0.3h", "soak": "DURATION=24h"} {
		make := exec.Command("make", "-C", root, "--no-print-directory", "-n", target)
		make.Env = append(os.Environ(), "MAKEFLAGS=")
		if out, err := make.CombinedOutput(); err != nil || !strings.Contains(string(out), " -set "+want+" ") {
			t.Errorf("make -n %s: %v, without %s in\n%s", target, err, want, out)
		}
	}
}
