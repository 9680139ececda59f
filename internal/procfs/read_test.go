package procfs

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

func TestReadFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	for _, size := range []int{0, 1, 1023, 1024, 1025, 100_000} {
		want := bytes.Repeat([]byte("x"), size)
		if err := os.WriteFile(path, want, 0o600); err != nil {
			t.Fatal(err)
		}
		for name, read := range map[string]func() ([]byte, error){
			"ReadFile": func() ([]byte, error) { return ReadFile(path) },
			"Root":     func() ([]byte, error) { return fs.ReadFile(Root(), path[1:]) },
		} {
			if got, err := read(); err != nil || !bytes.Equal(got, want) {
				t.Errorf("%s: got %d bytes and %v, want %d", name, len(got), err, size)
			}
		}
	}
	if _, err := ReadFile(path + " that is not there"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, want fs.ErrNotExist", err)
	}
	if _, err := ReadFile(t.TempDir()); err == nil {
		t.Error("a directory can be read")
	}
}

// A file of /proc has no length.
func TestReadFileOfProc(t *testing.T) {
	want, err := os.ReadFile("/proc/self/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := ReadFile("/proc/self/cmdline"); err != nil || !bytes.Equal(got, want) {
		t.Errorf("got %q and %v, want %q", got, err, want)
	}
}
