package helloguard

import (
	"os"
	"time"
)

// restore takes over the channels of an earlier process.
func (h *handler) restore(now time.Time) error {
	channels, err := h.exec.store.load(now, func(path string, err error) {
		h.log.Warn("hello guard: state can't be used, the tunnel begins anew", "file", path, "err", err)
		os.Remove(path)
	})
	for i, c := range channels {
		if len(h.table.list) == maxChannels || !h.confirmOwner(c, now) && !c.mustFailClosed() {
			h.exec.forget(c)
			continue
		}
		c.metBy, c.phase, c.review = fromFile, established, now.Add(time.Duration(i)*reviewPace)
		c.failClosed, c.listening = c.mustFailClosed(), true // as the rules will be installed
		h.table.add(c)
		h.exec.plan(c)
		if c.reason != nil && c.reported != noEnd { // the supervisor may be a new one too
			h.closer.ended(c.connection(), *c.reason)
		}
	}
	return err
}

// confirmOwner compares the owner that a file names with the host, and reports whether the
// channel can be an xl2tpd's. Earlier versions knew one xl2tpd, and took every process for it. If
// the file names no owner, the guard finds it out when the owner sends: the process that has the
// port now may not be the one that opened the connection.
func (h *handler) confirmOwner(c *channel, now time.Time) bool {
	t := c.translator.Connection()
	is := owner{ownership: ownerUnclear}
	if !h.owners.hasEnded(c.owner) {
		is = h.owners.ownerOf(pathOf(t), false, now)
	}
	if !c.written.proven && is != c.owner || is.ownership == ownerForeign {
		c.owner = owner{ownership: ownerUnclear}
	}
	return is.ownership != ownerForeign || h.table.has(t)
}
