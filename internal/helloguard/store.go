package helloguard

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"xl2tpd-keepalive/internal/helloguard/translator"
	"xl2tpd-keepalive/keep"
)

const (
	statePrefix = "hello-"
	stateSuffix = ".json"
)

// record is what is kept of a channel while we are not there.
type record struct {
	Daemon  string          `json:"daemon"`
	Secured bool            `json:"secured"`
	Vendor  string          `json:"vendor,omitempty"`
	Ending  *Ending         `json:"ending,omitempty"`
	Hello   json.RawMessage `json:"hello"`
}

// store keeps one file for each channel. It is to survive our own end, not the
// host's: the directory lies in /run.
type store string

func (s store) file(t translator.Tunnel) string {
	name := fmt.Sprintf("%s%v-%v-%d-%d%s", statePrefix, t.Local, t.Peer, t.LocalID, t.PeerID, stateSuffix)
	return filepath.Join(string(s), name)
}

func (s store) save(c *channel) error {
	state, err := json.Marshal(c.translator)
	if err != nil {
		return err
	}
	data, err := json.Marshal(record{Daemon: c.daemon, Secured: c.secured, Vendor: c.vendor, Ending: c.ending, Hello: state})
	if err != nil {
		return err
	}
	return keep.Save(s.file(c.translator.Tunnel()), data)
}

func (s store) forget(t translator.Tunnel) error { return os.Remove(s.file(t)) }

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
	data, err := keep.Read(path)
	if err != nil {
		return nil, err
	}
	var r record
	if err := json.Unmarshal(data, &r); err != nil {
		return nil, err
	}
	t, err := translator.Restore(r.Hello, translator.DefaultTiming(), now)
	if err != nil {
		return nil, err
	}
	return &channel{translator: t, daemon: r.Daemon, secured: r.Secured, vendor: r.Vendor, seen: now, ended: t.Closing(), ending: r.Ending}, nil
}
