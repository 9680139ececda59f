package helloguard

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"xl2tpd-keepalive/internal/helloguard/translator"
	"xl2tpd-keepalive/internal/l2tp"
	"xl2tpd-keepalive/internal/procfs"
	"xl2tpd-keepalive/internal/statefile"
)

const (
	statePrefix = "hello-"
	stateSuffix = ".json"
)

// savedChannel is what is kept of a channel while the guard is not there.
//
// Without it, a restart would lose which two ids make one tunnel in userspace mode; who the
// owner was, should that end meanwhile; and that the peer's packets come through IPsec.
// The numbers are kept only while the channel needs the guard: otherwise the next packets
// show them.
type savedChannel struct {
	Daemon  string          `json:"daemon"`           // its owner; empty: not known
	Proven  bool            `json:"proven,omitempty"` // earlier versions knew one xl2tpd, and took every process for it
	Secured bool            `json:"secured"`
	Vendor  string          `json:"vendor,omitempty"`
	Ending  *CloseReason    `json:"ending,omitempty"`
	Hello   json.RawMessage `json:"hello"`
}

// written is what is known of the file of a channel.
type written struct {
	plain  bool // the channel did not need the guard
	proven bool // the owner was asked for
	owner  owner
	reason *CloseReason
	sum    [sha256.Size]byte // of the content; zero: there is no file
	about  string            // the rest

	slow, counts bool // how the peer behaves
}

// exists reports whether there is a file.
func (w written) exists() bool { return w.sum != [sha256.Size]byte{} }

// store keeps one file for each channel. It is to survive the end of the service, not the
// host's: the directory lies in /run.
type store string

func (s store) file(t l2tp.Connection) string {
	name := fmt.Sprintf("%s%v-%v-%d-%d%s", statePrefix, t.Local, t.Peer, t.LocalID, t.PeerID, stateSuffix)
	return filepath.Join(string(s), name)
}

// save writes the file of a channel if it would not say what it says already. Only a
// channel that needs the guard has a file that changes with each message.
func (s store) save(c *channel) error {
	next := written{plain: !c.mustFailClosed() && !c.translator.Closing(), owner: c.owner, reason: c.reason, about: c.vendor, proven: true}
	if c.secured {
		next.about += " secured"
	}
	next.slow, next.counts = c.translator.Slow(), c.translator.Counts()
	if next.sum = c.written.sum; next.plain && next.exists() && next == c.written {
		return nil
	}
	t := c.translator
	if next.plain {
		t = t.Traits()
	}
	state, err := json.Marshal(t)
	if err != nil {
		return err
	}
	data, err := json.Marshal(savedChannel{Daemon: c.owner.process.String(), Proven: true, Secured: c.secured, Vendor: c.vendor, Ending: c.reason, Hello: state})
	if err != nil {
		return err
	}
	if next.sum = sha256.Sum256(data); next.sum == c.written.sum {
		c.written = next
		return nil
	}
	if err := statefile.Save(s.file(t.Connection()), data); err != nil {
		return err
	}
	c.written = next
	return nil
}

func (s store) forget(t l2tp.Connection) error { return os.Remove(s.file(t)) }

// load returns all channels kept. It calls bad for a file that can't be used.
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
		if err == nil && s.file(c.translator.Connection()) != path {
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
	data, err := statefile.Read(path)
	if err != nil {
		return nil, err
	}
	var r savedChannel
	if err := json.Unmarshal(data, &r); err != nil {
		return nil, err
	}
	t, err := translator.Restore(r.Hello, now)
	if err != nil {
		return nil, err
	}
	c := &channel{translator: t, peerSide: peerSide{secured: r.Secured, vendor: clip(r.Vendor)}, ending: ending{reason: r.Ending}, seen: now}
	if t.Closing() {
		c.reported = tunnelEnd
	}
	c.written = written{proven: r.Proven, sum: sha256.Sum256(data)}
	process, err := procfs.ParseID(r.Daemon)
	if err != nil {
		return nil, err
	}
	if c.owner.ownership = ownerUnclear; process != (procfs.ID{}) {
		c.owner = owner{ownerKnown, process}
	}
	return c, nil
}
