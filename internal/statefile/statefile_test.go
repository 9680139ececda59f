package statefile

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

// Read refuses anything but a file of Save, and does not block.
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

// A link where a new file is to be is taken away, and not followed.
func TestSaveFollowsNothing(t *testing.T) {
	dir := t.TempDir()
	other := filepath.Join(dir, "other")
	if err := os.WriteFile(other, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "one")
	if err := os.Symlink(other, path+".new"); err != nil {
		t.Fatal(err)
	}
	if err := Save(path, []byte("ours")); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(other); err != nil || string(got) != "precious" {
		t.Errorf("wrote %q, %v", got, err)
	}
	if got, err := Read(path); err != nil || string(got) != "ours" {
		t.Errorf("read %q, %v", got, err)
	}
}

// What root saves in a directory of the service's is the service's.
func TestSaveForTheOwner(t *testing.T) {
	dir := t.TempDir()
	const owner = 65533
	if err := os.Chown(dir, owner, owner); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "one")
	if err := Save(path, nil); err != nil {
		t.Fatal(err)
	}
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil || st.Uid != owner || st.Gid != owner {
		t.Errorf("belongs to %d:%d, %v", st.Uid, st.Gid, err)
	}
}

// The folder is the unit's to make; the file's own name would say nothing to anybody.
func TestSaveWithoutFolder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "none")
	err := Save(filepath.Join(dir, "lacs"), nil)
	if want := "there is no folder " + dir + "; the service's unit makes it (RuntimeDirectory=)"; err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
}
