package helloguard

import (
	"context"
	"log/slog"
	"net/netip"
	"time"

	"xl2tpd-keepalive/internal/controltrace"
	"xl2tpd-keepalive/internal/helloguard/translator"
	"xl2tpd-keepalive/internal/l2tp"
	"xl2tpd-keepalive/internal/procfs"
	"xl2tpd-keepalive/internal/wake"
)

// effects is what the handler does to the kernel.
type effects interface {
	send(translator.Injection) error
	// failClosed says that packets of this tunnel must not pass without the guard.
	failClosed(t l2tp.Connection, on bool) error
	// listen queues the peer's messages for this tunnel. Only the addresses and LocalID
	// matter; with LocalID 0 it queues all messages of that peer for openTTL.
	listen(t l2tp.Connection, on bool) error
	// noteData has the kernel note when data come in on a path.
	noteData(at path, on bool) error
	// arrivals are when data came in last, by path and tunnel id.
	arrivals() (map[address]arrival, error)
	// sentFrom are the cgroups from which messages of a connection have just been sent: that
	// of the socket, and those above it; nil: the kernel can't say.
	sentFrom(at address) []uint32
}

// sources is where the handler learns who sends.
type sources interface {
	of(port uint16, now time.Time) facts
	forget()
}

// handler decides about packets. It is not safe for concurrent use.
type handler struct {
	ctx    context.Context
	log    packetLog
	links  func(ctx context.Context, c OwnedConnection) Links
	store  store
	host   Host
	facts  sources
	gone   func(procfs.ID) bool // certainly ended
	fx     effects
	table  *table
	timers wake.Queue[*channel]
	data   *dataWatch

	watched time.Time // since when all that xl2tpds send is seen
	pairAt  time.Time // when to look at the unpaired again; zero: none of them waits

	ended    func(c OwnedConnection, r CloseReason)
	dials    func(owner procfs.ID, peer netip.Addr)
	unlisted func() // nil: nobody asks

	hub        *controltrace.Hub // who watches
	recordings *recordings       // of tunnels that have ended
	// opens keeps the message at hand if it asks for a connection; nil: it does not.
	opens *controltrace.Recorder

	unlistedAt time.Time // its latest call
	sending    address   // whose message is being handled, if it is one of this host
	sendersAt  time.Time // when the kernel may be asked again who sends
	alive      procfs.ID // ran at aliveAt
	aliveAt    time.Time
	leftAlone  procfs.ID // the xl2tpd of which the log has said that its tunnels are left alone
}

// newHandler makes the handler of a guard.
func newHandler(ctx context.Context, g *Guard, host Host, fx effects) *handler {
	h := &handler{
		ctx: ctx, log: newPacketLog(g.Log), links: g.Links, store: store(g.Dir), host: host,
		facts: &factReader{daemons: g.Daemons}, gone: procfs.ID.Gone, fx: fx,
		ended: g.Ended, dials: g.Dials, unlisted: g.Unlisted, data: newDataWatch(fx),
		hub: &g.hub, recordings: &g.recordings,
	}
	h.table = newTable(h.stopListening)
	return h
}

// failClosedSet returns the tunnels whose packets must not pass without the guard.
func (h *handler) failClosedSet() []l2tp.Connection {
	return h.tunnels(func(c *channel) bool { return c.failClosed })
}

// diverged returns the tunnels that need the guard to their end.
func (h *handler) diverged() []l2tp.Connection {
	return h.tunnels(func(c *channel) bool { return c.translator.Diverged() })
}

// listening returns the tunnels whose peer's messages are to be queued.
func (h *handler) listening() []l2tp.Connection {
	all := h.tunnels(func(c *channel) bool { return c.listening })
	h.table.awaited.all(func(t l2tp.Connection, _ awaited) bool {
		all = append(all, t)
		return true
	})
	for at := range h.table.unpaired {
		all = append(all, at.connection(0, 0))
	}
	return all
}

func (h *handler) tunnels(like func(*channel) bool) []l2tp.Connection {
	var all []l2tp.Connection
	for _, c := range h.table.list {
		if like(c) {
			all = append(all, c.translator.Connection())
		}
	}
	return all
}

// resync notes that packets may have passed the guard unseen.
func (h *handler) resync(now time.Time) {
	h.watched = now
	for _, c := range h.table.list {
		c.translator.Resync(now)
		h.plan(c)
	}
}

// leave prepares for an orderly end. From then on packets pass unseen, also those of a
// tunnel whose peer has not said yet whether it counts a Hello.
func (h *handler) leave(now time.Time) {
	for _, c := range h.table.list {
		if c.translator.Undecided() {
			c.translator.Resync(now)
			h.save(c)
		}
	}
}

// direction is where a packet comes from.
type direction uint8

const (
	outbound       direction = iota // from this host
	inbound                         // to this host
	inboundSecured                  // the same, through IPsec
)

// outcome is what becomes of a packet.
type outcome struct {
	action  translator.Action
	packet  []byte   // with Rewrite
	channel *channel // to be caught up with after that; nil: none
}

// handle decides about a packet, which it may change, and does what has to be done before
// the packet goes on: it looks the channel up, asks whether the guard is to translate it,
// translates, and follows the verdict.
func (h *handler) handle(p *l2tp.Packet, from direction, now time.Time) outcome {
	h.opens = nil
	c := h.channelOf(p, from, now)
	if c == nil {
		h.recordPassed(p, from, now)
		return outcome{}
	}
	live, wanted := h.wanted(c, from == outbound && p.Msg.Type == l2tp.TypeHello, now)
	if !wanted {
		h.recordPassed(p, from, now)
		return outcome{}
	}
	was := glance{p.Msg, c.repeats(p.Msg, from)}
	expected := from == outbound || c.translator.Expects(p.Msg.Ns)
	v := h.translate(c, p, from, live, now)
	o := outcome{v.Action, v.Packet, c}
	if c.phase.xl2tpdEnded() && from != outbound {
		o = outcome{translator.Drop, nil, c} // the xl2tpd that has come since knows nothing of it
	}
	h.record(c, p, was, from, o, v.Reason, now)
	h.follow(c, p, from, v, expected, now)
	return o
}

// repeats reports whether a message's sender has sent it before.
func (c *channel) repeats(m l2tp.Message, from direction) bool {
	if from == outbound {
		return c.translator.RepeatsOut(m)
	}
	return c.translator.RepeatsIn(m)
}

// channelOf looks up or opens the channel of a packet; nil: the packet passes.
func (h *handler) channelOf(p *l2tp.Packet, from direction, now time.Time) *channel {
	if from != outbound {
		return h.receiver(p, from == inboundSecured, now)
	}
	h.sending = address{path{p.Src, p.Dst}, p.Msg.Tunnel, true}
	defer func() { h.sending = address{} }()
	return h.sender(p, now)
}

// wanted reports whether the guard is to translate a channel, and forgets it if not. Only a
// Hello is decided by whether the tunnel lives, so only then it asks if the answer is known.
func (h *handler) wanted(c *channel, hello bool, now time.Time) (live translator.Liveness, ok bool) {
	if hello || !c.wanted {
		live, c.wanted = h.liveness(c, now)
	}
	if !c.wanted && !c.translator.Diverged() {
		h.drop(c)
		return live, false
	}
	if !c.listening {
		c.listening = true
		h.listen(c.translator.Connection(), true, now)
		h.save(c)
	}
	return live, true
}

// translate asks the translator for its verdict.
func (h *handler) translate(c *channel, p *l2tp.Packet, from direction, live translator.Liveness, now time.Time) *translator.Verdict {
	if from != outbound {
		return c.translator.In(p, now)
	}
	v := c.translator.Out(p, now, live)
	if v.Reason == translator.OutOfReach && !c.translator.Diverged() {
		// xl2tpd can't be wrong: what is known is of long ago, or was forged.
		c.translator = translator.New(c.translator.Connection(), now)
		v = c.translator.Out(p, now, live)
	}
	return v
}

// follow does what a verdict says and takes in what the packet shows. expected says that its
// receiver takes the packet as the next one.
func (h *handler) follow(c *channel, p *l2tp.Packet, from direction, v *translator.Verdict, expected bool, now time.Time) {
	believed := v.Reason != translator.Foreign && v.Reason != translator.OutOfReach
	if from != outbound && believed {
		c.heard, c.peerDead = now, false
		c.clear = c.clear || from == inbound
	}
	h.act(c, v, now)
	c.clock(now)
	if believed && expected {
		h.learn(c, p, from != outbound, now)
	}
}

func (h *handler) save(c *channel) {
	if !c.phase.agreed() {
		return // anybody can make xl2tpd open that many
	}
	if err := h.store.save(c); err != nil {
		h.logError(c, time.Now(), slog.LevelError, "hello guard: state can't be kept, a restart will cost the tunnel", err)
	}
}

// liveness is what is known of the channel's tunnel now. What the connection itself has brought
// is a sign of life whatever is known of links.
func (h *handler) liveness(c *channel, now time.Time) (live translator.Liveness, wanted bool) {
	s := h.ownLinks(c, now)
	return translator.Liveness{
		Peer:      s.Wanted && (s.Certain && s.Alive || within(s.Window, c.heard, now) || within(s.Window, h.dataOf(c, now), now)),
		LetGo:     !s.Wanted,
		PassFirst: s.PassFirst,
		Xl2tpd:    c.owner.ownership == ownerKnown && !h.hasEnded(c.owner),
	}, s.Wanted
}

// ownLinks asks for the links of a channel's tunnel. If they may be another tunnel's, its
// data are noted.
func (h *handler) ownLinks(c *channel, now time.Time) Links {
	s := h.links(h.ctx, c.connection())
	if s.Unknown {
		s.Wanted = s.Wanted || c.wanted
		return s
	}
	h.noteData(c, s.Wanted && !s.Certain && c.up(), now)
	return s
}

func within(window time.Duration, at, now time.Time) bool {
	return !at.IsZero() && now.Sub(at) <= window
}

// act does what comes before the packet's own verdict, in the order that a sudden end can't
// harm: what is kept, what must not pass without the guard, what is sent.
func (h *handler) act(c *channel, v *translator.Verdict, now time.Time) {
	t := c.translator.Connection()
	needs := c.mustFailClosed()
	if v.Save || needs != c.failClosed {
		h.save(c)
	}
	if needs != c.failClosed {
		c.failClosed = needs
		if err := h.fx.failClosed(t, needs); err != nil {
			h.logError(c, now, slog.LevelError, "hello guard: rules can't be changed", err)
		}
	}
	for _, i := range v.Inject {
		h.recordSent(c, t, i, v.Reason, now)
		if err := h.fx.send(i); err != nil {
			h.logError(c, now, slog.LevelWarn, "hello guard: packet can't be sent", err)
		}
	}
	c.counts.add(v.Reason)
	h.logVerdict(c, v.Reason, now)
	h.plan(c)
}

// inject sends a packet that belongs to no channel.
func (h *handler) inject(i translator.Injection, t l2tp.Connection, now time.Time) {
	h.recordSent(nil, t, i, translator.Nothing, now)
	if err := h.fx.send(i); err != nil {
		h.logPeerError(t.Peer, now, slog.LevelWarn, "hello guard: packet can't be sent", err)
	}
}

func (h *handler) listen(t l2tp.Connection, on bool, now time.Time) {
	if err := h.fx.listen(t, on); err != nil {
		h.log.seldom(h.ctx, now, slog.LevelError, "hello guard: rules can't be changed",
			func() []any { return []any{"peer", t.Peer.String(), "id", t.LocalID, "err", err} })
	}
}

func (h *handler) stopListening(t l2tp.Connection) { h.listen(t, false, time.Now()) }
