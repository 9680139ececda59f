package trace

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Only what the guard's own queues have dropped counts, and only since the trace has begun.
func TestQueueDrops(t *testing.T) {
	path := filepath.Join(t.TempDir(), "nfnetlink_queue")
	text := " 1701   4711     0 2 65535     3     4     1000  1\n 1702   4711     0 2 65535     0     2        9  1\n    7     99     0 2 65535    50    50        9  1\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for before, want := range map[uint64]string{2: " 7 messages", 9: "", 20: ""} { // 20: the queues are new ones
		switch err := dropsSince(path, before); {
		case want == "" && err != nil:
			t.Errorf("since %d: got %q, want nothing", before, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("since %d: got %v, want %q", before, err, want)
		}
	}
	if n := queueDrops(filepath.Join(t.TempDir(), "none")); n != 0 {
		t.Errorf("%d of no file", n)
	}
}
