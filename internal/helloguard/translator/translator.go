package translator

import (
	"time"

	"xl2tpd-keepalive/internal/l2tp"
)

const (
	// reach is how far from the expected a sequence number may lie and still be
	// believed. Neither end has a thousand messages under way.
	reach = 1024
	// ahead is how far xl2tpd's Nr may be ahead of what was seen arriving, as it is
	// after a time in which packets went past the translator.
	ahead = 64
	// history is how many of xl2tpd's latest numbers are kept apart in the sequence map:
	// far more than can still be retransmitted.
	history = 4096
	// maxVouched is how many Hellos in a row xl2tpd may leave unanswered.
	maxVouched = 8
	// maxMissed is how many messages of the peer may have reached xl2tpd unseen.
	maxMissed = 3
	// maxStopNumbers bounds the numbers under which one StopCCN is sent.
	maxStopNumbers = 5
	maxInject      = maxStopNumbers + maxVouched + maxMissed + 2
)

// xl2tpd's timers (network.c, control_xmit).
const (
	// lastCopy is when xl2tpd sends the last copy of a message, after the first one.
	lastCopy = 15 * time.Second
	// lastGap is how long xl2tpd waits behind the last copy before it closes the
	// tunnel. It is also the longest gap between two copies.
	lastGap = 16 * time.Second
	// roundTrip is the longest that a peer may take to answer: a slower one is one that
	// xl2tpd gives up on.
	roundTrip = lastCopy + lastGap
	// quiet is lastGap and how late xl2tpd's timer may be. What was not sent again in
	// that time is acknowledged.
	quiet = lastGap + 200*time.Millisecond
)

// seq is a sequence number, if it is known.
type seq struct {
	n     uint16
	known bool
}

// Translator keeps the two numberings of one control connection. It is not safe for
// concurrent use. The zero value is of no use: see New, Restore.
type Translator struct {
	tun   Tunnel
	since time.Time // all packets are seen from then on
	heard bool      // the peer was heard in this tunnel

	// xl2tpd to peer. Local numbers are xl2tpd's, wire numbers the peer's.
	seqs     sequenceMap
	next     seq  // local number behind the latest message
	exact    bool // next is certain: nothing can have gone past unseen
	gapless  bool // as restored when no packet could go past: every Hello on the wire is known
	acked    seq  // wire number that the peer expects, as it said
	claimed  seq  // the same beyond next: to be believed once xl2tpd confirms it
	oldest   seq  // lowest wire number that xl2tpd has sent since
	hello    pendingHello
	returned seq           // local number of the Hello whose number was used again last, see takeBack
	elicited time.Time     // when the peer was last sent what it has to answer, but for hello's copies
	sent     time.Time     // when xl2tpd's latest message left first
	rtt      time.Duration // between xl2tpd's latest message and the peer's answer; 0: not known
	deaf     bool          // the peer did not count the latest Hello that it has decided on
	counts   bool          // the peer is known to count Hellos
	owed     bool          // a swallowed Hello waits for a sign of life
	closing  bool          // a StopCCN was seen
	deadPeer bool          // all that xl2tpd has sent is acknowledged for a dead peer

	// Peer to xl2tpd.
	expects   seq       // number that xl2tpd expects, as it said
	expected  uint16    // the same, counting what was passed since
	lastNew   time.Time // when the peer's latest new message came
	helloTo   uint16    // expects … helloTo-1 are Hellos
	vouched   bool
	told      uint16 // highest Nr sent to the peer for xl2tpd
	waiting   bool   // a message of the peer waits for its acknowledgement
	waitNs    uint16
	waitUntil time.Time

	out     Verdict
	inject  [maxInject]Injection
	buffers [maxInject][l2tp.MaxInjectLen]byte
}

// New starts on a connection of which no packet was seen; from now on all are shown
// to it. It learns the numbers from what passes.
func New(tun Tunnel, now time.Time) *Translator {
	return &Translator{tun: tun, since: now}
}

// Traits returns a translator that knows no number and what stays true without the guard:
// how the peer behaves. Its state is what is worth storing while the two ends count alike.
func (t *Translator) Traits() *Translator {
	return &Translator{tun: t.tun, rtt: t.rtt, counts: t.counts}
}

// Tunnel returns the addresses and ids, those learnt included.
func (t *Translator) Tunnel() Tunnel { return t.tun }

// Offset is by how much the peer's numbers lie behind xl2tpd's, modulo 65536.
func (t *Translator) Offset() int { return int(t.next.n - t.seqs.wire(t.next.n)) }

// Diverged reports whether the two ends count differently, or may do so since the
// peer has left a Hello unanswered that xl2tpd was told it had taken. As long as they
// do, no packet of the tunnel may go past the translator in either direction: a
// message would be taken under the number of another. A packet that is lost for want
// of a translator does no harm, both ends send again. This holds from before the
// first Verdict.Save that shows it.
func (t *Translator) Diverged() bool { return t.Offset() != 0 || t.hello.adopted }

// Undecided reports whether the peer has a Hello of which it has not said whether it
// counts it. As long as the translator only pauses, no packet of the tunnel should go
// past it: xl2tpd's ZLB might carry a number that the peer does not expect. If it
// leaves, they better do.
func (t *Translator) Undecided() bool { return t.hello.set && !t.hello.adopted && !t.counts }

// Closing reports whether a StopCCN was seen, of either end.
func (t *Translator) Closing() bool { return t.closing }

// Closed reports whether the peer has acknowledged xl2tpd's StopCCN, or has sent one and all else is
// acknowledged.
func (t *Translator) Closed() bool {
	return t.closing && t.next.known && t.acked.known && l2tp.Before(t.seqs.wire(t.next.n-1), t.acked.n)
}

// fast reports whether the peer is known to answer soon.
func (t *Translator) fast() bool { return t.rtt > 0 && t.rtt < fastAnswer }

// Slow reports whether the peer is not known to answer soon.
func (t *Translator) Slow() bool { return !t.fast() }

// Counts reports whether the peer is known to count Hellos.
func (t *Translator) Counts() bool { return t.counts }

// HelloUnanswered reports whether a Hello of xl2tpd is out that nobody has acknowledged.
func (t *Translator) HelloUnanswered() bool { return t.hello.set && !t.hello.adopted }

// PeerUnanswered reports whether a message of the peer is in that nobody has
// acknowledged.
func (t *Translator) PeerUnanswered() bool {
	return t.expects.known && l2tp.Before(t.nrToPeer(), t.expected)
}

// Resync says that packets may have gone past the translator: nobody was on the
// queue, or the rules were away.
func (t *Translator) Resync(now time.Time) {
	t.exact, t.gapless = false, false
	t.oldest = seq{}
	t.since = now
	if t.hello.set {
		t.hello.last, t.hello.before, t.hello.restored = now, now, true
		t.hello.closed = time.Time{}
		t.hello.plan()
	}
}

func (t *Translator) begin(action Action) { t.out = Verdict{Action: action, Inject: t.inject[:0]} }

func (t *Translator) pass(why Reason) *Verdict {
	t.out.Action, t.out.Reason = Pass, why
	return &t.out
}

func (t *Translator) drop(why Reason) *Verdict {
	t.out.Action, t.out.Reason = Drop, why
	return &t.out
}

// forward lets p through with these numbers.
func (t *Translator) forward(p *l2tp.Packet, ns, nr uint16) *Verdict {
	if ns == p.Msg.Ns && nr == p.Msg.Nr {
		return &t.out
	}
	p.SetSeq(ns, nr)
	t.out.Action, t.out.Packet = Rewrite, p.Raw()
	return &t.out
}

func (t *Translator) send(to Side, m l2tp.Message) {
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
	b := l2tp.AppendPacket(t.buffers[i][:0], src, dst, m)
	t.out.Inject = append(t.out.Inject, Injection{To: to, Packet: b})
}

// wireNext is the wire number of xl2tpd's next message.
func (t *Translator) wireNext() uint16 { return t.seqs.wire(t.next.n) }
