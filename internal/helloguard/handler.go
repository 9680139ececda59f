package helloguard

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"os"
	"time"

	"xl2tpd-keepalive/due"
	"xl2tpd-keepalive/internal/helloguard/translator"
	"xl2tpd-keepalive/internal/l2tp"
	"xl2tpd-keepalive/proc"
)

// effects is what the handler does to the kernel.
type effects interface {
	send(translator.Injection) error
	// failClosed says that packets of this tunnel must not pass without the guard.
	failClosed(t translator.Tunnel, on bool) error
	// listen queues the peer's messages for this tunnel. Only the addresses and LocalID
	// matter; with LocalID 0 it queues all messages of that peer for openTTL.
	listen(t translator.Tunnel, on bool) error
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
	signs  func(ctx context.Context, t translator.Tunnel, tunnels int) Signs
	store  store
	host   Host
	facts  sources
	gone   func(proc.ID) bool // certainly ended
	fx     effects
	x      *table
	timers due.Queue[*channel]

	ended func(t translator.Tunnel, r CloseReason)
	dials func(peer netip.Addr)

	alive     proc.ID // ran at aliveAt
	aliveAt   time.Time
	leftAlone proc.ID // the xl2tpd of which the log has said that its tunnels are left alone
}

// newHandler makes the handler of a guard.
func newHandler(ctx context.Context, g *Guard, host Host, fx effects) *handler {
	h := &handler{
		ctx: ctx, log: newPacketLog(g.Log), signs: g.Signs, store: store(g.Dir), host: host,
		facts: &factReader{daemons: g.Daemons}, gone: proc.ID.Gone, fx: fx,
		ended: g.Ended, dials: g.Dials,
	}
	h.x = newTable(h.stopListening)
	return h
}

// hangUpTime is how long xl2tpd may take to hang up, if the service has asked for it.
const hangUpTime = 15 * time.Second

// restore takes over the channels of an earlier process.
func (h *handler) restore(now time.Time) error {
	channels, err := h.store.load(now, func(path string, err error) {
		h.log.Warn("hello guard: state can't be used, the tunnel begins anew", "file", path, "err", err)
		os.Remove(path)
	})
	for _, c := range channels {
		if len(h.x.list) == maxChannels || !h.confirmOwner(c, now) && !c.needsGuard() {
			h.forget(c)
			continue
		}
		c.restored, c.established = true, true
		c.failClosed, c.listening = c.needsGuard(), true // as the rules will be installed
		h.x.add(c)
		h.plan(c)
		if c.reason != nil && c.closed { // the supervisor may be a new one too
			h.ended(c.translator.Tunnel(), *c.reason)
		}
	}
	return err
}

// confirmOwner compares the owner that a file names with the host, and reports whether the
// channel can be an xl2tpd's. Earlier versions took every process for the watched xl2tpd. An
// owner that the file does not name is asked for once it sends: who has the port now may not
// be who opened the connection.
func (h *handler) confirmOwner(c *channel, now time.Time) bool {
	t := c.translator.Tunnel()
	is := owner{ownership: unclear}
	if !h.hasEnded(c.owner) {
		is = h.ownerOf(path{t.Local, t.Peer}, false, now)
	}
	if !c.written.proven && is != c.owner || is.ownership == foreign {
		c.owner = owner{ownership: unclear}
	}
	return is.ownership != foreign || h.x.has(t)
}

// aliveFor is for how long a process that ran counts as running while a connection is being
// opened. Whether it still runs is asked again when the connection is established.
const aliveFor = 100 * time.Millisecond

// ownerOf asks who sends on a path. The answer names no process that has ended: facts may
// be a second old.
func (h *handler) ownerOf(at path, opens bool, now time.Time) owner {
	for range 2 {
		o := h.facts.of(at.local.Port(), now).owner(at.local, at.peer, opens)
		if o.ownership != known {
			return o
		}
		if age := now.Sub(h.aliveAt); o.process == h.alive && age >= 0 && age < aliveFor {
			return o
		}
		if !h.gone(o.process) {
			h.alive, h.aliveAt = o.process, now
			return o
		}
		h.facts.forget()
	}
	return owner{ownership: unclear}
}

// hasEnded reports whether an owner is known, and has ended.
func (h *handler) hasEnded(o owner) bool { return o.ownership == known && h.gone(o.process) }

// others reports whether an owner is certainly not the watched xl2tpd.
func (h *handler) others(o owner) bool {
	return o.ownership == known && h.host.Daemon != proc.ID{} && o.process != h.host.Daemon
}

// serves reports whether the guard may touch an owner's connections on a path. It says so
// in the log, once for each process, if it may not because of `ipsec saref`.
func (h *handler) serves(o owner, at path, now time.Time) bool {
	if o.ownership == foreign {
		return false
	}
	if !h.facts.of(at.local.Port(), now).sendsThroughLo(o, at.local.Addr()) {
		return true
	}
	if h.leftAlone != o.process {
		h.leftAlone = o.process
		h.log.seldom(h.ctx, now, slog.LevelWarn, "hello guard leaves tunnels alone: with `ipsec saref` in its file, xl2tpd can't be answered at an address of lo",
			func() []any { return []any{"local", at.local.Addr().String(), "pid", o.process.Pid} })
	}
	return false
}

// needGuard returns the tunnels whose packets must not pass without the guard.
func (h *handler) needGuard() []translator.Tunnel {
	return h.tunnels(func(c *channel) bool { return c.failClosed })
}

// apart returns those of them that can't do without the guard for good.
func (h *handler) apart() []translator.Tunnel {
	return h.tunnels(func(c *channel) bool { return c.translator.Apart() })
}

// listening returns the tunnels whose peer's messages are to be queued.
func (h *handler) listening() []translator.Tunnel {
	all := h.tunnels(func(c *channel) bool { return c.listening })
	h.x.awaited.all(func(t translator.Tunnel, _ awaited) bool {
		all = append(all, t)
		return true
	})
	for at := range h.x.unpaired {
		all = append(all, translator.Tunnel{Local: at.local, Peer: at.peer})
	}
	return all
}

func (h *handler) tunnels(like func(*channel) bool) []translator.Tunnel {
	var all []translator.Tunnel
	for _, c := range h.x.list {
		if like(c) {
			all = append(all, c.translator.Tunnel())
		}
	}
	return all
}

// missed notes that packets may have passed the guard unseen.
func (h *handler) missed(now time.Time) {
	for _, c := range h.x.list {
		c.translator.Missed(now)
		h.plan(c)
	}
}

// direction is where a packet comes from.
type direction uint8

const (
	outbound       direction = iota // from this host
	inbound                         // to this host
	inboundSecured                  // the same, through IPsec
)

// handle decides about a packet, which it may change, and does what has to be done before
// the packet goes on. c, if not nil, is to be caught up with after.
func (h *handler) handle(raw []byte, from direction, now time.Time) (action translator.Action, changed []byte, c *channel) {
	p, err := l2tp.ParsePacket(raw)
	if err != nil {
		return translator.Pass, nil, nil
	}
	if from == outbound {
		c = h.sender(&p, now)
	} else {
		c = h.receiver(&p, from == inboundSecured, now)
	}
	if c == nil {
		return translator.Pass, nil, nil
	}
	hello := from == outbound && p.Msg.Type == l2tp.TypeHello
	life, wanted := h.wanted(c, hello, now)
	if !wanted {
		return translator.Pass, nil, nil
	}
	return h.translate(c, &p, raw, from, life, now)
}

// sender returns the channel of a packet of this host, or nil.
func (h *handler) sender(p *l2tp.Packet, now time.Time) *channel {
	at := path{p.Src, p.Dst}
	if p.Msg.Tunnel == 0 {
		switch p.Msg.Type {
		case l2tp.TypeSCCRQ:
			h.request(p, at, now)
		case l2tp.TypeStopCCN:
			h.givenUp(p, now)
		}
		return nil
	}
	if p.Msg.Type == l2tp.TypeSCCRP {
		h.reply(p, at, now)
		return nil
	}
	if half, ok := h.x.answered(at, p.Msg); ok {
		return h.open(&channel{translator: newTranslator(half.tunnel, now), owner: half.owner, established: true}, now)
	}
	if p.Msg.Type == l2tp.TypeSCCCN {
		h.replaced(at, p.Msg.Tunnel)
	}
	c := h.x.known(at, p.Msg.Tunnel, true)
	if c == nil {
		return h.meetSender(p, at, now)
	}
	h.sends(c, p, at, now)
	return c
}

// sends notes that xl2tpd sends in a channel.
func (h *handler) sends(c *channel, p *l2tp.Packet, at path, now time.Time) {
	if c.rounds > silentRounds {
		h.x.recount()
	}
	c.seen, c.rounds = now, 0
	if c.orphan != nil { // so it is another process's
		c.orphan, c.owner, c.asked = nil, owner{ownership: unclear}, time.Time{}
		h.x.recount()
		h.facts.forget()
	}
	stop := p.Msg.Type == l2tp.TypeStopCCN // its sender may have ended since
	if c.owner.ownership == unclear && !stop && now.Sub(c.asked) >= repeatAfter {
		c.asked = now
		if o := h.ownerOf(at, false, now); o.ownership == known {
			c.owner = o
			h.save(c)
		}
	}
	if !c.established && !stop {
		c.established = true
		h.confirmAlive(c, now)
		h.x.stoodUp(c)
		h.save(c)
	}
}

// confirmAlive asks anew who the owner is if it has ended while the connection was opened.
func (h *handler) confirmAlive(c *channel, now time.Time) {
	if h.hasEnded(c.owner) {
		t := c.translator.Tunnel()
		h.facts.forget()
		c.owner, c.asked = h.ownerOf(path{t.Local, t.Peer}, false, now), now
	}
}

// request takes in an SCCRQ.
func (h *handler) request(p *l2tp.Packet, at path, now time.Time) {
	own, ok := l2tp.AssignedTunnel(p.Payload())
	if !ok || own == 0 {
		return
	}
	t := translator.Tunnel{Local: at.local, Peer: at.peer, LocalID: own}
	a, again := h.x.awaited.get(t)
	if !again || h.hasEnded(a.owner) {
		if a.owner = h.ownerOf(at, true, now); !h.serves(a.owner, at, now) {
			return
		}
		h.dropOrphan(at, own)
		h.past(at.peer.Addr())
		h.listen(t, true, now)
	}
	a.at, a.dialed = now, a.owner.is(h.host.Daemon)
	h.x.awaited.put(t, a)
	if a.dialed {
		h.dials(at.peer.Addr())
	}
}

// reply takes in an SCCRP. Anybody can make xl2tpd send one.
func (h *handler) reply(p *l2tp.Packet, at path, now time.Time) {
	own, ok := l2tp.AssignedTunnel(p.Payload())
	if !ok || own == 0 {
		return
	}
	if c := h.x.known(at, p.Msg.Tunnel, true); c != nil && c.translator.Tunnel().LocalID == own {
		return // sent again
	}
	k := callerKey{at, p.Msg.Tunnel}
	half, again := h.x.callers.get(k)
	if !again || half.tunnel.LocalID != own {
		o := h.ownerOf(at, true, now)
		if !h.serves(o, at, now) {
			return
		}
		half = caller{tunnel: translator.Tunnel{Local: at.local, Peer: at.peer, LocalID: own, PeerID: p.Msg.Tunnel}, owner: o}
	}
	half.at, half.nr = now, p.Msg.Nr
	h.x.callers.put(k, half)
}

// meetSender returns the channel of a message of this host in a tunnel that is not known:
// it is older than the guard.
func (h *handler) meetSender(p *l2tp.Packet, at path, now time.Time) *channel {
	if p.Msg.Type == l2tp.TypeStopCCN {
		return nil
	}
	if s, ok := h.x.session(at, p.Msg.Tunnel, true); ok {
		return h.openSession(s, now)
	}
	u := h.x.unpaired[at]
	if u == nil && len(h.x.unpaired) == maxUnpaired {
		return nil
	}
	if u == nil {
		o := h.ownerOf(at, false, now)
		t := translator.Tunnel{Local: at.local, Peer: at.peer}
		if !h.serves(o, at, now) || !h.signs(h.ctx, t, h.x.stand()).Wanted {
			return nil
		}
		u = &unpaired{since: now, owner: o}
		h.x.unpaired[at] = u
		h.listen(t, true, now)
	}
	return h.pair(u, p.Msg, at, true, now)
}

// pair opens the channel of a message if its tunnel's two ids are known with it.
func (h *handler) pair(u *unpaired, m l2tp.Message, at path, out bool, now time.Time) *channel {
	t, ok := u.pair(at, m, out, now)
	if !ok || h.x.known(at, t.LocalID, false) != nil || h.x.known(at, t.PeerID, true) != nil {
		return nil
	}
	return h.open(&channel{translator: newTranslator(t, now), owner: u.owner, established: true}, now)
}

// receiver returns the channel of a packet of a peer, or nil.
func (h *handler) receiver(p *l2tp.Packet, secured bool, now time.Time) *channel {
	at := path{p.Dst, p.Src}
	if p.Msg.Tunnel == 0 || p.Msg.Type == l2tp.TypeSCCRQ {
		return nil
	}
	if secured && p.Msg.Type == l2tp.TypeSCCRP {
		h.distrust(p, now)
	}
	if c := h.x.known(at, p.Msg.Tunnel, false); c != nil {
		switch {
		case secured:
			c.secured = true
		case c.secured:
			return nil // the IPsec policy will drop it: forged
		}
		return c
	}
	if p.Msg.Type == l2tp.TypeSCCRP {
		return h.accepted(p, at, secured, now)
	}
	if s, ok := h.x.session(at, p.Msg.Tunnel, false); ok {
		return h.openSession(s, now)
	}
	if u := h.x.unpaired[at]; u != nil {
		return h.pair(u, p.Msg, at, false, now)
	}
	return nil
}

// accepted opens the channel of an SCCRP for which xl2tpd has asked.
func (h *handler) accepted(p *l2tp.Packet, at path, secured bool, now time.Time) *channel {
	t := translator.Tunnel{Local: at.local, Peer: at.peer, LocalID: p.Msg.Tunnel}
	other, ok := l2tp.AssignedTunnel(p.Payload())
	a, asked := h.x.awaited.get(t)
	if !ok || other == 0 || !asked {
		return nil
	}
	h.x.awaited.delete(t)
	t.PeerID = other
	c := h.open(&channel{translator: newTranslator(t, now), owner: a.owner, secured: secured,
		listening: true, vendor: clip(l2tp.Vendor(p.Payload()))}, now)
	if c == nil {
		h.stopListening(t)
	}
	return c
}

// maxVendor is how much is kept of what a peer calls itself, in bytes.
const maxVendor = 64

func clip(vendor string) string { return vendor[:min(len(vendor), maxVendor)] }

// distrust forgets what an SCCRP in the clear has opened, once one for the same tunnel
// comes through IPsec: the policy has dropped the first behind the guard.
func (h *handler) distrust(p *l2tp.Packet, now time.Time) {
	at := path{p.Dst, p.Src}
	c := h.x.known(at, p.Msg.Tunnel, false)
	if c == nil || c.secured || c.established {
		return
	}
	h.x.awaited.put(translator.Tunnel{Local: at.local, Peer: at.peer, LocalID: p.Msg.Tunnel}, awaited{owner: c.owner, at: now, dialed: true})
	c.listening = false // the question keeps it
	h.drop(c)
}

// openSession opens the channel of a session of the kernel.
func (h *handler) openSession(s Session, now time.Time) *channel {
	at := path{s.Local, s.Peer}
	o := h.facts.of(s.Local.Port(), now).session(s)
	if !h.serves(o, at, now) {
		return nil
	}
	return h.open(&channel{translator: newTranslator(s.Tunnel, now), owner: o, established: true, inKernel: true}, now)
}

// open takes a channel in, and what it replaces out. It returns nil if there is no room.
func (h *handler) open(c *channel, now time.Time) *channel {
	t := c.translator.Tunnel()
	c.seen, c.asked = now, now
	if at := (path{t.Local, t.Peer}); c.established {
		for old := h.x.known(at, t.PeerID, true); old != nil; old = h.x.known(at, t.PeerID, true) {
			h.drop(old)
		}
		h.dropOrphan(at, t.LocalID)
		h.confirmAlive(c, now)
	}
	if len(h.x.list) >= maxChannels {
		old := h.x.makeRoom()
		if old == nil {
			h.log.seldom(h.ctx, now, slog.LevelWarn, "hello guard: too many tunnels, this one is left alone",
				func() []any { return []any{"peer", t.Peer.String(), "most", maxChannels} })
			return nil
		}
		h.forget(old)
	}
	h.x.add(c)
	return c
}

// replaced drops the channel whose id the peer has given to a new tunnel, as one does that
// has restarted. xl2tpd's SCCCN says so; the peer's part can be forged.
func (h *handler) replaced(at path, id uint16) {
	if all := h.x.channels[address{at, id, true}]; len(all) > 1 {
		h.drop(all[0])
	}
}

// dropOrphan drops the channel of an xl2tpd that has ended, if another has drawn its id.
func (h *handler) dropOrphan(at path, id uint16) {
	if c := h.x.known(at, id, false); c != nil && (c.orphan != nil || c.translator.Closing()) {
		h.drop(c)
	}
}

// wanted reports whether the guard is to translate a channel, and forgets it if not. Only a
// Hello is decided by whether the tunnel lives, so only then it asks if the answer is known.
func (h *handler) wanted(c *channel, hello bool, now time.Time) (life translator.Life, ok bool) {
	if hello || !c.wanted {
		life, c.wanted = h.life(c, now)
	}
	if !c.wanted && !c.translator.Apart() {
		h.drop(c)
		return life, false
	}
	if !c.listening {
		c.listening = true
		h.listen(c.translator.Tunnel(), true, now)
		h.save(c)
	}
	return life, true
}

// translate has the translator decide about a packet of a channel.
func (h *handler) translate(c *channel, p *l2tp.Packet, raw []byte, from direction, life translator.Life, now time.Time) (translator.Action, []byte, *channel) {
	takes := from == outbound || c.translator.Takes(p.Msg.Ns)
	v := h.verdict(c, raw, from, life, now)
	believed := !errors.Is(v.Why, translator.ErrForeign) && !errors.Is(v.Why, translator.ErrReach)
	if from != outbound && believed {
		c.heard, c.dead = now, false
	}
	h.act(c, v, now)
	c.clock(now)
	if believed && takes {
		h.learn(c, p, from != outbound, now)
	}
	if c.orphan != nil && from != outbound {
		return translator.Drop, nil, c // the xl2tpd that has come since knows nothing of it
	}
	return v.Action, v.Packet, c
}

func (h *handler) verdict(c *channel, raw []byte, from direction, life translator.Life, now time.Time) *translator.Verdict {
	if from != outbound {
		return c.translator.In(raw, now)
	}
	v := c.translator.Out(raw, now, life)
	if errors.Is(v.Why, translator.ErrReach) && !c.translator.Apart() {
		// xl2tpd can't be wrong: what is known is of long ago, or was forged.
		c.translator = newTranslator(c.translator.Tunnel(), now)
		v = c.translator.Out(raw, now, life)
	}
	return v
}

func newTranslator(t translator.Tunnel, now time.Time) *translator.Translator {
	return translator.New(t, translator.DefaultTiming(), now)
}

// learn takes in what a message says of the tunnel.
func (h *handler) learn(c *channel, p *l2tp.Packet, byPeer bool, now time.Time) {
	switch p.Msg.Type {
	case l2tp.TypeICRQ: // another call begins, though none that will come to anything in a dying tunnel
		if !c.translator.Closing() {
			c.closed, c.half = false, false
		}
	case l2tp.TypeStopCCN:
		h.x.recount()
		h.explain(c, p, byPeer, now)
	case l2tp.TypeCDN:
		h.explain(c, p, byPeer, now)
	}
}

// explain tells why a tunnel or call is being closed, once.
func (h *handler) explain(c *channel, p *l2tp.Packet, byPeer bool, now time.Time) {
	r := closeReason(p.Msg, p.Payload(), byPeer, since(c.helloSince, now), since(c.owedSince, now))
	r.Half = !byPeer && p.Msg.Type == l2tp.TypeCDN
	c.dead = c.dead || r.Unanswered
	c.ackStop = c.dead && !byPeer && p.Msg.Type == l2tp.TypeStopCCN
	if now.Sub(c.hangingUp) < hangUpTime || h.others(c.owner) {
		r.Operator = false // of the watched xl2tpd
	}
	if !c.closed || c.half && !r.Half {
		c.closed, c.half, r.Buried = true, r.Half, c.dead
		c.reason = &r
		h.save(c)
		h.ended(c.translator.Tunnel(), r)
	}
}

func (h *handler) save(c *channel) {
	if !c.established {
		return // anybody can make xl2tpd open that many
	}
	if err := h.store.save(c); err != nil {
		h.note(c, time.Now(), slog.LevelError, "hello guard: state can't be kept, a restart will cost the tunnel", err)
	}
}

// past forgets for the next process how tunnels with a peer have ended, once another is
// dialled.
func (h *handler) past(peer netip.Addr) {
	for _, c := range h.x.list {
		if c.reason != nil && c.translator.Tunnel().Peer.Addr() == peer {
			c.reason = nil
			h.save(c)
		}
	}
}

// clock notes since when either end waits for an acknowledgement.
func (c *channel) clock(now time.Time) {
	c.helloSince = begun(c.helloSince, c.translator.Unanswered(), now)
	c.owedSince = begun(c.owedSince, c.translator.Owing(), now)
}

func begun(at time.Time, waiting bool, now time.Time) time.Time {
	switch {
	case !waiting:
		return time.Time{}
	case at.IsZero():
		return now
	}
	return at
}

func since(at, now time.Time) time.Duration {
	if at.IsZero() {
		return 0
	}
	return now.Sub(at)
}

// life is what is known of the channel's tunnel now. The peer's own messages are a sign of
// life whatever is known of links.
func (h *handler) life(c *channel, now time.Time) (life translator.Life, wanted bool) {
	s := h.signs(h.ctx, c.translator.Tunnel(), h.x.stand())
	heard := !c.heard.IsZero() && now.Sub(c.heard) <= s.Window
	return translator.Life{
		Tunnel: s.Wanted && (s.Alive || heard),
		Offer:  s.Offer,
		Daemon: c.owner.ownership == known && !h.hasEnded(c.owner),
	}, s.Wanted
}

// act does what comes before the packet's own fate, in the order that a sudden end can't
// harm: what is kept, what must not pass without the guard, what is sent.
func (h *handler) act(c *channel, v *translator.Verdict, now time.Time) {
	t := c.translator.Tunnel()
	needs := c.needsGuard()
	if v.Save || needs != c.failClosed {
		h.save(c)
	}
	if needs != c.failClosed {
		c.failClosed = needs
		if err := h.fx.failClosed(t, needs); err != nil {
			h.note(c, now, slog.LevelError, "hello guard: rules can't be changed", err)
		}
	}
	for _, i := range v.Inject {
		if err := h.fx.send(i); err != nil {
			h.note(c, now, slog.LevelWarn, "hello guard: packet can't be sent", err)
		}
	}
	c.counts.add(v.Why)
	h.tell(c, v.Why, now)
	h.plan(c)
}

// tell writes to the log what was done. That a tunnel is held, or is no longer, is news;
// each Hello is not.
func (h *handler) tell(c *channel, why error, now time.Time) {
	if why == nil {
		return
	}
	text, level := c.doing, slog.LevelDebug
	switch why {
	case translator.WhySwallowed, translator.WhyAdopted:
		text = "hello guard holds the tunnel"
	case translator.WhyPassed, translator.WhyUncertain:
		text = "hello guard lets Hellos pass"
	case translator.ErrReach, translator.ErrForeign:
		h.log.seldom(h.ctx, now, slog.LevelDebug, "hello guard: packets that can't be the tunnel's",
			func() []any { return append(c.name(), "reason", why.Error()) })
		return
	}
	if text != c.doing {
		c.doing, level = text, slog.LevelInfo
	}
	if h.log.Enabled(h.ctx, level) {
		h.log.Log(h.ctx, level, cmp.Or(text, "hello guard"), append(c.name(), "reason", why.Error())...)
	}
}

// note logs that something about a channel has failed.
func (h *handler) note(c *channel, now time.Time, level slog.Level, text string, err error) {
	h.log.seldom(h.ctx, now, level, text, func() []any { return append(c.name(), "err", err) })
}

func (c *channel) name() []any {
	t := c.translator.Tunnel()
	return []any{"peer", t.Peer.String(), "id", t.LocalID}
}

func (h *handler) listen(t translator.Tunnel, on bool, now time.Time) {
	if err := h.fx.listen(t, on); err != nil {
		h.log.seldom(h.ctx, now, slog.LevelError, "hello guard: rules can't be changed",
			func() []any { return []any{"peer", t.Peer.String(), "id", t.LocalID, "err", err} })
	}
}

func (h *handler) stopListening(t translator.Tunnel) { h.listen(t, false, time.Now()) }

// due does what waited for the time now, and returns when there is more.
func (h *handler) due(now time.Time) (next time.Time, ok bool) {
	for _, c := range h.timers.Take(now) {
		h.catchUp(c, now)
		h.sendStop(c, now)
		h.plan(c)
	}
	next = h.timers.Next()
	return next, !next.IsZero()
}

// plan notes when a channel has something to do again.
func (h *handler) plan(c *channel) {
	at, wants := c.translator.Wake()
	if !wants {
		at = time.Time{}
	}
	if o := c.orphan; o != nil && o.sent < maxStops && (!wants || o.next.Before(at)) {
		at = o.next
	}
	h.timers.Set(c, at)
}

// catchUp does what a channel has to do now. Behind a packet that has told something it
// has to come before the answer to that packet.
func (h *handler) catchUp(c *channel, now time.Time) {
	if c.ackStop {
		c.ackStop = false
		h.act(c, c.translator.Bury(), now)
	}
	if at, wants := c.translator.Wake(); wants && !at.After(now) {
		life, _ := h.life(c, now)
		h.act(c, c.translator.Due(now, life), now)
	}
}

// tidy forgets tunnels that are no more. It is to be called once a minute.
func (h *handler) tidy(now time.Time) {
	h.x.expire(now)
	h.closeOrphans(now)
	for _, c := range h.x.all() {
		c.rounds++
		if h.over(c) {
			h.drop(c)
		}
	}
	h.x.recount()
}

// over reports whether nothing can come of a channel any more. Silence alone says nothing:
// when the clock is set back, xl2tpd's timers rest for as long.
func (h *handler) over(c *channel) bool {
	t := c.translator.Tunnel()
	switch {
	case c.translator.Closing(), !c.established, c.orphan != nil && c.orphan.sent == maxStops:
		return c.rounds > closedRounds
	case c.rounds <= silentRounds, c.orphan != nil, h.x.has(t):
		return false
	case c.inKernel:
		return true
	}
	return !h.signs(h.ctx, t, 0).Linked
}

func (h *handler) drop(c *channel) {
	h.x.remove(c)
	h.forget(c)
}

// forget undoes what was done for a channel that is in the table no more.
func (h *handler) forget(c *channel) {
	h.timers.Set(c, time.Time{})
	t := c.translator.Tunnel()
	if c.failClosed {
		if err := h.fx.failClosed(t, false); err != nil {
			h.note(c, time.Now(), slog.LevelWarn, "hello guard: rules can't be changed", err)
		}
	}
	if c.listening {
		h.stopListening(t)
	}
	if c.written.is() {
		h.store.forget(t)
	}
}
