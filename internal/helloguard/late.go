package helloguard

import (
	"bytes"
	"log/slog"
	"time"

	"xl2tpd-keepalive/internal/helloguard/translator"
	"xl2tpd-keepalive/internal/l2tp"
)

// A tunnel that is older than the guard, in userspace mode: xl2tpd's messages show the peer's
// id, the peer's show xl2tpd's own. Three things say which two belong together: a message and
// its answer; data, if there is one tunnel only; and the peer, if it is asked.

const (
	// atOnce is the longest that a message and its answer are taken to be apart.
	atOnce = time.Second

	// pairEvery is how often tunnels are looked at whose Hello waits for an answer.
	pairEvery = time.Second

	// helloWaits is for how long behind a copy of its Hello xl2tpd goes on without an answer
	// (network.c, control_xmit).
	helloWaits = 16 * time.Second

	// watchedFor is for how long xl2tpd has to be watched before the guard sends the peer a
	// message again that it must have acknowledged. What it has not, xl2tpd has sent again in
	// that time, or gives up on.
	watchedFor = 8200 * time.Millisecond

	maxCopies = 5 // that xl2tpd sends of a message (network.c, control_xmit)

	// askAgain is how often one peer is asked about one tunnel.
	askAgain = 2 * time.Second

	// maxHalves is how many tunnels of one path may wait for their pair.
	maxHalves = 64
)

// question is a message of a tunnel that is not known.
type question struct {
	id, nr uint16 // nr is its acknowledgement
	at     time.Time
	alone  bool // no other tunnel's was under way then
}

// unpaired is a path with tunnels that are older than the guard.
type unpaired struct {
	since   time.Time
	owner   owner
	secured bool // the peer's packets come through IPsec
	out, in question
	halves  map[uint16]*half // by the peer's id
	asked   *half            // was asked about last; nil: none was
	crowded bool             // there are more than halves holds
	guess   *channel         // what data have paired; nil: nothing
	closed  time.Time        // when xl2tpd closed an unknown tunnel last
}

// half is what is known of a tunnel of which xl2tpd's own id is not known.
type half struct {
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
func (f *half) waits(now time.Time) bool {
	n := len(f.copies)
	return n > 0 && now.Sub(f.copies[n-1].at) < helloWaits
}

// sends notes a message of xl2tpd.
func (f *half) sends(p *l2tp.Packet, now time.Time) {
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

// meetSender returns the channel of a message of this host in a tunnel that is not known:
// it is older than the guard.
func (h *handler) meetSender(p *l2tp.Packet, at path, now time.Time) *channel {
	if p.Msg.Type == l2tp.TypeStopCCN {
		if u := h.x.unpaired[at]; u != nil {
			u.closed = now
		}
		h.unpairedGone(at, p.Msg.Tunnel)
		return nil
	}
	if s, ok := h.x.session(at, p.Msg.Tunnel, true); ok {
		return h.openSession(s, now)
	}
	u := h.unpaired(at, now)
	if u == nil {
		if !p.Msg.ZLB() && p.Msg.Type != l2tp.TypeHello {
			h.watched = now // a later Hello must not count as all that xl2tpd has sent
		}
		return nil
	}
	f := h.half(u, at, p.Msg.Tunnel, now)
	if own, ok := u.pair(p.Msg, true, now); ok {
		return h.openPair(u, at, own, p.Msg.Tunnel, now)
	}
	if f == nil {
		return nil
	}
	if c := h.pairByData(u, at, f, now); c != nil {
		return c
	}
	if f.sends(p, now); f.waits(now) {
		h.pairSoon(now)
	}
	return nil
}

// meetReceiver returns the channel of a peer's message in a tunnel that is not known.
func (h *handler) meetReceiver(p *l2tp.Packet, at path, secured bool, now time.Time) *channel {
	u := h.x.unpaired[at]
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
	if ok {
		return h.openPair(u, at, p.Msg.Tunnel, peerID, now)
	}
	if p.Msg.ZLB() {
		h.dropGuess(u, at, now)
	}
	return nil
}

// unpaired returns what is known of the tunnels of a path that are older than the guard, or
// nil if they are to be left alone.
func (h *handler) unpaired(at path, now time.Time) *unpaired {
	u := h.x.unpaired[at]
	if u != nil || len(h.x.unpaired) == maxUnpaired {
		return u
	}
	o := h.ownerOf(at, false, now)
	t := translator.Tunnel{Local: at.local, Peer: at.peer}
	if !h.serves(o, at, now) || !h.signs(h.ctx, Connection{t, o.process}).Wanted {
		return nil
	}
	u = &unpaired{since: now, owner: o, halves: map[uint16]*half{}}
	h.x.unpaired[at] = u
	h.listen(t, true, now)
	h.wantData(at, true, now)
	return u
}

// half returns what is known of the tunnel with that id of the peer; nil: there are too many.
// If data have paired another one, they may have been this one's.
func (h *handler) half(u *unpaired, at path, id uint16, now time.Time) *half {
	f := u.halves[id]
	if f != nil {
		return f
	}
	if u.crowded = u.crowded || len(u.halves) == maxHalves; u.crowded {
		return nil
	}
	f = &half{peerID: id, since: h.watched}
	u.halves[id] = f
	h.dropGuess(u, at, now)
	return f
}

// dropGuess takes back what data have paired: another tunnel of the path has shown itself, so
// the data may have been that one's.
func (h *handler) dropGuess(u *unpaired, at path, now time.Time) {
	c := u.guess
	if u.guess = nil; c == nil || c.translator.Diverged() || h.x.known(at, c.translator.Tunnel().LocalID, false) != c {
		return
	}
	u.halves[c.guessed.peerID] = c.guessed
	h.drop(c)
	h.pairSoon(now)
}

// pair pairs the ids of two tunnels' packets, and returns the other one. A message is
// answered at once, and a ZLB is sent for no other reason.
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
		alone := now.Sub(mine.at) >= atOnce || mine.id == m.Tunnel && mine.alone
		*mine = question{m.Tunnel, m.Ns + 1, now, alone}
		return 0, false
	case !other.alone || now.Sub(other.at) >= atOnce || m.Nr != other.nr:
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
	if f == nil || !m.ZLB() || len(f.copies) == 0 || now.Sub(u.closed) < atOnce || now.Sub(f.askedAt) >= atOnce && len(u.halves) > 1 {
		return 0, false
	}
	ns := f.copies[0].ns
	return f.peerID, m.Nr == ns || m.Nr == ns+1
}

// pairByData pairs a tunnel whose Hello waits, if it is the only one of its path and data
// have come in for one tunnel only.
func (h *handler) pairByData(u *unpaired, at path, f *half, now time.Time) *channel {
	if len(u.halves) > 1 || u.crowded || !f.waits(now) {
		return nil
	}
	own, ok := h.onlyData(u, at, now)
	if !ok {
		return nil
	}
	c := h.openPair(u, at, own, f.peerID, now)
	if c != nil {
		c.guessed, u.guess = f, c
	}
	return c
}

// onlyData returns xl2tpd's id of the only unknown tunnel of a path for which data came in.
// If some came through IPsec, others are forged.
func (h *handler) onlyData(u *unpaired, at path, now time.Time) (own uint16, ok bool) {
	var clear, secured []uint16
	for a, came := range h.data.read(now) {
		if a.path != at || h.x.known(at, a.id, false) != nil {
			continue
		}
		if came.clear.After(u.since) {
			clear = append(clear, a.id)
		}
		if came.secured.After(u.since) {
			secured = append(secured, a.id)
		}
	}
	if u.secured || len(secured) > 0 {
		u.secured = true
		clear = secured
	}
	if len(clear) != 1 {
		return 0, false
	}
	return clear[0], true
}

// openPair opens the channel of a tunnel whose two ids are known now. xl2tpd's Hello may be
// on its way to the peer since before.
func (h *handler) openPair(u *unpaired, at path, own, peerID uint16, now time.Time) *channel {
	if h.x.known(at, own, false) != nil || h.x.known(at, peerID, true) != nil {
		return nil
	}
	f := u.halves[peerID]
	if f == nil {
		f = &half{since: now}
	}
	delete(u.halves, peerID)
	if u.asked == f {
		u.asked = nil
	}
	t := translator.Tunnel{Local: at.local, Peer: at.peer, LocalID: own, PeerID: peerID}
	c := h.open(&channel{translator: translator.New(t, f.since), owner: h.confirmed(u.owner, at, now),
		established: true, paired: true, secured: u.secured}, now)
	if c == nil {
		return nil
	}
	if life, ok := h.wanted(c, true, now); ok {
		h.replay(c, f, life, now)
		return c
	}
	return nil
}

// replay shows a channel's translator the copies of the Hello that the peer has got.
func (h *handler) replay(c *channel, f *half, life translator.Life, now time.Time) {
	for _, one := range f.copies {
		p, err := l2tp.ParsePacket(one.raw)
		if err != nil {
			return
		}
		h.act(c, c.translator.Out(&p, one.at, life), now)
		c.clock(one.at)
	}
	if !f.askedAt.IsZero() {
		c.translator.Questioned(f.askedAt)
	}
}

// pairSoon has the tunnels looked at whose Hellos wait.
func (h *handler) pairSoon(now time.Time) {
	if h.pairAt.IsZero() {
		h.pairAt = now.Add(pairEvery)
	}
}

// pairWaiting pairs tunnels whose Hellos wait for an answer, or asks their peers.
func (h *handler) pairWaiting(now time.Time) {
	h.pairAt = time.Time{}
	for at, u := range h.x.unpaired {
		if h.pairOne(u, at, now) {
			h.pairAt = now.Add(pairEvery)
		}
	}
}

// pairOne does that on one path, and reports whether a Hello waits there still.
func (h *handler) pairOne(u *unpaired, at path, now time.Time) (waits bool) {
	var next *half
	for _, f := range u.halves {
		if !f.waits(now) {
			continue
		}
		if h.pairByData(u, at, f, now) != nil {
			return false
		}
		if waits = true; next == nil || f.askedAt.Before(next.askedAt) {
			next = f
		}
	}
	if waits {
		h.askHalf(u, at, next, now)
	}
	return waits
}

// askHalf has the peer show xl2tpd's own id of a tunnel: RFC 2661 §5.8 has it acknowledge a
// message that it gets again. Only the owner may ask that, so the owner has to be known.
func (h *handler) askHalf(u *unpaired, at path, f *half, now time.Time) {
	if u.owner.ownership != known || h.hasEnded(u.owner) || now.Sub(f.since) < watchedFor || now.Sub(f.askedAt) < askAgain {
		return
	}
	f.askedAt, u.asked = now, f
	m := l2tp.Message{Type: l2tp.TypeSCCCN, Tunnel: f.peerID, Ns: f.copies[0].ns - 1, Nr: f.nr}
	if err := h.fx.send(translator.Injection{To: translator.ToPeer, Packet: l2tp.AppendPacket(nil, at.local, at.peer, m)}); err != nil {
		h.log.seldom(h.ctx, now, slog.LevelWarn, "hello guard: packet can't be sent",
			func() []any { return []any{"peer", at.peer.String(), "err", err} })
	}
}

// unpairedGone forgets a tunnel that closes, or that is known otherwise.
func (h *handler) unpairedGone(at path, id uint16) {
	u := h.x.unpaired[at]
	if u == nil {
		return
	}
	delete(u.halves, id)
	if u.out.id == id {
		u.out = question{}
	}
	if u.asked != nil && u.asked.peerID == id {
		u.asked = nil
	}
}

// expireUnpaired forgets paths that have waited for too long.
func (h *handler) expireUnpaired(now time.Time) {
	for at, u := range h.x.unpaired {
		if now.Sub(u.since) > openTTL {
			delete(h.x.unpaired, at)
			h.wantData(at, false, now)
		}
	}
}

// dropForged forgets the channels of a path that packets in the clear have paired.
func (h *handler) dropForged(at path) {
	for _, c := range h.x.all() {
		if c.paired && !c.secured && c.path() == at {
			h.drop(c)
		}
	}
}
