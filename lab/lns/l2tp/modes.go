package l2tp

import (
	"fmt"
	"slices"
)

// HelloMode is a peer's way with an incoming Hello.
type HelloMode string

const (
	// HelloAck acknowledges it, as it should.
	HelloAck HelloMode = "ack"
	// HelloDeaf takes it for never sent: no answer, and Ns does not advance.
	HelloDeaf HelloMode = "deaf"
	// HelloCountOnly counts its Ns but sends no answer of its own; the Nr of
	// a later message acknowledges it all the same.
	HelloCountOnly HelloMode = "count-only"
)

// EarlyMode is what becomes of a message that comes before one it follows.
type EarlyMode string

const (
	// EarlyDrop drops it.
	EarlyDrop EarlyMode = "drop"
	// EarlyQueue keeps it until the missing ones have come.
	EarlyQueue EarlyMode = "queue"
	// EarlySkip takes it, as if the missing ones had come.
	EarlySkip EarlyMode = "skip"
	// EarlyWedge keeps it at the head of its queue, and never gets past it.
	EarlyWedge EarlyMode = "wedge"
)

// CloseOnMode says which messages end the tunnel.
type CloseOnMode string

const (
	CloseOnNothing CloseOnMode = "nothing"
	// CloseOnUnknown are types that RFC 2661 does not have.
	CloseOnUnknown CloseOnMode = "unknown"
	// CloseOnUnexpected are also those that have no meaning at the time.
	CloseOnUnexpected CloseOnMode = "unexpected"
)

// AckEarlyMode says what out of order is answered by the number that is due.
type AckEarlyMode string

const (
	AckEarlyNone     AckEarlyMode = "none"
	AckEarlyMessages AckEarlyMode = "messages"
	// AckEarlyAll answers a ZLB with an unexpected Ns too.
	AckEarlyAll AckEarlyMode = "all"
)

// ZLBMode says when a peer sends ZLBs.
type ZLBMode string

const (
	// ZLBAlways sends one unless a message carries the acknowledgement.
	ZLBAlways ZLBMode = "always"
	// ZLBHeld sends none while a message of the peer's own is unacknowledged:
	// the repetition of that message carries the acknowledgement.
	ZLBHeld ZLBMode = "held"
	// ZLBResend repeats all its unacknowledged messages instead, if it has any.
	ZLBResend ZLBMode = "resend"
	// ZLBNever sends none: only messages carry acknowledgements.
	ZLBNever ZLBMode = "never"
)

func (b Behaviour) checkModes() error {
	if err := oneOf("hello", b.Hello, HelloAck, HelloDeaf, HelloCountOnly); err != nil {
		return err
	}
	if err := oneOf("early", b.Early, EarlyDrop, EarlyQueue, EarlySkip, EarlyWedge); err != nil {
		return err
	}
	if err := oneOf("ack_early", b.AckEarly, AckEarlyNone, AckEarlyMessages, AckEarlyAll); err != nil {
		return err
	}
	if err := oneOf("close_on", b.CloseOn, CloseOnNothing, CloseOnUnknown, CloseOnUnexpected); err != nil {
		return err
	}
	return oneOf("zlb", b.ZLB, ZLBAlways, ZLBHeld, ZLBResend, ZLBNever)
}

func oneOf[M ~string](name string, mode M, known ...M) error {
	if slices.Contains(known, mode) {
		return nil
	}
	return fmt.Errorf("%s: %q, want one of %q", name, mode, known)
}
