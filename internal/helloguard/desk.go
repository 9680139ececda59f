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
)

// desk judges packets. It is not safe for concurrent use.
type desk struct {
	ctx   context.Context
	log   *slog.Logger
	signs func(ctx context.Context, t translator.Tunnel, tunnels int) Signs
	store store
	host  Host
	since time.Time // since when host.Daemon is what it is
	gone  func(daemon string) bool
	x     *exchange
	waits due.Queue[*channel] // for the time

	ended func(t translator.Tunnel, e Ending)
	dials func(peer netip.Addr)

	// How to act, replaced in tests.
	owe  func(t translator.Tunnel, add bool) error
	send func(translator.Injection) error
}

// ours is how long xl2tpd may take to hang up, if we have asked for it.
const ours = 15 * time.Second

// restore takes over the channels that were kept.
func (d *desk) restore(now time.Time) error {
	channels, err := d.store.load(now, func(path string, err error) {
		d.log.Warn("hello guard: state can't be used, the tunnel begins anew", "file", path, "err", err)
		os.Remove(path)
	})
	for _, c := range channels {
		c.owed, c.kept = c.owes(), true
		d.x.add(c)
		d.plan(c)
		if c.ending != nil && c.ended { // whoever was told may be no more
			d.ended(c.translator.Tunnel(), *c.ending)
		}
	}
	return err
}

// owing returns the tunnels whose packets must not go past us.
func (d *desk) owing() []translator.Tunnel { return d.tunnels(func(c *channel) bool { return c.owed }) }

// listening returns the tunnels whose peers' messages have to come to the guard.
func (d *desk) listening() []translator.Tunnel { return d.x.listening() }

// apart returns those of them that can't do without us for good.
func (d *desk) apart() []translator.Tunnel {
	return d.tunnels(func(c *channel) bool { return c.translator.Apart() })
}

func (d *desk) tunnels(like func(*channel) bool) []translator.Tunnel {
	var all []translator.Tunnel
	for _, c := range d.x.all() {
		if like(c) {
			all = append(all, c.translator.Tunnel())
		}
	}
	return all
}

// missed notes that packets may have gone past us.
func (d *desk) missed(now time.Time) {
	for _, c := range d.x.all() {
		c.translator.Missed(now)
		d.plan(c)
	}
}

// direction is where a packet comes from.
type direction uint8

const (
	outbound       direction = iota // from xl2tpd
	inbound                         // to xl2tpd
	inboundSecured                  // the same, through IPsec
)

// judge decides about a packet, which it may change, and does what has to be
// done before the packet goes on. c, if not nil, is to be caught up with after.
func (d *desk) judge(raw []byte, from direction, now time.Time) (action translator.Action, changed []byte, c *channel) {
	p, err := l2tp.ParsePacket(raw)
	if err != nil {
		return translator.Pass, nil, nil
	}
	if from == inboundSecured && p.Msg.Type == l2tp.TypeSCCRP {
		d.distrust(&p, now)
	}
	c, gone := d.x.find(&p, from == outbound, now)
	if gone != nil {
		d.forget(gone)
	}
	if c == nil {
		switch {
		case from != outbound:
		case p.Msg.Type == l2tp.TypeSCCRQ:
			d.dials(p.Dst.Addr())
			d.past(p.Dst.Addr())
		default:
			d.givenUp(&p)
		}
		return translator.Pass, nil, nil
	}
	switch {
	case from == inboundSecured:
		c.secured = true
	case from == inbound && c.secured:
		return translator.Pass, nil, nil // the IPsec policy will drop it: forged
	}
	// Only a Hello is judged by whether the tunnel lives.
	var life translator.Life
	if !c.wanted || from == outbound && p.Msg.Type == l2tp.TypeHello {
		life, c.wanted = d.life(c, now)
	}
	if !c.wanted && !c.translator.Apart() {
		d.drop(c)
		return translator.Pass, nil, nil
	}
	var v *translator.Verdict
	taken := from == outbound || c.translator.Takes(p.Msg.Ns)
	if from == outbound {
		c.seen, c.rounds = now, 0
		if c.daemon == "" {
			c.daemon = d.host.Daemon
		}
		v = c.translator.Out(raw, now, life)
		if errors.Is(v.Why, translator.ErrReach) && !c.translator.Apart() {
			// xl2tpd can't be wrong: what is known is of long ago, or was forged.
			c.translator = translator.New(c.translator.Tunnel(), translator.DefaultTiming(), now)
			v = c.translator.Out(raw, now, life)
		}
	} else {
		v = c.translator.In(raw, now)
	}
	believed := !errors.Is(v.Why, translator.ErrForeign) && !errors.Is(v.Why, translator.ErrReach)
	if from != outbound && believed {
		c.heard, c.dead = now, false
	}
	d.act(c, v)
	c.clock(now)
	if believed && taken {
		d.learn(c, &p, from != outbound, now)
	}
	if c.orphan != nil && from != outbound {
		return translator.Drop, nil, c // the xl2tpd that has come since knows nothing of it
	}
	return v.Action, v.Packet, c
}

// distrust forgets what an SCCRP in the clear has opened, once one for the same tunnel
// comes through IPsec: the policy has dropped the first behind us.
func (d *desk) distrust(p *l2tp.Packet, now time.Time) {
	c := d.x.known(path{p.Dst, p.Src}, p.Msg.Tunnel, false)
	if c == nil || c.secured || c.translator.Apart() {
		return
	}
	d.drop(c)
	d.x.asked[translator.Tunnel{Local: p.Dst, Peer: p.Src, LocalID: p.Msg.Tunnel}] = now
}

// learn takes in what a message says of the tunnel.
func (d *desk) learn(c *channel, p *l2tp.Packet, byPeer bool, now time.Time) {
	switch p.Msg.Type {
	case l2tp.TypeICRQ: // another call begins, though none that will come to anything in a dying tunnel
		if !c.translator.Closing() {
			c.ended, c.half = false, false
		}
	case l2tp.TypeStopCCN:
		d.x.standing = 0
		d.end(c, p, byPeer, now)
	case l2tp.TypeCDN:
		d.end(c, p, byPeer, now)
	}
}

// end explains why a tunnel or call is being closed, once.
func (d *desk) end(c *channel, p *l2tp.Packet, byPeer bool, now time.Time) {
	e := end(p.Msg, p.Payload(), byPeer, since(c.asked, now), since(c.waits, now))
	e.Half = !byPeer && p.Msg.Type == l2tp.TypeCDN
	c.dead = c.dead || e.Unanswered
	c.bury = c.dead && !byPeer && p.Msg.Type == l2tp.TypeStopCCN
	if now.Sub(c.hanging) < ours {
		e.Operator = false
	}
	if !c.ended || c.half && !e.Half {
		c.ended, c.half, e.Buried = true, e.Half, c.dead
		c.ending = &e
		d.save(c)
		d.ended(c.translator.Tunnel(), e)
	}
}

func (d *desk) save(c *channel) {
	if err := d.store.save(c); err != nil {
		d.note(c, slog.LevelError, "hello guard: state can't be kept, a restart will cost the tunnel", "err", err)
	}
}

// past forgets for the next process how tunnels with a peer have ended, once another is
// dialled.
func (d *desk) past(peer netip.Addr) {
	for _, c := range d.x.all() {
		if c.ending != nil && c.translator.Tunnel().Peer.Addr() == peer {
			c.ending = nil
			d.save(c)
		}
	}
}

// clock notes since when either end waits for an acknowledgement.
func (c *channel) clock(now time.Time) {
	c.asked = begun(c.asked, c.translator.Unanswered(), now)
	c.waits = begun(c.waits, c.translator.Owing(), now)
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

// standing is how many tunnels xl2tpd has, as far as we know.
func (d *desk) standing() int {
	if d.x.standing > 0 {
		return d.x.standing
	}
	for _, c := range d.x.all() {
		if !c.translator.Closing() && (c.daemon == "" || c.daemon == d.host.Daemon) {
			d.x.standing++
		}
	}
	return d.x.standing
}

// life is what is known of the channel's tunnel now.
func (d *desk) life(c *channel, now time.Time) (life translator.Life, wanted bool) {
	s := d.signs(d.ctx, c.translator.Tunnel(), d.standing())
	heard := !c.heard.IsZero() && now.Sub(c.heard) <= s.Window
	return translator.Life{
		Tunnel: s.Wanted && (s.Alive || heard),
		Offer:  s.Offer,
		Daemon: c.daemon != "" && c.daemon == d.host.Daemon,
	}, s.Wanted
}

// act does what comes before the packet's own fate, in the order that a sudden
// end can't harm: what is kept, what must not pass without us, what is sent.
func (d *desk) act(c *channel, v *translator.Verdict) {
	t := c.translator.Tunnel()
	if v.Save {
		d.save(c)
	}
	if owes := c.owes(); owes != c.owed {
		c.owed = owes
		if err := d.owe(t, owes); err != nil {
			d.note(c, slog.LevelError, "hello guard: rules can't be changed", "err", err)
		}
	}
	for _, i := range v.Inject {
		if err := d.send(i); err != nil {
			d.note(c, slog.LevelWarn, "hello guard: packet can't be sent", "err", err)
		}
	}
	c.counts.add(v.Why)
	d.tell(c, v.Why)
	d.plan(c)
}

// tell writes to the log what was done. That a tunnel is held, or is no longer,
// is news; each Hello is not.
func (d *desk) tell(c *channel, why error) {
	if why == nil {
		return
	}
	text, level := c.doing, slog.LevelDebug
	switch why {
	case translator.WhySwallowed, translator.WhyAdopted:
		text = "hello guard holds the tunnel"
	case translator.WhyPassed, translator.WhyUncertain:
		text = "hello guard lets Hellos pass"
	}
	if text != c.doing {
		c.doing, level = text, slog.LevelInfo
	}
	d.note(c, level, cmp.Or(text, "hello guard"), "reason", why.Error())
}

func (d *desk) note(c *channel, level slog.Level, text string, args ...any) {
	t := c.translator.Tunnel()
	args = append([]any{"peer", t.Peer.String(), "id", t.LocalID}, args...)
	d.log.Log(d.ctx, level, text, args...)
}

// due does what waited for the time now, and returns when there is more.
func (d *desk) due(now time.Time) (next time.Time, ok bool) {
	for _, c := range d.waits.Take(now) {
		d.catchUp(c, now)
		d.bid(c, now)
		d.plan(c)
	}
	next = d.waits.Next()
	return next, !next.IsZero()
}

// plan notes when a channel wants to be seen to again.
func (d *desk) plan(c *channel) {
	at, wants := c.translator.Wake()
	if !wants {
		at = time.Time{}
	}
	if f := c.orphan; f != nil && f.said < farewells && (!wants || f.next.Before(at)) {
		at = f.next
	}
	d.waits.Set(c, at)
}

// catchUp does the same for one tunnel. Behind a packet that has told something it
// has to come before the answer to that packet.
func (d *desk) catchUp(c *channel, now time.Time) {
	if c.bury {
		c.bury = false
		d.act(c, c.translator.Bury())
	}
	if at, wants := c.translator.Wake(); wants && !at.After(now) {
		life, _ := d.life(c, now)
		d.act(c, c.translator.Due(now, life))
	}
}

// tidy forgets tunnels that are no more.
func (d *desk) tidy(now time.Time) {
	for _, c := range d.x.old(now) {
		d.forget(c)
	}
}

func (d *desk) drop(c *channel) {
	d.x.remove(c)
	d.forget(c)
}

func (d *desk) forget(c *channel) {
	d.waits.Set(c, time.Time{})
	t := c.translator.Tunnel()
	if c.owed {
		if err := d.owe(t, false); err != nil {
			d.note(c, slog.LevelWarn, "hello guard: rules can't be changed", "err", err)
		}
	}
	d.store.forget(t) // there may be none yet
}
