package xl2tpdconf

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

func TestRead(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	if _, err := Read(path); !errors.Is(err, fs.ErrNotExist) || err.Error() != "there is no file "+path {
		t.Error(err)
	}
	do(t, os.WriteFile(path, []byte("text"), 0o600))
	if b, err := Read(path); err != nil || string(b) != "text" {
		t.Error(b, err)
	}
	do(t, os.Truncate(path, 1<<20+1))
	if _, err := Read(path); err == nil || err.Error() != path+": larger than 1 MiB" {
		t.Error(err)
	}
	if _, err := Read(dir); err == nil || err.Error() != dir+": this is a directory, not a file" {
		t.Error(err)
	}
	fifo := filepath.Join(dir, "fifo")
	do(t, syscall.Mkfifo(fifo, 0o600))
	if _, err := Read(fifo); err == nil || err.Error() != fifo+": this is a named pipe, not a file" {
		t.Error(err)
	}
}

func do(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
