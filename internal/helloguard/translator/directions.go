package translator

import (
	"time"

	"xl2tpd-keepalive/internal/l2tp"
)

// seq is a sequence number that may be unknown.
type seq struct {
	number uint16
	known  bool
}

// is reports whether the number is known to be n.
func (s seq) is(n uint16) bool { return s == seq{n, true} }

// covers reports whether n is known to lie before the number: an acknowledgement with it
// covers message n.
func (s seq) covers(n uint16) bool { return s.known && l2tp.Before(n, s.number) }

// toPeer is what is known of xl2tpd's messages on their way to the peer. They have two numbers:
// xl2tpd's (local), and the one that the peer sees (wire).
type toPeer struct {
	sequenceMap
	next    seq  // local number after the latest message
	exact   bool // next is certain: nothing can have gone past unseen
	gapless bool // as restored when no packet could go past: every Hello on the wire is known

	acked    seq       // wire number that the peer expects, as it said: acked up to there
	claimed  seq       // the same beyond next: to be believed once xl2tpd confirms it
	oldest   seq       // lowest wire number that xl2tpd has sent since
	returned seq       // local number of the Hello whose number was used again last, see takeBack
	waits    bool      // a swallowed Hello waits for a sign of life
	sent     time.Time // when xl2tpd's latest message left first
	elicited time.Time // when the peer was last sent what it has to answer, but for a Hello's copies
	watched  time.Time // all packets are seen from then on

	hello helloInFlight
	peer  peerTraits
}

// peerTraits are how the peer behaves.
type peerTraits struct {
	heard  bool          // in this tunnel
	counts bool          // it is known to count Hellos
	deaf   bool          // it did not count the latest Hello that it has decided on
	dead   bool          // all that xl2tpd has sent is acknowledged for it
	rtt    time.Duration // between xl2tpd's latest message and the peer's answer; 0: unknown
}

// fast reports whether the peer is known to answer soon.
func (p peerTraits) fast() bool { return p.rtt > 0 && p.rtt < fastAnswer }

// offset is the distance between the two numbers of the next message.
func (o *toPeer) offset() uint16 { return o.next.number - o.wireNext() }

// wireNext is the wire number of xl2tpd's next message.
func (o *toPeer) wireNext() uint16 { return o.wire(o.next.number) }

// isNew reports whether ns is not older than all messages seen.
func (o *toPeer) isNew(ns uint16) bool { return !l2tp.Before(ns, o.next.number) }

// note takes in that xl2tpd has sent ns.
func (o *toPeer) note(ns uint16) {
	o.forget(o.next.number - history)
	if w := o.wire(ns); !o.oldest.known || l2tp.Before(w, o.oldest.number) {
		o.oldest = seq{w, true}
	}
}

// toXl2tpd is what is known of the peer's messages on their way to xl2tpd.
type toXl2tpd struct {
	expects  seq       // number that xl2tpd expects, as it said
	expected uint16    // the same, counting what was passed since
	helloTo  uint16    // expects … helloTo-1 are Hellos
	lastNew  time.Time // when the peer's latest new message came
	told     seq       // highest Nr sent to the peer for xl2tpd; known: until xl2tpd has said as much
	unacked  seq       // a message of the peer that waits for its acknowledgement
	ackAt    time.Time // when that is acknowledged for xl2tpd
}

// heardNr takes in what xl2tpd expects next. Retransmissions repeat an old Nr.
func (i *toXl2tpd) heardNr(nr uint16) {
	if !i.expects.known {
		i.expects = seq{nr, true}
		i.expected, i.helloTo = nr, nr
	}
	i.expects.number = l2tp.Later(i.expects.number, nr)
	i.expected = l2tp.Later(i.expected, nr)
	i.helloTo = l2tp.Later(i.helloTo, nr)
	if !l2tp.Before(i.expects.number, i.told.number) {
		i.told.known = false
	}
}

// nrToPeer never goes back before an Nr that was sent to the peer, by xl2tpd or for it. RFC 2661 §5.8
// wants a retransmission to carry the current Nr; xl2tpd repeats the old one.
func (i *toXl2tpd) nrToPeer() uint16 {
	if i.told.known {
		return l2tp.Later(i.expects.number, i.told.number)
	}
	return i.expects.number
}
