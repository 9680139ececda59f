package translator

import (
	"time"

	"xl2tpd-keepalive/internal/l2tp"
)

const (
	// reach is how far from the expected a sequence number may lie and still be
	// believed. Neither end has a thousand messages under way.
	reach = 1024
	// ahead is how far xl2tpd's Nr may be ahead of what was seen arriving. It is ahead
	// after a time in which packets went past the translator.
	ahead = 64
	// history is how many of xl2tpd's latest numbers are kept apart in the sequence map:
	// far more than can still be retransmitted.
	history = 4096
	// maxAckedForXl2tpd is how many Hellos in a row xl2tpd may leave unanswered.
	maxAckedForXl2tpd = 8
	// maxMissed is how many messages of the peer may have reached xl2tpd unseen.
	maxMissed = 3
	// maxStopNumbers bounds the numbers under which one StopCCN is sent.
	maxStopNumbers = 5
	maxInject      = maxStopNumbers + maxAckedForXl2tpd + maxMissed + 2
)

// xl2tpd's timers (network.c, control_xmit).
const (
	// lastCopy is when xl2tpd sends the last copy of a message, after the first one.
	lastCopy = 15 * time.Second
	// lastGap is how long xl2tpd waits after the last copy before it closes the
	// tunnel. It is also the longest gap between two copies.
	lastGap = 16 * time.Second
	// roundTrip is the longest that a peer may take to answer: xl2tpd gives up on a slower one.
	roundTrip = lastCopy + lastGap
	// quiet is lastGap and how late xl2tpd's timer may be. What was not sent again in
	// that time is acknowledged.
	quiet = lastGap + 200*time.Millisecond
)

// Translator keeps the two numberings of one control connection. What concerns one direction alone
// is in toPeer or toXl2tpd. It is not safe for concurrent use. The zero value is of no use: see New,
// Restore.
type Translator struct {
	connection l2tp.Connection
	closing    bool // a StopCCN was seen, of either end
	out        toPeer
	in         toXl2tpd
	reply      reply
}

// New starts on a connection of which no packet was seen; from now on all are shown
// to the translator. It learns the numbers from what passes.
func New(c l2tp.Connection, now time.Time) *Translator {
	return &Translator{connection: c, out: toPeer{watched: now}}
}

// Traits returns a translator that knows no number, and only how the peer behaves. That stays true while no guard runs. So
// its state is what is worth storing while the two ends count the same.
func (t *Translator) Traits() *Translator {
	return &Translator{connection: t.connection, out: toPeer{peer: peerTraits{rtt: t.out.peer.rtt, counts: t.out.peer.counts}}}
}

// Connection returns the addresses and ids, with what packets have shown.
func (t *Translator) Connection() l2tp.Connection { return t.connection }

// Offset is by how much the peer's numbers lie behind xl2tpd's, modulo 65536.
func (t *Translator) Offset() int { return int(t.out.offset()) }

// Diverged reports whether the two ends count differently, or may do so: the peer has left
// a Hello unanswered that is acknowledged for the peer. As long as they do, no packet of
// the tunnel may go past the translator in either direction: a message would be taken under
// the number of another. A packet that is dropped because no translator runs does no harm: both
// ends send it again. Diverged is true as soon as the Verdict is returned, so the caller can stop
// packets from passing before it sends Verdict.Inject.
func (t *Translator) Diverged() bool { return t.out.offset() != 0 || t.out.hello.ackedForPeer() }

// Undecided reports whether the peer has got a Hello, and has not shown yet whether it counts that
// Hello. While the translator only pauses, no packet of the tunnel should go past it: xl2tpd's ZLB
// might carry a number that the peer does not expect. If the translator leaves and does not come
// back, it is better to let the packets pass.
func (t *Translator) Undecided() bool { return t.HelloUnanswered() && !t.out.peer.counts }

// Closing reports whether a StopCCN was seen, of either end.
func (t *Translator) Closing() bool { return t.closing }

// Closed reports whether the peer has acknowledged xl2tpd's StopCCN, or has sent one and all else is
// acknowledged.
func (t *Translator) Closed() bool {
	return t.closing && t.out.next.known && t.out.acked.covers(t.out.wire(t.out.next.number-1))
}

// Slow reports whether the peer is not known to answer soon.
func (t *Translator) Slow() bool { return !t.out.peer.fast() }

// Counts reports whether the peer is known to count Hellos.
func (t *Translator) Counts() bool { return t.out.peer.counts }

// HelloUnanswered reports whether a Hello of xl2tpd is out that nobody has acknowledged.
func (t *Translator) HelloUnanswered() bool { return t.out.hello.state == unanswered }

// PeerUnanswered reports whether a message of the peer is in that nobody has
// acknowledged.
func (t *Translator) PeerUnanswered() bool {
	return t.in.expects.known && l2tp.Before(t.in.nrToPeer(), t.in.expected)
}

// Watch says that only from now on all packets are shown to the translator.
func (t *Translator) Watch(now time.Time) { t.out.watched = now }

// Resync says that packets may have gone past the translator: nobody was on the
// queue, or the rules were away.
//
// A message of the peer that has gone past has an older Nr than the one with which a Hello was acknowledged for the peer.
// xl2tpd believes the latest Nr (control.c, check_control). If it has no copy of the Hello left to send, it would get no
// other acknowledgement, so it gets one now.
func (t *Translator) Resync(now time.Time) *Verdict {
	t.reply.begin(Drop)
	t.out.exact, t.out.gapless = false, false
	t.out.oldest = seq{}
	t.Watch(now)
	if h := &t.out.hello; h.inFlight() {
		h.last, h.before, h.restored = now, now, true
		h.closed = time.Time{}
		h.plan()
		if h.ackedForPeer() && !t.closing && now.Sub(h.latest) < lastGap {
			t.acknowledge()
		}
	}
	return &t.reply.Verdict
}

// beginClosing notes that a StopCCN closes the tunnel.
func (t *Translator) beginClosing() {
	if !t.closing {
		t.closing, t.reply.Save = true, true
	}
}

// send injects a message with the newest Nr.
func (t *Translator) send(to Side, m l2tp.Message) {
	src, dst := t.connection.Local, t.connection.Peer
	m.Tunnel, m.Nr = t.connection.PeerID, t.in.nrToPeer()
	if to == ToXl2tpd {
		src, dst = dst, src
		m.Tunnel, m.Nr = t.connection.LocalID, t.out.nrToXl2tpd()
	}
	t.reply.send(to, src, dst, m)
}
