package main

import (
	"os"
	"path/filepath"
	"testing"

	"xl2tpd-keepalive/lab/event"
	"xl2tpd-keepalive/lab/results"
	"xl2tpd-keepalive/lab/vm"
)

// Only what can be looked up later is a result: a success, of a commit.
func TestWhereARunIsRecorded(t *testing.T) {
	for name, c := range map[string]struct {
		ok     bool
		commit string
		dirty  bool
		result bool
	}{
		"success":        {ok: true, commit: "0123", result: true},
		"failure":        {commit: "0123"},
		"other code":     {ok: true, commit: "0123", dirty: true},
		"without commit": {ok: true},
	} {
		dir, other := t.TempDir(), t.TempDir()
		var r recorder
		r.begin("soak-auto", results.Begin(c.commit, c.dirty))
		r.add("kernel.", map[string]float64{"drops": 0})
		if err := r.end(c.ok, dir, other); err != nil {
			t.Fatal(err)
		}
		where := map[bool]string{true: dir, false: other}[c.result]
		all, err := results.Read(where)
		if err != nil || len(all) != 1 {
			t.Fatalf("%s: %v, %v", name, all, err)
		}
		if _, there := all["soak-auto"].Figures["kernel.drops"]; !there {
			t.Errorf("%s: figures are %v", name, all["soak-auto"].Figures)
		}
		for _, dir := range []string{dir, other} {
			if files, _ := os.ReadDir(dir); len(files) > 0 && dir != where {
				t.Errorf("%s: there is %s too", name, files[0].Name())
			}
		}
	}
}

func TestRecordACommand(t *testing.T) {
	dir := t.TempDir()
	for script, ok := range map[string]bool{
		"echo 'lab: 3 passed, 0 failed'":         true,
		"echo 'lab: 3 passed, 1 failed'; exit 1": false,
	} {
		l := lab{recorder: &recorder{}}
		if got := l.command(t.Context(), []string{"test", "KILLS=4", "--", "sh", "-c", script}); got != ok {
			t.Errorf("%s: %v", script, got)
		}
		l.recorder.result.Commit, l.recorder.result.Dirty = "0123", false
		if err := l.recorder.end(ok, filepath.Join(dir, "results"), filepath.Join(dir, "out")); err != nil {
			t.Fatal(err)
		}
		all, err := results.Read(filepath.Join(dir, map[bool]string{true: "results", false: "out"}[ok]))
		if err != nil || all["test"] == nil || all["test"].Figures["lab.passed"] != 3 || all["test"].Parameters["KILLS"] != "4" {
			t.Errorf("%s: recorded %+v, %v", script, all["test"], err)
		}
	}
}

// The parameters of a run are the variables that its scenarios name.
func TestParameters(t *testing.T) {
	disk := t.TempDir()
	if err := os.Mkdir(filepath.Join(disk, "scenarios"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(disk, "scenarios/kills.txtar"), []byte("client mode=$MODE\nexec $KILLS $WORK\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	l := lab{disk: disk, set: map[string]string{"MODE": "userspace", "KILLS": "40", "SAS": "1000"}}
	got := l.parameters([]string{"kills.txtar"})
	if len(got) != 2 || got["MODE"] != "userspace" || got["KILLS"] != "40" {
		t.Errorf("parameters are %v", got)
	}
	if name := l.runName([]string{"kills.txtar"}); name != "kills-userspace" {
		t.Errorf("the run is called %s", name)
	}
}

// Machines that are made side by side share a run's parameters; without its lock, the race detector stops this.
func TestMachinesSideBySide(t *testing.T) {
	l := lab{image: "bookworm", recorder: &recorder{}}
	l.record("test", vm.Skip, nil)
	machines := newJobs(2)
	for range 2 {
		machines.start(func() error {
			l.machine(vm.Skip, event.Case{})
			return nil
		})
	}
	machines.wait()
	if got := l.recorder.result.Parameters["DEBIAN"]; got != "bookworm" {
		t.Errorf("DEBIAN is %q", got)
	}
}
