package guard

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"xl2tpd-keepalive/hello"
)

const (
	statePrefix = "hello-"
	stateSuffix = ".json"

	maxState = 64 << 10 // bytes: far more than any takes
)

// record is what is kept of a channel while we are not there.
type record struct {
	Daemon  string          `json:"daemon"`
	Secured bool            `json:"secured"`
	Vendor  string          `json:"vendor,omitempty"`
	Hello   json.RawMessage `json:"hello"`
}

// store keeps one file for each channel. It is to survive our own end, not the
// host's: the directory lies in /run.
type store string

func (s store) file(t hello.Tunnel) string {
	name := fmt.Sprintf("%s%v-%v-%d-%d%s", statePrefix, t.Local, t.Peer, t.LocalID, t.PeerID, stateSuffix)
	return filepath.Join(string(s), name)
}

func (s store) save(c *channel) error {
	state, err := json.Marshal(c.translator)
	if err != nil {
		return err
	}
	data, err := json.Marshal(record{Daemon: c.daemon, Secured: c.secured, Vendor: c.vendor, Hello: state})
	if err != nil {
		return err
	}
	path := s.file(c.translator.Tunnel())
	if err := os.WriteFile(path+".new", data, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

func (s store) forget(t hello.Tunnel) error { return os.Remove(s.file(t)) }

// load returns all channels kept. A file that can't be used is told to bad.
func (s store) load(now time.Time, bad func(path string, err error)) ([]*channel, error) {
	if err := os.MkdirAll(string(s), 0o700); err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(string(s))
	if err != nil {
		return nil, err
	}
	var all []*channel
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), statePrefix) || !strings.HasSuffix(e.Name(), stateSuffix) {
			continue
		}
		path := filepath.Join(string(s), e.Name())
		c, err := read(path, now)
		if err == nil && s.file(c.translator.Tunnel()) != path {
			err = errors.New("state of another tunnel")
		}
		if err != nil {
			bad(path, err)
			continue
		}
		all = append(all, c)
	}
	return all, nil
}

func read(path string, now time.Time) (*channel, error) {
	data, err := readFile(path)
	if err != nil {
		return nil, err
	}
	var r record
	if err := json.Unmarshal(data, &r); err != nil {
		return nil, err
	}
	t, err := hello.Restore(r.Hello, hello.DefaultTiming(), now)
	if err != nil {
		return nil, err
	}
	return &channel{translator: t, daemon: r.Daemon, secured: r.Secured, vendor: r.Vendor, seen: now}, nil
}

// readFile reads a file as save makes it. What may be in its place is not waited for,
// nor followed.
func readFile(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxState {
		return nil, fmt.Errorf("%s of %d bytes is no state", info.Mode(), info.Size())
	}
	return io.ReadAll(f)
}
