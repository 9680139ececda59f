package translator

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"time"

	"xl2tpd-keepalive/internal/l2tp"
)

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
	first   millis // when it was sent first
}

func (m *endpointMessage) isHello() bool { return m.typ == l2tp.TypeHello }

type world struct {
	h      course
	rnd    *rand.Rand
	forged *rand.Rand
	now    millis
	events []event
	seq    int
	fault  string

	twin     bool // there is no guard
	tracing  bool
	trace    []string
	guard    *Translator
	last     *Translator // guard, also after its death
	snapshot *Translator
	aside    *Translator // the guard, while its table is away
	lastNr   [2]struct {
		known bool
		nr    uint16
	}
	lost    [3]millis // the latest packets that met no guard
	losses  int
	wake    time.Time
	planned bool
	unsure  millis // until then packets of an unknowable time arrive

	// xl2tpd-like end.
	xs, xr   uint16
	cLr      int
	cLrMod   uint16
	xOut     []*endpointMessage
	xClosed  bool
	excused  bool   // exception 10
	anew     millis // when the guard has last begun without the numbers
	tooLate  bool   // exception 10: the guard has begun anew behind a Hello that the peer did not count
	xWhy     string
	pWhy     string
	pAnswers bool // a ZLB of the peer is due
	pWedged  bool
	xClosing uint16
	xStopped bool // its StopCCN was acknowledged
	xGone    bool // its StopCCN was not, and it has forgotten the tunnel
	acked    bool // for a dead peer
	closes   bool // the translator has closed the tunnel for a dead xl2tpd
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
	pGotStop bool
}

const (
	xID, pID  = 4711, 815
	typeOther = l2tp.MessageType(12)
)

var (
	hostAddr = netip.MustParseAddrPort("192.0.2.1:1701")
	peerAddr = netip.MustParseAddrPort("198.51.100.7:1701")
	control  = l2tp.Connection{Local: hostAddr, Peer: peerAddr, LocalID: xID, PeerID: pID}
	epoch    = time.Unix(1_000_000, 0)
)

// note writes a line of the trace, of a packet and what happens to it.
func (w *world) note(what string, pkt []byte) {
	if !w.tracing {
		return
	}
	text := ""
	if p, err := l2tp.ParsePacket(pkt); err == nil {
		text = fmt.Sprintf("type %d, Ns %d, Nr %d", p.Msg.Type, p.Msg.Ns, p.Msg.Nr)
	}
	w.trace = append(w.trace, fmt.Sprintf("%9.3f  %-22s %s", float64(w.now)/1000, what, text))
}

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

// roll draws a number below n for something that happens now. It depends on nothing else, so
// that the same history without the guard meets the same luck.
func (w *world) roll(what rune, n int64) int64 {
	x := w.h.seed ^ uint64(what)<<40 ^ uint64(w.now)
	for range 2 { // splitmix64
		x += 0x9e3779b97f4a7c15
		x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
		x = (x ^ x>>27) * 0x94d049bb133111eb
		x ^= x >> 31
	}
	return int64(x>>1) % n
}

// slack is how late a timer is: of the two ends' Hellos that cross, either is sent again first.
func (w *world) slack(who rune) millis { return w.roll(who, slack) }

// slack is how late a timer is at most.
const slack = 30

func (w *world) chance(what rune, p float64) bool {
	return p > 0 && float64(w.roll(what, 1_000_000)) < p*1_000_000
}

func (w *world) time() time.Time { return epoch.Add(time.Duration(w.now) * time.Millisecond) }

func (w *world) xAlive() bool { return w.h.crash == 0 || w.now < w.h.crash }
func (w *world) xHung() bool {
	return w.h.hang != 0 && w.now >= w.h.hang && w.now < w.h.hang+8000
}

func (w *world) liveness() Liveness {
	h := &w.h
	l := Liveness{Xl2tpd: w.xAlive() && !h.ownerless, PassFirst: h.passFirst, GivesUp: !h.raised() && !h.ownerless && !h.unread, Hurries: h.retries() < 5 && !h.ownerless && !h.unread}
	switch w.h.fresh {
	case 0:
		l.Peer = true
	case 2:
		// Changes every 13 s, by a fixed but arbitrary rule.
		l.Peer = (w.h.seed>>(uint(w.now/13000)%64))&1 == 1
	}
	if w.h.unplug != 0 && w.now >= w.h.unplug+12000 {
		l.Peer = false
	}
	if w.letGo() {
		l.Peer, l.LetGo = false, true
	}
	return l
}

func parsed(b []byte) *l2tp.Packet {
	p, err := l2tp.ParsePacket(b)
	if err != nil {
		panic(err)
	}
	return &p
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

// travel takes a packet through the network, to then. toPeer is its direction.
func (w *world) travel(pkt []byte, toPeer rune, then func([]byte)) {
	cut := w.h.unplug != 0 && w.now >= w.h.unplug || w.h.cut != 0 && w.now >= w.h.cut && w.now < w.h.cut+w.h.cutFor
	if cut || w.chance(toPeer+1, w.h.loss) {
		return
	}
	copies := 1
	if w.chance(toPeer+2, w.h.dup) {
		copies = 2
	}
	for c := range rune(copies) {
		d := 20 + w.h.delay
		if w.h.late > 0 {
			d += w.roll(toPeer+3+c, 100)
		}
		if w.chance(toPeer+5+c, w.h.late) {
			d += w.roll(toPeer+7+c, 1800)
		}
		b := append([]byte(nil), pkt...)
		w.after(d, func() { then(b) })
	}
}

const (
	outward rune = 0x100 * (1 + iota)
	inward
)

func (w *world) leaves(to Side, pkt []byte) {
	p, err := l2tp.ParsePacket(pkt)
	if err != nil {
		w.fail("the translator made %x: %v", pkt, err)
		return
	}
	if to == ToXl2tpd || p.Msg.Type != l2tp.TypeHello { // invariant 3
		l := &w.lastNr[to]
		if l.known && l2tp.Before(p.Msg.Nr, l.nr) {
			w.fail("Nr %d to side %d after %d", p.Msg.Nr, to, l.nr)
		}
		l.known, l.nr = to == ToPeer || !w.guard.out.claimed.known, p.Msg.Nr
	}
	w.note([...]string{"  to xl2tpd", "  to the peer"}[to], pkt)
	b := append([]byte(nil), pkt...)
	if to == ToPeer {
		w.travel(b, outward, w.pReceive)
		return
	}
	if !w.chance('l', w.h.lo) {
		w.after(1, func() { w.xReceive(b) })
	}
}

func (w *world) obey(v *Verdict, pkt []byte, to Side) {
	if v.Save {
		s := *w.guard
		w.snapshot = &s
	}
	if w.unknowable() {
		w.unsure = w.now + 2000 + 2*w.h.delay + w.h.peer.ackDelay
	}
	if v.Reason != Nothing {
		w.note(v.Reason.String(), nil)
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

// plan keeps one timer for HandleTimers, always for the time the translator wants.
func (w *world) plan() {
	g := w.guard
	at, ok := g.NextTimer()
	if !ok || at.Equal(w.wake) && w.planned {
		return
	}
	w.wake, w.planned = at, true
	w.after(max(at.Sub(w.time()).Milliseconds(), 0), func() {
		if w.guard == g && at.Equal(w.wake) && w.planned {
			w.planned = false
			w.obey(g.HandleTimers(w.time(), w.liveness()), nil, ToPeer)
		}
	})
}

func (w *world) xTransmit(pkt []byte) {
	w.note("xl2tpd sends", pkt)
	if w.forgets(); w.guard == nil {
		w.past(pkt, func() { w.travel(pkt, outward, w.pReceive) })
		return
	}
	if p, _ := l2tp.ParsePacket(pkt); p.Msg.Type == typeOther && w.unknowable() {
		w.excused = true
	}
	b := append([]byte(nil), pkt...)
	p := parsed(b)
	var live Liveness
	if p.Msg.Type == l2tp.TypeHello { // nobody asks for that of other packets
		live = w.liveness()
	}
	w.obey(w.guard.Out(p, w.time(), live), b, ToPeer)
}

func (w *world) pTransmit(pkt []byte) {
	w.note("the peer sends", pkt)
	w.travel(pkt, inward, func(b []byte) {
		if w.forgets(); w.guard == nil {
			w.past(b, func() { w.after(1, func() { w.xReceive(b) }) })
			return
		}
		w.obey(w.guard.In(parsed(b), w.time()), b, ToXl2tpd)
	})
}

// wire is under which number the peer got a message of xl2tpd, as far as the guard has kept it.
func (w *world) wire(ns uint16) uint16 {
	if w.snapshot == nil {
		return ns
	}
	return w.snapshot.out.wire(ns)
}

// past lets a packet go past a guard that is down, unless the numbers are apart.
func (w *world) past(pkt []byte, do func()) {
	p, _ := l2tp.ParsePacket(pkt)
	s := w.snapshot
	lost := s != nil && (s.Diverged() || s.Undecided() && w.h.down == killed)
	for _, m := range w.xOut {
		// So does what shows that one has arrived. Some peers show only once that a Hello has.
		if p.Src == peerAddr && l2tp.Before(w.wire(m.ns), p.Msg.Nr) && (m.typ == typeOther || lost && w.peer().noDuplicates) {
			w.excused = true
		}
	}
	if p.Msg.Type == typeOther || lost && p.Src == peerAddr && !p.Msg.ZLB() && w.peer().lazy { // not sent again in time
		w.excused = true
	}
	if !lost {
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

// cutOff: the peer's line has gone within 7 s of a message, so that some copies got nowhere. Each of them may leave late.
func (w *world) cutOff(m *endpointMessage) bool {
	return w.h.unplug != 0 && m.first > w.h.unplug-7000-3*slack
}

// letGo: no Hello is to be held any more.
func (w *world) letGo() bool { return w.h.letGo != 0 && w.now >= w.h.letGo }

// forgets: the guard has nothing to do for the tunnel any more.
func (w *world) forgets() {
	if w.guard != nil && w.letGo() && !w.guard.Diverged() {
		w.guard, w.snapshot = nil, nil
	}
}

// How the guard goes down.
const (
	killed  = iota
	stopped // in order
	flushed // its nftables table is taken away, and put back
)

func (w *world) guardDown() {
	g := w.guard
	switch w.h.down {
	case stopped: // see handler.leave
		if g != nil && g.Undecided() {
			g.Resync(w.time())
			s := *g
			w.snapshot = &s
		}
	case flushed:
		if g == nil || g.Diverged() { // what goes past under another number does harm
			return
		}
		w.aside = g
	}
	w.guard = nil
	w.note("the guard goes down", nil)
}

func (w *world) guardUp() {
	if w.twin {
		return
	}
	w.note("the guard starts", nil)
	switch {
	case w.aside != nil:
		w.guard, w.aside = w.aside, nil
		w.obey(w.guard.Resync(w.time()), nil, ToPeer)
	case w.snapshot == nil:
		w.guard = New(control, w.time())
	default:
		s := w.stored().state()
		if err := s.check(); err != nil {
			w.fail("%v", err)
			return
		}
		w.guard = s.restore(w.time())
		if !w.guard.out.next.known {
			w.anew = w.now
		}
	}
	w.last, w.planned = w.guard, false
	w.plan()
	w.lastNr[0].known, w.lastNr[1].known = false, false
}

// stored is what the guard has kept, see its store.save.
func (w *world) stored() *Translator {
	if s := w.snapshot; !w.h.traits || s.Diverged() || s.Undecided() || s.Closing() {
		return s
	}
	return w.snapshot.Traits()
}

// kill takes the guard down at a time, for as long as gone says.
func (w *world) kill(at, gone millis) {
	w.after(at, w.guardDown)
	w.after(at+gone, func() {
		if w.guard == nil && w.now >= w.h.firstUp && !w.letGo() {
			w.guardUp()
		}
	})
}

// hungEarly: xl2tpd hung while the translator was listening for what is still
// unacknowledged, so it heard less than quiet promises.
func (w *world) hungEarly() bool {
	since := w.last.out.watched.Sub(epoch).Milliseconds()
	return w.h.hang != 0 && w.h.hang < since+quiet.Milliseconds() && since < w.h.hang+8000
}
