package policy

import "time"

const (
	// ReasonTTL is how long after the reason of its end a link may go away: xl2tpd repeats a StopCCN for 31 s before it
	// ends the pppd.
	ReasonTTL = 40 * time.Second
	// ReasonDelay is how long after a tunnel's end its reason may become known.
	ReasonDelay = 2 * time.Second
	// TimerDelay is how late a redial of xl2tpd's may be.
	TimerDelay = time.Second
	// Grace is how long to wait before the first step: charon may already be retrying, and the close reason may arrive
	// late.
	Grace = ReasonDelay + time.Second
	// connectTime is Grace while charon is negotiating. Initiating the same CHILD SA then would make a second pair of
	// SAs.
	connectTime = 10 * time.Second
	// attemptLasts is after how long xl2tpd gives up an attempt that nobody answers: SCCRQ and its retransmissions
	// (network.c, control_xmit).
	attemptLasts = 31 * time.Second
	// AttemptTime is how long such an attempt takes at most. A second request in that time does nothing.
	AttemptTime = attemptLasts + 4*time.Second
	// deadAfter is the silence after which a tunnel counts as dead without proof. It is longer than the time between
	// two Hellos, which a living peer answers.
	deadAfter = 65 * time.Second
	// stuckAfter is the silence after which xl2tpd should have closed the tunnel: evidence stays fresh for a while,
	// then a Hello passes and goes unanswered.
	stuckAfter = 150 * time.Second
	// stableAfter is how long a tunnel must be up to count as recovered.
	stableAfter = time.Minute
	// noConnectionTime is for how long an answer of charon's that it has no connection for the LNS is enough to dial in the
	// clear. charon may have been asked before it had loaded its connections.
	noConnectionTime = 30 * time.Second
	// HelpTime is how long after a new SA a tunnel may take to show that it lives again.
	HelpTime = 10 * time.Second
	// routeLook and lnsLook are how often, in the pauses between steps, recovery looks for a route and for the LNS.
	routeLook = 2 * time.Second
	lnsLook   = 5 * time.Second
	// aliveLook is how long to wait after the peer of a silent link was found alive. After other answers it is lnsLook.
	aliveLook = 10 * time.Second
	// aliveTime is how long such an answer counts. It leaves the next question time to be answered.
	aliveTime = aliveLook + 5*time.Second
	// deadTime is how long it counts that the peer of a silent link has left a question unanswered. The peer may answer
	// again by then, although the target of the echo requests does not.
	deadTime = 15 * time.Second
)
