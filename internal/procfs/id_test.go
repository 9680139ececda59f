package procfs

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"testing"
)

func TestIDText(t *testing.T) {
	for text, want := range map[string]ID{"": {}, "12 34": {12, 34}, "4194304 18446744073709551615": {4194304, 1<<64 - 1}} {
		if id, err := ParseID(text); err != nil || id != want || id.String() != text {
			t.Errorf("%q: %+v %v, written as %q", text, id, err, id)
		}
	}
	for _, text := range []string{"12", "12 34 5", "a 1", " 12 34", "12 -1", "012 34"} {
		if id, err := ParseID(text); err == nil {
			t.Errorf("%q is read as %+v", text, id)
		}
	}
}

// A process has ended when its pid is free, another's, or a zombie's.
func TestIDGone(t *testing.T) {
	cmd := exec.Command("cat") // lives until its input ends
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stat := func() Stat {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", cmd.Process.Pid))
		if err != nil {
			t.Fatal(err)
		}
		s, err := ParseStat(b)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	child := ID{cmd.Process.Pid, stat().Ticks}
	if child.Gone() {
		t.Errorf("%v has ended, says Gone", child)
	}
	if before := (ID{child.Pid, child.Start - 1}); !before.Gone() {
		t.Errorf("%v still lives, says Gone: its pid is another's", before)
	}
	in.Close()
	for !stat().Dead() {
		runtime.Gosched()
	}
	if !child.Gone() {
		t.Error("a zombie still lives, says Gone")
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	if !child.Gone() {
		t.Error("a process that has ended still lives, says Gone")
	}
}
