package helloguard

import (
	"log/slog"
	"time"

	"xl2tpd-keepalive/internal/helloguard/translator"
	"xl2tpd-keepalive/internal/l2tp"
	"xl2tpd-keepalive/internal/wake"
)

// effects is what the guard does to the kernel.
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
	// sentFrom says from which cgroups messages of a connection have just been sent: that of the
	// socket, and those above it. If the kernel can't say, it is none.
	sentFrom(at address) func(cgroup uint32) bool
}

// executor does what has been decided about channels: it sends, saves, and changes the rules.
type executor struct {
	fx       effects
	store    store
	timers   wake.Queue[*channel]
	table    *channelTable
	log      *packetLog
	evidence *evidence
	flight   *flightRecorder
}

// act does what comes before the packet's own verdict, in the order that a sudden end can't
// harm: what is kept, what must not pass without the guard, what is sent.
func (x *executor) act(c *channel, v *translator.Verdict, now time.Time) {
	t := c.translator.Connection()
	needs := c.mustFailClosed()
	if v.Save || needs != c.failClosed {
		x.save(c)
	}
	if needs != c.failClosed {
		c.failClosed = needs
		if err := x.fx.failClosed(t, needs); err != nil {
			x.log.failed(c, now, slog.LevelError, "hello guard: rules can't be changed", err)
		}
	}
	for _, i := range v.Inject {
		x.flight.sent(c, t, i, v.Reason, now)
		if err := x.fx.send(i); err != nil {
			x.log.failed(c, now, slog.LevelWarn, "hello guard: packet can't be sent", err)
		}
	}
	c.counts.add(v.Reason)
	x.log.verdict(c, v.Reason, now)
	x.plan(c)
}

// inject sends a packet that belongs to no channel.
func (x *executor) inject(i translator.Injection, t l2tp.Connection, now time.Time) {
	x.flight.sent(nil, t, i, translator.Nothing, now)
	if err := x.fx.send(i); err != nil {
		x.log.peerFailed(t.Peer, now, slog.LevelWarn, "hello guard: packet can't be sent", err)
	}
}

func (x *executor) listen(t l2tp.Connection, on bool, now time.Time) {
	if err := x.fx.listen(t, on); err != nil {
		x.log.seldom(now, slog.LevelError, "hello guard: rules can't be changed",
			func() []any { return []any{"peer", t.Peer.String(), "id", t.LocalID, "err", err} })
	}
}

func (x *executor) stopListening(t l2tp.Connection) { x.listen(t, false, time.Now()) }

// wanted reports whether the guard is to translate a channel, and forgets the channel if not. It asks for the links of the
// channel if it does not know their answer yet. Before a Hello it always asks: what the guard does with a Hello depends on
// whether the tunnel lives.
func (x *executor) wanted(c *channel, hello bool, now time.Time) (live translator.Liveness, ok bool) {
	if hello || !c.wanted {
		live, c.wanted = x.evidence.liveness(c, now)
	}
	if !c.wanted && !c.translator.Diverged() {
		x.drop(c)
		return live, false
	}
	if !c.listening {
		c.listening = true
		x.listen(c.translator.Connection(), true, now)
		x.save(c)
	}
	return live, true
}

func (x *executor) save(c *channel) {
	if !c.phase.agreed() {
		return // anybody can make xl2tpd open that many
	}
	if err := x.store.save(c); err != nil {
		x.log.failed(c, time.Now(), slog.LevelError, "hello guard: state can't be kept, a restart will cost the tunnel", err)
	}
}

// plan notes when a channel has something to do again.
func (x *executor) plan(c *channel) {
	at, wants := c.translator.NextTimer()
	if !wants {
		at = time.Time{}
	}
	if !c.review.IsZero() && (!wants || c.review.Before(at)) {
		at, wants = c.review, true
	}
	if c.closesForXl2tpd() && (!wants || c.stops.next.Before(at)) {
		at = c.stops.next
	}
	x.timers.Set(c, at)
}

func (x *executor) drop(c *channel) {
	x.table.remove(c)
	x.forget(c)
}

// forget undoes what was done for a channel that is in the table no more.
func (x *executor) forget(c *channel) {
	x.timers.Set(c, time.Time{})
	x.evidence.noteData(c, false, time.Now())
	t := c.translator.Connection()
	if c.failClosed {
		if err := x.fx.failClosed(t, false); err != nil {
			x.log.failed(c, time.Now(), slog.LevelWarn, "hello guard: rules can't be changed", err)
		}
	}
	if c.listening {
		x.stopListening(t)
	}
	if c.written.exists() {
		x.store.forget(t)
	}
}

// dropForged forgets the channels of a path that packets in the clear have paired.
func (x *executor) dropForged(at path) {
	for _, c := range x.table.all() {
		if c.metBy == fromPair && !c.secured && c.path() == at {
			x.drop(c)
		}
	}
}
