package translator

import (
	"errors"
	"net/netip"
	"time"
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
	// still waits for: 16 s with its default `max retries = 5`, and as much as its
	// timer may be late. After that much watching, silence means that nothing is
	// unacknowledged.
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
	return Timing{Answer: 2 * time.Second, Quiet: 16*time.Second + 200*time.Millisecond, Lifetime: 4 * time.Second, Offer: time.Second}
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
	WhyBuried    = errors.New("StopCCN acknowledged in the name of a dead peer")
	WhyClosed    = errors.New("StopCCN sent in the name of an xl2tpd that has died")

	ErrForeign = errors.New("of another tunnel")
	ErrReach   = errors.New("sequence numbers out of reach: another tunnel's packet, or a forged one")
)
