package translator

import (
	"time"

	"xl2tpd-keepalive/internal/l2tp"
)

// toXl2tpd is what is known of the peer's messages on their way to xl2tpd.
type toXl2tpd struct {
	expects  seq       // number that xl2tpd expects, as it said
	expected uint16    // the same, counting what was passed since
	restored bool      // from a state that may be older than a message of the peer; until xl2tpd's next ZLB
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

// heardMessage takes in a message of the peer's that is no ZLB.
func (i *toXl2tpd) heardMessage(m l2tp.Message, now time.Time) {
	isHello := m.Type == l2tp.TypeHello
	if m.Ns == i.expected {
		i.lastNew = now
		i.expected++
		if isHello && m.Ns == i.helloTo {
			i.helloTo++
		}
	}
	// A message that xl2tpd has acknowledged comes again because that acknowledgement was
	// lost. It can be repeated for any type.
	if (isHello || l2tp.Before(m.Ns, i.expects.number)) && l2tp.Before(m.Ns, i.expected) && !i.unacked.known {
		i.unacked, i.ackAt = seq{m.Ns, true}, now.Add(answerTime)
	}
}

// nrToPeer returns the Nr for the peer. It is never lower than one that the peer has got before, from xl2tpd or from the
// guard. RFC 2661 §5.8 wants a retransmission to carry the current Nr; xl2tpd repeats the old one.
func (i *toXl2tpd) nrToPeer() uint16 {
	if i.told.known {
		return l2tp.Later(i.expects.number, i.told.number)
	}
	return i.expects.number
}
