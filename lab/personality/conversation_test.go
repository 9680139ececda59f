package main

import (
	"container/heap"
	"encoding/binary"
	"math/rand/v2"
	"time"

	"xl2tpd-keepalive/lab/lns/l2tp"
)

const (
	clientID, clientSession = 1000, 1001
	routerID, routerSession = 2000, 2001
)

var begin = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// script is what the client and the line do.
type script struct {
	length   time.Duration
	delay    time.Duration // of the line, in each direction
	loss     float64       // of the line, in each direction
	reorder  float64       // share of the client's packets that come 1.5 s late
	busy     time.Duration // both ends are so late, a minute after the beginning
	atRouter bool          // where the capture is taken
	pings    time.Duration // 0: only one
	pause    time.Duration // the client is frozen from then on for 20 s; 0: it is not
	freeze   time.Duration // the client is frozen from then on; 0: it is not
	hangUp   time.Duration // 0: never
	odd      time.Duration // the client sends a message that nobody knows; 0: it does not
	seed     uint64
}

// captured is a packet in a capture.
type captured struct {
	at         time.Time
	fromRouter bool
	payload    []byte
}

// happening is something that is due.
type happening struct {
	at   time.Time
	n    int // in the order of their making
	what func()
}

type agenda []happening

func (a agenda) Len() int { return len(a) }
func (a agenda) Less(i, j int) bool {
	if !a[i].at.Equal(a[j].at) {
		return a[i].at.Before(a[j].at)
	}
	return a[i].n < a[j].n
}
func (a agenda) Swap(i, j int) { a[i], a[j] = a[j], a[i] }
func (a *agenda) Push(x any)   { *a = append(*a, x.(happening)) }
func (a *agenda) Pop() any {
	last := (*a)[len(*a)-1]
	*a = (*a)[:len(*a)-1]
	return last
}

// conversation is a client like xl2tpd, a router of lab/lns, and the line between them.
type conversation struct {
	t tester
	script
	router l2tp.Behaviour
	rng    *rand.Rand
	now    time.Time
	agenda agenda
	count  int
	log    []captured

	tunnel *l2tp.Tunnel
	data   uint64

	arrived map[bool]time.Time // from the router, or at it: nothing overtakes

	ns, nr  uint16
	flying  []*flying
	closing bool
	dead    bool // the client is done
}

type flying struct {
	packet l2tp.Packet
	sends  int
}

// otherTraffic ends each capture: it shows until when there was nothing else.
const otherTraffic = "other traffic"

// converse returns what a capture of the conversation has.
func converse(t tester, b l2tp.Behaviour, s script) []captured {
	c := &conversation{arrived: map[bool]time.Time{}, t: t, script: s, router: b, now: begin, rng: rand.New(rand.NewPCG(s.seed, 1))}
	c.in(0, func() {
		c.send(0, avp(l2tp.AVPMessageType, uint16(l2tp.SCCRQ)), avp(l2tp.AVPAssignedTunnel, clientID), avp(l2tp.AVPReceiveWindow, 4))
	})
	if s.hangUp > 0 {
		c.in(s.hangUp, c.stop)
	}
	if s.odd > 0 {
		c.in(s.odd, func() { c.send(0, avp(l2tp.AVPMessageType, 77)) })
	}
	c.run(begin.Add(s.length))
	return append(c.log, captured{at: begin.Add(s.length), payload: []byte(otherTraffic)})
}

// run lets everything happen until the end.
func (c *conversation) run(end time.Time) {
	for {
		if c.tunnel != nil {
			if wake := c.wake(); !wake.IsZero() && (len(c.agenda) == 0 || wake.Before(c.agenda[0].at)) {
				if wake.After(end) {
					return
				}
				if wake.After(c.now) {
					c.now = wake.Add(time.Duration(c.rng.Int64N(int64(time.Millisecond)))) // timers are late
				}
				c.routerDoes(c.tunnel.Tick(c.now))
				continue
			}
		}
		if len(c.agenda) == 0 || c.agenda[0].at.After(end) {
			return
		}
		h := heap.Pop(&c.agenda).(happening)
		if h.at.After(c.now) {
			c.now = h.at
		}
		h.what()
	}
}

// wake is when the router's next timer runs.
func (c *conversation) wake() time.Time {
	wake := c.tunnel.Wake()
	if wake.Sub(begin).Truncate(time.Second) == time.Minute {
		return wake.Add(c.busy)
	}
	return wake
}

func avp(typ, v uint16) l2tp.AVP {
	return l2tp.AVP{Mandatory: true, Type: typ, Value: binary.BigEndian.AppendUint16(nil, v)}
}

func (c *conversation) in(d time.Duration, what func()) {
	c.count++
	heap.Push(&c.agenda, happening{c.now.Add(d), c.count, what})
}

// frozen reports whether the client is. What it was about to do happens after a pause, or never.
func (c *conversation) frozen(what func()) bool {
	const pause = 20 * time.Second
	age := c.now.Sub(begin)
	if left := c.pause + pause - age; c.pause > 0 && age >= c.pause && left > 0 {
		c.in(left, what)
		return true
	}
	return c.freeze > 0 && age >= c.freeze
}

// carry brings a packet over the line, and writes it down where the capture is taken.
func (c *conversation) carry(fromRouter bool, payload []byte, arrive func()) {
	write := func() { c.log = append(c.log, captured{c.now, fromRouter, payload}) }
	lost := c.rng.Float64() < c.loss
	late := !fromRouter && c.rng.Float64() < c.reorder
	delay := c.delay + time.Duration(c.rng.Int64N(int64(time.Millisecond)))
	switch last := c.arrived[fromRouter].Sub(c.now); {
	case late:
		delay += 1500 * time.Millisecond
	default:
		delay = max(delay, last)
		c.arrived[fromRouter] = c.now.Add(delay)
	}
	if fromRouter == c.atRouter {
		write()
	}
	if lost && fromRouter == c.atRouter {
		return
	}
	c.in(delay, func() {
		if fromRouter != c.atRouter && !lost {
			write()
		}
		if !lost {
			arrive()
		}
	})
}

func (c *conversation) toRouter(p l2tp.Packet) {
	payload := p.Marshal()
	c.carry(false, payload, func() {
		if c.tunnel == nil {
			tunnel, out, err := l2tp.Accept(c.now, c.router, routerID, routerSession, p, "")
			if err != nil {
				c.t.Fatal(err)
			}
			c.tunnel = tunnel
			c.routerDoes(out)
			return
		}
		c.routerDoes(c.tunnel.Receive(c.now, p))
		c.routerDoes(c.tunnel.Tick(c.now))
	})
}

func (c *conversation) routerDoes(out []l2tp.Output) {
	for _, o := range out {
		if send, ok := o.(l2tp.Send); ok {
			p, err := l2tp.Parse(send.Packet)
			if err != nil {
				c.t.Fatal(err)
			}
			c.carry(true, send.Packet, func() { c.receive(p) })
		}
	}
}

// send is a new message of the client's. It is sent again after 1, 2, 4, 8 and 16 s, like xl2tpd's.
func (c *conversation) send(session uint16, avps ...l2tp.AVP) {
	f := &flying{packet: l2tp.Packet{Tunnel: routerID, Session: session, Ns: c.ns, AVPs: avps}}
	if f.packet.Type() == l2tp.SCCRQ {
		f.packet.Tunnel = 0
	}
	c.ns++
	c.flying = append(c.flying, f)
	c.transmit(f)
}

func (c *conversation) transmit(f *flying) {
	if c.dead || f.packet.Ns+1 <= c.ns-uint16(len(c.flying)) || c.frozen(func() { c.transmit(f) }) {
		return
	}
	if f.sends == 5 {
		if f.packet.Type() == l2tp.StopCCN {
			c.dead = true
			return
		}
		c.stop()
		return
	}
	f.sends++
	f.packet.Nr = c.nr
	c.toRouter(f.packet)
	c.in(time.Second<<(f.sends-1), func() { c.transmit(f) })
}

func (c *conversation) stop() {
	if !c.closing {
		c.closing = true
		c.send(0, avp(l2tp.AVPMessageType, uint16(l2tp.StopCCN)), avp(l2tp.AVPAssignedTunnel, clientID))
		c.in(3050*time.Millisecond, c.endPPP)
	}
}

// endPPP is the end of the router's PPP, which the client's pppd asks for and waits 3 s for. A router that has not taken the
// StopCCN ends the call then.
func (c *conversation) endPPP() {
	c.routerDoes(c.tunnel.SessionEnded(c.now, routerSession, l2tp.ReasonPPPExit, ""))
}

func (c *conversation) receive(p l2tp.Packet) {
	if c.dead || c.frozen(func() { c.receive(p) }) {
		return
	}
	if p.Ns != c.nr {
		if !p.ZLB() {
			c.zlb()
		}
		return
	}
	for len(c.flying) > 0 && int16(p.Nr-c.flying[0].packet.Ns) > 0 {
		c.dead = c.dead || c.flying[0].packet.Type() == l2tp.StopCCN
		c.flying = c.flying[1:]
	}
	if p.ZLB() {
		return
	}
	c.nr++
	switch p.Type() {
	case l2tp.SCCRP:
		c.send(0, avp(l2tp.AVPMessageType, uint16(l2tp.SCCCN)))
		c.send(0, avp(l2tp.AVPMessageType, uint16(l2tp.ICRQ)), avp(l2tp.AVPAssignedSession, clientSession))
		c.in(60*time.Second+c.busy, c.hello)
	case l2tp.ICRP:
		c.send(routerSession, avp(l2tp.AVPMessageType, uint16(l2tp.ICCN)))
		c.in(time.Second, c.ping)
	case l2tp.StopCCN:
		c.zlb()
		c.dead = true
	default:
		c.zlb()
	}
}

func (c *conversation) zlb() { c.toRouter(l2tp.Packet{Tunnel: routerID, Ns: c.ns, Nr: c.nr}) }

func (c *conversation) hello() {
	if !c.closing && !c.dead && !c.frozen(c.hello) {
		c.send(0, avp(l2tp.AVPMessageType, uint16(l2tp.Hello)))
		c.in(60*time.Second, c.hello)
	}
}

// ping is an echo request and its reply. The kernel carries it although xl2tpd is frozen. The first one stands for what
// PPP negotiates.
func (c *conversation) ping() {
	if c.dead || c.closing {
		return
	}
	if c.pings > 0 {
		c.in(c.pings, c.ping)
	}
	request := []byte{0, 2, routerID >> 8, routerID & 0xff, routerSession >> 8, routerSession & 0xff, 0xff, 3, 0, 0x21}
	c.carry(false, request, func() {
		c.data++
		c.tunnel.Data(c.now, c.data)
		reply := []byte{0, 2, clientID >> 8, clientID & 0xff, clientSession >> 8, clientSession & 0xff, 0xff, 3, 0, 0x21}
		c.carry(true, reply, func() {})
	})
}

// tester is a test, or a check of a property.
type tester interface {
	Helper()
	Fatal(args ...any)
	Fatalf(format string, args ...any)
	Errorf(format string, args ...any)
}
