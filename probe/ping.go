package probe

import (
	"context"
	"math"
	"net/netip"
	"sync"
	"time"

	"xl2tpd-keepalive/internal/wake"
)

const (
	// MinData is the least data in bytes of a Ping's echo request: the library's time and token.
	MinData = 24

	// MaxData is the most data in bytes that an IPv4 packet holds behind its own and the ICMP header.
	MaxData = 0xffff - 28

	// longestRun is how many echo requests one pinger of the library sends: it remembers each one that is lost.
	longestRun = 1000
)

// Ping sends echo requests to one target and collects figures for a person. The service itself uses Pinger.
//
// A pinger of the library never recovers once its interface has gone, waits for each reply without a limit, and
// measures by the wall clock. A Ping therefore takes a new one after each failure, limits the wait, and measures
// by the monotonic clock.
type Ping struct {
	Link         string     // echo requests leave by this interface; empty: by the routes
	Source       netip.Addr // invalid: the kernel's choice
	Target       netip.Addr
	Count        int // 0: until the context ends
	Interval     time.Duration
	Size         int           // bytes of data, from MinData to MaxData
	DontFragment bool          // a packet that is too long is an error
	Wait         time.Duration // for a reply
	Notify       func(Pong)    // if set: called for one echo request at a time, in the order of their ends

	mu     sync.Mutex
	stats  Stats
	seq    int   // of the latest echo request
	denied error // nil: the socket was not refused
}

// Pong is the end of one echo request.
type Pong struct {
	Seq  int           // from 1
	Size int           // bytes of the reply, with the ICMP header; only with a reply
	RTT  time.Duration // on the monotonic clock; only with a reply
	Err  error         // nil: there was a reply
}

// Stats returns a copy of the figures so far.
func (p *Ping) Stats() *Stats {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.stats
	return &s
}

// Run sends Count echo requests, and returns when each has a reply or is lost. If ctx ends before that, the
// requests that are under way are not counted. The error is nil or ErrPermission. Run may be called once.
func (p *Ping) Run(ctx context.Context) error {
	var runs sync.WaitGroup
	for {
		r := p.newRun()
		runs.Go(func() { r.do(ctx) })
		select {
		case <-r.retired:
		case <-ctx.Done():
		}
		if p.left() == 0 || wake.After(ctx, p.Interval) != nil {
			break
		}
	}
	runs.Wait()
	return p.denied
}

// left is how many echo requests are still to be sent.
func (p *Ping) left() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.denied != nil:
		return 0
	case p.Count == 0:
		return math.MaxInt
	}
	return p.Count - p.seq
}

// finish counts a finished echo request. p.mu is held.
func (p *Ping) finish(pong Pong) {
	if pong.Err == nil {
		p.stats.Reply(pong.RTT)
	} else {
		p.stats.Lose()
	}
	if p.Notify != nil {
		p.Notify(pong)
	}
}

// Permitted returns ErrPermission if this process may not open the socket that echo requests need.
func Permitted() error {
	s, err := open(0)
	if err != nil {
		return err
	}
	s.close()
	return nil
}
