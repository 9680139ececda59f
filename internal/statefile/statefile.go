// Package statefile stores small files under /run: they survive a restart of the service, not a reboot.
package statefile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// Max is the largest file in bytes: far more than ten thousand LACs need.
const Max = 16 << 20

// Save writes a file. On an error the old file stays as it was.
func Save(path string, data []byte) error {
	if err := write(path+".new", data); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// write creates a file, and replaces what is there. It gives the file to its directory's owner: root
// may run the service by hand.
func write(path string, data []byte) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, 0o600)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("there is no folder %s; the service's unit makes it (RuntimeDirectory=)", filepath.Dir(path))
	}
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil && os.Geteuid() == 0 {
		err = give(f, filepath.Dir(path))
	}
	return errors.Join(err, f.Close())
}

func give(f *os.File, dir string) error {
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	owner := info.Sys().(*syscall.Stat_t)
	return f.Chown(int(owner.Uid), int(owner.Gid))
}

// Read reads a file that Save has written. It neither follows a link nor blocks on a FIFO in its
// place.
func Read(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > Max {
		return nil, fmt.Errorf("%s of %d bytes is no state", info.Mode(), info.Size())
	}
	return io.ReadAll(f)
}
