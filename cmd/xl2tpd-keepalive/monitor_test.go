package main

import (
	"context"
	"fmt"
	"io/fs"
	"net"
	"path/filepath"
	"strings"
	"testing"

	"xl2tpd-keepalive/internal/status"
)

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
		level, line := judge(r, tc.err, tc.names)
		if level != tc.level || !strings.Contains(line, tc.text) || strings.Contains(line, "\n") {
			t.Errorf("%s: %v, %q; want %v, …%s…", tc.name, level, line, tc.level, tc.text)
		}
	}
}
