package probe

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"syscall"
	"time"

	probing "github.com/prometheus-community/pro-bing"
)

// ping runs a pinger of its own for one echo: a pinger that lives on keeps
// state for each lost echo, keeps the index of an interface long deleted, and
// is handed every ICMP packet of the host.
//
// pro-bing binds to the link by IP_PKTINFO, which fixes the way out. A reply
// may come in anywhere, but its random UUID shows that the request has arrived.
func ping(ctx context.Context, req Request) (time.Duration, error) {
	wait := max(req.Timeout-closing, req.Timeout/2)
	var (
		sent    time.Time
		rtt     time.Duration
		replied bool
		refused refusal
	)
	p := probing.New("")
	p.SetIPAddr(&net.IPAddr{IP: req.Target.AsSlice(), Zone: req.Target.Zone()})
	p.SetPrivileged(true)
	p.SetLogger(&refused)
	p.Count = 1
	p.Timeout = wait
	p.RecordRtts = false
	p.RecordTTLs = false
	p.InterfaceName = req.Link
	if req.Source.IsValid() {
		p.Source = req.Source.Unmap().String()
	}
	// Not the RTT of pro-bing: it is wall clock time, taken from the reply.
	p.OnSend = func(*probing.Packet) { sent = time.Now() }
	p.OnRecv = func(*probing.Packet) { rtt, replied = time.Since(sent), true }

	err := p.RunWithContext(ctx)
	switch {
	case replied:
		return rtt, nil
	case refused.met:
		return 0, fmt.Errorf("%w: permission denied (a prohibit route?)", ErrSend)
	case ctx.Err() != nil:
		return 0, context.Cause(ctx)
	case err == nil:
		return 0, fmt.Errorf("%w within %s", ErrTimeout, req.Timeout)
	case noRawSocket(err):
		return 0, ErrPermission
	default:
		return 0, fmt.Errorf("%w: %w", ErrSend, err)
	}
}

// noRawSocket tells the EPERM of socket(2) from that of a packet filter.
func noRawSocket(err error) bool {
	var call *os.SyscallError
	return errors.As(err, &call) && call.Syscall == "socket" && errors.Is(err, syscall.EPERM)
}

// refusal is a logger that stops pro-bing's sender where it would otherwise
// send again and again without end: it takes EACCES for a broadcast address,
// says so by Infof, and retries at once, whatever the context says.
type refusal struct {
	probing.NoopLogger
	met bool
}

// Infof ends the sending goroutine; its deferred calls end the pinger.
func (r *refusal) Infof(string, ...any) {
	r.met = true
	runtime.Goexit()
}
