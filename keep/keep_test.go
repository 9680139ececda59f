package keep

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

func TestSave(t *testing.T) {
	path := filepath.Join(t.TempDir(), "one")
	for _, want := range []string{"first", ""} {
		if err := Save(path, []byte(want)); err != nil {
			t.Fatal(err)
		}
		if got, err := Read(path); err != nil || string(got) != want {
			t.Errorf("read %q, %v; saved %q", got, err, want)
		}
	}
	left, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(left) != 1 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// What is no file of ours is refused, and at once.
func TestReadRefuses(t *testing.T) {
	for name, plant := range map[string]func(path string) error{
		"nothing": func(string) error { return nil },
		"link": func(path string) error {
			if err := os.WriteFile(path+".target", nil, 0o600); err != nil {
				return err
			}
			return os.Symlink(path+".target", path)
		},
		"directory": func(path string) error { return os.Mkdir(path, 0o700) },
		"fifo":      func(path string) error { return unix.Mkfifo(path, 0o600) },
		"large":     func(path string) error { return os.WriteFile(path, make([]byte, Max+1), 0o600) },
	} {
		path := filepath.Join(t.TempDir(), name)
		if err := plant(path); err != nil {
			t.Fatal(err)
		}
		if got, err := Read(path); err == nil {
			t.Errorf("%s: read %d bytes", name, len(got))
		}
	}
}
