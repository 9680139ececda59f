package serviceuser

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

func TestCan(t *testing.T) {
	t.Setenv("TMPDIR", "/tmp") // where anybody may go
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.Chmod(filepath.Dir(dir), 0o755))
	must(os.WriteFile(path, nil, 0o600))
	must(os.Chown(path, 0, 4242))
	member := &syscall.Credential{Uid: 65534, Gid: 65534, Groups: []uint32{4242}}
	other := &syscall.Credential{Uid: 65534, Gid: 65534}
	for _, c := range []struct {
		as        *syscall.Credential
		dir, file os.FileMode
		what      string
		want      bool
	}{
		{other, 0o755, 0o644, "r", true},
		{other, 0o755, 0o640, "r", false},
		{member, 0o755, 0o640, "r", true},
		{other, 0o755, 0o755, "x", true},
		{other, 0o755, 0o750, "x", false},
		{member, 0o755, 0o750, "x", true},
		{member, 0o700, 0o755, "x", false},
	} {
		must(os.Chmod(dir, c.dir))
		must(os.Chmod(path, c.file))
		if got := can(c.as, c.what, path); got != c.want {
			t.Errorf("uid %d, groups %v: -%s of %o in %o: %v", c.as.Uid, c.as.Groups, c.what, c.file, c.dir, got)
		}
	}
}
