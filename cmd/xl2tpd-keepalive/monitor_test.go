package main

import (
	"context"
	"fmt"
	"io/fs"
	"net"
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
	s := start(t, "--config", conf)
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

// What came of asking for a report is the exit status of a plugin, and its one line.
func TestJudge(t *testing.T) {
	dir := t.TempDir()
	_, stopped := status.Read(t.Context(), filepath.Join(dir, "none"))
	l, err := net.Listen("unix", filepath.Join(dir, "busy"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	late, cancel := context.WithTimeout(t.Context(), 1)
	defer cancel()
	_, busy := status.Read(late, filepath.Join(dir, "busy"))
	r := status.Report{Tunnels: []status.Tunnel{{Name: "lac office", State: "alive"}, {Name: "lac home", State: "silent"}}}
	for _, tc := range []struct {
		name  string
		err   error
		names []string
		level status.Level
		text  string
	}{
		{"not running", stopped, nil, status.LevelCritical, "xl2tpd-keepalive is not running (systemctl start xl2tpd-keepalive)"},
		{"no answer", busy, nil, status.LevelCritical, "the service has not answered"},
		{"forbidden", fmt.Errorf("no | right: %w", fs.ErrPermission), nil, status.LevelUnknown, "no / right"},
		{"all", nil, nil, status.LevelCritical, "lac home silent; 1 tunnel up | "},
		{"one that is up", nil, []string{"office"}, status.LevelOK, "1 tunnel up | "},
		{"one that is silent", nil, []string{"home"}, status.LevelCritical, "lac home silent | "},
		{"none", nil, []string{"offce"}, status.LevelUnknown, `there is no tunnel "offce", did you mean "office"?`},
	} {
		level, line := assess(r, tc.err, tc.names, nil)
		if level != tc.level || !strings.Contains(line, tc.text) || strings.Contains(line, "\n") {
			t.Errorf("%s: %v, %q; want %v, …%s…", tc.name, level, line, tc.level, tc.text)
		}
	}
}
