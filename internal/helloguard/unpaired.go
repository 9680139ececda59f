package helloguard

import (
	"bytes"
	"time"

	"xl2tpd-keepalive/internal/l2tp"
)

// A tunnel that is older than the guard, in userspace mode: xl2tpd's messages show the peer's
// id, the peer's show xl2tpd's own. Two things say which belong together: a message and its
// answer, and the peer, if it is asked. Data do not: they may be another tunnel's.

const (
	// answerGap is the longest that a message and its answer are taken to be apart.
	answerGap = time.Second

	// pairEvery is how often tunnels are looked at whose Hello waits for an answer.
	pairEvery = time.Second

	// helloWaits is for how long after a copy of its Hello xl2tpd goes on without an answer
	// (network.c, control_xmit).
	helloWaits = 16 * time.Second

	// watchedFor is for how long xl2tpd has to be watched before the guard sends the peer a
	// message again that it must have acknowledged. What it has not, xl2tpd has sent again in
	// that time, or gives up on.
	watchedFor = 8200 * time.Millisecond

	maxCopies = 5 // that xl2tpd sends of a message (network.c, control_xmit)

	// askAgain is how often one peer is asked about one tunnel.
	askAgain = 2 * time.Second

	// maxUnpairedTunnels is how many tunnels of one path may wait for their pair.
	maxUnpairedTunnels = 64
)

// question is a message of a tunnel that is not known.
type question struct {
	id, nr      uint16 // nr is its acknowledgement
	at          time.Time
	unambiguous bool // no other tunnel's was under way then
}

// unpaired is a path with tunnels that are older than the guard.
type unpaired struct {
	since   time.Time
	owner   owner
	secured bool // the peer's packets come through IPsec
	out, in question
	tunnels map[uint16]*unpairedTunnel // by the peer's id
	asked   *unpairedTunnel            // was asked about last; nil: none was
	tooMany bool                       // there are more than tunnels holds
	closed  time.Time                  // when xl2tpd closed an unknown tunnel last
}

// unpairedTunnel is what is known of a tunnel of which xl2tpd's own id is not known.
type unpairedTunnel struct {
	peerID  uint16
	since   time.Time // all messages of xl2tpd are seen from then on, but for its Hello
	copies  []helloCopy
	nr      uint16    // what xl2tpd expects, as it said last
	askedAt time.Time // when the guard has asked the peer; zero: it has not
}

// helloCopy is a copy of xl2tpd's latest Hello that the peer got.
type helloCopy struct {
	raw []byte
	ns  uint16
	at  time.Time
}

// waits reports whether xl2tpd waits for the answer to its Hello.
func (f *unpairedTunnel) waits(now time.Time) bool {
	n := len(f.copies)
	return n > 0 && now.Sub(f.copies[n-1].at) < helloWaits
}

// sends notes a message of xl2tpd.
func (f *unpairedTunnel) sends(p *l2tp.Packet, now time.Time) {
	f.nr = p.Msg.Nr
	switch {
	case p.Msg.ZLB():
	case p.Msg.Type != l2tp.TypeHello:
		f.since, f.copies = now, nil
	default:
		if len(f.copies) == maxCopies || len(f.copies) > 0 && f.copies[0].ns != p.Msg.Ns {
			f.copies = nil
		}
		f.copies = append(f.copies, helloCopy{bytes.Clone(p.Raw()), p.Msg.Ns, now})
	}
}

// unpairedSender returns the channel of a message of this host in a tunnel that is not known:
// it is older than the guard.
func (h *handler) unpairedSender(p *l2tp.Packet, at path, now time.Time) *channel {
	if p.Msg.Type == l2tp.TypeStopCCN {
		if u := h.table.unpaired[at]; u != nil {
			u.closed = now
		}
		h.unpairedGone(at, p.Msg.Tunnel)
		return nil
	}
	if s, ok := h.table.session(at, p.Msg.Tunnel, true); ok {
		return h.openSession(s, now)
	}
	u := h.unpaired(at, now)
	if u == nil {
		if !p.Msg.ZLB() && p.Msg.Type != l2tp.TypeHello {
			h.watched = now // a later Hello must not count as all that xl2tpd has sent
		}
		return nil
	}
	f := h.unpairedTunnel(u, p.Msg.Tunnel)
	if own, ok := u.pair(p.Msg, true, now); ok {
		return h.openPair(u, at, own, p.Msg.Tunnel, now)
	}
	if f == nil {
		return nil
	}
	if f.sends(p, now); f.waits(now) {
		h.pairSoon(now)
	}
	return nil
}

// unpairedReceiver returns the channel of a peer's message in a tunnel that is not known.
func (h *handler) unpairedReceiver(p *l2tp.Packet, at path, secured bool, now time.Time) *channel {
	u := h.table.unpaired[at]
	if u == nil || u.secured && !secured {
		return nil
	}
	if secured && !u.secured {
		u.secured, u.in = true, question{}
		h.dropForged(at)
	}
	peerID, ok := u.pair(p.Msg, false, now)
	if !ok {
		peerID, ok = u.answer(p.Msg, now)
	}
	if !ok {
		return nil
	}
	return h.openPair(u, at, p.Msg.Tunnel, peerID, now)
}

// unpaired returns what is known of the tunnels of a path that are older than the guard; nil:
// the guard leaves them alone.
func (h *handler) unpaired(at path, now time.Time) *unpaired {
	u := h.table.unpaired[at]
	if u != nil || len(h.table.unpaired) == maxUnpaired {
		return u
	}
	o := h.ownerOf(at, false, now)
	t := at.connection(0, 0)
	if !h.mayServe(o, at, now) || !h.links(h.ctx, OwnedConnection{t, o.process}).Wanted {
		return nil
	}
	u = &unpaired{since: now, owner: o, tunnels: map[uint16]*unpairedTunnel{}}
	h.table.unpaired[at] = u
	h.listen(t, true, now)
	return u
}

// unpairedTunnel returns what is known of the tunnel with that id of the peer; nil: there are too many.
func (h *handler) unpairedTunnel(u *unpaired, id uint16) *unpairedTunnel {
	f := u.tunnels[id]
	if f != nil {
		return f
	}
	if u.tooMany = u.tooMany || len(u.tunnels) == maxUnpairedTunnels; u.tooMany {
		return nil
	}
	f = &unpairedTunnel{peerID: id, since: h.watched}
	u.tunnels[id] = f
	return f
}

// pair pairs the ids of two tunnels' packets, and returns the other one. A message is
// answered immediately, and a ZLB is sent for no other reason.
func (u *unpaired) pair(m l2tp.Message, out bool, now time.Time) (id uint16, ok bool) {
	mine, other := &u.in, &u.out
	if out {
		mine, other = other, mine
	}
	switch {
	case m.Type == l2tp.TypeStopCCN: // what is closing needs no pair
		if mine.id == m.Tunnel {
			*mine = question{}
		}
		return 0, false
	case !m.ZLB():
		unambiguous := now.Sub(mine.at) >= answerGap || mine.id == m.Tunnel && mine.unambiguous
		*mine = question{m.Tunnel, m.Ns + 1, now, unambiguous}
		return 0, false
	case !other.unambiguous || now.Sub(other.at) >= answerGap || m.Nr != other.nr:
		return 0, false
	}
	id = other.id
	u.in, u.out = question{}, question{}
	return id, true
}

// answer reports whether a peer's message is the answer to what the guard has asked, and
// returns the peer's id of the tunnel: it acknowledges all before the Hello, or that too.
func (u *unpaired) answer(m l2tp.Message, now time.Time) (id uint16, ok bool) {
	f := u.asked
	if f == nil || !m.ZLB() || len(f.copies) == 0 || now.Sub(u.closed) < answerGap || now.Sub(f.askedAt) >= answerGap && len(u.tunnels) > 1 {
		return 0, false
	}
	ns := f.copies[0].ns
	return f.peerID, m.Nr == ns || m.Nr == ns+1
}

// unpairedGone forgets a tunnel that closes, or that is known otherwise.
func (h *handler) unpairedGone(at path, id uint16) {
	u := h.table.unpaired[at]
	if u == nil {
		return
	}
	delete(u.tunnels, id)
	if u.out.id == id {
		u.out = question{}
	}
	if u.asked != nil && u.asked.peerID == id {
		u.asked = nil
	}
}

// expireUnpaired forgets paths that have waited for too long.
func (h *handler) expireUnpaired(now time.Time) {
	for at, u := range h.table.unpaired {
		if now.Sub(u.since) > openTTL {
			delete(h.table.unpaired, at)
		}
	}
}

// dropForged forgets the channels of a path that packets in the clear have paired.
func (h *handler) dropForged(at path) {
	for _, c := range h.table.all() {
		if c.paired && !c.secured && c.path() == at {
			h.drop(c)
		}
	}
}
