package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"xl2tpd-keepalive/internal/status"
)

// A service on a host without strongSwan is a WARNING, and no service is CRITICAL: as exit statuses, with one line.
func TestCheckOfService(t *testing.T) {
	conf := filepath.Join(t.TempDir(), "keepalive.conf")
	if err := os.WriteFile(conf, []byte("[global]\nkeepalive = observe\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	s := start(t, nil, "--config", conf)
	s.until("READY=1")
	run, err := os.Open(fmt.Sprintf("/proc/%d/ns/mnt", s.cmd.Process.Pid)) // it has a /run of its own
	if err != nil {
		t.Fatal(err)
	}
	defer run.Close()
	ask := func(command string) string {
		c := exec.Command("nsenter", "--mount=/proc/self/fd/3", "sh", "-c", command)
		c.ExtraFiles = []*os.File{run}
		out, _ := c.CombinedOutput()
		return string(out)
	}
	check := func(want status.Level) {
		t.Helper()
		out := ask("xl2tpd-keepalive check; echo $?")
		line, exit, _ := strings.Cut(out, "\n")
		if !strings.HasPrefix(line, "XL2TPD-KEEPALIVE "+want.String()+" - ") || exit != fmt.Sprintln(int(want)) {
			t.Errorf("got %q, want %v", out, want)
		}
	}
	for range 100 { // what is missing is noticed a bit later
		if strings.Contains(ask("xl2tpd-keepalive status --short"), string(status.NoVICI)) {
			break
		}
	}
	check(status.LevelWarning)
	s.cmd.Process.Kill() // which leaves its socket behind
	s.cmd.Wait()
	check(status.LevelCritical)
}
