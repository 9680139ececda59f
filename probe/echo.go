// Package probe asks the far end of a PPP link for a sign of life: one ICMP
// echo request, sent through that link only.
//
// All links share one raw socket, with a filter for its own replies. A pinger for
// each echo, as libraries have it, opens a socket that gets every ICMP packet of
// the host, and lists all interfaces to find one: that made an echo cost a hundred
// times as much, and more with each tunnel.
package probe

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// The kinds of failure of an echo, to be told apart by errors.Is. A context
// that ends first gives its own error.
var (
	ErrTimeout    = errors.New("no reply")
	ErrGone       = errors.New("interface is gone")
	ErrPermission = errors.New("raw ICMP socket not permitted: needs CAP_NET_RAW")
	ErrSend       = errors.New("cannot send")
)

// Unsent reports whether an echo request failed on this host and never left it: that says
// nothing about the far end.
func Unsent(err error) bool { return errors.Is(err, ErrSend) || errors.Is(err, ErrPermission) }

// Request says what to ask, and through which link.
type Request struct {
	Link    string        // the interface's name, for the operator
	Index   int           // its index, 0: as the routes say
	Source  netip.Addr    // sender's IPv4 address; zero: the kernel chooses
	Target  netip.Addr    // whom to ask, IPv4
	Timeout time.Duration // Echo takes no longer
}

// Result is the outcome of one echo.
type Result struct {
	Link   string
	Index  int
	Target netip.Addr
	RTT    time.Duration // round trip, on the monotonic clock; only with a reply
	Err    error         // nil: there was a reply
}

// Echo sends one echo request and waits for its reply: until req.Timeout has
// passed, or ctx ends. Run must be under way, or start in that time.
func (p *Pinger) Echo(ctx context.Context, req Request) Result {
	req.Target = req.Target.Unmap()
	res := Result{Link: req.Link, Index: req.Index, Target: req.Target}
	limit := fmt.Errorf("%w within %s", ErrTimeout, req.Timeout)
	ctx, cancel := context.WithTimeoutCause(ctx, req.Timeout, limit)
	defer cancel()
	var err error
	if res.RTT, err = p.exchange(ctx, req); err != nil {
		if !errors.Is(err, ErrSend) && gone(req.Index) {
			err = ErrGone // it says more than a lost echo does
		}
		res.Err = fmt.Errorf("echo %s through %s: %w", req.Target, cmp.Or(req.Link, "any interface"), err)
	}
	return res
}

func (p *Pinger) exchange(ctx context.Context, req Request) (time.Duration, error) {
	if !req.Target.Is4() {
		return 0, fmt.Errorf("%w: target is no IPv4 address", ErrSend)
	}
	p.init()
	if err := p.await(ctx); err != nil {
		return 0, err
	}
	reply := make(chan time.Time, 1)
	s, seq, token, err := p.expect(reply)
	if err != nil {
		return 0, err
	}
	defer p.giveUp(seq, token)
	sent := time.Now()
	switch err := s.send(req, seq, token); {
	case errors.Is(err, unix.ENODEV):
		return 0, ErrGone
	case errors.Is(err, unix.EACCES):
		return 0, fmt.Errorf("%w: permission denied (a prohibit route?)", ErrSend)
	case err != nil:
		return 0, fmt.Errorf("%w: %w", ErrSend, err)
	}
	select {
	case at := <-reply:
		return at.Sub(sent), nil
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	}
}

// await waits for the socket. That none is opened in time is no silence of the far end.
func (p *Pinger) await(ctx context.Context) error {
	select {
	case <-p.changed:
		return context.Cause(ctx)
	default:
	}
	select {
	case <-p.changed:
	case <-ctx.Done():
		if cause := context.Cause(ctx); !errors.Is(cause, ErrTimeout) {
			return cause
		}
		return fmt.Errorf("%w: the ICMP socket is not open", ErrSend)
	}
	return context.Cause(ctx)
}

// gone tells whether there is no interface with that index.
func gone(index int) bool {
	if index == 0 {
		return false
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	var req unix.Ifreq
	req.SetUint32(uint32(index))
	return errors.Is(unix.IoctlIfreq(fd, unix.SIOCGIFNAME, &req), unix.ENODEV)
}
