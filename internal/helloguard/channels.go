package helloguard

import (
	"net/netip"
	"slices"
	"time"

	"xl2tpd-keepalive/internal/controltrace"
	"xl2tpd-keepalive/internal/helloguard/translator"
	"xl2tpd-keepalive/internal/l2tp"
	"xl2tpd-keepalive/internal/procfs"
)

// What is kept at most. Peers anywhere can make xl2tpd send, so nothing grows without end.
const (
	// maxChannels leaves room for twice 4,000 LACs. Each has a file of less than a page
	// in /run: 32 MB if all are there.
	maxChannels = 8192
	// maxAwaited is the same for tunnels that xl2tpd has asked for.
	maxAwaited = 8192
	// maxHalfOpen is how many callers may be between SCCRQ and SCCCN. Forged SCCRQs get
	// no further. At 50 ms from SCCRP to SCCCN 1024 are room for 20,000 callers a second.
	maxHalfOpen = 1024
	// maxHalfOpenOfPeer is the same for one address. Behind it may be a NAT with many callers.
	maxHalfOpenOfPeer = 64
	// maxUnpaired is how many pairs of addresses may have a tunnel with only one known id. Such
	// a tunnel is older than the guard, and in userspace mode.
	maxUnpaired = 1024
)

const (
	// silentRounds is how many rounds of tidy a channel may be without a packet from
	// xl2tpd until it counts as silent. A tunnel that is up has a Hello every 60 s.
	// Rounds, not time: while this process is frozen or stopped, so may xl2tpd be.
	silentRounds = 3
	// closedRounds is the same after a StopCCN, which xl2tpd sends for 31 s at most.
	closedRounds = 1

	// openTTL is how long an SCCRQ, an SCCRP or a tunnel with one known id may wait.
	// The kernel's side queues the messages of all tunnels with a peer that long.
	openTTL = 3 * time.Minute
)

// path is what the packets of one or more tunnels have in common.
type path struct{ local, peer netip.AddrPort }

func pathOf(c l2tp.Connection) path { return path{c.Local, c.Peer} }

// connection returns a control connection on the path. An id of 0 is not known.
func (at path) connection(localID, peerID uint16) l2tp.Connection {
	return l2tp.Connection{Local: at.local, Peer: at.peer, LocalID: localID, PeerID: peerID}
}

// address is what the packets of one tunnel and direction have in common.
type address struct {
	path
	id  uint16
	out bool
}

// phase is how far the life of a channel has come:
//
//	opening     → established   xl2tpd sends a message that is no StopCCN
//	established → ownerEnded    xl2tpd has ended
//	opening     → abandoned     the same
//	ownerEnded  → established   another process sends in the tunnel
//	abandoned   → opening       the same
//
// A channel of a tunnel that is older than the guard begins as established.
type phase uint8

const (
	opening     phase = iota // the peer has accepted xl2tpd's SCCRQ
	established              // both ends have agreed on the tunnel
	abandoned                // nobody goes on with the opening
	ownerEnded               // the guard closes the tunnel in xl2tpd's name
)

// agreed reports whether both ends have agreed on the tunnel.
func (p phase) agreed() bool { return p == established || p == ownerEnded }

// xl2tpdEnded reports whether the tunnel's xl2tpd has ended; false also if nobody knows.
func (p phase) xl2tpdEnded() bool { return p == abandoned || p == ownerEnded }

// reported is which end of a channel was given to Guard.Ended. A later end is reported only if it is
// greater.
type reported uint8

const (
	noEnd     reported = iota
	callEnd            // xl2tpd has closed the call, and not the tunnel
	tunnelEnd          // or the peer has closed the call
)

// metBy is how the guard has met a tunnel, if that matters later.
type metBy uint8

const (
	_        metBy = iota
	fromFile       // an earlier process has saved it
	fromPair       // its ids were paired by what came in from the peer
)

// channel is the control channel of one tunnel.
type channel struct {
	translator *translator.Translator
	owner      owner
	asked      time.Time // when the host was last asked who the owner is
	phase      phase
	stops      stops      // with which the guard closes the tunnel of an xl2tpd that has ended
	addresses  [2]address // in table.channels
	index      int        // in table.list
	inKernel   bool       // the kernel has had a session of it
	metBy      metBy
	dialled    bool // xl2tpd has asked for the tunnel, and the guard has seen that

	dialReported bool // Guard.Dials was called for that
	peerSide
	ending

	seen   time.Time // latest packet from xl2tpd
	rounds int       // of tidy, since that
	wanted bool      // its links want the guard to hold it; false: they have to be asked
	noted  time.Time // since when its data are noted; zero: they are not
	review time.Time // when its links are asked whether they are certain; zero: not before the next tidy

	listening  bool // the peer's messages are queued
	failClosed bool // its packets must not pass without the guard
	written    written
	counts     Counts
	lastLogged string // the latest log line about it

	recorder *controltrace.Recorder // of its messages; nil: there was none
}

// peerSide is what the messages of a peer have shown.
type peerSide struct {
	heard   time.Time // latest believable packet
	secured bool      // its packets come through IPsec
	clear   bool      // it was believed in the clear
	vendor  string    // what it calls itself; empty: not seen
}

// ending is how a tunnel comes to its end, and what was reported of that.
type ending struct {
	peerDead     bool // the peer is known to be dead
	ackStop      bool // xl2tpd's StopCCN to it waits for its acknowledgement
	byService    bool // the service has made xl2tpd hang up
	reported     reported
	reason       *CloseReason // what was reported; nil: nothing, or it is no longer of interest
	helloSince   time.Time    // since when a Hello of xl2tpd is unanswered; zero: none is
	unackedSince time.Time    // since when a message of the peer is unacknowledged; zero: none is
}

// mustFailClosed reports whether the channel's packets must not pass a guard that is down for
// a moment.
func (c *channel) mustFailClosed() bool { return c.translator.Diverged() || c.translator.Undecided() }

// up reports whether the channel is that of a tunnel that is up, unless xl2tpd has gone silent.
func (c *channel) up() bool {
	return c.phase == established && !c.translator.Closing()
}

// stands reports whether the channel is that of a tunnel that is up, as far as is known.
func (c *channel) stands() bool { return c.up() && c.rounds <= silentRounds }

// awaited is an SCCRQ of xl2tpd that has no answer yet.
type awaited struct {
	owner        owner
	at           time.Time // of its latest copy
	dialReported bool      // Guard.Dials was called
	refused      bool      // the peer has answered with a StopCCN

	recorder *controltrace.Recorder
}

// attempt identifies the attempts of an xl2tpd to get a tunnel to a peer.
type attempt struct {
	owner procfs.ID
	peer  netip.Addr
}

// path returns the path of the channel's packets.
func (c *channel) path() path { return pathOf(c.translator.Connection()) }

// connection returns the name of the channel for other packages.
func (c *channel) connection() OwnedConnection {
	return OwnedConnection{c.translator.Connection(), c.owner.process}
}

// caller is a tunnel that the peer has asked for, half open: xl2tpd has sent an SCCRP.
type caller struct {
	tunnel l2tp.Connection
	owner  owner
	at     time.Time
	nr     uint16 // what the SCCRP acknowledges

	recorder *controltrace.Recorder
}

// callerKey is how the next message of xl2tpd in that tunnel shows it.
type callerKey struct {
	path
	peerID uint16
}

// channelTable finds the tunnel of a packet. An SCCRP shows which two ids make one tunnel. For a tunnel that is older
// than the guard, the kernel's table of sessions does. Without both, one end's answer to the other end's message does.
// Only xl2tpd's packets open a channel, so forged ones from outside can't.
type channelTable struct {
	channels map[address][]*channel         // each by two addresses; the oldest first
	byID     map[uint16][]*channel          // by xl2tpd's id
	list     []*channel                     // each once
	awaited  *lru[l2tp.Connection, awaited] // with PeerID 0
	accepted *lru[attempt, time.Time]       // when the peer last accepted one
	refused  *lru[attempt, time.Time]       // when the peer last refused one, through IPsec
	lapsed   *lru[attempt, time.Time]       // when one, or its tunnel, ended for which nobody has hung up
	callers  *lru[callerKey, caller]
	sessions map[address][]KernelSession // of the kernel, by local address and each id
}

func newChannelTable(lost func(l2tp.Connection)) *channelTable {
	return &channelTable{
		channels: map[address][]*channel{},
		byID:     map[uint16][]*channel{},
		awaited:  newLRU(maxAwaited, 0, nil, func(t l2tp.Connection, _ awaited) { lost(t) }),
		accepted: newLRU[attempt, time.Time](maxAwaited, 0, nil, nil),
		refused:  newLRU[attempt, time.Time](maxAwaited, 0, nil, nil),
		lapsed:   newLRU[attempt, time.Time](maxAwaited, 0, nil, nil),
		callers: newLRU[callerKey, caller](maxHalfOpen, maxHalfOpenOfPeer,
			func(k callerKey) netip.Addr { return k.peer.Addr() }, nil),
	}
}

func (x *channelTable) add(c *channel) {
	t := c.translator.Connection()
	at := pathOf(t)
	c.addresses = [2]address{{at, t.PeerID, true}, {at, t.LocalID, false}}
	for _, a := range c.addresses {
		x.channels[a] = append(x.channels[a], c)
	}
	x.byID[t.LocalID] = append(x.byID[t.LocalID], c)
	c.index = len(x.list)
	x.list = append(x.list, c)
}

func (x *channelTable) remove(c *channel) {
	for _, a := range c.addresses {
		deleteFrom(x.channels, a, c)
	}
	deleteFrom(x.byID, c.addresses[1].id, c)
	last := x.list[len(x.list)-1]
	x.list[c.index], last.index = last, c.index
	x.list[len(x.list)-1] = nil
	x.list = x.list[:len(x.list)-1]
}

func deleteFrom[K comparable](m map[K][]*channel, k K, c *channel) {
	m[k] = slices.DeleteFunc(m[k], func(o *channel) bool { return o == c })
	if len(m[k]) == 0 {
		delete(m, k)
	}
}

// all returns every channel, in no order.
func (x *channelTable) all() []*channel { return slices.Clone(x.list) }

func (x *channelTable) find(at path, id uint16, out bool) *channel {
	if all := x.channels[address{at, id, out}]; len(all) > 0 {
		return all[0]
	}
	return nil
}

// makeRoom takes out and returns a channel whose tunnel is no longer up and does not need
// the guard. Of several it takes the one in which xl2tpd has been silent for longest. nil: there is none.
func (x *channelTable) makeRoom() *channel {
	var oldest *channel
	for _, c := range x.list {
		if !c.stands() && !c.mustFailClosed() && (oldest == nil || c.seen.Before(oldest.seen)) {
			oldest = c
		}
	}
	if oldest != nil {
		x.remove(oldest)
	}
	return oldest
}

// answered takes the half-open connection out to which a message of xl2tpd belongs, if it
// shows that the peer has answered the SCCRP: it acknowledges more than that.
func (x *channelTable) answered(at path, m l2tp.Message) (caller, bool) {
	k := callerKey{at, m.Tunnel}
	half, ok := x.callers.get(k)
	switch {
	case !ok:
		return caller{}, false
	case m.Type == l2tp.TypeStopCCN: // xl2tpd gives up on it, or refuses it
		x.callers.delete(k)
		return caller{}, false
	case !l2tp.Before(half.nr, m.Nr): // a ZLB for another copy of the SCCRQ
		return caller{}, false
	}
	x.callers.delete(k)
	return half, true
}

// session finds the kernel's session of a packet.
func (x *channelTable) session(at path, id uint16, out bool) (KernelSession, bool) {
	for _, s := range x.sessions[address{path{local: at.local}, id, out}] {
		if s.Peer == at.peer || !s.Peer.IsValid() {
			s.Peer = at.peer
			return s, true
		}
	}
	return KernelSession{}, false
}

// setSessions takes in the kernel's table of sessions.
func (x *channelTable) setSessions(all []KernelSession) {
	x.sessions = make(map[address][]KernelSession, 2*len(all))
	for _, s := range all {
		for _, a := range []address{{path{local: s.Local}, s.PeerID, true}, {path{local: s.Local}, s.LocalID, false}} {
			x.sessions[a] = append(x.sessions[a], s)
		}
	}
}

// has reports whether the kernel has a session of a tunnel.
func (x *channelTable) has(t l2tp.Connection) bool {
	s, ok := x.session(pathOf(t), t.LocalID, false)
	return ok && s.PeerID == t.PeerID
}

// expire forgets what has waited for too long.
func (x *channelTable) expire(now time.Time) {
	old := func(at time.Time) bool { return now.Sub(at) > openTTL }
	x.awaited.expire(func(a awaited) bool { return old(a.at) })
	x.accepted.expire(old)
	x.refused.expire(old)
	x.lapsed.expire(old)
	x.callers.expire(func(c caller) bool { return old(c.at) })
}

// dials reports whether an xl2tpd has asked a peer for a tunnel since a time. known is false if that xl2tpd is not seen to,
// and somebody unknown has asked the peer.
func (x *channelTable) dials(daemon procfs.ID, peer netip.Addr, since time.Time) (is, known bool) {
	known = true
	x.awaited.all(func(t l2tp.Connection, a awaited) bool {
		if t.Peer.Addr() != peer || !a.at.After(since) {
			return true
		}
		is = is || a.owner.is(daemon)
		known = known && a.owner.ownership != ownerUnclear
		return !is
	})
	return is, is || known
}
