package xl2tpdconf

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"syscall"

	"xl2tpd-keepalive/internal/message"
)

// Read returns the content of a regular file of at most 1 MiB. A FIFO or
// a device in the file's place is an error, never a wait.
func Read(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrPermission) {
		return nil, message.Errorf("%v; %s", err, Grant(path))
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, message.Reword(err, "there is no file %s", path)
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !fi.Mode().IsRegular() {
		return nil, message.Errorf("%s: this is %s, not a file", path, kind(fi.Mode()))
	}
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxFile {
		return nil, message.Errorf("%s: larger than 1 MiB", path)
	}
	return data, nil
}

// kind says what is in a file's place.
func kind(m fs.FileMode) message.Text {
	switch m.Type() {
	case fs.ModeDir:
		return "a directory"
	case fs.ModeNamedPipe:
		return "a named pipe"
	}
	return "a device"
}

// Grant returns how an operator lets the service read a file of root.
func Grant(path string) message.Text {
	return message.Sprintf("the service is in the group root: chgrp root %s && chmod g+r %s", path, path)
}
