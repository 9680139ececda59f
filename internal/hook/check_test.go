package hook

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The service has another /tmp.
func TestHidden(t *testing.T) {
	t.Setenv("TMPDIR", "/tmp")
	path := filepath.Join(t.TempDir(), "hook")
	if err := os.WriteFile(path, nil, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := CheckForService(path); err == nil || !strings.Contains(err.Error(), "hides /tmp") {
		t.Error(err)
	}
}

func TestCheck(t *testing.T) {
	const service = 65533
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name string
		make func(dir string) (path string)
		want string // in the error; empty: none
	}{
		{"good", func(dir string) string { return dir + "/hook" }, ""},
		{"linked", func(dir string) string {
			must(os.Symlink(dir+"/hook", dir+"/link"))
			return dir + "/link"
		}, ""},
		{"missing", func(dir string) string { return dir + "/none" }, "there is no file /"},
		{"missing, in a folder that is", func(dir string) string { return dir + "/none/hook" }, "/none/hook"},
		{"with an argument", func(dir string) string { return dir + "/hook up" }, "/hook up\"; arguments are not possible"},
		{"without its interpreter", func(dir string) string {
			must(os.WriteFile(dir+"/hook", []byte("#! /bin/nosuchshell -e\nexit\n"), 0o755))
			return dir + "/hook"
		}, "hook: its interpreter /bin/nosuchshell does not exist"},
		{"written on Windows", func(dir string) string {
			must(os.WriteFile(dir+"/hook", []byte("#!/bin/sh\r\nexit\r\n"), 0o755))
			return dir + "/hook"
		}, "hook: its lines end with CR LF"},
		{"a binary, or a script without a first line", func(dir string) string {
			must(os.WriteFile(dir+"/hook", []byte("\x7fELF"), 0o755))
			return dir + "/hook"
		}, ""},
		{"a directory", func(dir string) string { return dir }, "not an executable file"},
		{"not executable", func(dir string) string {
			must(os.Chmod(dir+"/hook", 0o644))
			return dir + "/hook"
		}, "not an executable file"},
		{"writable by its group", func(dir string) string {
			must(os.Chmod(dir+"/hook", 0o775))
			return dir + "/hook"
		}, "hook: others than its owner can write to it"},
		{"in a directory that others can write to", func(dir string) string {
			must(os.Chmod(dir, 0o777))
			return dir + "/hook"
		}, "others than its owner can write to it"},
		{"in a sticky one", func(dir string) string {
			must(os.Chmod(dir, 0o777|os.ModeSticky))
			return dir + "/hook"
		}, ""},
		{"another's", func(dir string) string {
			must(os.Chown(dir+"/hook", 65534, -1))
			return dir + "/hook"
		}, "hook: belongs to uid 65534"},
		{"the service's", func(dir string) string {
			must(os.Chown(dir+"/hook", service, -1))
			return dir + "/hook"
		}, ""},
		{"in another's directory", func(dir string) string {
			must(os.Chown(dir, 65534, -1))
			return dir + "/hook"
		}, "belongs to uid 65534"},
		{"by another's link", func(dir string) string {
			must(os.Symlink(dir+"/hook", dir+"/link"))
			must(os.Lchown(dir+"/link", 65534, -1))
			return dir + "/link"
		}, "link: belongs to uid 65534"},
		{"by a link that leads out of a loose directory", func(dir string) string {
			must(os.Mkdir(dir+"/loose", 0o700))
			must(os.Symlink(dir+"/hook", dir+"/loose/link"))
			must(os.Chmod(dir+"/loose", 0o777))
			return dir + "/loose/link"
		}, "loose: others than its owner can write to it"},
		{"by way of a link in a loose directory", func(dir string) string {
			must(os.Mkdir(dir+"/loose", 0o700))
			must(os.Symlink("../hook", dir+"/loose/link"))
			must(os.Symlink("loose/link", dir+"/link"))
			must(os.Chmod(dir+"/loose", 0o777))
			return dir + "/link"
		}, "loose: others than its owner can write to it"},
		{"by a link in the middle", func(dir string) string {
			must(os.Mkdir(dir+"/sub", 0o755))
			must(os.Symlink("..", dir+"/sub/up"))
			return dir + "/sub/up/hook"
		}, ""},
		{"by a link to itself", func(dir string) string {
			must(os.Symlink("link", dir+"/link"))
			return dir + "/link"
		}, "too many symbolic links"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "d")
			must(os.Mkdir(dir, 0o755))
			must(os.WriteFile(dir+"/hook", []byte("#!/bin/sh\n"), 0o755))
			err := check(c.make(dir), service)
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}
