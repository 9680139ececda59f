package probe

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"xl2tpd-keepalive/internal/wake"
)

const (
	// headers are those of IPv4 and ICMP before the data of an echo request.
	headers = 20 + 8

	// mtuPace is the least time between two echo requests of a search. The first two, which are all where all is well,
	// follow each other.
	mtuPace = 250 * time.Millisecond

	// A reply counts as lost after four times the longest round trip so far, within these limits.
	leastWait = 500 * time.Millisecond
	mostWait  = 2 * time.Second
)

// LineMTUs are those of usual lines: Ethernet, PPPoE, 6in4, IPv4 in IPv6 (DS-Lite, MAP-E), PPPoE of NTT's lines in
// Japan, mobile networks, and the least that IPv6 admits.
var LineMTUs = []int{1500, 1492, 1480, 1460, 1454, 1438, 1420, 1400, 1280}

// Path is a path whose MTU is to be found.
type Path struct {
	Link   string     // echo requests leave by this interface; empty: by the routes, which have to be those of L2TP
	Source netip.Addr // invalid: the kernel's choice
	Target netip.Addr

	// Likely returns sizes that may be the largest. It is called once, and only if the size that the link claims
	// does not pass. It may be nil.
	Likely func(context.Context) []int
}

// MTU finds the largest packet that passes to the target and back without being fragmented. It sends at most four echo
// requests a second, two of them where all is well. The error is that of an echo request that could not be sent, or
// the context's; the result is then what was known until then.
func (p Path) MTU(ctx context.Context) (PathMTU, error) {
	link, err := p.link()
	if err != nil {
		return PathMTU{}, err
	}
	s := newMTUSearch(link.MTU)
	w := walk{path: p, search: s, wait: mostWait}
	for {
		size, more := s.Next()
		if !more {
			return s.Result(), nil
		}
		if err := w.step(ctx, size); err != nil {
			return s.Result(), err
		}
	}
}

// link returns the interface by which the echo requests leave.
func (p Path) link() (*net.Interface, error) {
	name := p.Link
	if name == "" {
		var err error
		if name, err = echoRouted(p.Target, p.Source); err != nil {
			return nil, err
		}
	}
	link, err := net.InterfaceByName(name)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, ErrGone)
	}
	return link, nil
}

// walk is one search under way.
type walk struct {
	path   Path
	search *mtuSearch
	wait   time.Duration // for a reply
	sent   time.Time     // when the latest echo request was sent
	asked  bool          // Likely was called
}

// step sends one echo request of that size, and reports to the search what came of it.
func (w *walk) step(ctx context.Context, size int) error {
	if w.search.Failed() && !w.asked && w.path.Likely != nil {
		w.asked = true
		for _, likely := range w.path.Likely(ctx) {
			w.search.Suggest(likely)
		}
		return ctx.Err() // the search may choose another size now
	}
	if w.search.sent > 1 {
		if err := wake.After(ctx, mtuPace-time.Since(w.sent)); err != nil {
			return err
		}
	}
	w.sent = time.Now()
	pong := w.path.echo(ctx, size, w.wait)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case pong.Err == nil:
		w.search.Passed(size)
		w.setTimeout(pong.RTT)
	case errors.Is(pong.Err, unix.EMSGSIZE):
		w.search.TooBig(size, w.path.known())
	case errors.Is(pong.Err, ErrTimeout), errors.Is(pong.Err, unix.ENOBUFS):
		w.search.Silent(size)
	default:
		return pong.Err
	}
	return nil
}

// setTimeout sets how long to wait for the next replies.
func (w *walk) setTimeout(rtt time.Duration) {
	wait := min(max(4*rtt, leastWait), mostWait)
	if w.search.sent == 1 {
		w.wait = wait
	}
	w.wait = max(w.wait, wait)
}

// echo sends one echo request that makes a packet of that size.
func (p Path) echo(ctx context.Context, size int, wait time.Duration) (end Pong) {
	one := Ping{
		Link: p.Link, Source: p.Source, Target: p.Target,
		Count: 1, Interval: mtuPace, Size: size - headers, DontFragment: true, Wait: wait,
		Notify: func(pong Pong) { end = pong },
	}
	if err := one.Run(ctx); err != nil {
		end.Err = err
	}
	return end
}

// known returns the MTU that the kernel knows for the path; 0: none. It connects a UDP socket, which sends nothing.
func (p Path) known() int {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0
	}
	file := os.NewFile(uintptr(fd), "UDP socket")
	defer file.Close()
	if p.Link != "" && unix.BindToDevice(fd, p.Link) != nil {
		return 0
	}
	if source := p.Source.Unmap(); source.Is4() && unix.Bind(fd, &unix.SockaddrInet4{Addr: source.As4()}) != nil {
		return 0
	}
	if unix.Connect(fd, &unix.SockaddrInet4{Addr: p.Target.Unmap().As4(), Port: 9}) != nil {
		return 0
	}
	mtu, err := unix.GetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MTU)
	if err != nil {
		return 0
	}
	return mtu
}
