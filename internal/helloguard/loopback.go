package helloguard

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"maps"
	"net"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"xl2tpd-keepalive/internal/l2tp"
	"xl2tpd-keepalive/internal/message"
)

// A firewall of the host may drop what the guard sends to xl2tpd.
var (
	ErrBlockedOutput = message.Errorf("a firewall rule of this host drops L2TP on lo in OUTPUT, and so the guard's answers to xl2tpd")
	ErrBlockedInput  = message.Errorf("a firewall rule of this host drops L2TP on lo in INPUT, and so the guard's answers to xl2tpd")
)

// errNoTable says that a check came to nothing because the guard's own table was away.
var errNoTable = message.Errorf("the guard's nftables table was taken away")

const (
	checkEvery = time.Minute
	// A check that comes to nothing is tried checkTries times before it counts.
	checkTries = 3
	checkTime  = time.Second
	// helloTime is how long a Hello waits for its check, which takes no time on lo. xl2tpd
	// sends the next copy after a second.
	helloTime = 300 * time.Millisecond

	checkLen    = 10     // Length, Tunnel ID, Session ID, Ns and Nr (RFC 2661 §3.1)
	checkTunnel = 0xffff // xl2tpd would make a tunnel of a ZLB to tunnel 0
)

// newCheck returns what the packets of a check have in their L2TP header. A ZLB that the guard
// sends to xl2tpd has session 0, and nobody can guess the rest.
func newCheck() (c [checkLen]byte) {
	rand.Read(c[4:])
	c[4] |= 1
	copy(c[:4], []byte{0, l2tp.HeaderLen, checkTunnel >> 8, checkTunnel & 0xff})
	return c
}

// checkPacket is a ZLB as the guard sends it to xl2tpd, with a check's numbers.
func checkPacket(at path, check [checkLen]byte) []byte {
	number := func(i int) uint16 { return uint16(check[i])<<8 | uint16(check[i+1]) }
	return l2tp.AppendPacket(nil, at.peer, at.local,
		l2tp.Message{Tunnel: number(2), Session: number(4), Ns: number(6), Nr: number(8)})
}

// isCheck reports whether an IPv4 packet is a check's.
func isCheck(raw []byte, check [checkLen]byte) bool {
	const flags = 2
	if len(raw) == 0 {
		return false
	}
	at := int(raw[0]&15)*4 + udpHeaderLen + flags
	return len(raw) == at+checkLen && bytes.Equal(raw[at:], check[:])
}

// waiter waits for a check's packet to come back.
type waiter struct {
	done  func(error)
	puts  int // of the rules, when the check was sent
	timer *time.Timer
}

// loopbackChecks are the checks of one session. session.busy guards them.
type loopbackChecks struct {
	waiting  map[path][]*waiter
	deferred map[path][]func() // the handling of a Hello of xl2tpd that waits for its check, and of all packets after it
	results  map[path]error    // of the latest checks
	next     int               // index of the path to be checked next
	reported error             // what the operator knows; nil: xl2tpd can be answered
}

func newLoopbackChecks() loopbackChecks {
	return loopbackChecks{waiting: map[path][]*waiter{}, deferred: map[path][]func(){}, results: map[path]error{}}
}

// answerable reports whether xl2tpd can be answered, as far as is known. For two addresses
// without a check of their own, the checks of the others count.
func (l *loopbackChecks) answerable(at path) bool {
	if err, ok := l.results[at]; ok {
		return err == nil
	}
	return l.blocked() == nil
}

// blocked is why xl2tpd can't be answered on some path; nil: it can on all.
func (l *loopbackChecks) blocked() error {
	for _, err := range l.results {
		if isBlocked(err) {
			return err
		}
	}
	return nil
}

func isBlocked(err error) bool {
	return errors.Is(err, ErrBlockedOutput) || errors.Is(err, ErrBlockedInput)
}

// pick forgets paths that are no more, and returns the one to be checked: one that is blocked,
// or else the next of all.
func (l *loopbackChecks) pick(all []path) path {
	now := make(map[path]bool, len(all))
	for _, at := range all {
		now[at] = true
	}
	maps.DeleteFunc(l.results, func(at path, _ error) bool { return !now[at] })
	for at, err := range l.results {
		if isBlocked(err) {
			return at
		}
	}
	l.next = (l.next + 1) % len(all)
	return all[l.next]
}

// check sends a packet to xl2tpd's address as the guard would send its answer there, and calls
// done once, with busy held: with nil when the packet has come as far as xl2tpd's socket.
func (s *session) check(at path, timeout time.Duration, done func(error)) {
	finish := func(err error) {
		if !errors.Is(err, errNoTable) {
			s.checks.results[at] = err
		}
		done(err)
	}
	if err := s.in.sendToLocal(checkPacket(at, s.rules.check)); err != nil {
		if errors.Is(err, unix.EPERM) { // what sendto(2) says of a packet that OUTPUT drops
			err = ErrBlockedOutput
		}
		finish(err)
		return
	}
	w := &waiter{done: finish, puts: s.rules.puts}
	s.checks.waiting[at] = append(s.checks.waiting[at], w)
	w.timer = time.AfterFunc(timeout, func() { s.locked(func() { s.expire(at, w) }) })
}

// back takes in that the packet of a check has come back.
func (s *session) back(at path) {
	all := s.checks.waiting[at]
	delete(s.checks.waiting, at)
	for _, w := range all {
		w.timer.Stop()
		w.done(nil)
	}
}

// expire ends the wait for a check's packet. Where the table was away, nothing is known.
func (s *session) expire(at path, w *waiter) {
	i := slices.Index(s.checks.waiting[at], w)
	if i < 0 || s.ended {
		return
	}
	if s.checks.waiting[at] = slices.Delete(s.checks.waiting[at], i, i+1); len(s.checks.waiting[at]) == 0 {
		delete(s.checks.waiting, at)
	}
	err := ErrBlockedInput
	if intact, _ := s.rules.intact(); !intact || s.rules.puts != w.puts {
		err = errNoTable
	}
	w.done(err)
}

// checkLoopback finds out whether xl2tpd can be answered. It takes up to checkTries times checkTime.
func (s *session) checkLoopback(ctx context.Context) (err error) {
	var at path
	s.locked(func() { at = s.checks.pick(s.paths()) })
	for range checkTries {
		done := make(chan error, 1)
		s.locked(func() { s.check(at, checkTime, func(err error) { done <- err }) })
		select {
		case err = <-done:
		case <-ctx.Done():
			return ctx.Err()
		}
		if !errors.Is(err, ErrBlockedInput) && !errors.Is(err, errNoTable) {
			break
		}
	}
	return err
}

// paths are those between xl2tpd and its peers, or if there are none, one between two ports of
// this host. Rules by address concern the true ones only.
func (s *session) paths() (all []path) {
	for _, t := range s.h.listening() {
		all = append(all, pathOf(t))
	}
	if len(all) == 0 {
		own := ownAddress()
		all = append(all, path{netip.AddrPortFrom(own, l2tpPort), netip.AddrPortFrom(own, l2tpPort)})
	}
	return all
}

// ownAddress is an IPv4 address of this host.
func ownAddress() netip.Addr {
	own := netip.AddrFrom4([4]byte{127, 0, 0, 1})
	all, err := net.InterfaceAddrs()
	if err != nil {
		return own
	}
	for _, a := range all {
		if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().Is4() && p.Addr().IsGlobalUnicast() {
			return p.Addr()
		}
	}
	return own
}

// watchLoopback checks each minute, and whenever the host's rules have changed or a Hello could
// not be answered, whether xl2tpd can be answered.
func (s *session) watchLoopback(ctx context.Context) {
	tick := time.NewTicker(checkEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-s.recheck.C():
		}
		s.checkLoopback(ctx)
		if ctx.Err() != nil {
			return
		}
		s.locked(s.sayBlocked)
	}
}

// sayBlocked reports to the operator whether xl2tpd can be answered, if that has changed. While it can't,
// no tunnel counts as alive. So Hellos pass, except to peers that are known not to count them. The
// numbers of messages are still translated.
func (s *session) sayBlocked() {
	was, is := s.checks.reported, s.checks.blocked()
	if s.ended || was == is {
		return
	}
	s.checks.reported = is
	s.Report(is)
	if is == nil {
		s.Log.Info("hello guard available again")
		return
	}
	_, required, _ := s.settings()
	s.logUnavailable(s.h.log.ctx, is, required)
}

// links is what is known of a connection's links. If xl2tpd can't be answered, they count as links
// without a sign of life.
func (s *session) links(ctx context.Context, c OwnedConnection) Links {
	links := s.Links(ctx, c)
	if !s.checks.answerable(pathOf(c.Connection)) {
		links.Alive, links.Window = false, -1
	}
	return links
}
