package helloguard

import (
	"context"
	"time"

	"xl2tpd-keepalive/internal/helloguard/translator"
	"xl2tpd-keepalive/internal/l2tp"
	"xl2tpd-keepalive/internal/procfs"
)

// handler decides about packets. It is not safe for concurrent use. Each of its parts uses only those above it.
type handler struct {
	log      *packetLog
	table    *channelTable
	owners   *owners
	evidence *evidence
	flight   *flightRecorder
	exec     *executor
	closer   *closer
	unpaired *unpairedTable
	opener   *opener
}

// newHandler makes the handler of a guard.
func newHandler(ctx context.Context, g *Guard, host Host, fx effects) *handler {
	log := &packetLog{Logger: g.Log, ctx: ctx, said: map[string]saying{}}
	who := &owners{log: log, facts: &factReader{daemons: g.Daemons}, gone: procfs.ID.Gone, sentFrom: fx.sentFrom, host: host, unlisted: g.Unlisted}
	ev := &evidence{ctx: ctx, log: log, links: g.Links, data: &dataWatch{fx: fx, wanted: map[path]int{}}, owners: who}
	flight := &flightRecorder{hub: &g.hub, recordings: &g.recordings}
	exec := &executor{fx: fx, store: store(g.Dir), log: log, evidence: ev, flight: flight}
	exec.table = newChannelTable(exec.stopListening)
	closer := &closer{table: exec.table, owners: who, evidence: ev, flight: flight, exec: exec, ended: g.Ended, failed: g.AttemptFailed, calls: g.Calls}
	unpaired := &unpairedTable{paths: map[path]*unpaired{}, owners: who, evidence: ev, exec: exec}
	return &handler{
		table: exec.table, owners: who, evidence: ev, flight: flight, exec: exec, closer: closer, unpaired: unpaired, log: log,
		opener: &opener{table: exec.table, owners: who, flight: flight, exec: exec, closer: closer, unpaired: unpaired, log: log, dials: g.Dials,
			closing: newLRU[address, struct{}](maxClosing, 0, nil, nil)},
	}
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
	for at := range h.unpaired.paths {
		all = append(all, at.connection(0, 0))
	}
	return all
}

func (h *handler) tunnels(keep func(*channel) bool) []l2tp.Connection {
	var all []l2tp.Connection
	for _, c := range h.table.list {
		if keep(c) {
			all = append(all, c.translator.Connection())
		}
	}
	return all
}

// watch notes that the rules are in place from now on.
func (h *handler) watch(now time.Time) {
	h.unpaired.watched = now
	for _, c := range h.table.list {
		c.translator.Watch(now)
	}
}

// resync notes that packets may have passed the guard unseen.
func (h *handler) resync(now time.Time) {
	h.unpaired.watched = now
	for _, c := range h.table.list {
		h.exec.act(c, c.translator.Resync(now), now)
	}
}

// leave prepares for an orderly end. From then on packets pass unseen, also those of a
// tunnel whose peer has not said yet whether it counts a Hello.
func (h *handler) leave(now time.Time) {
	for _, c := range h.table.list {
		if c.translator.Undecided() {
			c.translator.Resync(now)
			h.exec.save(c)
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
	channel *channel // for catchUp after the verdict; nil: none
}

// handle decides about a packet, which it may change, and does what has to be done before
// the packet goes on: it looks the channel up, asks whether the guard is to translate it,
// translates, and follows the verdict.
func (h *handler) handle(p *l2tp.Packet, from direction, now time.Time) outcome {
	h.flight.opens = nil
	if from == outbound {
		h.owners.sending = address{path{p.Src, p.Dst}, p.Msg.Tunnel, true}
		defer func() { h.owners.sending = address{} }()
		if h.opener.doubled(p, now) {
			return outcome{action: translator.Drop}
		}
	}
	c := h.channelOf(p, from, now)
	if c == nil {
		h.flight.passed(p, from, now)
		return outcome{}
	}
	live, wanted := h.exec.wanted(c, from == outbound && p.Msg.Type == l2tp.TypeHello, now)
	if !wanted {
		h.flight.passed(p, from, now)
		return outcome{}
	}
	was := glance{p.Msg, c.translator.Repeats(p.Msg, from == outbound)}
	expected := from == outbound || c.translator.Expects(p.Msg.Ns)
	v := h.translate(c, p, from, live, now)
	o := outcome{v.Action, v.Packet, c}
	if c.phase.xl2tpdEnded() && from != outbound {
		o = outcome{translator.Drop, nil, c} // the xl2tpd that has come since knows nothing of it
	}
	h.flight.record(c, p, was, from, o, v.Reason, now)
	h.follow(c, p, from, v, expected, now)
	return o
}

// channelOf looks up or opens the channel of a packet; nil: the packet passes.
func (h *handler) channelOf(p *l2tp.Packet, from direction, now time.Time) *channel {
	if from != outbound {
		return h.opener.channelOfIncoming(p, from == inboundSecured, now)
	}
	return h.opener.channelOfOutgoing(p, now)
}

// translate asks the translator for its verdict.
func (h *handler) translate(c *channel, p *l2tp.Packet, from direction, live translator.Liveness, now time.Time) *translator.Verdict {
	if from != outbound {
		return c.translator.In(p, now)
	}
	v := c.translator.Out(p, now, live)
	if v.Reason == translator.OutOfReach && !c.translator.Diverged() {
		// xl2tpd knows its own numbers. So those that the guard knows are too old, or were forged.
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
	h.exec.act(c, v, now)
	c.clock(now)
	if believed && expected {
		h.closer.learn(c, p, from != outbound, now)
	}
}
