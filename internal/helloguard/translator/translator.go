package translator

import (
	"time"

	"xl2tpd-keepalive/internal/l2tp"
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
	sealed    bool   // as restored when no packet could go past: every Hello on the wire is known
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
	buried    bool      // all that xl2tpd has sent is acknowledged for a dead peer
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
	buffers [maxInject][l2tp.MaxInjectLen]byte
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

// Closing tells whether a StopCCN was seen, of either end.
func (t *Translator) Closing() bool { return t.closing }

// Unanswered tells whether a Hello of xl2tpd is out that the peer has not
// acknowledged.
func (t *Translator) Unanswered() bool { return t.limbo.count > 0 }

// Owing tells whether a message of the peer is in that nobody has acknowledged.
func (t *Translator) Owing() bool { return t.expKnown && l2tp.Before(t.nrToPeer(), t.expected) }

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
func (t *Translator) wireNext() uint16 { return t.ledger.wire(t.high) }
