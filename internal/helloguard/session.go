package helloguard

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/florianl/go-nfqueue/v2"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"xl2tpd-keepalive/internal/helloguard/translator"
	"xl2tpd-keepalive/internal/l2tp"
	"xl2tpd-keepalive/internal/message"
	"xl2tpd-keepalive/internal/wake"
)

const (
	tidyEvery = time.Minute

	// leftFor is how long tunnels that the guard leaves behind wait for its return. By then they
	// have ended, 91 s after their last Hello, and their ids may be another's.
	leftFor = 3 * time.Minute

	hookInput = 1 // NF_INET_LOCAL_IN

	// notVerified says that the kernel has not looked at the UDP checksum yet
	// (NFQA_SKB_CSUM_NOTVERIFIED).
	notVerified = 1 << 2
)

var _ effects = (*session)(nil)

// session is one stretch of guarding, from the tables' coming to their going.
type session struct {
	*Guard
	in    *injector
	rules *rules

	busy          sync.Mutex // of all but the hints and what serve alone uses
	ended         bool       // nothing must be done any more
	h             *handler
	starting      bool      // the sets are about to be written as a whole
	armed         time.Time // when serve wakes up to see what is due; zero: it does not
	mayHaveMissed bool      // packets may have gone past the guard since the table was last found intact
	ofXl2tpds     []uint16  // ports at which only xl2tpds listen
	seenDropped   uint64    // of rules.dropped, at the last look
	unsaidDropped uint64    // what the log does not have yet
	checks        loopbackChecks

	restorations restorations
	alarm        wake.Signal // the next due time may have changed
	wrong        wake.Signal // the table may have been changed
	recheck      wake.Signal // xl2tpd may not be answerable any more, or be it again
}

// runSession guards until ctx ends (it then returns nil), or until it is switched off
// and no tunnel needs it any more. working is called once all is in place.
func (g *Guard) runSession(ctx context.Context, working func()) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	in, err := newInjector()
	if err != nil {
		return withRemedy(err)
	}
	defer in.close()

	_, _, host := g.settings()
	s := &session{Guard: g, in: in, rules: newRules(), checks: newLoopbackChecks()}
	defer s.rules.kernel.close()
	s.rules.tryKernel()
	s.h = newHandler(ctx, g, host, s)
	s.h.evidence.links = s.links
	if err := s.h.restore(time.Now()); err != nil {
		return err
	}
	g.setSession(s)
	defer s.end()

	s.locked(func() { err = s.rules.installForCheck(s.contents()) })
	if err != nil {
		return withRemedy(err)
	}
	failed := make(chan error, 3) // one of each queue, and of watchTables
	for _, num := range []uint16{plainQueue, securedQueue} {
		q, err := s.openQueue(ctx, num, failed)
		if err != nil {
			return errors.Join(withRemedy(fmt.Errorf("nfnetlink_queue: %w", err)), s.leave())
		}
		defer q.Close()
		defer cancel() // before Close, which waits for it
	}
	s.checkLoopback(ctx)
	if err := s.begin(host); err != nil {
		return withRemedy(err)
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	wg.Go(func() { failed <- watchTables(ctx, s.wrong.Send) })
	wg.Go(func() { s.watchLoopback(ctx) })
	working()
	s.locked(s.sayBlocked)
	return s.serve(ctx, failed)
}

// begin makes packets come to the guard. Before that, checkLoopback has found out whether xl2tpd can be answered: a Hello
// that passes meanwhile does no harm, but one whose acknowledgement a firewall drops costs the tunnel. begin installs one
// table with all that is known, because a second one would cost the packets that wait for their verdicts.
func (s *session) begin(host Host) error {
	s.busy.Lock()
	defer s.busy.Unlock()
	s.starting = true
	s.h.opener.takeSessions(host.Sessions, time.Now())
	s.starting = false
	s.ofXl2tpds = s.h.owners.portsOfXl2tpds(time.Now())
	if err := s.rules.install(host.Ports, s.contents(), 0); err != nil {
		return err
	}
	s.h.watch(time.Now())
	return nil
}

// openQueue handles the packets of a queue until ctx ends. It
// gives a later error to failed.
func (s *session) openQueue(ctx context.Context, num uint16, failed chan<- error) (*nfqueue.Nfqueue, error) {
	q, err := nfqueue.Open(&nfqueue.Config{
		NfQueue: num, AfFamily: unix.AF_INET, Copymode: nfqueue.NfQnlCopyPacket,
		MaxPacketLen: 0xffff, WriteTimeout: time.Second,
	})
	if err != nil {
		return nil, err
	}
	// Lost messages are lost packets, which both ends send again.
	err = q.SetOption(netlink.NoENOBUFS, true)
	if err == nil {
		err = q.RegisterWithErrorFunc(ctx, func(a nfqueue.Attribute) int {
			s.packet(q, num == securedQueue, a)
			return 0
		}, func(err error) int {
			if errors.Is(err, unix.ENOENT) {
				return 0 // the packet of a verdict has gone with an earlier table
			}
			if ctx.Err() == nil {
				failed <- fmt.Errorf("nfnetlink_queue: %w", err)
			}
			return 1
		})
	}
	if err != nil {
		q.Con.Close()
		return nil, err
	}
	return q, nil
}

func (s *session) serve(ctx context.Context, failed <-chan error) error {
	tidy := time.NewTicker(tidyEvery)
	defer tidy.Stop()
	timer := time.NewTimer(0)
	defer timer.Stop()
	again := time.NewTimer(0) // to look after the table
	defer again.Stop()
	for {
		var done bool
		var err error
		select {
		case <-ctx.Done():
			return s.leave()
		case err = <-failed:
			if ctx.Err() != nil {
				return s.leave()
			}
			return err
		case <-s.changed.C():
			done, err = s.applySettings()
		case <-s.wrong.C():
			s.recheck.Send()
			again.Reset(s.restorations.wait(time.Now()))
		case <-again.C:
			err = s.repair(again)
		case <-tidy.C:
			again.Reset(0)
			s.locked(func() { s.h.tidy(time.Now()) })
			done, err = s.applySettings()
		case <-timer.C:
		case <-s.alarm.C():
		}
		if done || err != nil {
			return err
		}
		s.locked(func() { s.handleTimers(timer) })
	}
}

// handleTimers does what is due, and sets the timer to what comes next.
func (s *session) handleTimers(timer *time.Timer) {
	now := time.Now()
	s.armed = time.Time{}
	if next, ok := s.h.handleTimers(now); ok {
		s.armed = next
		timer.Reset(next.Sub(now))
	}
}

// locked calls do with busy held, and lets it go whatever happens: the queues' ends wait
// for their callbacks, which wait for busy.
func (s *session) locked(do func()) {
	s.busy.Lock()
	defer s.busy.Unlock()
	do()
}

// applySettings takes in what Configure and SetHost have set; done means that the guard is
// off and no tunnel needs it.
func (s *session) applySettings() (done bool, err error) {
	on, _, host := s.settings()
	var ports, ofXl2tpds []uint16
	var diverged int
	s.locked(func() {
		ports, ofXl2tpds = s.h.owners.host.Ports, s.ofXl2tpds
		s.h.update(host, time.Now())
		diverged = len(s.h.diverged())
		s.ofXl2tpds = s.h.owners.portsOfXl2tpds(time.Now())
	})
	if !on && diverged == 0 {
		return true, s.leave()
	}
	if !slices.Equal(ports, host.Ports) || !slices.Equal(ofXl2tpds, s.ofXl2tpds) {
		s.locked(func() { err = s.rules.install(host.Ports, s.contents(), 0) })
	}
	return false, err
}

// contents are what the sets have to hold.
func (s *session) contents() contents {
	return contents{failClosed: s.h.failClosedSet(), listen: s.h.listening(), data: s.h.evidence.data.paths(), ofXl2tpds: s.ofXl2tpds}
}

// repair puts the table back if somebody has taken it, or a part of it, away. If that happens
// again and again, it sets the timer to see whether it is over.
func (s *session) repair(again *time.Timer) error {
	s.busy.Lock()
	defer s.busy.Unlock()
	now := time.Now()
	intact, err := s.rules.intact()
	s.sayDropped(now)
	if !intact {
		if err == nil {
			s.restorations.add(s.Log, now)
		}
		if err := s.rules.install(s.h.owners.host.Ports, s.contents(), 0); err != nil {
			return err
		}
		s.mayHaveMissed = true
	}
	if s.mayHaveMissed {
		s.mayHaveMissed = false
		s.h.resync(time.Now())
	}
	if !s.restorations.calm(s.Log, now) {
		again.Reset(calmAfter)
	}
	return nil
}

// sayDropped says how many messages of unknown tunnels the rules have dropped since the last line about it.
func (s *session) sayDropped(now time.Time) {
	n := s.rules.dropped
	if n < s.seenDropped { // a new table begins at 0
		s.seenDropped = 0
	}
	s.unsaidDropped += n - s.seenDropped
	s.seenDropped = n
	if s.unsaidDropped == 0 {
		return
	}
	s.h.log.seldom(now, slog.LevelWarn, "hello guard: a flood came to xl2tpd, what exceeds the rate of one address is dropped", func() []any { // only if the line is written
		n, s.unsaidDropped = s.unsaidDropped, 0
		return []any{"messages", n, "rate", fmt.Sprintf("%d/s", unknownRate)}
	})
}

// The effects are called with busy held.

func (s *session) send(i translator.Injection) error { return s.in.send(i) }

func (s *session) failClosed(t l2tp.Connection, on bool) error {
	return s.orInstall(s.rules.setFailClosed(t, on))
}

func (s *session) listen(t l2tp.Connection, on bool) error {
	if s.starting {
		return nil
	}
	return s.orInstall(s.rules.setListen(t, on))
}

func (s *session) noteData(at path, on bool) error {
	if s.starting {
		return nil
	}
	return s.orInstall(s.rules.setData(at, on))
}

func (s *session) arrivals() (map[address]arrival, error) { return s.rules.arrivals() }

func (s *session) sentFrom(at address) func(cgroup uint32) bool { return s.rules.sentFrom(at) }

// orInstall puts the whole table back if a set could not be changed: the table may have just been
// taken away. A set that is full is no reason to.
func (s *session) orInstall(err error) error {
	if err == nil || errors.Is(err, unix.ENFILE) {
		return err
	}
	s.mayHaveMissed = true
	s.wrong.Send()
	return s.rules.install(s.h.owners.host.Ports, s.contents(), 0)
}

// end stops all calls from outside.
func (s *session) end() {
	s.setSession(nil)
	s.locked(func() { s.ended = true })
}

// leave takes the table away, unless a tunnel needs the guard: its packets
// then wait for the guard's return.
func (s *session) leave() error {
	s.busy.Lock()
	defer s.busy.Unlock()
	s.ended = true
	s.h.leave(time.Now())
	diverged := s.h.diverged()
	if len(diverged) == 0 {
		return s.rules.remove()
	}
	return s.rules.install(s.h.owners.host.Ports, contents{failClosed: diverged}, leftFor)
}

// queuedPacket is a packet in a queue that waits for its verdict.
type queuedPacket struct {
	q    *nfqueue.Nfqueue
	id   uint32
	from direction
	l2tp.Packet
}

// packet is called for each packet in a queue. One that is still there when the session has left is
// lost with the queue, and sent again.
func (s *session) packet(q *nfqueue.Nfqueue, secured bool, a nfqueue.Attribute) {
	if a.PacketID == nil {
		return
	}
	s.busy.Lock()
	defer s.busy.Unlock()
	if s.ended {
		return
	}
	h := queuedPacket{q: q, id: *a.PacketID}
	if a.Payload == nil || a.Hook == nil {
		s.accept(h)
		return
	}
	raw := *a.Payload
	h.from = directionOf(*a.Hook, secured)
	if h.from != outbound && verified(a.SkbInfo) {
		l2tp.TrustChecksum(raw)
	}
	var err error
	h.Packet, err = l2tp.ParsePacket(raw)
	switch {
	case h.from != outbound && isCheck(raw, s.rules.check):
		if err == nil {
			s.back(path{h.Dst, h.Src})
		}
		s.verdict(q.SetVerdict(h.id, nfqueue.NfDrop))
	case err != nil:
		s.accept(h)
	default:
		s.whenChecked(h, func() { s.handle(h) })
	}
}

func directionOf(hook uint8, secured bool) direction {
	switch {
	case hook != hookInput:
		return outbound
	case secured:
		return inboundSecured
	}
	return inbound
}

// whenChecked calls do. For a Hello of xl2tpd it does so only when it is known whether the guard
// could acknowledge the Hello: a firewall rule may have come since the last one. Packets after the
// Hello wait too, because the peer must see them in order. Where xl2tpd could not be answered lately,
// the Hello passes, and nothing waits.
func (s *session) whenChecked(h queuedPacket, do func()) {
	at := path{h.Src, h.Dst}
	if h.from != outbound || s.h.table.find(at, h.Msg.Tunnel, true) == nil { // or another program's
		do()
		return
	}
	if line, waits := s.checks.deferred[at]; waits {
		s.checks.deferred[at] = append(line, do)
		return
	}
	if h.Msg.Type != l2tp.TypeHello {
		do()
		return
	}
	if !s.checks.answerable(at) {
		s.check(at, helloTime, func(error) {})
		do()
		return
	}
	s.checks.deferred[at] = []func(){do}
	s.check(at, helloTime, func(err error) {
		if err != nil {
			s.recheck.Send()
		}
		line := s.checks.deferred[at]
		delete(s.checks.deferred, at)
		for _, do := range line {
			do()
		}
	})
}

func (s *session) handle(h queuedPacket) {
	o := s.h.handle(&h.Packet, h.from, time.Now())
	switch o.action {
	case translator.Drop:
		s.verdict(h.q.SetVerdict(h.id, nfqueue.NfDrop))
	case translator.Rewrite:
		s.verdict(h.q.SetVerdictWithOption(h.id, nfqueue.NfAccept, nfqueue.WithAlteredPacket(o.packet)))
	default:
		s.accept(h)
	}
	if o.channel != nil {
		s.h.catchUp(o.channel, time.Now())
	}
	if next := s.h.next(); !next.IsZero() && (s.armed.IsZero() || next.Before(s.armed)) {
		s.alarm.Send()
	}
}

func (s *session) accept(h queuedPacket) { s.verdict(h.q.SetVerdict(h.id, nfqueue.NfAccept)) }

func (s *session) verdict(err error) {
	if err != nil {
		s.Log.Warn("hello guard: no verdict on a packet", "err", err)
	}
}

func verified(info *[]byte) bool {
	return info == nil || len(*info) == 4 && binary.BigEndian.Uint32(*info)&notVerified == 0
}

// withRemedy adds to an error of the kernel what an operator can do about it.
func withRemedy(err error) error {
	switch {
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return message.Errorf("%v (needs CAP_NET_ADMIN and CAP_NET_RAW, and queues %d and %d free)", err, plainQueue, securedQueue)
	case errors.Is(err, unix.EBUSY):
		return message.Errorf("%v (another program has queue %d or %d)", err, plainQueue, securedQueue)
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.EPROTONOSUPPORT), errors.Is(err, unix.EINVAL):
		return message.Errorf("%v (the kernel needs nf_tables, nft_queue and nfnetlink_queue)", err)
	}
	return err
}
