package policy

import (
	"errors"

	"xl2tpd-keepalive/internal/message"
)

// Step is one step of recovery, the gentlest first.
type Step int

const (
	StepNone   Step = iota
	StepSecure      // initiate the CHILD SA
	StepDial        // make xl2tpd dial
	StepRedial      // make xl2tpd drop an attempt that can't succeed, and dial
	StepRenew       // terminate the IKE SA and initiate a new one
	StepHangUp      // make xl2tpd close a tunnel that is of no use any more
	StepLook        // send the LNS an echo request outside the tunnel; changes nothing
	StepAsk         // ask the peer of a silent link for a control message; changes nothing
)

// Asks reports whether a step only asks: it changes nothing and needs no slot.
func (s Step) Asks() bool { return s == StepLook || s == StepAsk }

func (s Step) String() string { return s.Text().String() }

// Text returns what a step does, for the status.
func (s Step) Text() message.Text {
	return [...]message.Text{"", "initiate the IPsec SA", "dial", "dial anew", "renew the IPsec SA", "hang up", "look for the LNS", "ask the peer"}[s]
}

// Errors of a step that the core treats differently from all others.
var (
	// ErrNoRoute says that this host has no route to the LNS: nothing was tried.
	ErrNoRoute = errors.New("no route to the LNS")
	// ErrNoConnection says that strongSwan has no connection for the LNS.
	ErrNoConnection = errors.New("strongSwan has no connection for the LNS")
	// ErrRedialsLater says that xl2tpd is not dialling now: it will, after its redial timeout.
	ErrRedialsLater = errors.New("xl2tpd waits before it redials")
	// ErrAnswered says that the LNS has answered xl2tpd's attempt: its link may come up.
	ErrAnswered = errors.New("the LNS has answered xl2tpd's attempt")
	// ErrPeerDead says that xl2tpd has hung up, and that the peer does not answer. A peer that has restarted has lost
	// the tunnel and the SA.
	ErrPeerDead = errors.New("the peer does not listen")
	// ErrAnswers says that the LNS has answered the latest attempt: the SA is not the reason why the attempt failed.
	ErrAnswers = errors.New("the LNS answers, and refuses the tunnel or call")
	// ErrSAInUse says that the SA was not ended: it may carry another tunnel that is alive.
	ErrSAInUse = errors.New("the LNS still speaks to another tunnel")
	// ErrHungUp says that xl2tpd has hung up before the step failed.
	ErrHungUp = errors.New("xl2tpd has hung up")
	// ErrGaveUp says that an attempt had ended before xl2tpd was made to hang up. xl2tpd has planned a redial, which a dial
	// would allow again.
	ErrGaveUp = errors.New("the attempt had ended before")
	// ErrAlive says that the peer still sends control messages: nothing was done to the tunnel.
	ErrAlive = errors.New("the peer's control messages still come in")
)

// Does returns what a rule with that step does, for the log and docs/recovery.md.
func Does(s Step) string {
	if s == StepNone {
		return "wait"
	}
	return s.String()
}
