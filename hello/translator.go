package hello

import (
	"bytes"
	"errors"
	"net/netip"
	"time"
)

const (
	// reach is how far from the expected a sequence number may lie and still
	// be believed. Neither end has a thousand messages under way.
	reach = 1024
	// ahead is how far xl2tpd's Nr may be ahead of what was seen arriving, as
	// it is after a time in which packets went past the translator.
	ahead = 64
	// history is how many of xl2tpd's latest numbers are kept apart in the
	// ledger: far more than can still be retransmitted.
	history = 4096
	// maxLimbo bounds the Hellos on the wire of which nobody knows whether the
	// peer took them: one more each minute, if the translator never lives for
	// long. maxFill bounds the copies of them sent ahead of one packet.
	maxLimbo = reach / 2
	maxFill  = 4
	// maxVouched is how many Hellos in a row xl2tpd may leave unanswered.
	maxVouched = 8
	// maxMissed is how many messages of the peer may have reached xl2tpd unseen.
	maxMissed = 3
	maxInject = maxFill + maxVouched + maxMissed + 1
)

// Tunnel names a tunnel from xl2tpd's side. An id of 0 is not yet known and
// taken from the first packet of that direction.
type Tunnel struct {
	Local   netip.AddrPort `json:"local"`
	Peer    netip.AddrPort `json:"peer"`
	LocalID uint16         `json:"local_id"` // in the header of inbound packets
	PeerID  uint16         `json:"peer_id"`  // in the header of outbound packets
}

// Timing holds the spans of time the translator goes by.
type Timing struct {
	// Answer is how long xl2tpd may take to acknowledge the peer's Hello.
	Answer time.Duration
	// Quiet is the longest time without a transmission of a message that xl2tpd
	// still waits for: 16 s with its default `max retries = 5`. After that much
	// watching, silence means that nothing is unacknowledged.
	Quiet time.Duration
	// Lifetime is how long a packet and its answer may be under way. After it,
	// a peer that does not acknowledge a Hello has not taken it.
	Lifetime time.Duration
	// Offer is how long the peer may take to answer a Hello that xl2tpd may not
	// send again.
	Offer time.Duration
}

// DefaultTiming suits xl2tpd with its default number of retries.
func DefaultTiming() Timing {
	return Timing{Answer: 2 * time.Second, Quiet: 16 * time.Second, Lifetime: 4 * time.Second, Offer: time.Second}
}

// Life is what is known at this moment.
type Life struct {
	Tunnel bool // the peer has lately shown that it is alive
	Daemon bool // xl2tpd is running, and is the one that set the tunnel up
	// Offer: as long as the numbers agree, a Hello is shown to the peer first,
	// and held only when xl2tpd has to send it again. The numbers of a peer that
	// answers then agree for good.
	Offer bool
}

// Action is what to do with the packet judged.
type Action uint8

const (
	Pass    Action = iota // let it through untouched
	Rewrite               // let it through as Verdict.Packet
	Drop                  // it goes no further
)

// Side is where an injected packet goes.
type Side uint8

const (
	ToLocal Side = iota // to xl2tpd, from the peer's address
	ToPeer              // to the peer, from xl2tpd's address
)

// Injection is an IPv4 packet to be sent.
type Injection struct {
	To     Side
	Packet []byte
}

// Verdict says what to do, in this order: if Save is set, store the state;
// send Inject in order; then do Action. All slices are valid until the next
// call.
type Verdict struct {
	Action Action
	Packet []byte // with Rewrite: the packet given, changed in place
	Inject []Injection
	Save   bool
	// Why tells what was done and why, for the log; nil if nothing of note.
	Why error
}

// What Verdict.Why can be, beside the errors of ParsePacket.
var (
	WhySwallowed = errors.New("Hello swallowed and acknowledged in the peer's name")
	WhyHeld      = errors.New("Hello held back: an earlier message is unacknowledged and does its work")
	WhyOffered   = errors.New("Hello passed: the peer may answer it")
	WhyPassed    = errors.New("Hello passed: no fresh sign of life")
	WhyUncertain = errors.New("Hello passed: the peer may have seen it before")
	WhyAdopted   = errors.New("Hello passed and acknowledged in the peer's name")
	WhyReclaimed = errors.New("the peer did not take the Hello: number used again")
	WhyEarly     = errors.New("message held back: xl2tpd sends an earlier one again first")
	WhyTurn      = errors.New("ZLB held back: the peer has not said yet whether it counts a Hello")
	WhyVouched   = errors.New("the peer's Hello acknowledged in xl2tpd's name")

	ErrForeign = errors.New("of another tunnel")
	ErrReach   = errors.New("sequence numbers out of reach: another tunnel's packet, or a forged one")
)

// limbo is a row of Hellos on the wire, next to each other in wire numbers,
// that the peer has not acknowledged.
type limbo struct {
	first, count uint16 // wire numbers
	// adopted: xl2tpd was told, in the peer's name, that they arrived; up to
	// local number cover, exclusive. So copies are ours to send from now on.
	adopted bool
	cover   uint16
	last    time.Time // when the latest copy went out
}

// Translator keeps the two numberings of one tunnel's control channel. It is
// not safe for concurrent use. The zero value is of no use: see New, Restore.
type Translator struct {
	tun    Tunnel
	timing Timing
	since  time.Time // when all packets began to be seen

	// xl2tpd to peer.
	ledger    ledger
	highKnown bool
	high      uint16 // local number behind the last that was seen
	synced    bool   // high is certain: nothing can have gone past us
	sealed    bool   // as restored with a debt: every Hello on the wire is known
	ackKnown  bool
	acked     uint16 // wire number the peer expects next, as it said
	ackSure   bool   // it has said no more than that: nothing went past us since
	limbo     limbo
	realSeen  bool      // while not ackSure: a message that is no Hello was seen
	realWire  uint16    // its wire number; the lowest if there were several
	unsure    bool      // a Hello waits for that, to be acknowledged
	offered   time.Time // and for this: until then it is the peer's turn
	spoke     time.Time // when the peer was heard last
	hears     bool      // the peer is known to take Hellos
	closing   bool      // a StopCCN was seen
	zlbNr     uint16    // what the latest ZLB acknowledged that went out as if no Hello were under way
	zlbAt     time.Time // when the first such went out; zero: none has

	// Peer to xl2tpd.
	expKnown  bool
	confirmed uint16 // number xl2tpd expects next, as it said
	expected  uint16 // the same, counting what has been passed since
	helloTo   uint16 // confirmed … helloTo-1 are Hellos
	vouched   bool
	told      uint16 // highest Nr sent to the peer in xl2tpd's name
	waiting   bool   // a message of the peer waits for its acknowledgement
	waitNs    uint16
	waitUntil time.Time

	out     Verdict
	inject  [maxInject]Injection
	buffers [maxInject][MaxInjectLen]byte
}

// New starts on a tunnel of which no packet has been seen; from now on all are
// shown to it. It learns the numbers from what passes, and swallows nothing
// before it is sure of them.
func New(tun Tunnel, timing Timing, now time.Time) *Translator {
	return &Translator{tun: tun, timing: timing, since: now}
}

// Tunnel returns the addresses and ids, those learnt included.
func (t *Translator) Tunnel() Tunnel { return t.tun }

// Debt is by how much the peer's numbers lie behind xl2tpd's, modulo 65536.
func (t *Translator) Debt() int { return int(t.high - t.ledger.wire(t.high)) }

// Apart reports whether the two ends count differently, or may do so since the
// peer has left a Hello unanswered. As long as they do, no packet of the tunnel
// may go past the translator in either direction: a message would be taken under
// the number of another. A packet lost for want of a translator does no harm,
// both ends send again. This holds from before the first Verdict.Save that shows
// it.
func (t *Translator) Apart() bool { return t.Debt() != 0 || t.limbo.adopted }

// Undecided reports whether a Hello is out to a peer of which it is not known yet
// whether it takes any. As long as the translator only pauses, no packet of the
// tunnel should go past it: xl2tpd's ZLB might carry a number that the peer does
// not expect. If it leaves, they better do.
func (t *Translator) Undecided() bool { return t.limbo.count > 0 && !t.limbo.adopted && !t.hears }

// Unanswered tells whether a Hello of xl2tpd is out that the peer has not
// acknowledged.
func (t *Translator) Unanswered() bool { return t.limbo.count > 0 }

// Owing tells whether a message of the peer is in that nobody has acknowledged.
func (t *Translator) Owing() bool { return t.expKnown && before(t.nrToPeer(), t.expected) }

// Missed says that packets may have gone past the translator: nobody was on
// the queue, or the rules were away.
func (t *Translator) Missed(now time.Time) {
	t.synced, t.sealed, t.ackSure, t.realSeen = false, false, false, false
	t.since, t.limbo.last = now, now
}

func (t *Translator) begin() { t.out = Verdict{Inject: t.inject[:0]} }

func (t *Translator) pass(why error) *Verdict {
	t.out.Action, t.out.Why = Pass, why
	return &t.out
}

// forward lets p through with these numbers.
func (t *Translator) forward(p *Packet, ns, nr uint16) *Verdict {
	if ns == p.Msg.Ns && nr == p.Msg.Nr {
		return &t.out
	}
	p.SetSeq(ns, nr)
	t.out.Action, t.out.Packet = Rewrite, p.raw
	return &t.out
}

// forwardOut lets xl2tpd's p through with the newest Nr.
func (t *Translator) forwardOut(p *Packet, ns uint16) *Verdict {
	nr := t.nrToPeer()
	if t.waiting && before(t.waitNs, nr) {
		t.waiting = false
	}
	return t.forward(p, ns, nr)
}

func (t *Translator) send(to Side, m Message) {
	i := len(t.out.Inject)
	if i == maxInject {
		return
	}
	src, dst := t.tun.Local, t.tun.Peer
	m.Tunnel = t.tun.PeerID
	if to == ToLocal {
		src, dst = dst, src
		m.Tunnel = t.tun.LocalID
	}
	b := AppendPacket(t.buffers[i][:0], src, dst, m)
	t.out.Inject = append(t.out.Inject, Injection{To: to, Packet: b})
}

// wireNext is the wire number of xl2tpd's next message.
func (t *Translator) wireNext() uint16 { return t.ledger.wire(t.high) }

// inLimbo reports whether wire number w is that of an unacknowledged Hello.
func (t *Translator) inLimbo(w uint16) bool { return w-t.limbo.first < t.limbo.count }

// localAck is the Nr for xl2tpd: everything before it was acknowledged by the
// peer, or is a Hello acknowledged in its name. It never goes past a message
// that still has to arrive.
func (t *Translator) localAck() uint16 {
	n := t.ledger.local(t.acked)
	if t.limbo.adopted && t.inLimbo(t.acked) {
		end := t.ledger.local(t.limbo.first + t.limbo.count)
		if before(t.limbo.cover, end) {
			end = t.limbo.cover
		}
		return later(n, end)
	}
	return n
}

// acknowledge sends xl2tpd a ZLB from the peer. xl2tpd takes it only with the
// Ns that it expects; if a message just passed has not reached it, it sends the
// Hello again, and gets another. What it expects may be known from a retransmission
// only, which repeats an old Nr: then the next numbers get a ZLB too.
func (t *Translator) acknowledge() {
	if !t.expKnown || !t.ackKnown {
		return
	}
	last := t.expected
	if !t.synced {
		last += maxMissed
	}
	for ns := t.expected; !before(last, ns); ns++ {
		t.send(ToLocal, Message{Ns: ns, Nr: t.localAck()})
	}
}

// fill sends the peer the Hellos of the limbo again, ahead of a message with a
// later number, if xl2tpd no longer does. A ZLB needs none: it takes no number,
// and each copy puts off the proof that the peer does not take Hellos.
func (t *Translator) fill(now time.Time) {
	l := &t.limbo
	for i := range min(l.count, maxFill) {
		t.send(ToPeer, Message{Type: TypeHello, Ns: l.first + i, Nr: t.nrToPeer()})
	}
	l.last = now
}

// fillStop sends a StopCCN ahead of itself under the numbers of the limbo: a peer
// that took the Hellos sees copies of what it has, and one that did not sees the
// end of the tunnel where it expects the next message.
func (t *Translator) fillStop(pkt []byte) {
	for i := range min(t.limbo.count, maxFill) {
		p, err := ParsePacket(bytes.Clone(pkt))
		if err != nil || len(t.out.Inject) == maxInject {
			return
		}
		p.SetSeq(t.limbo.first+i, t.nrToPeer())
		t.out.Inject = append(t.out.Inject, Injection{To: ToPeer, Packet: p.raw})
	}
}

// nrToPeer never goes behind what the peer was told, by xl2tpd or in its name:
// RFC 2661 §5.8 wants a retransmission to carry the current Nr, xl2tpd repeats
// the old one.
func (t *Translator) nrToPeer() uint16 {
	if t.vouched {
		return later(t.confirmed, t.told)
	}
	return t.confirmed
}

// sureOfAck reports whether it is known what the peer has acknowledged. A while
// after the start, with nothing heard from it, that is all that was not seen
// since, up to the Hello with local number ns.
func (t *Translator) sureOfAck(ns uint16, now time.Time) bool {
	if t.ackSure {
		return true
	}
	if now.Before(t.sureAt()) {
		return false
	}
	all := t.ledger.wire(ns)
	if t.limbo.count > 0 {
		all = t.limbo.first
	}
	if t.realSeen && before(t.realWire, all) {
		all = t.realWire // its acknowledgement would have been seen
	}
	if !t.ackKnown || before(t.acked, all) {
		t.acked = all
	}
	t.ackKnown, t.ackSure, t.out.Save = true, true, true
	return true
}

// sureAt is when what was out before the watch began has been seen again, or is
// acknowledged: xl2tpd has given up on nothing without a StopCCN.
func (t *Translator) sureAt() time.Time { return t.since.Add(t.timing.Quiet) }

// Out judges a packet from xl2tpd on its way to the peer.
func (t *Translator) Out(pkt []byte, now time.Time, life Life) *Verdict {
	t.begin()
	p, err := ParsePacket(pkt)
	if err != nil {
		return t.pass(err)
	}
	m := p.Msg
	if p.Src != t.tun.Local || p.Dst != t.tun.Peer || m.Tunnel == 0 ||
		t.tun.PeerID != 0 && m.Tunnel != t.tun.PeerID {
		return t.pass(ErrForeign)
	}
	newest := ahead
	if !t.synced {
		newest = reach
	}
	if t.highKnown && !near(m.Ns, t.high, reach, reach) ||
		t.expKnown && !near(m.Nr, t.expected, reach, newest) {
		return t.pass(ErrReach)
	}
	t.tun.PeerID = m.Tunnel
	if !t.highKnown {
		t.highKnown, t.high = true, m.Ns
	}
	t.heardNr(m.Nr)
	t.ledger.forget(t.high - history)

	if m.Type == TypeHello && m.Length == HelloLen {
		return t.outHello(&p, now, life)
	}
	w := t.ledger.wire(m.Ns)
	if m.ZLB() {
		// add_control_hdr(): a ZLB carries the number of the next message.
		// Sealed, the messages before it that were not seen are not on the
		// wire: their number is still the next.
		if !before(m.Ns, t.high) {
			if !t.sealed {
				t.high = m.Ns
			}
			t.synced = true
			if t.crossed() {
				t.out.Action, t.out.Why = Drop, WhyTurn
				return &t.out
			}
			w = t.zlbNs(now)
		}
		return t.forwardOut(&p, w)
	}
	stop := m.Type == TypeStopCCN
	if t.sealed && before(t.high, m.Ns) {
		// The messages between were lost while nobody was on the queue.
		if !stop && now.Sub(t.since) < t.timing.Quiet {
			// They come again and one may be a Hello: its number would have
			// to be known by now.
			t.out.Action, t.out.Why = Drop, WhyEarly
			return &t.out
		}
		if stop {
			// call.c call_close() has forgotten them: they never come.
			for ns := t.high; ns != m.Ns; ns++ {
				t.ledger.add(ns)
			}
			w = t.ledger.wire(m.Ns)
		}
	}
	if !before(m.Ns, t.high) {
		t.seen(m.Ns)
		t.out.Save = true
	}
	if t.ackedHere(m.Ns) {
		t.acknowledge() // xl2tpd missed the peer's
	}
	if stop && !t.closing {
		t.closing, t.out.Save = true, true
	}
	if !t.ackSure && (!t.realSeen || before(w, t.realWire)) {
		t.realSeen, t.realWire = true, w
	}
	switch behind := !before(w, t.limbo.first+t.limbo.count); {
	case stop && behind:
		t.fillStop(pkt)
	case t.limbo.adopted && behind:
		t.fill(now)
	}
	return t.forwardOut(&p, w)
}

// crossed reports whether the peer has been heard last when a Hello had just gone
// out to it, of which it is not known whether it takes any: it may have spoken
// before the Hello came. Whichever number a ZLB had now, one kind of peer would
// not take it. The acknowledgement has to wait until the peer asks again.
func (t *Translator) crossed() bool {
	return t.limboNext() && !t.hears && t.spoke.Before(t.offered)
}

// zlbNs is the number of a ZLB that is not older than all seen: the one the peer
// expects. A peer that takes Hellos has the one that has just gone out. A Hello that
// another left unanswered may have changed its count, and then some ignore the ZLB
// and send their message again, not before a second has passed (RFC 2661 §5.8); the
// answer to that goes by the Hello.
func (t *Translator) zlbNs(now time.Time) uint16 {
	if !t.limboNext() || t.acked != t.limbo.first || t.hears && t.spoke.Before(t.offered) {
		return t.wireNext()
	}
	if nr := t.nrToPeer(); t.zlbAt.IsZero() || t.zlbNr != nr {
		t.zlbNr, t.zlbAt = nr, now
	}
	if now.Sub(t.zlbAt) >= time.Second/2 {
		return t.wireNext()
	}
	return t.acked
}

// seen notes a message that is not older than all seen. Behind a gap, or as the
// first of all, it may be a retransmission: later ones may be on the wire too.
func (t *Translator) seen(ns uint16) {
	t.synced = t.synced && ns == t.high
	t.high = ns + 1
}

// heardNr takes in what xl2tpd expects next. Retransmissions repeat an old Nr.
func (t *Translator) heardNr(nr uint16) {
	if !t.expKnown {
		t.expKnown = true
		t.confirmed, t.expected, t.helloTo = nr, nr, nr
	}
	t.confirmed = later(t.confirmed, nr)
	t.expected = later(t.expected, nr)
	t.helloTo = later(t.helloTo, nr)
	if !before(t.confirmed, t.told) {
		t.vouched = false
	}
	t.refill()
}

// refill gives xl2tpd again the Hellos that were acknowledged in its name and
// that it has not acknowledged itself: it must not miss a number.
func (t *Translator) refill() {
	if !t.vouched || !t.ackKnown {
		return
	}
	for ns := t.confirmed; ns != t.told; ns++ {
		t.send(ToLocal, Message{Type: TypeHello, Ns: ns, Nr: t.localAck()})
	}
}

// outHello decides about a Hello of xl2tpd. What was swallowed once stays
// swallowed, and what may be on the wire stays there, whatever life says later.
func (t *Translator) outHello(p *Packet, now time.Time, life Life) *Verdict {
	ns := p.Msg.Ns
	fresh := life.Tunnel && !t.closing
	if t.ledger.has(ns) {
		return t.outSwallowed(p, now, fresh)
	}
	// Whatever was out before the watch began has been seen again by now.
	watched := !now.Before(t.sureAt())
	if t.synced && ns == t.high || (watched || t.sealed) && !before(ns, t.high) {
		t.high, t.synced = ns, true
		return t.outNew(p, now, fresh, life)
	}

	// The first one seen after a gap, or one that went out before: it may be
	// with the peer already.
	if !before(ns, t.high) {
		t.seen(ns)
	}
	w := t.ledger.wire(ns)
	t.out.Why = WhyUncertain
	if t.ackKnown && before(w, t.acked) {
		t.acknowledge()
		return t.forwardOut(p, w)
	}
	first := !t.inLimbo(w)
	t.enterLimbo(w)
	if !t.inLimbo(w) {
		return t.forwardOut(p, w)
	}
	t.limbo.last = now
	if first {
		t.offered = now.Add(t.timing.Offer)
	}
	switch {
	case first && fresh && life.Offer && t.Debt() == 0:
		t.unsure = true // it may have been the last copy, so do not wait for another
		t.out.Why = WhyOffered
	case t.tryAdopt(ns+1, now, fresh):
		t.acknowledge()
		t.out.Why = WhyAdopted
	}
	return t.forwardOut(p, w)
}

// outNew judges a Hello that certainly has not been on the wire.
func (t *Translator) outNew(p *Packet, now time.Time, fresh bool, life Life) *Verdict {
	ns := p.Msg.Ns
	w := t.ledger.wire(ns)
	offer := fresh && life.Offer && t.limbo.count == 0 && t.Debt() == 0
	if !offer && (fresh && t.sureOfAck(ns, now) || t.ackSure && t.acked != w) || t.behindLimbo(w) {
		// Either the tunnel lives; or a message is unacknowledged, and its
		// retransmissions find a dead peer as well as this Hello would.
		t.ledger.add(ns)
		t.high = ns + 1
		t.out.Save = true
		return t.outSwallowed(p, now, fresh)
	}
	t.high = ns + 1
	t.enterLimbo(w)
	t.limbo.last, t.offered = now, now.Add(t.timing.Offer)
	t.unsure = fresh && !offer
	t.out.Why = WhyPassed
	if offer {
		t.out.Why = WhyOffered
	}
	return t.forwardOut(p, w)
}

// outSwallowed judges a Hello that is in the ledger.
func (t *Translator) outSwallowed(p *Packet, now time.Time, fresh bool) *Verdict {
	ns := p.Msg.Ns
	w := t.ledger.wire(ns)
	t.out.Action, t.out.Why = Drop, WhyHeld
	if t.behindLimbo(w) && !t.ackedHere(ns) {
		// One Hello is as good as another: this one goes out as a copy of the
		// last unacknowledged one, until that is acknowledged.
		t.tryAdopt(ns+1, now, fresh)
		t.limbo.last = now
		t.out.Action, t.out.Why = Pass, WhyPassed
		t.forwardOut(p, w-1)
	}
	if t.ackedHere(ns) {
		t.acknowledge()
		t.out.Why = WhySwallowed
	}
	return &t.out
}

// behindLimbo reports whether wire number w is the first behind the limbo.
func (t *Translator) behindLimbo(w uint16) bool {
	return t.limbo.count > 0 && w == t.limbo.first+t.limbo.count
}

// ackedHere reports whether xl2tpd may be told that its message ns arrived.
func (t *Translator) ackedHere(ns uint16) bool { return t.ackKnown && before(ns, t.localAck()) }

// enterLimbo notes that the Hello with wire number w is on the wire: after a
// restart too its number must count as used.
func (t *Translator) enterLimbo(w uint16) {
	t.out.Save = true
	l := &t.limbo
	switch {
	case l.count == 0:
		*l = limbo{first: w, count: 1, last: l.last}
	case w == l.first+l.count && l.count < maxLimbo:
		l.count++
	}
}

// limboNext reports whether the peer expects one of the limbo: all else has then
// arrived.
func (t *Translator) limboNext() bool { return t.ackKnown && t.inLimbo(t.acked) }

// tryAdopt adopts the limbo if the tunnel lives, now or as soon as it is certain
// that nothing before it is unacknowledged.
func (t *Translator) tryAdopt(end uint16, now time.Time, fresh bool) bool {
	t.unsure = fresh && !t.limboNext() && !t.sureOfAck(end-1, now)
	if !fresh || t.unsure {
		return false
	}
	t.adopt(end)
	return true
}

// adopt notes that xl2tpd is told that all before local number end arrived.
func (t *Translator) adopt(end uint16) {
	l := &t.limbo
	if !l.adopted || before(l.cover, end) {
		l.adopted, l.cover = true, end
		t.out.Save = true
	}
}

// In judges a packet from the peer on its way to xl2tpd.
func (t *Translator) In(pkt []byte, now time.Time) *Verdict {
	t.begin()
	p, err := ParsePacket(pkt)
	if err != nil {
		return t.pass(err)
	}
	m := p.Msg
	if p.Src != t.tun.Peer || p.Dst != t.tun.Local || m.Tunnel == 0 ||
		t.tun.LocalID != 0 && m.Tunnel != t.tun.LocalID {
		return t.pass(ErrForeign)
	}
	if t.expKnown && !m.ZLB() && !near(m.Ns, t.expected, reach, reach) {
		return t.pass(ErrReach)
	}
	known := t.acked
	if !t.heardAck(m.Nr, now) {
		// It acknowledges what was never sent. xl2tpd is to see it as the
		// peer meant it, but nothing is learnt from it.
		t.out.Why = ErrReach
		return t.forward(&p, m.Ns, m.Nr+uint16(t.Debt()))
	}
	t.tun.LocalID, t.spoke = m.Tunnel, now
	if m.Type == TypeStopCCN && !t.closing {
		t.closing, t.out.Save = true, true
	}
	if !t.expKnown {
		return t.forward(&p, m.Ns, t.localAck())
	}

	ns := m.Ns
	if m.ZLB() {
		if before(known, t.acked) {
			// Some peers put another number into a ZLB than RFC 2661 §5.8
			// says, and xl2tpd would not look at what it acknowledges.
			ns = t.expected
		}
		return t.forward(&p, ns, t.localAck())
	}
	if !before(ns, t.told) {
		t.refill()
	}
	t.heardNs(&m, now)
	return t.forward(&p, ns, t.localAck())
}

// heardAck takes in what the peer acknowledges and reports whether that can be
// true. Stale acknowledgements are true, and teach nothing.
func (t *Translator) heardAck(r uint16, now time.Time) bool {
	if !t.highKnown {
		t.highKnown, t.high = true, r
	}
	if next := t.wireNext(); before(next, r) {
		if t.synced || !near(r, next, 0, reach) {
			return false
		}
		t.high = t.ledger.local(r) // messages went past us
		t.ledger.forget(t.high - history)
	}
	switch {
	case !t.ackKnown:
		if !near(r, t.wireNext(), reach, 0) {
			return false
		}
		t.ackKnown, t.acked, t.out.Save = true, r, true
	case before(r, t.acked):
		return near(r, t.acked, reach, 0)
	default:
		t.out.Save = t.out.Save || t.acked != r
		t.acked = r
	}
	t.ackSure = true
	t.settle(now)
	return true
}

// settle takes those Hellos out of the limbo of which t.acked, just heard, says
// whether the peer took them.
func (t *Translator) settle(now time.Time) {
	l := &t.limbo
	if l.count == 0 {
		return
	}
	if before(l.first, t.acked) {
		t.hears = true
		gone := min(t.acked-l.first, l.count)
		l.first += gone
		l.count -= gone
		t.out.Save = true
	}
	if l.count == 0 {
		*l = limbo{last: l.last}
		return
	}
	// The peer speaks, and does not expect what follows the Hello though every
	// copy has long arrived or is lost: it did not take it. The number is free
	// again if nothing was sent behind it: a peer may keep what comes early.
	if !l.adopted || t.acked != l.first || !t.synced ||
		t.wireNext() != l.first+1 || now.Sub(l.last) < t.timing.Lifetime {
		return
	}
	t.ledger.add(t.ledger.local(l.first))
	*l = limbo{last: l.last}
	t.out.Save = true
	t.out.Why = WhyReclaimed
}

// heardNs takes in a message of the peer's.
func (t *Translator) heardNs(m *Message, now time.Time) {
	isHello := m.Type == TypeHello
	if m.Ns == t.expected {
		t.expected++
		if isHello && m.Ns == t.helloTo {
			t.helloTo++
		}
	}
	// A message that xl2tpd has acknowledged comes again because that was lost:
	// it can be said again for any type.
	if (isHello || before(m.Ns, t.confirmed)) && before(m.Ns, t.expected) && !t.waiting {
		t.waiting, t.waitNs = true, m.Ns
		t.waitUntil = now.Add(t.timing.Answer)
	}
}

// Wake returns when Due wants to be called, which may be at once, and false if
// it does not. It can change with every packet, and has to be asked after
// Restore too.
func (t *Translator) Wake() (time.Time, bool) {
	if at := t.unsureUntil(); t.unsure && (!t.waiting || at.Before(t.waitUntil)) {
		return at, true
	}
	return t.waitUntil, t.waiting
}

// unsureUntil is when the limbo can be adopted: all before it is certain, and the
// peer has had its turn.
func (t *Translator) unsureUntil() time.Time {
	at := t.since
	if !t.ackSure && !t.limboNext() {
		at = t.sureAt()
	}
	if t.offered.After(at) {
		at = t.offered
	}
	return at
}

// Due does what waited for the time now: see vouch, and outHello for a Hello
// that could not be acknowledged before it was certain what else is not.
func (t *Translator) Due(now time.Time, life Life) *Verdict {
	t.begin()
	t.out.Action = Drop
	if t.unsure && !now.Before(t.unsureUntil()) {
		t.unsure = false
		l := t.limbo
		if end := t.ledger.local(l.first + l.count); l.count > 0 && life.Tunnel && !t.closing &&
			(t.limboNext() || t.sureOfAck(end, now)) {
			t.adopt(end)
			t.acknowledge()
			t.out.Why = WhyAdopted
		}
	}
	if t.waiting && !now.Before(t.waitUntil) {
		t.vouch(now, life)
	}
	return &t.out
}

// vouch acknowledges the peer's Hello if xl2tpd has not done so in time. It
// does so only for a living tunnel of a living xl2tpd, only for Hellos and what
// xl2tpd has acknowledged itself, and only a few in a row.
func (t *Translator) vouch(now time.Time, life Life) {
	t.waitUntil = now.Add(t.timing.Answer)
	nr := later(t.nrToPeer(), t.helloTo)
	if !life.Daemon || !life.Tunnel || t.closing || !t.highKnown || t.crossed() || !before(t.waitNs, nr) ||
		!near(nr, t.confirmed, 0, maxVouched) {
		return
	}
	t.waiting = false
	if before(t.confirmed, nr) {
		t.vouched, t.told = true, nr
		t.out.Save = true
	}
	ns := t.wireNext()
	if t.limboNext() {
		ns = t.acked
	}
	t.send(ToPeer, Message{Ns: ns, Nr: nr})
	t.out.Why = WhyVouched
}
