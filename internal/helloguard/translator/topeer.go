package translator

import (
	"time"

	"xl2tpd-keepalive/internal/l2tp"
)

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
	watched  time.Time // all packets are seen from then on, those to xl2tpd too
	givesUp  bool      // see Liveness.GivesUp
	hurries  bool      // see Liveness.Hurries
	ackedAll bool      // all that xl2tpd has sent is acknowledged for a dead peer

	hello helloInFlight
	peer  peerTraits
}

// peerTraits are how the peer behaves.
type peerTraits struct {
	heard  bool          // in this tunnel
	counts bool          // it is known to count Hellos
	deaf   bool          // it did not count the latest Hello that it has decided on
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

// advance notes that xl2tpd's next message is the one after ns.
func (o *toPeer) advance(ns uint16, now time.Time) {
	o.exact = ns == o.next.number && o.exact || !o.exact && o.certain(now)
	o.next.number = ns + 1
}

// skip notes that messages before ns may have gone past: they are after the Hello in flight.
func (o *toPeer) skip(ns uint16, r *reply) {
	if o.hello.inFlight() && !o.gapless && ns != o.next.number {
		o.hello.overtaken, r.Save = true, true
	}
}

// certain reports whether all that xl2tpd has on the wire was seen: nothing could go past,
// or the translator has watched for so long that xl2tpd has sent again what did. With a raised `max retries` that may
// take any time. What the peer has acknowledged it does not send again.
func (o *toPeer) certain(now time.Time) bool {
	closed := o.hello.closed
	watched := now.Sub(o.watched) >= quiet || !closed.IsZero() && now.Sub(closed) >= quiet
	return o.exact || o.gapless || watched && o.givesUp && !o.claimed.known
}

// note takes in that xl2tpd has sent ns.
func (o *toPeer) note(ns uint16) {
	o.forget(o.next.number - history)
	if w := o.wire(ns); !o.oldest.known || l2tp.Before(w, o.oldest.number) {
		o.oldest = seq{w, true}
	}
}

// claim notes an acknowledgement beyond all that was seen, and reports whether it can be true.
// Messages may have gone past unseen. Only xl2tpd can show that: a forged number must not be
// believed.
func (o *toPeer) claim(nr uint16, r *reply) bool {
	if o.exact || !l2tp.Near(nr, o.wireNext(), 0, reach) {
		return false
	}
	o.claimed, r.Save = seq{nr, true}, true
	return true
}

// ackedUpTo takes in that the peer has acknowledged more.
func (o *toPeer) ackedUpTo(nr uint16, now time.Time, r *reply) {
	o.acked, r.Save = seq{nr, true}, true
	if nr == o.wireNext() && !o.sent.IsZero() {
		o.peer.rtt = min(max(now.Sub(o.sent), time.Millisecond), roundTrip)
	}
}

// nrToXl2tpd returns the Nr for xl2tpd. It covers what the peer has acknowledged, the Hellos that the
// peer does not get, and a Hello that is acknowledged for the peer. It covers no message that still
// has to arrive. Only for a dead peer it covers everything, also in packets of that peer that come late.
func (o *toPeer) nrToXl2tpd() uint16 {
	if o.ackedAll {
		return o.next.number
	}
	n := o.local(o.acked.number)
	if o.hello.ackedForPeer() && o.acked.number == o.hello.wire {
		return l2tp.Later(n, o.local(o.hello.wire+1))
	}
	return n
}

// ackedForXl2tpd reports whether xl2tpd may get an acknowledgement for its message ns.
func (o *toPeer) ackedForXl2tpd(ns uint16) bool {
	return o.acked.known && l2tp.Before(ns, o.nrToXl2tpd())
}
