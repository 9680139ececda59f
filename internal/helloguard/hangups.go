package helloguard

import (
	"slices"
	"time"

	"xl2tpd-keepalive/internal/l2tp"
	"xl2tpd-keepalive/internal/procfs"
)

const (
	// commandTime is how long xl2tpd may take to read a command. It is longer than a step of recovery.
	commandTime = 20 * time.Second
	// hangUpTime is how long after that the guard may take to see what xl2tpd sends: its queue may be full.
	hangUpTime = 5 * time.Second
)

// HangUp is a hang-up that the service has asked an xl2tpd for; 0: the guard knows of nothing that could be hung up.
type HangUp int

// requestedHangUp is one hang-up of one of these tunnels.
type requestedHangUp struct {
	id      HangUp
	owner   procfs.ID
	tunnels []l2tp.Connection // PeerID does not matter
	until   time.Time
}

// requestedHangUps are those of which nothing has been seen yet. Each explains the end of one tunnel.
type requestedHangUps struct {
	all  []requestedHangUp
	last HangUp
}

func (r *requestedHangUps) add(owner procfs.ID, tunnels []l2tp.Connection, now time.Time) HangUp {
	r.all = slices.DeleteFunc(r.all, func(one requestedHangUp) bool { return !now.Before(one.until) })
	if len(tunnels) == 0 {
		return 0
	}
	r.last++
	r.all = append(r.all, requestedHangUp{r.last, owner, tunnels, now.Add(commandTime)})
	return r.last
}

// end notes that xl2tpd has read the command, or never will.
func (r *requestedHangUps) end(id HangUp, taken bool, now time.Time) {
	i := slices.IndexFunc(r.all, func(one requestedHangUp) bool { return one.id == id })
	switch {
	case i < 0:
	case taken:
		r.all[i].until = now.Add(hangUpTime)
	default:
		r.all = slices.Delete(r.all, i, i+1)
	}
}

// take reports whether it was the service that has hung up a tunnel. What explains this end explains no other.
func (r *requestedHangUps) take(c OwnedConnection, now time.Time) bool {
	i := slices.IndexFunc(r.all, func(one requestedHangUp) bool {
		return one.owner == c.Owner && now.Before(one.until) && slices.ContainsFunc(one.tunnels, func(t l2tp.Connection) bool {
			return t.LocalID == c.LocalID && t.Peer.Addr() == c.Peer.Addr()
		})
	})
	if i >= 0 {
		r.all = slices.Delete(r.all, i, i+1)
	}
	return i >= 0
}

// NoteHangUp notes that the service, and no operator, asks xl2tpd to hang up one of these tunnels. EndHangUp has to follow.
func (g *Guard) NoteHangUp(which Selector) (id HangUp) {
	g.with(func(h *handler) {
		var tunnels []l2tp.Connection
		for _, c := range h.table.list {
			if t := c.translator.Connection(); which.certain(t, c.owner) {
				tunnels = append(tunnels, t)
			}
		}
		id = h.closer.requested.add(which.Owner, tunnels, time.Now())
	})
	return id
}

// NoteDrop is NoteHangUp for an attempt of this xl2tpd to get a tunnel to a peer. The peer may answer before xl2tpd reads the
// command, which then closes the new tunnel.
func (g *Guard) NoteDrop(which Selector) (id HangUp) {
	g.with(func(h *handler) {
		var tunnels []l2tp.Connection
		h.table.awaited.all(func(t l2tp.Connection, a awaited) bool {
			if which.certain(t, a.owner) {
				tunnels = append(tunnels, t)
			}
			return true
		})
		id = h.closer.requested.add(which.Owner, tunnels, time.Now())
	})
	return id
}

// EndHangUp says that xl2tpd has taken the command, or never will.
func (g *Guard) EndHangUp(id HangUp, taken bool) {
	g.with(func(h *handler) { h.closer.requested.end(id, taken, time.Now()) })
}
