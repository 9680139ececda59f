// Package probe sends ICMP echo requests to the far end of a PPP link, through that
// link only.
//
// All links share one raw socket with a filter for its own replies. Libraries use one
// pinger for each echo. Each pinger opens a socket that receives every ICMP packet of
// the host, and lists all interfaces to find one. An echo then cost a hundred times
// as much, and more with each tunnel.
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

// The kinds of failure of an echo, for errors.Is. If the context ends first, the
// error is the context's.
var (
	ErrTimeout    = errors.New("no reply")
	ErrGone       = errors.New("interface is gone")
	ErrPermission = errors.New("raw ICMP socket not permitted: needs CAP_NET_RAW")
	ErrSend       = errors.New("cannot send")
)

// Unsent reports whether an echo request failed on this host and never left it. Such a failure
// does not show that the far end is dead.
func Unsent(err error) bool { return errors.Is(err, ErrSend) || errors.Is(err, ErrPermission) }

// Request is the target of an echo, and the link to send it through.
type Request struct {
	Link    string        // the interface's name, for the operator
	Index   int           // its index; 0: by the routes
	Source  netip.Addr    // sender's IPv4 address; zero: the kernel chooses
	Target  netip.Addr    // destination, IPv4
	Timeout time.Duration // how long Echo may take
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
		res.Err = echoError(req, err)
	}
	return res
}

// echoError returns the error of an echo that has failed for a reason.
func echoError(req Request, reason error) error {
	if !errors.Is(reason, ErrSend) && gone(req.Index) {
		reason = ErrGone // more specific than a lost echo
	}
	return fmt.Errorf("echo %s through %s: %w", req.Target, cmp.Or(req.Link, "any interface"), reason)
}

func (p *Pinger) exchange(ctx context.Context, req Request) (time.Duration, error) {
	if !req.Target.Is4() {
		return 0, fmt.Errorf("%w: target is no IPv4 address", ErrSend)
	}
	p.init()
	if err := p.await(ctx); err != nil {
		return 0, err
	}
	reply := make(chan time.Duration, 1)
	w := &pendingEcho{req: req, reply: reply}
	if err := p.sendNow(w); err != nil {
		return 0, err
	}
	defer p.giveUp(w)
	if w.err != nil {
		return 0, w.err
	}
	select {
	case rtt := <-reply:
		return rtt, nil
	case <-ctx.Done():
	}
	p.mu.Lock()
	p.read() // it may have come since the last reading
	p.unlock()
	select {
	case rtt := <-reply:
		return rtt, nil
	default:
		return 0, context.Cause(ctx)
	}
}

// sendNow sends one echo request. w.err is the kernel's error.
func (p *Pinger) sendNow(w *pendingEcho) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.socket == nil {
		return p.err
	}
	if err := p.expect(w); err != nil {
		return err
	}
	p.queue(w)
	p.flush()
	p.pause = promptPause
	p.fireAt(time.Now().Add(p.pause))
	return nil
}

func (p *Pinger) giveUp(w *pendingEcho) {
	p.mu.Lock()
	defer p.unlock()
	if p.waiting[w.seq] == w {
		delete(p.waiting, w.seq)
	}
}

// await waits for the socket. If none is opened in time, the error is not that of a lost reply.
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

// gone reports whether there is no interface with that index.
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
