package main

import (
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestLeftDown(t *testing.T) {
	var log strings.Builder
	f := leftDown{filepath.Join(t.TempDir(), "left-down"), slog.New(slog.NewTextHandler(&log, nil))}
	if got := f.load(); len(got) != 0 {
		t.Errorf("of no file: %q", got)
	}
	for _, lacs := range [][]string{{"office", "two words"}, {"office"}, nil} {
		f.save(lacs)
		if got := f.load(); !slices.Equal(got, lacs) {
			t.Errorf("saved %q, loaded %q", lacs, got)
		}
	}
	if log.Len() > 0 {
		t.Error(log.String())
	}

	// What can't be used is told in one line each.
	if err := os.Remove(f.path); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(f.path, 0o700); err != nil {
		t.Fatal(err)
	}
	if got := f.load(); len(got) != 0 {
		t.Errorf("of a directory: %q", got)
	}
	f.save([]string{"office"})
	if lines := strings.Count(log.String(), "\n"); lines != 2 {
		t.Errorf("%d lines:\n%s", lines, &log)
	}
}
