// Package keep has small files outlive a restart of ours: what stands in them is
// wanted again by the next process, and is worth nothing after a reboot.
package keep

import (
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// Max is how large a file may be, in bytes: far more than ten thousand LACs need.
const Max = 16 << 20

// Save writes a file, or leaves the one that is there as it was.
func Save(path string, data []byte) error {
	if err := os.WriteFile(path+".new", data, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// Read reads a file as Save makes it. What may be in its place is not waited for, nor
// followed.
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
