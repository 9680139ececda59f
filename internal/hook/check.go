package hook

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"xl2tpd-keepalive/internal/message"
	"xl2tpd-keepalive/internal/serviceuser"
)

// maxLinks is how many symbolic links a path may contain, as in the kernel.
const maxLinks = 40

// Check returns why this process must not run an executable; nil: it may. The executable
// gets this process's rights. So only root and this process's user may be able to change
// it, or a directory or link on its path.
func Check(path string) error { return check(path, os.Geteuid()) }

// check is Check for a process with that user id.
func check(path string, uid int) error {
	info, err := follow(path, uid, maxLinks)
	switch {
	case errors.Is(err, fs.ErrNotExist) && strings.Contains(path, " "):
		return message.Errorf("there is no file %q; arguments are not possible, call the program from a script", path)
	case errors.Is(err, fs.ErrNotExist):
		return message.Errorf("there is no file %s", path)
	case err != nil:
		return err
	case !info.Mode().IsRegular() || info.Mode()&0o111 == 0:
		return message.Errorf("%s: not an executable file; chmod 755 it", path)
	}
	return checkInterpreter(path)
}

// maxFirstLine is how much of a script the kernel reads for its interpreter (BINPRM_BUF_SIZE).
const maxFirstLine = 256

// checkInterpreter checks that the program in a script's first line exists. If it does not, the kernel reports that the
// script does not exist.
func checkInterpreter(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return nil // the kernel may be able to execute it anyway
	}
	defer f.Close()
	buf := make([]byte, maxFirstLine)
	n, _ := io.ReadFull(f, buf)
	line, _, _ := strings.Cut(string(buf[:n]), "\n")
	words := strings.Fields(strings.TrimPrefix(line, "#!"))
	if !strings.HasPrefix(line, "#!") || len(words) == 0 {
		return nil
	}
	if strings.HasSuffix(line, "\r") {
		return message.Errorf("%s: its lines end with CR LF, so its interpreter is not found; remove the CRs (sed -i 's/\\r$//')", path)
	}
	if _, err := os.Stat(words[0]); errors.Is(err, fs.ErrNotExist) {
		return message.Errorf("%s: its interpreter %s does not exist; correct its first line", path, words[0])
	}
	return nil
}

// hidden are the directories that the unit's sandbox hides from the service.
var hidden = []string{"/home", "/root", "/run/user", "/tmp", "/var/tmp"}

// CheckForService returns why the service will not run an executable. Other users than
// the service's may call it.
func CheckForService(path string) error {
	if err := check(path, serviceuser.User()); err != nil {
		return err
	}
	end, err := filepath.EvalSymlinks(path)
	if err != nil {
		return err
	}
	for _, dir := range hidden {
		if strings.HasPrefix(path, dir+"/") || strings.HasPrefix(end, dir+"/") {
			return message.Errorf("%s: the service's sandbox hides %s; put it into /etc/xl2tpd", path, dir)
		}
	}
	if !serviceuser.Can("x", path) {
		return message.Errorf("%s: the service's user must not execute it; chmod o+x it, and the directories above it", path)
	}
	return nil
}

// follow resolves an absolute path and checks every directory and link on it. links
// is how many links it has followed so far.
func follow(path string, uid, links int) (info fs.FileInfo, err error) {
	at := "/"
	names := strings.Split(strings.TrimPrefix(filepath.Clean(path), "/"), "/")
	for i, name := range names {
		here := filepath.Join(at, name)
		if info, err = checkWriters(here, uid); err != nil {
			return nil, err
		}
		if info.Mode()&fs.ModeSymlink == 0 {
			at = here
			continue
		}
		if links == 0 {
			return nil, message.Errorf("%s: too many symbolic links", path)
		}
		to, err := os.Readlink(here)
		if err != nil {
			return nil, err
		}
		if !filepath.IsAbs(to) {
			to = filepath.Join(at, to)
		}
		return follow(filepath.Join(to, filepath.Join(names[i+1:]...)), uid, links-1)
	}
	return info, nil
}

// checkWriters fails if anyone but root and that user owns the file or can write to it. Sticky directories
// pass: others can't rename or delete files there that they don't own.
func checkWriters(path string, uid int) (fs.FileInfo, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return nil, err
	}
	if owner := int(info.Sys().(*syscall.Stat_t).Uid); owner != 0 && owner != uid {
		return nil, message.Errorf("%s: belongs to uid %d; chown it to root", path, owner)
	}
	sticky := info.IsDir() && info.Mode()&fs.ModeSticky != 0
	if info.Mode()&fs.ModeSymlink == 0 && !sticky && info.Mode().Perm()&0o022 != 0 {
		return nil, message.Errorf("%s: others than its owner can write to it; chmod go-w it", path)
	}
	return info, nil
}
