// Package supervisor is the brain: what is known of each tunnel, and what to
// do next.
//
// Brain is a pure function of the events it is given: it starts no goroutine,
// reads no clock and does no I/O. Loop owns one Brain, feeds it what the eyes
// see, and lets the hands do what it says. Runner keeps the eyes running.
package supervisor
