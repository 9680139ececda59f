package policy

import "time"

// Goal is how much recovery may do for a LAC.
type Goal int

const (
	GoalNone   Goal = iota // nothing
	GoalRedial             // dial and hang up
	GoalFull               // dial and hang up, and initiate and renew IPsec SAs
)

// Situation is what recovery knows about a LAC at one time.
type Situation struct {
	Goal         Goal
	Daemon       bool          // xl2tpd is running
	Up           bool          // there is a link with addresses
	Quiet        time.Duration // for how long a silent link has not answered; 0: it is not silent
	HasSA        bool          // an SA with the LNS carries the LAC's packets
	Connecting   bool          // charon is negotiating with the LNS
	WithoutSA    bool          // the link is up, and its tunnel has lost the SA that it had
	Moved        bool          // with WithoutSA: there is an SA with another address of the LNS
	Stuck        bool          // there is a call that has had no addresses for longer than PPP may take
	CallingUntil time.Time     // until then a link may come of a call that may be this LAC's; zero: there is no call
	HangUpCut    bool          // nobody knows whether recovery has hung up, or whether xl2tpd redials
	NoCall       bool          // the tunnel has no call, and the time for xl2tpd to make one is over
	DialIgnored  bool          // NoCall is true because xl2tpd has ignored the latest dial
	// RedialsFor is how long xl2tpd continues to redial by itself, from the start of the trouble; 0: it does not redial.
	// RedialPause is the pause before each redial. If recovery made xl2tpd dial in that time, xl2tpd would call twice
	// (xl2tpd.c, control_handle_lac_connect).
	RedialsFor, RedialPause time.Duration
	EndedSilent             bool      // the last tunnel ended because the peer was silent
	EndedAt                 time.Time // when the last tunnel ended, if it may have been hung up; zero: not known
	ClosingUntil            time.Time // until then xl2tpd may still be closing the last tunnel
	Trying                  bool      // xl2tpd may be dialling
	TryingUntil             time.Time // with trying: until then
	NeighbourDialledUntil   time.Time // until then xl2tpd may be dialling another LAC that may have the link; zero: no other LAC may have it
	SCCRQAt                 time.Time // when xl2tpd last asked the LNS for a tunnel, for this LAC or another one
	RedialDue               time.Time // by then xl2tpd should have redialled; zero: it does not redial, or nobody would see it
	RedialPlannedUntil      time.Time // until then xl2tpd may redial, as it had planned before the hang-up
	SAInUse                 bool      // the IKE SA may carry something else that is alive, and must not be ended
	SAWorks                 bool      // another tunnel shows that the SA works
	MayBeHungUp             bool      // this LAC, or one that can't be told apart from it, may have been hung up on this host
	Renewing                bool      // the IKE SA is being renewed for another LAC: for a moment there is none
	SAOnTrial               bool      // an SA with the LNS is being made for another LAC, or was just made, or xl2tpd is new
	SharesLNS               bool      // other LACs have the same LNS, so nobody can tell which one xl2tpd dials
}

// IsWell reports whether the link is up and has its SA, and its peer answers.
func (s Situation) IsWell() bool { return s.Up && s.Quiet == 0 && !s.WithoutSA }

// silent reports whether the link is up and has its SA, and nothing comes from its peer.
func (s Situation) silent() bool { return s.Up && s.Quiet > 0 && !s.WithoutSA }

// grace returns how long to wait before the first step.
func (s Situation) grace() time.Duration {
	if s.Connecting {
		return connectTime
	}
	return Grace
}
