package journal

import (
	"log/slog"
	"testing"

	"github.com/coreos/go-systemd/v22/journal"
	"github.com/google/go-cmp/cmp"
)

// The journal gets a line for people and its parts as fields for programs.
func TestJournalLines(t *testing.T) {
	type entry struct {
		Line   string
		P      journal.Priority
		Fields map[string]string
	}
	var got []entry
	send := func(line string, p journal.Priority, fields map[string]string) error {
		if fields["SYSLOG_IDENTIFIER"] != "xl2tpd-keepalive" {
			t.Errorf("got %v, want the program's whole name", fields)
		}
		delete(fields, "SYSLOG_IDENTIFIER")
		got = append(got, entry{line, p, fields})
		return nil
	}
	log := slog.New(NewHandler(send, slog.LevelInfo))
	log.Debug("not shown")
	log.Info("tunnel down", "tunnel", "lac office", "reason", `closed by the peer "bye"`, "empty", "")
	log.With("task", "eye").Warn("late")
	log.WithGroup("g").Error("bad", "level", 3, "message", "x")
	log.Error("odd", "message", "x", "_1", 2)
	slog.New(NewHandler(send, slog.LevelDebug)).Debug("shown")
	want := []entry{
		{`tunnel down tunnel="lac office" reason="closed by the peer \"bye\"" empty=""`, journal.PriInfo,
			map[string]string{"TUNNEL": "lac office", "REASON": `closed by the peer "bye"`, "EMPTY": ""}},
		{"late task=eye", journal.PriWarning, map[string]string{"TASK": "eye"}},
		{"bad g.level=3 g.message=x", journal.PriErr, map[string]string{"G_LEVEL": "3", "G_MESSAGE": "x"}},
		{"odd message=x _1=2", journal.PriErr, map[string]string{}},
		{"shown", journal.PriDebug, map[string]string{}},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("mismatch (-want +got):\n%s", d)
	}
}
