package helloguard

import (
	"net/netip"
	"slices"
	"time"

	"xl2tpd-keepalive/internal/helloguard/translator"
	"xl2tpd-keepalive/internal/l2tp"
)

const (
	// forgetAfter is how many rounds of old a channel may be without a packet from
	// xl2tpd. A tunnel that is up has a Hello every 60 s, so one without is no more.
	// Rounds, not time: while we are frozen or stopped, so may xl2tpd be.
	forgetAfter = 3
	// closedAfter is the same behind a StopCCN, which xl2tpd sends for 31 s at most.
	closedAfter = 1

	// strangeFor is how long an SCCRQ may wait for its answer, and a tunnel that is
	// not known for being told.
	strangeFor = 3 * time.Minute
)

// path is what the packets of one or more tunnels have in common.
type path struct{ local, peer netip.AddrPort }

// address is what the packets of one tunnel and direction have in common.
type address struct {
	path
	id  uint16
	out bool
}

// channel is the control channel of one tunnel.
type channel struct {
	translator *translator.Translator
	daemon     string    // the xl2tpd that set the tunnel up; empty: not known
	seen       time.Time // latest packet from xl2tpd
	rounds     int       // of old, since that
	heard      time.Time // latest believable packet from the peer
	vendor     string    // what the peer calls itself; empty: not seen
	wanted     bool      // its links want it held; false: they have to be asked
	secured    bool      // the peer's packets come through IPsec
	dead       bool      // the peer is known to be dead
	bury       bool      // xl2tpd's StopCCN to it waits for its acknowledgement
	orphan     *farewell // xl2tpd has died; nil: it has not, or is not ours to mourn
	hanging    time.Time // when we have had it hung up
	ended      bool      // a StopCCN or CDN has been explained
	ending     *Ending   // as that, for the next process; nil: it has not
	half       bool      // and that was a CDN of xl2tpd's
	asked      time.Time // since when a Hello of xl2tpd is unanswered; zero: none is
	waits      time.Time // since when a message of the peer is unacknowledged; zero: none is
	counts     Counts
	addresses  [2]address
	kept       bool   // it was here before us
	owed       bool   // in the set of those that must not pass without us
	doing      string // what the log said last
}

// owes reports whether the channel's packets must not go past a guard that is
// down for a moment.
func (c *channel) owes() bool { return c.translator.Apart() || c.translator.Undecided() }

// atOnce is the longest that a message and its answer are taken to be apart.
const atOnce = time.Second

// question is a message of a tunnel that is not known.
type question struct {
	id, nr uint16 // nr is its acknowledgement
	at     time.Time
	lonely bool // no other tunnel's was under way then
}

// stranger has the latest question of each direction on a path.
type stranger struct {
	since   time.Time
	out, in question
}

// exchange finds the tunnel of a packet. Which two ids make one tunnel is told
// by an SCCRP; for a tunnel older than us, by the kernel's table of sessions;
// and with neither, by the one's answer to the other's message. Only xl2tpd's
// packets open anything, so a forged one can't.
type exchange struct {
	channels  map[address][]*channel          // each by two addresses; the oldest first
	standing  int                             // how many tunnels xl2tpd has; 0: to be counted
	asked     map[translator.Tunnel]time.Time // SCCRQs sent, with PeerID 0
	strangers map[path]*stranger
	sessions  []translator.Tunnel // of the kernel; Peer may be invalid

	// listen has the guard see the messages of a tunnel's peer, or no longer.
	listen func(t translator.Tunnel, on bool)
}

func newExchange() *exchange {
	return &exchange{
		channels:  map[address][]*channel{},
		asked:     map[translator.Tunnel]time.Time{},
		strangers: map[path]*stranger{},
		listen:    func(translator.Tunnel, bool) {},
	}
}

// listening returns the tunnels whose peers' messages the guard has to see.
func (x *exchange) listening() (all []translator.Tunnel) {
	for _, c := range x.all() {
		all = append(all, c.translator.Tunnel())
	}
	for t := range x.asked {
		all = append(all, t)
	}
	for at := range x.strangers {
		all = append(all, translator.Tunnel{Local: at.local, Peer: at.peer})
	}
	return all
}

func (x *exchange) add(c *channel) {
	t := c.translator.Tunnel()
	at := path{t.Local, t.Peer}
	c.addresses = [2]address{{at, t.PeerID, true}, {at, t.LocalID, false}}
	for _, a := range c.addresses {
		x.channels[a] = append(x.channels[a], c)
	}
	x.listen(t, true)
	if x.standing > 0 { // it has been counted already
		x.standing++
	}
}

func (x *exchange) remove(c *channel) {
	for _, a := range c.addresses {
		x.channels[a] = slices.DeleteFunc(x.channels[a], func(o *channel) bool { return o == c })
		if len(x.channels[a]) == 0 {
			delete(x.channels, a)
		}
	}
	x.standing = 0
	if a := c.addresses[1]; len(x.channels[a]) == 0 {
		x.listen(translator.Tunnel{Local: a.local, Peer: a.peer, LocalID: a.id}, false)
	}
}

// all returns every channel.
func (x *exchange) all() []*channel {
	var all []*channel
	for a, cs := range x.channels {
		if a.out {
			all = append(all, cs...)
		}
	}
	return all
}

// find returns the channel of a packet, or nil, and one that is no more, taken
// out, or nil. out tells that xl2tpd sent the packet.
func (x *exchange) find(p *l2tp.Packet, out bool, now time.Time) (c, gone *channel) {
	at := path{p.Dst, p.Src}
	if out {
		at = path{p.Src, p.Dst}
	}
	id := p.Msg.Tunnel
	switch {
	case p.Msg.Type == l2tp.TypeSCCRQ:
		if own, ok := l2tp.AssignedTunnel(p.Payload()); ok && out {
			t := translator.Tunnel{Local: at.local, Peer: at.peer, LocalID: own}
			_, again := x.asked[t]
			if x.asked[t] = now; !again {
				x.listen(t, true)
			}
		}
		return nil, nil
	case id == 0:
		return nil, nil
	}
	if out {
		gone = x.renewed(p, at)
	}
	if c := x.known(at, id, out); c != nil {
		return c, gone
	}
	if t, ok := x.pair(p, at, out, now); ok {
		c = &channel{translator: translator.New(t, translator.DefaultTiming(), now), seen: now}
		if !out {
			c.vendor = l2tp.Vendor(p.Payload())
		}
		x.add(c)
	}
	return c, gone
}

// renewed takes out the channel whose id the peer has given to a new tunnel, as
// one does that has restarted. What xl2tpd sends while it sets a tunnel up tells
// so; the peer's part of that can be forged.
func (x *exchange) renewed(p *l2tp.Packet, at path) *channel {
	old := x.known(at, p.Msg.Tunnel, true)
	if old == nil {
		return nil
	}
	switch p.Msg.Type {
	case l2tp.TypeSCCRP:
		if own, ok := l2tp.AssignedTunnel(p.Payload()); !ok || own == old.translator.Tunnel().LocalID {
			return nil // sent again
		}
	case l2tp.TypeSCCCN:
		if len(x.channels[address{at, p.Msg.Tunnel, true}]) == 1 {
			return nil
		}
	default:
		return nil
	}
	x.remove(old)
	return old
}

// meet takes in the kernel's table of sessions. A tunnel that is met before its
// first packet is one whose Hello has certainly been seen first.
//
// It takes out, and returns, what was kept of a tunnel that has ended while we were
// away, if the peer has given its id to another since.
func (x *exchange) meet(sessions []translator.Tunnel, now time.Time) (gone []*channel) {
	x.sessions = sessions
	for _, s := range sessions {
		old := x.known(path{s.Local, s.Peer}, s.PeerID, true)
		if old != nil && old.kept && old.translator.Tunnel().LocalID != s.LocalID &&
			!slices.Contains(sessions, old.translator.Tunnel()) {
			x.remove(old)
			gone = append(gone, old)
		}
	}
	for _, s := range sessions {
		at := path{s.Local, s.Peer}
		if !s.Peer.IsValid() || !s.Local.Addr().Is4() || s.Local.Addr().IsUnspecified() ||
			x.known(at, s.PeerID, true) != nil || x.known(at, s.LocalID, false) != nil {
			continue
		}
		x.add(&channel{translator: translator.New(s, translator.DefaultTiming(), now), seen: now})
	}
	return gone
}

func (x *exchange) known(at path, id uint16, out bool) *channel {
	if all := x.channels[address{at, id, out}]; len(all) > 0 {
		return all[0]
	}
	return nil
}

// pair finds both ids of the packet's tunnel.
func (x *exchange) pair(p *l2tp.Packet, at path, out bool, now time.Time) (translator.Tunnel, bool) {
	t := translator.Tunnel{Local: at.local, Peer: at.peer}
	id := p.Msg.Tunnel
	if p.Msg.Type == l2tp.TypeSCCRP {
		other, ok := l2tp.AssignedTunnel(p.Payload())
		if !ok || other == 0 {
			return t, false
		}
		if out {
			t.LocalID, t.PeerID = other, id
			return t, true
		}
		t.LocalID = id
		if _, ok := x.asked[t]; !ok {
			return t, false
		}
		delete(x.asked, t)
		t.PeerID = other
		return t, true
	}
	for _, s := range x.sessions {
		if s.Local == at.local && (s.Peer == at.peer || !s.Peer.IsValid()) &&
			(out && s.PeerID == id || !out && s.LocalID == id) {
			t.LocalID, t.PeerID = s.LocalID, s.PeerID
			return t, true
		}
	}
	return x.learn(t, p.Msg, out, now)
}

// learn pairs the ids of strangers. A message is answered at once, and a ZLB is
// sent for no other reason.
func (x *exchange) learn(t translator.Tunnel, m l2tp.Message, out bool, now time.Time) (translator.Tunnel, bool) {
	at := path{t.Local, t.Peer}
	s := x.strangers[at]
	if s == nil {
		if !out {
			return t, false
		}
		s = &stranger{since: now}
		x.strangers[at] = s
		x.listen(t, true)
	}
	mine, other := &s.in, s.out
	if out {
		mine, other = &s.out, s.in
	}
	if !m.ZLB() {
		lonely := now.Sub(mine.at) >= atOnce || mine.id == m.Tunnel && mine.lonely
		*mine = question{m.Tunnel, m.Ns + 1, now, lonely}
		return t, false
	}
	if !other.lonely || now.Sub(other.at) >= atOnce || m.Nr != other.nr {
		return t, false
	}
	delete(x.strangers, at)
	t.LocalID, t.PeerID = m.Tunnel, other.id
	if out {
		t.LocalID, t.PeerID = other.id, m.Tunnel
	}
	return t, true
}

// old takes out what has not been heard of for long and returns the channels among
// it. It is to be called once a minute. A session of the kernel keeps its tunnel,
// whatever its xl2tpd is kept from.
func (x *exchange) old(now time.Time) []*channel {
	for t, at := range x.asked {
		if now.Sub(at) > strangeFor {
			delete(x.asked, t)
			x.listen(t, false)
		}
	}
	for at, s := range x.strangers {
		if now.Sub(s.since) > strangeFor {
			delete(x.strangers, at)
		}
	}
	type ids struct{ local, peer uint16 }
	inKernel := map[ids]bool{}
	for _, s := range x.sessions {
		inKernel[ids{s.LocalID, s.PeerID}] = true
	}
	var gone []*channel
	for _, c := range x.all() {
		c.rounds++
		t := c.translator.Tunnel()
		if c.translator.Closing() && c.rounds > closedAfter || c.rounds > forgetAfter && !inKernel[ids{t.LocalID, t.PeerID}] {
			x.remove(c)
			gone = append(gone, c)
		}
	}
	return gone
}
