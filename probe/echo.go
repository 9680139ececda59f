// Package probe asks the far end of a PPP link for a sign of life: one ICMP
// echo request, sent through that link only.
package probe

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"
)

// The kinds of failure of an echo, to be told apart by errors.Is. A context
// that ends first gives its own error.
var (
	ErrTimeout    = errors.New("no reply")
	ErrGone       = errors.New("interface is gone")
	ErrPermission = errors.New("raw ICMP socket not permitted: needs CAP_NET_RAW")
	ErrSend       = errors.New("cannot send")
)

// closing is the time that a pinger may need to notice that it has to end: it
// polls its socket for up to 102.4 ms at a time.
const closing = 105 * time.Millisecond

// Request says what to ask, and through which link.
type Request struct {
	Link    string        // interface to send through; empty: as the routes say
	Index   int           // its interface index, 0: any; a link of that name with another index counts as gone
	Source  netip.Addr    // sender's address; zero: the kernel chooses
	Target  netip.Addr    // whom to ask
	Timeout time.Duration // Echo takes no longer; a reply counts until 0.1 s before
}

// Result is the outcome of one echo.
type Result struct {
	Link   string
	Index  int
	Target netip.Addr
	RTT    time.Duration // round trip, on the monotonic clock; only with a reply
	Err    error         // nil: there was a reply
}

// Echo sends one echo request and waits for its reply. It returns within
// req.Timeout, and within 0.1 s once ctx has ended; its socket and goroutines
// are gone by then (with a timeout under 0.2 s: 0.1 s later).
func Echo(ctx context.Context, req Request) Result {
	req.Target = req.Target.Unmap()
	res := Result{Link: req.Link, Index: req.Index, Target: req.Target}
	err := check(ctx, req)
	if err == nil {
		res.RTT, err = within(req.Timeout, func() (time.Duration, error) { return exchange(ctx, req) })
	}
	if err != nil {
		res.Err = fmt.Errorf("echo %s through %s: %w", req.Target, name(req.Link), err)
	}
	return res
}

// check finds what makes the echo pointless before anything is sent.
func check(ctx context.Context, req Request) error {
	switch {
	case !req.Target.IsValid():
		return fmt.Errorf("%w: no target address", ErrSend)
	case req.Timeout < time.Millisecond:
		return fmt.Errorf("%w: timeout %s is too short", ErrTimeout, req.Timeout)
	default:
		return context.Cause(ctx)
	}
}

func name(link string) string {
	if link == "" {
		return "any interface"
	}
	return link
}

// exchange is one echo on a link that is the same before and after it.
func exchange(ctx context.Context, req Request) (time.Duration, error) {
	if err := sameLink(req.Link, req.Index); err != nil {
		return 0, err
	}
	rtt, err := ping(ctx, req)
	if gone := sameLink(req.Link, req.Index); gone != nil {
		return 0, gone // it says more than a lost echo or a failed send does
	}
	return rtt, err
}

// within gives f the time limit. f is expected to keep it by itself; this is
// for a kernel that holds it up, say in a long wait for its network lock.
func within(limit time.Duration, f func() (time.Duration, error)) (time.Duration, error) {
	type outcome struct {
		rtt time.Duration
		err error
	}
	done := make(chan outcome, 1)
	go func() {
		rtt, err := f()
		done <- outcome{rtt, err}
	}()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case o := <-done:
		return o.rtt, o.err
	case <-timer.C:
		return 0, fmt.Errorf("%w within %s", ErrTimeout, limit)
	}
}
