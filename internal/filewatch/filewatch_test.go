package filewatch

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func put(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func do(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestWatch(t *testing.T) {
	base := t.TempDir()
	dir := filepath.Join(base, "etc")
	file := filepath.Join(dir, "a.conf")
	do(t, os.Mkdir(dir, 0o700))
	do(t, os.Symlink(dir, filepath.Join(base, "link")))
	n, err := New()
	do(t, err)
	defer n.Close()
	expect := func(what string) {
		t.Helper()
		select {
		case <-n.C:
		case <-time.After(10 * time.Second):
			t.Fatalf("no notice of: %s", what)
		}
	}
	drain := func() {
		for {
			select {
			case <-n.C:
				continue
			default:
			}
			return
		}
	}
	n.Check(filepath.Join(base, "link/a.conf"), filepath.Join(base, "missing/b.conf"))
	put(t, file, "1")
	expect("created, seen through a link to the directory")
	drain()
	put(t, file, "2")
	expect("written in place")
	drain()
	put(t, file+"~", "3")
	do(t, os.Rename(file+"~", file))
	expect("replaced by rename")
	drain()
	do(t, os.Remove(file))
	expect("removed")

	// From here on each step has a file of its own, so that a late event of an
	// earlier step can't pass for it.
	do(t, os.RemoveAll(dir))
	n.Check(file) // there is nothing to watch now
	do(t, os.Mkdir(dir, 0o700))
	file = filepath.Join(dir, "b.conf")
	n.Check(file)
	drain()
	put(t, file, "4")
	expect("created in a directory removed and made again")

	do(t, os.Rename(dir, dir+".old"))
	do(t, os.Mkdir(dir, 0o700))
	file = filepath.Join(dir, "c.conf")
	n.Check(file)
	drain()
	put(t, file, "5")
	expect("created in a directory put in the old one's place")

	do(t, os.Mkdir(filepath.Join(base, "missing"), 0o700))
	n.Check(filepath.Join(base, "missing/b.conf"))
	drain()
	put(t, file, "6") // no longer asked for
	put(t, filepath.Join(base, "missing/other"), "1")
	put(t, filepath.Join(base, "missing/b.conf"), "1")
	expect("created in a directory that came later")
}

// A directory that is moved away or made tells of itself: nobody has to look on a timer.
func TestDirectoryTells(t *testing.T) {
	base := t.TempDir()
	dir := filepath.Join(base, "etc/xl2tpd")
	file := filepath.Join(dir, "a.conf")
	n, err := New()
	do(t, err)
	defer n.Close()
	for _, step := range []struct {
		what string
		do   func() error
	}{
		{"the directory above is made", func() error { return os.Mkdir(filepath.Dir(dir), 0o700) }},
		{"the directory is made", func() error { return os.Mkdir(dir, 0o700) }},
		{"the file is written", func() error { return os.WriteFile(file, nil, 0o600) }},
		{"the directory is moved away", func() error { return os.Rename(dir, dir+".old") }},
		{"another takes its place", func() error { return os.Rename(dir+".old", dir) }},
		{"the file is written there", func() error { return os.WriteFile(file, nil, 0o600) }},
		{"the directory is removed", func() error { return os.RemoveAll(dir) }},
	} {
		n.Check(file)
		select { // of the step before
		case <-n.C:
		default:
		}
		do(t, step.do())
		select {
		case <-n.C:
		case <-time.After(10 * time.Second):
			t.Fatalf("no notice when %s", step.what)
		}
		time.Sleep(10 * time.Millisecond) // several events of one step
	}
}
