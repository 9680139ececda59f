package translator

// Liveness is what is known at this moment.
type Liveness struct {
	Peer   bool // the peer has lately shown that it is alive
	Xl2tpd bool // xl2tpd is running, and is the process that opened the connection
	LetGo  bool // no Hello is to be held any more
	// GivesUp: xl2tpd closes the tunnel 31 s after a message that stays unanswered. With a raised `max retries` it does
	// not, and sends such a message again after ever longer times.
	GivesUp bool
	// Hurries: it does so sooner, for its `max retries` is lower.
	Hurries bool
	// PassFirst: the peer gets every Hello for as long as the two ends count the same. xl2tpd is
	// answered only if the peer leaves all copies of the Hello unanswered.
	PassFirst bool
}

// Action is what to do with the packet that was given.
type Action uint8

const (
	Pass    Action = iota // let it through untouched
	Rewrite               // let it through as Verdict.Packet
	Drop                  // it goes no further
)

// Side is where an injected packet goes.
type Side uint8

const (
	ToXl2tpd Side = iota // from the peer's address
	ToPeer               // from xl2tpd's address
)

// Injection is an IPv4 packet to be sent.
type Injection struct {
	To       Side
	Packet   []byte
	Question bool // the peer's answer is what matters: it shows life, or which number the peer expects
}

// Verdict says what to do, in this order: if Save is set, store the state; send
// Inject in order; then do Action. All slices are valid until the next call.
type Verdict struct {
	Action Action
	Packet []byte // with Rewrite: the packet given, changed in place
	Inject []Injection
	Save   bool
	Reason Reason
}

// Reason says why a Verdict is as it is, for the log and the counters.
type Reason uint8

const (
	Nothing           Reason = iota // nothing of note
	Foreign                         // the packet belongs to another tunnel
	OutOfReach                      // its numbers are impossible: another tunnel's packet, or a forged one
	HelloPassed                     // the peer gets the Hello
	HelloAcked                      // the peer does not get it; xl2tpd is answered
	HelloWaits                      // the peer does not get it; xl2tpd is answered once the peer shows life
	HelloAckedForPeer               // the peer has got it and has not answered; xl2tpd is answered
	HelloNotCounted                 // the peer has said that it did not count the Hello; xl2tpd is answered
	HelloCounted                    // the peer has counted the Hello after all
	MessageWaits                    // held back until the peer says whether it has counted a Hello
	ZLBWaits                        // held back until the peer says whether it has counted a Hello
	MessageEarly                    // held back: xl2tpd will send an earlier message again first
	PeerHelloAcked                  // the peer's Hello is acknowledged for xl2tpd
	StopAcked                       // StopCCN acknowledged for a dead peer
	StopSent                        // StopCCN sent for an xl2tpd that has ended
)

// Holds reports whether a dropped message of xl2tpd is held back from the peer on purpose: xl2tpd gets an answer from the
// guard, or sends the message again.
func (r Reason) Holds() bool { return r >= HelloAcked && r <= MessageEarly }

func (r Reason) String() string {
	return [...]string{
		Nothing:           "nothing of note",
		Foreign:           "packet of another tunnel",
		OutOfReach:        "impossible sequence numbers: a packet of another tunnel, or a forged one",
		HelloPassed:       "Hello passed to the peer",
		HelloAcked:        "Hello acknowledged for the peer, which does not get it",
		HelloWaits:        "Hello held back until the peer shows life",
		HelloAckedForPeer: "Hello acknowledged for the peer, which lives and has not answered it",
		HelloNotCounted:   "Hello acknowledged for the peer, which has said that it did not count it",
		HelloCounted:      "the peer has counted the Hello",
		MessageWaits:      "message held back until the peer says whether it has counted a Hello",
		ZLBWaits:          "ZLB held back until the peer says whether it has counted a Hello",
		MessageEarly:      "message held back: xl2tpd sends an earlier one again first",
		PeerHelloAcked:    "Hello of the peer acknowledged for xl2tpd",
		StopAcked:         "StopCCN acknowledged for a dead peer",
		StopSent:          "StopCCN sent for an xl2tpd that has ended",
	}[r]
}
