package translator

import (
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"testing"
	"time"

	"pgregory.net/rapid"

	"xl2tpd-keepalive/internal/l2tp"
)

// The invariants of a tunnel with a translator in between, whatever the network
// loses, doubles, delays and reorders, whatever the evidence says, wherever the
// counting starts (Ns and Nr wrap), and wherever the guard is killed and
// restarted from its last stored state. While it is down packets go past it as
// long as the numbers agree, and are lost when they do not:
//
//  1. Messages that are no Hello arrive in each direction in order, each once,
//     none skipped.
//  2. Neither end ever takes a message for acknowledged that the other has not
//     taken, but for Hellos: xl2tpd's by the peer's name, the peer's by
//     xl2tpd's name while xl2tpd is alive.
//  3. While one translator lives, the Nr that leave it never go backwards, in
//     either direction.
//  4. A peer that dies without evidence of life is found dead no later than
//     xl2tpd would have: one Hello interval and its retransmissions after.
//  5. On a network that loses nothing, with xl2tpd's own Hello interval (shorter
//     ones are there to stress the rest), with few kills or one every 7 s (a
//     guard that is down loses packets), evidence always fresh and xl2tpd alive,
//     neither end ever gives up, whether the peer answers Hellos, drops them,
//     takes them without an answer or puts odd numbers into its ZLBs; and in the
//     end StopCCN arrives and is acknowledged. (But see 10.)
//  6. On such a network that keeps the order, while every packet meets the
//     translator, the peer never sees a number ahead of the one it expects, nor
//     a ZLB with one behind it. (But see 10.)
//  7. A packet with wrong ids, ports or checksum, or with numbers out of reach,
//     leaves the state as it was.
//  8. On such a network, where Hellos are offered, the numbers of a peer that
//     answers them agree with xl2tpd's in the end: it can do without us.
//  9. When xl2tpd has died, and the translator closes the tunnel in its name, the
//     peer takes a StopCCN; when the peer has died, and the translator buries it,
//     xl2tpd is done with the tunnel at once. On a network that loses nothing, and
//     as far as the translator knows the numbers.
//
//  10. The exceptions: a Hello may have gone out before the translator looked, and
//     the peer drops Hellos and has not spoken since. Or the translator began in
//     the middle, the peer has never spoken, and no Timing.Quiet has been free of kills; or it came
//     after the last retransmission of a Hello. Or several transmissions in 31 s
//     met a guard that was down; or one other than a Hello did, and no life of
//     the guard was long enough to work out what became of it.
//
// What the model leaves out, because no one in the middle can mend it: a packet
// that lives longer than Timing.Lifetime, and an xl2tpd that hangs while a
// translator without any state listens.

type millis = int64

// Kinds of peers, by what they do with a Hello.
const (
	answers = iota
	dropsHello
	countsHello
	kinds
)

type course struct {
	seed                uint64
	kind                int
	oddZLB              int  // 0: as RFC 2661 says; 1: Ns 0; 2: one less; 3: one more
	strict              bool // peer ignores a packet whose Ns is not the expected one
	queues              bool // peer keeps messages that came too early
	keepalive           millis
	helloEvery          millis
	wrapSafe            bool
	xStart, pStart      uint16
	loss, dup, late     float64
	lo                  float64 // loss between translator and xl2tpd
	fresh               int     // 0 always, 1 never, 2 changing
	kills               int
	firstUp             millis // the guard first starts then
	length              millis
	messages            int
	hang, crash, unplug millis // 0: never
	forge, offer, storm bool
	asks                int  // times the peer is asked for a sign of life
	mourns              bool // the dead are buried, and what they leave is closed
	cross               bool // the ends send their Hellos at the same moments
	lazy                bool // peer sends an unanswered Hello again only when the next one is due
}

type event struct {
	at  millis
	seq int
	do  func()
}

type endpointMessage struct {
	ns      uint16
	typ     l2tp.MessageType
	serial  uint16
	pkt     []byte
	retries int
}

type world struct {
	h      course
	rnd    *rand.Rand
	now    millis
	events []event
	seq    int
	fault  string

	guard    *Translator
	last     *Translator // guard, also after its death
	snapshot *Translator
	lastNr   [2]struct {
		known bool
		nr    uint16
	}
	bypassed bool      // a packet went past the guard
	lost     [3]millis // the latest packets that met no guard
	losses   int
	wake     time.Time
	planned  bool
	unsure   millis // until then packets of an unknowable time arrive

	// xl2tpd-like end.
	xs, xr   uint16
	cLr      int
	cLrMod   uint16
	xOut     []*endpointMessage
	xClosed  bool
	excused  bool // exception 10
	xWhy     string
	xClosing uint16
	xStopped bool // its StopCCN was acknowledged
	buried   bool // in the name of a dead peer
	closes   bool // the translator has closed the tunnel in the name of a dead xl2tpd
	xTook    []uint16
	xSent    []uint16
	xTookNs  map[uint16]bool
	xInbox   [][]byte

	// Peer end.
	ps, pr   uint16
	pAcked   uint16
	pOut     []*endpointMessage
	pBacklog []*endpointMessage
	pClosed  bool
	pTook    []uint16
	pTookNs  map[uint16]bool
	pSent    []uint16
	pEarly   map[uint16][]byte
	pDead    bool
	pGotStop bool
}

const (
	xID, pID  = 4711, 815
	typeOther = l2tp.MessageType(12)
	maxTries  = 5
)

var (
	hostAddr = netip.MustParseAddrPort("192.0.2.1:1701")
	peerAddr = netip.MustParseAddrPort("198.51.100.7:1701")
	epoch    = time.Unix(1_000_000, 0)
)

func (w *world) fail(format string, a ...any) {
	if w.fault == "" {
		w.fault = fmt.Sprintf("at %.3f s: ", float64(w.now)/1000) + fmt.Sprintf(format, a...)
	}
}

func (w *world) after(d millis, do func()) {
	w.seq++
	e := event{w.now + d, w.seq, do}
	i := len(w.events)
	w.events = append(w.events, e)
	for i > 0 {
		up := (i - 1) / 2
		if !e.less(w.events[up]) {
			break
		}
		w.events[i] = w.events[up]
		i = up
	}
	w.events[i] = e
}

func (e event) less(o event) bool { return e.at < o.at || e.at == o.at && e.seq < o.seq }

func (w *world) next() event {
	top := w.events[0]
	n := len(w.events) - 1
	e := w.events[n]
	w.events = w.events[:n]
	i := 0
	for {
		c := 2*i + 1
		if c >= n {
			break
		}
		if c+1 < n && w.events[c+1].less(w.events[c]) {
			c++
		}
		if !w.events[c].less(e) {
			break
		}
		w.events[i] = w.events[c]
		i = c
	}
	if n > 0 {
		w.events[i] = e
	}
	return top
}

// slack is how late a timer is: of the two ends' Hellos that cross, either is sent again first.
func (w *world) slack() millis { return w.rnd.Int64N(30) }

func (w *world) chance(p float64) bool { return p > 0 && w.rnd.Float64() < p }

func (w *world) time() time.Time { return epoch.Add(time.Duration(w.now) * time.Millisecond) }

func (w *world) xAlive() bool { return w.h.crash == 0 || w.now < w.h.crash }
func (w *world) xHung() bool {
	return w.h.hang != 0 && w.now >= w.h.hang && w.now < w.h.hang+8000
}

func (w *world) life() Life {
	l := Life{Daemon: w.xAlive(), Offer: w.h.offer}
	switch w.h.fresh {
	case 0:
		l.Tunnel = true
	case 2:
		// Changes every 13 s, by a fixed but arbitrary rule.
		l.Tunnel = (w.h.seed>>(uint(w.now/13000)%64))&1 == 1
	}
	if w.h.unplug != 0 && w.now >= w.h.unplug+12000 {
		l.Tunnel = false
	}
	return l
}

// packet builds a message; the session id carries a serial number.
func packet(fromX bool, typ l2tp.MessageType, serial, ns, nr uint16) []byte {
	if fromX {
		return l2tp.AppendPacket(make([]byte, 0, l2tp.MaxInjectLen), hostAddr, peerAddr,
			l2tp.Message{Tunnel: pID, Session: serial, Ns: ns, Nr: nr, Type: typ})
	}
	return l2tp.AppendPacket(make([]byte, 0, l2tp.MaxInjectLen), peerAddr, hostAddr,
		l2tp.Message{Tunnel: xID, Session: serial, Ns: ns, Nr: nr, Type: typ})
}

// travel takes a packet through the network, to then.
func (w *world) travel(pkt []byte, then func([]byte)) {
	if w.h.unplug != 0 && w.now >= w.h.unplug || w.chance(w.h.loss) {
		return
	}
	copies := 1
	if w.chance(w.h.dup) {
		copies = 2
	}
	for range copies {
		d := millis(20)
		if w.h.late > 0 {
			d += w.rnd.Int64N(100)
		}
		if w.chance(w.h.late) {
			d += w.rnd.Int64N(1800)
		}
		b := append([]byte(nil), pkt...)
		w.after(d, func() { then(b) })
	}
}

func (w *world) leaves(to Side, pkt []byte) {
	p, err := l2tp.ParsePacket(pkt)
	if err != nil {
		w.fail("the translator made %x: %v", pkt, err)
		return
	}
	l := &w.lastNr[to]
	if l.known && l2tp.Before(p.Msg.Nr, l.nr) {
		w.fail("Nr %d to side %d after %d", p.Msg.Nr, to, l.nr)
	}
	l.known, l.nr = true, p.Msg.Nr
	b := append([]byte(nil), pkt...)
	if to == ToPeer {
		w.travel(b, w.pReceive)
		return
	}
	if !w.chance(w.h.lo) {
		w.after(1, func() { w.xReceive(b) })
	}
}

func (w *world) obey(v *Verdict, pkt []byte, to Side) {
	if v.Save {
		s := *w.guard
		w.snapshot = &s
	}
	if w.unknowable() {
		w.unsure = w.now + 2000
	}
	for _, i := range v.Inject {
		w.leaves(i.To, i.Packet)
	}
	switch v.Action {
	case Pass:
		w.leaves(to, pkt)
	case Rewrite:
		w.leaves(to, v.Packet)
	}
	w.plan()
}

// plan keeps one timer for Due, always for the time the translator wants.
func (w *world) plan() {
	g := w.guard
	at, ok := g.Wake()
	if !ok || at.Equal(w.wake) && w.planned {
		return
	}
	w.wake, w.planned = at, true
	w.after(max(at.Sub(w.time()).Milliseconds(), 0), func() {
		if w.guard == g && at.Equal(w.wake) && w.planned {
			w.planned = false
			w.obey(g.Due(w.time(), w.life()), nil, ToPeer)
		}
	})
}

func (w *world) xTransmit(pkt []byte) {
	if w.guard == nil {
		w.past(pkt, func() { w.travel(pkt, w.pReceive) })
		return
	}
	if p, _ := l2tp.ParsePacket(pkt); p.Msg.Type == typeOther && w.unknowable() {
		w.excused = true
	}
	b := append([]byte(nil), pkt...)
	w.obey(w.guard.Out(b, w.time(), w.life()), b, ToPeer)
}

func (w *world) pTransmit(pkt []byte) {
	w.travel(pkt, func(b []byte) {
		if w.guard == nil {
			w.past(b, func() { w.after(1, func() { w.xReceive(b) }) })
			return
		}
		w.obey(w.guard.In(b, w.time()), b, ToLocal)
	})
}

// past lets a packet go past a guard that is down, unless the numbers are apart.
func (w *world) past(pkt []byte, do func()) {
	p, _ := l2tp.ParsePacket(pkt)
	for _, m := range w.xOut {
		// So does what tells that one has arrived.
		if m.typ == typeOther && p.Src == peerAddr && l2tp.Before(m.ns, p.Msg.Nr) {
			w.excused = true
		}
	}
	if p.Msg.Type == typeOther {
		w.excused = true
	}
	if w.snapshot == nil || !w.snapshot.Apart() && !w.snapshot.Undecided() {
		do()
	}
	w.lost[w.losses%len(w.lost)] = w.now
	w.losses++
}

// starved: three packets met a guard that was down in the last 31 s, so a
// message may have run out of retransmissions.
func (w *world) starved() bool {
	return w.losses >= len(w.lost) && w.lost[w.losses%len(w.lost)] >= w.now-31000
}

func (w *world) guardUp() {
	if w.snapshot == nil {
		w.guard = New(Tunnel{hostAddr, peerAddr, xID, pID}, DefaultTiming(), w.time())
	} else {
		b, err := json.Marshal(w.snapshot)
		if err != nil {
			w.fail("%v", err)
			return
		}
		g, err := Restore(b, DefaultTiming(), w.time())
		if err != nil {
			w.fail("%v", err)
			return
		}
		w.guard = g
	}
	w.last, w.planned = w.guard, false
	w.plan()
	w.lastNr[0].known, w.lastNr[1].known = false, false
}

// kill takes the guard down at a time, for as long as gone says.
func (w *world) kill(at, gone millis) {
	w.after(at, func() { w.guard = nil })
	w.after(at+gone, func() {
		if w.guard == nil && w.now >= w.h.firstUp {
			w.guardUp()
		}
	})
}

// hungEarly: xl2tpd hung while the translator was listening for what is still
// unacknowledged, so it heard less than Timing.Quiet promises.
func (w *world) hungEarly() bool {
	since := w.last.since.Sub(epoch).Milliseconds()
	return w.h.hang != 0 && w.h.hang < since+DefaultTiming().Quiet.Milliseconds() && since < w.h.hang+8000
}

// The xl2tpd-like end: control.c hello(), add_control_hdr(), check_control(),
// handle_control(), network.c control_xmit().

func (w *world) xSend(typ l2tp.MessageType, serial uint16) {
	m := &endpointMessage{ns: w.xs, typ: typ, serial: serial, pkt: packet(true, typ, serial, w.xs, w.xr)}
	w.xs++
	w.xOut = append(w.xOut, m)
	w.xXmit(m)
}

func (w *world) xXmit(m *endpointMessage) {
	if !w.xAlive() || w.xStopped || w.xClosed && m.typ != l2tp.TypeStopCCN {
		return
	}
	if w.xHung() {
		w.after(w.h.hang+8001-w.now, func() { w.xXmit(m) })
		return
	}
	m.retries++
	done := int(m.ns) < w.cLr
	if w.h.wrapSafe {
		done = l2tp.Before(m.ns, w.cLrMod)
	}
	if done {
		return
	}
	if m.retries > maxTries {
		if !w.xClosed {
			w.xClose("retries exceeded")
		}
		return
	}
	w.after(1000<<(m.retries-1)+w.slack(), func() { w.xXmit(m) })
	w.xTransmit(m.pkt)
}

func (w *world) xClose(why string) {
	w.xClosed, w.xWhy = true, why
	w.excused = w.excused || w.starved() || w.last == nil || !w.last.ackKnown || w.now < w.h.firstUp+DefaultTiming().Quiet.Milliseconds()
	w.xClosing = w.xs
	w.xOut = nil // call.c call_close()
	w.xSend(l2tp.TypeStopCCN, 0)
	if w.h.mourns && w.h.unplug != 0 && w.now >= w.h.unplug && w.guard != nil && w.xAlive() && !w.xHung() {
		v := w.guard.Bury()
		w.buried = v.Why != nil
		w.obey(v, nil, ToLocal)
	}
}

func (w *world) xReceive(pkt []byte) {
	if !w.xAlive() {
		return
	}
	if w.xHung() {
		w.xInbox = append(w.xInbox, pkt)
		return
	}
	p, err := l2tp.ParsePacket(pkt)
	if err != nil {
		w.fail("xl2tpd got %x: %v", pkt, err)
		return
	}
	m := p.Msg
	if m.Tunnel != xID {
		w.fail("xl2tpd got tunnel id %d", m.Tunnel)
	}
	if m.Ns != w.xr {
		d := int(w.xr) - int(m.Ns)
		if !m.ZLB() && (d > 0 && d < 32768 || d < 0 && d > 32768) {
			w.xTransmit(packet(true, l2tp.TypeNone, 0, w.xs, w.xr))
		}
		return
	}
	w.cLr, w.cLrMod = int(m.Nr), m.Nr
	for _, o := range w.xOut {
		if l2tp.Before(o.ns, m.Nr) && o.typ != l2tp.TypeHello && !w.pTookNs[o.serial] &&
			!(o.typ == l2tp.TypeStopCCN && (w.pGotStop || w.buried)) && !w.hungEarly() {
			w.fail("xl2tpd was told that its message %d (type %d) arrived", o.ns, o.typ)
		}
	}
	if l2tp.Before(w.xs, m.Nr) {
		w.fail("xl2tpd was told %d, next is %d", m.Nr, w.xs)
	}
	if w.xClosed && l2tp.Before(w.xClosing, m.Nr) {
		w.xStopped = true
	}
	for len(w.xOut) > 0 && l2tp.Before(w.xOut[0].ns, m.Nr) {
		w.xOut = w.xOut[1:]
	}
	if m.ZLB() {
		return
	}
	w.xr++
	w.xTookNs[m.Ns] = true
	if m.Type != l2tp.TypeHello {
		w.xTook = append(w.xTook, m.Session)
		if n := len(w.xTook); n > len(w.pSent) || w.pSent[n-1] != m.Session {
			w.fail("xl2tpd took message %d as number %d", m.Session, n)
		}
	}
	w.xTransmit(packet(true, l2tp.TypeNone, 0, w.xs, w.xr))
}

// The peer's end.

func (w *world) pSend(typ l2tp.MessageType, serial uint16) {
	w.pBacklog = append(w.pBacklog, &endpointMessage{typ: typ, serial: serial})
	w.pPump()
}

// pPump sends what fits into a receive window of 4 (RFC 2661 §4.4.3).
func (w *world) pPump() {
	for len(w.pBacklog) > 0 && len(w.pOut) < 4 && !w.pClosed {
		m := w.pBacklog[0]
		w.pBacklog = w.pBacklog[1:]
		m.ns = w.ps
		w.ps++
		w.pOut = append(w.pOut, m)
		w.pXmit(m)
	}
}

func (w *world) pXmit(m *endpointMessage) {
	if w.pClosed || l2tp.Before(m.ns, w.pAcked) {
		return
	}
	m.retries++
	if m.retries > maxTries {
		w.pClosed = true
		w.excused = w.excused || w.starved()
		return
	}
	wait := millis(1000<<(m.retries-1)) + w.slack()
	if w.h.lazy && m.typ == l2tp.TypeHello {
		wait = w.h.keepalive
	}
	w.after(wait, func() { w.pXmit(m) })
	w.pTransmit(packet(false, m.typ, m.serial, m.ns, w.pr))
}

func (w *world) pReceive(pkt []byte) {
	if w.pClosed {
		return
	}
	p, err := l2tp.ParsePacket(pkt)
	if err != nil {
		w.fail("the peer got %x: %v", pkt, err)
		return
	}
	m := p.Msg
	if m.Type == l2tp.TypeHello && w.h.kind == dropsHello {
		return
	}
	if l2tp.Before(w.pr, m.Ns) && w.calm() && w.h.late == 0 && w.h.dup == 0 && w.losses == 0 &&
		!w.excused && (m.Type != typeOther || w.now > w.unsure) {
		w.fail("the peer expects %d and saw %d (type %d)", w.pr, m.Ns, m.Type)
	}
	if m.ZLB() && m.Ns != w.pr && w.calm() && w.h.late == 0 && w.h.dup == 0 && w.losses == 0 && !w.excused && w.now > w.unsure {
		w.fail("the peer expects %d and saw a ZLB with %d", w.pr, m.Ns)
	}
	if !w.h.strict || m.Ns == w.pr {
		w.pAck(m.Nr)
	}
	if m.ZLB() {
		return
	}
	switch {
	case m.Ns == w.pr:
		w.pTake(m)
		for {
			early, ok := w.pEarly[w.pr]
			if !ok || w.pGotStop { // what came early is no more with the tunnel
				break
			}
			delete(w.pEarly, w.pr)
			e, _ := l2tp.ParsePacket(early)
			w.pTake(e.Msg)
		}
	case l2tp.Before(w.pr, m.Ns):
		if w.h.queues && m.Ns-w.pr < 4 {
			w.pEarly[m.Ns] = pkt
		}
		return
	}
	if m.Type == l2tp.TypeHello && w.h.kind != answers {
		return
	}
	ns := w.ps
	switch w.h.oddZLB {
	case 1:
		ns = 0
	case 2:
		ns--
	case 3:
		ns++
	}
	w.pTransmit(packet(false, l2tp.TypeNone, 0, ns, w.pr))
}

func (w *world) pTake(m l2tp.Message) {
	w.pr++
	switch m.Type {
	case l2tp.TypeHello:
	case l2tp.TypeStopCCN:
		w.pGotStop = true
	default:
		w.pTook = append(w.pTook, m.Session)
		w.pTookNs[m.Session] = true
		if n := len(w.pTook); n > len(w.xSent) || w.xSent[n-1] != m.Session {
			w.fail("the peer took message %d as number %d", m.Session, n)
		}
	}
}

func (w *world) pAck(nr uint16) {
	if l2tp.Before(w.ps, nr) {
		w.fail("the peer was told %d, next is %d", nr, w.ps)
		return
	}
	for len(w.pOut) > 0 && l2tp.Before(w.pOut[0].ns, nr) {
		m := w.pOut[0]
		if !w.xTookNs[m.ns] {
			if m.typ != l2tp.TypeHello {
				w.fail("the peer was told that its message %d arrived", m.ns)
			}
			if !w.xAlive() && w.now > w.h.crash+2000 && !w.closes {
				w.fail("a dead xl2tpd acknowledged Hello %d", m.ns)
			}
		}
		w.pOut = w.pOut[1:]
		w.pAcked = m.ns + 1
	}
	w.pPump()
}

// calm: nothing is lost and everything is alive, so nobody may give up.
func (w *world) calm() bool {
	h := &w.h
	// xl2tpd keeps nothing that comes early: of late packets, packets that meet a
	// guard that is down, and a Hello every 3 s, any two are too many; and a lazy
	// peer doesn't send them again in time.
	down := h.kills > 0 || h.storm
	if down && h.late > 0 || (h.late > 0 || down) && (h.lazy || h.keepalive == 3000) {
		return false
	}
	return h.kills <= 5 && h.helloEvery == 60000 && h.loss == 0 && h.lo == 0 && h.fresh == 0 && h.hang == 0 && h.crash == 0 && h.unplug == 0
}

// smooth: nothing is lost on the way.
func (w *world) smooth() bool {
	h := &w.h
	return h.loss == 0 && h.lo == 0 && h.kills == 0 && !h.storm && h.hang == 0
}

// unknowable: a Hello that may have been on the wire before the translator saw
// it is unacknowledged, and the peer, which drops Hellos, has not yet said what
// it expects.
func (w *world) unknowable() bool {
	return w.h.kind == dropsHello && w.last != nil && w.last.limbo.count > 0
}

func (w *world) forgery() {
	if w.guard == nil || !w.guard.highKnown || !w.guard.expKnown {
		return
	}
	m := l2tp.Message{Tunnel: xID, Ns: w.xr, Nr: w.pr, Type: l2tp.TypeHello}
	src, dst := peerAddr, hostAddr
	flip := -1
	switch w.rnd.IntN(5) {
	case 0:
		m.Tunnel++
	case 1:
		src = netip.AddrPortFrom(src.Addr(), 1702)
	case 2:
		m.Ns += 2000 + uint16(w.rnd.IntN(60000))
	case 3:
		m.Nr += 30000
	case 4:
		flip = 28 + w.rnd.IntN(l2tp.HelloLen)
	}
	b := l2tp.AppendPacket(nil, src, dst, m)
	if flip >= 0 {
		b[flip] ^= 1 << w.rnd.IntN(8)
	}
	was, _ := json.Marshal(w.guard)
	waiting := w.guard.waiting
	w.guard.In(b, w.time())
	is, _ := json.Marshal(w.guard)
	if string(was) != string(is) || waiting != w.guard.waiting {
		w.fail("a forged packet changed\n%s to\n%s", was, is)
	}
}

func (w *world) run() {
	h := &w.h
	w.rnd = rand.New(rand.NewPCG(h.seed, 1))
	w.xs, w.pr, w.cLrMod, w.cLr = h.xStart, h.xStart, h.xStart, int(h.xStart)
	w.ps, w.xr, w.pAcked = h.pStart, h.pStart, h.pStart
	w.xTookNs, w.pTookNs, w.pEarly = map[uint16]bool{}, map[uint16]bool{}, map[uint16][]byte{}

	w.after(h.firstUp, w.guardUp)
	for range h.kills {
		w.kill(w.rnd.Int64N(h.length), w.rnd.Int64N(3000))
	}
	if h.storm {
		for at := h.firstUp + 7000; at < h.length; at += 7000 {
			w.kill(at, 100+w.rnd.Int64N(900))
		}
	}
	var hello func()
	hello = func() {
		if w.xHung() {
			w.after(w.h.hang+8002-w.now, hello)
			return
		}
		if !w.xClosed && w.xAlive() {
			w.xSend(l2tp.TypeHello, 0)
			w.after(h.helloEvery, hello)
		}
	}
	first := w.rnd.Int64N(h.helloEvery)
	w.after(first, hello)
	if h.keepalive > 0 {
		var alive func()
		alive = func() {
			if !w.pClosed && (h.unplug == 0 || w.now < h.unplug) {
				w.pSend(l2tp.TypeHello, 0)
				w.after(h.keepalive, alive)
			}
		}
		at := w.rnd.Int64N(h.keepalive)
		if h.cross {
			at = max(0, first-25+w.rnd.Int64N(75)) % h.keepalive
		}
		w.after(at, alive)
	}
	for i := range h.messages {
		serial := uint16(i + 1)
		fromX := w.rnd.IntN(2) == 0
		at := w.rnd.Int64N(h.length)
		var send func()
		send = func() {
			switch {
			case fromX && w.xHung():
				w.after(w.h.hang+8003-w.now, send)
			case fromX && !w.xClosed && w.xAlive():
				w.xSent = append(w.xSent, serial)
				w.xSend(typeOther, serial)
			case !fromX && !w.pClosed && !w.xClosed:
				w.pSent = append(w.pSent, serial)
				w.pSend(typeOther, serial)
			}
		}
		w.after(at, send)
	}
	if h.forge {
		for range 5 {
			w.after(w.rnd.Int64N(h.length), w.forgery)
		}
	}
	for range h.asks {
		w.after(w.rnd.Int64N(h.length), func() {
			if w.guard != nil {
				w.obey(w.guard.Ask(w.life()), nil, ToPeer)
			}
		})
	}
	if h.mourns && h.crash != 0 {
		for _, d := range []millis{3000, 4000, 6000, 10000} {
			w.after(h.crash+d, func() {
				if w.guard != nil && !w.pClosed {
					v := w.guard.Close()
					w.closes = w.closes || v.Why != nil
					w.obey(v, nil, ToPeer)
				}
			})
		}
		w.after(h.crash+12000, func() {
			if w.smooth() && w.closes && h.unplug == 0 && !w.pGotStop && !w.pClosed {
				w.fail("closed in the name of a dead xl2tpd, and the peer has seen no StopCCN")
			}
		})
	}
	if h.hang != 0 {
		w.after(h.hang+8000-w.now, func() {
			for _, b := range w.xInbox {
				w.xReceive(b)
			}
			w.xInbox = nil
		})
	}
	w.until(h.length)
	w.check()
}

func (w *world) until(end millis) {
	for w.fault == "" && len(w.events) > 0 && w.events[0].at <= end {
		e := w.next()
		w.now = e.at
		e.do()
	}
	w.now = end
}

// check looks at the end of the history and, if it was a calm one, takes the
// tunnel down.
func (w *world) check() {
	h := &w.h
	if w.fault != "" {
		return
	}
	if h.unplug != 0 && h.crash == 0 && h.hang == 0 && !w.xClosed {
		if limit := h.unplug + 12000 + h.helloEvery + 31000 + 1000; w.now > limit {
			w.fail("the peer died at %d ms and xl2tpd has not noticed", h.unplug)
		}
	}
	if w.smooth() && w.buried && !w.xStopped && w.xAlive() {
		w.fail("the peer is buried, and xl2tpd still holds on to the tunnel")
	}
	if !w.calm() {
		return
	}
	if h.offer && h.kind == answers && w.losses == 0 && w.last.Debt() != 0 {
		w.fail("debt %d with a peer that answers", w.last.Debt())
	}
	if w.excused {
		return
	}
	if w.xClosed || w.pClosed {
		w.fail("gave up: xl2tpd %v (%s), peer %v", w.xClosed, w.xWhy, w.pClosed)
		return
	}
	if w.unknowable() {
		return
	}
	for _, m := range w.xOut {
		if m.typ != l2tp.TypeHello {
			return // call.c call_close() would forget it and leave a gap
		}
	}
	w.xClose("the end")
	w.until(w.now + 40000)
	if w.fault != "" {
		return
	}
	if !w.pGotStop || !w.xStopped {
		w.fail("StopCCN: arrived %v, acknowledged %v", w.pGotStop, w.xStopped)
	}
}

func drawCourse(t *rapid.T) course {
	chance := func(name string, values ...float64) float64 { return rapid.SampledFrom(values).Draw(t, name) }
	h := course{
		kind:       rapid.IntRange(0, kinds-1).Draw(t, "kind"),
		strict:     rapid.Bool().Draw(t, "strict"),
		keepalive:  rapid.SampledFrom([]millis{0, 3000, 10000, 60000}).Draw(t, "keepalive"),
		helloEvery: rapid.SampledFrom([]millis{60000, 60000, 9000}).Draw(t, "helloEvery"),
		wrapSafe:   rapid.Bool().Draw(t, "wrapSafe"),
		loss:       chance("loss", 0, 0, 0.05, 0.2, 0.5),
		dup:        chance("dup", 0, 0.1),
		late:       chance("late", 0, 0.2),
		lo:         chance("lo", 0, 0, 0.1),
		fresh:      rapid.SampledFrom([]int{0, 0, 1, 2}).Draw(t, "fresh"),
		kills:      rapid.SampledFrom([]int{0, 0, 1, 5, 20}).Draw(t, "kills"),
		firstUp:    rapid.SampledFrom([]millis{0, 0, 5000, 61000}).Draw(t, "firstUp"),
		length:     rapid.Int64Range(100_000, 400_000).Draw(t, "length"),
		messages:   rapid.IntRange(0, 8).Draw(t, "messages"),
		forge:      rapid.IntRange(0, 7).Draw(t, "forge") == 0,
		offer:      rapid.Bool().Draw(t, "offer"),
		storm:      rapid.IntRange(0, 5).Draw(t, "storm") == 0,
		cross:      rapid.Bool().Draw(t, "cross"),
		lazy:       rapid.Bool().Draw(t, "lazy"),
		asks:       rapid.SampledFrom([]int{0, 0, 3}).Draw(t, "asks"),
		mourns:     rapid.Bool().Draw(t, "mourns"),
		pStart:     uint16(65536 - rapid.IntRange(-3, 30).Draw(t, "pStart")),
		seed:       rapid.Uint64().Draw(t, "seed"),
	}
	if h.kind == answers {
		h.oddZLB = rapid.SampledFrom([]int{0, 0, 0, 1, 2, 3}).Draw(t, "oddZLB")
		h.queues = rapid.Bool().Draw(t, "queues")
	}
	if h.wrapSafe {
		h.xStart = uint16(65536 - rapid.IntRange(-3, 20).Draw(t, "xStart"))
	} else {
		h.xStart = uint16(rapid.IntRange(3, 30000).Draw(t, "xStart"))
	}
	at := func(name string) millis {
		if rapid.IntRange(0, 9).Draw(t, name) != 0 {
			return 0
		}
		return rapid.Int64Range(1000, h.length).Draw(t, name+" at")
	}
	h.hang, h.crash, h.unplug = at("hang"), at("crash"), at("unplug")
	return h
}

// TestMain plays more histories than rapid's usual 100 checks: some seconds'
// worth, and always the same. -rapid.checks=1000000 plays a million others.
func TestMain(m *testing.M) {
	flag.Parse()
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "rapid.checks" })
	if !given {
		for name, value := range map[string]string{"rapid.checks": "5000", "rapid.seed": "1"} {
			if err := flag.Set(name, value); err != nil {
				panic(err)
			}
		}
	}
	os.Exit(m.Run())
}

func TestHistories(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := world{h: drawCourse(t)}
		w.run()
		if w.fault != "" {
			t.Fatalf("%s\n%+v", w.fault, w.h)
		}
	})
}

// Histories that once failed, and were rare.
func TestRareHistories(t *testing.T) {
	for _, h := range []course{
		// The guard begins right behind a message, and the next time xl2tpd sends it is the last, 16 s later and a little.
		{seed: 27681372, kind: dropsHello, keepalive: 3000, helloEvery: 60_000, xStart: 3, loss: 0.5, late: 0.2, firstUp: 61_000, length: 100_014, messages: 7, cross: true},
		// The peer never speaks. xl2tpd's second Hello meets no guard, StopCCN follows at once.
		{seed: 235311673228, kind: countsHello, helloEvery: 60_000, xStart: 3, kills: 1, length: 100_000, forge: true, offer: true},
		// The first Hello overtakes the first message, and the peer doesn't keep it.
		{seed: 262, kind: answers, helloEvery: 60_000, xStart: 3, late: 0.2, length: 100_000, messages: 1, offer: true},
		// xl2tpd dies when its Hello was acknowledged for it, and the peer, which has missed that, is asked for a sign of life.
		{seed: 77848271, kind: answers, keepalive: 10_000, helloEvery: 60_000, xStart: 3, loss: 0.05, late: 0.2, lo: 0.1, kills: 1, length: 100_000, crash: 23_829, asks: 3, lazy: true},
		// The peer is buried, and a late packet of its last seconds acknowledges less.
		{seed: 123, kind: dropsHello, helloEvery: 60_000, xStart: 3, loss: 0.5, dup: 0.1, late: 0.2, firstUp: 5000, length: 100_000, messages: 5, forge: true, mourns: true, unplug: 52_391},
		// xl2tpd has died with a message lost that others have overtaken; the StopCCN in its name takes its number.
		{seed: 60484, kind: answers, queues: true, keepalive: 3000, helloEvery: 60_000, xStart: 3, loss: 0.2, kills: 20, length: 100_000, messages: 7, crash: 12_391, mourns: true},
	} {
		w := world{h: h}
		w.run()
		if w.fault != "" {
			t.Errorf("%s\n%+v", w.fault, w.h)
		}
	}
}

// An hour with a guard that dies every 7 s and is back after up to a second.
func TestHourOfKills(t *testing.T) {
	for kind := range kinds {
		for seed := range uint64(40) {
			w := world{h: course{
				kind: kind, keepalive: 10_000, helloEvery: 60_000, xStart: 3, pStart: 1, length: 3_600_000,
				storm: true, offer: seed%2 == 0, messages: int(seed % 3), seed: seed,
			}}
			w.run()
			if w.fault != "" {
				t.Errorf("%s\n%+v", w.fault, w.h)
			}
		}
	}
}

// xl2tpd or the peer dies when all is known, with a Hello under way or not.
func TestDeaths(t *testing.T) {
	closed, buried := 0, 0
	for kind := range kinds {
		for seed := range uint64(200) {
			h := course{
				kind: kind, keepalive: 10_000, helloEvery: 60_000, xStart: 3, pStart: 1, length: 300_000,
				fresh: int(seed % 3), offer: seed%2 == 0, messages: int(seed % 4), mourns: true, seed: seed,
			}
			if at := millis(100_000 + 300*seed); seed%5 == 0 {
				h.unplug = at
			} else {
				h.crash = at
			}
			w := world{h: h}
			w.run()
			if w.fault != "" {
				t.Errorf("%s\n%+v", w.fault, w.h)
			}
			if w.closes {
				closed++
			}
			if w.buried {
				buried++
			}
		}
	}
	if closed < 300 || buried < 60 {
		t.Errorf("xl2tpd's death met %d times, the peer's %d times", closed, buried)
	}
}
