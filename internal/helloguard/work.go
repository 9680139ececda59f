package helloguard

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/florianl/go-nfqueue/v2"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"xl2tpd-keepalive/hint"
	"xl2tpd-keepalive/internal/helloguard/translator"
	"xl2tpd-keepalive/internal/l2tp"
)

const (
	tidyEvery = time.Minute

	trials    = 3
	trialTime = time.Second

	// leftFor is how long tunnels that we leave behind wait for our return. By then they
	// have ended, 91 s after their last Hello, and their ids may be another's.
	leftFor = 3 * time.Minute

	hookInput = 1 // NF_INET_LOCAL_IN

	// notVerified says that the kernel has not looked at the UDP checksum yet
	// (NFQA_SKB_CSUM_NOTVERIFIED).
	notVerified = 1 << 2
)

// ErrBlocked says that the host's own firewall does not let in what the guard sends to xl2tpd.
var ErrBlocked = errors.New("a firewall rule of this host drops L2TP on lo, which is how the guard answers xl2tpd")

// work is one stretch of guarding, from the tables' coming to their going.
type work struct {
	*Guard
	in    *injector
	rules *rules

	busy  sync.Mutex // of all but the hints
	ended bool       // nothing is to be done any more
	h     *handler
	armed time.Time // when serve wakes up to see what is due; zero: it does not
	tried int       // packets in a row of which none has come back
	back  hint.Hint // one has
	alarm hint.Hint // the next due time may have changed
	wrong hint.Hint // the tables may not be ours any more
}

// work guards until ctx ends (it then returns nil), or until it is switched off
// and no tunnel needs it any more. working is called once all is in place.
func (g *Guard) work(ctx context.Context, working func()) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	in, err := newInjector()
	if err != nil {
		return explain(err)
	}
	defer in.close()

	_, _, host := g.settings()
	w := &work{Guard: g, in: in, rules: newRules()}
	w.h = newHandler(ctx, g, host, w)
	if err := w.h.restore(time.Now()); err != nil {
		return err
	}
	g.at(w)
	defer w.end()

	failed := make(chan error, 3) // one of each queue, and of watchTables
	for _, num := range []uint16{plainQueue, securedQueue} {
		q, err := w.openQueue(ctx, num, failed)
		if err != nil {
			return explain(fmt.Errorf("nfnetlink_queue: %w", err))
		}
		defer q.Close()
		defer cancel() // before Close, which waits for it
	}

	if err := w.install(host.Port); err != nil {
		return explain(err)
	}
	if err := w.tryout(ctx, host.Port); err != nil {
		return errors.Join(err, w.leave())
	}
	w.hold(func() { w.h.look(host.Sessions, time.Now()) })
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	wg.Go(func() { failed <- watchTables(ctx, w.wrong.Give) })
	working()
	return w.serve(ctx, failed)
}

// openQueue handles the packets of a queue until ctx ends. An error after that it
// gives to failed.
func (w *work) openQueue(ctx context.Context, num uint16, failed chan<- error) (*nfqueue.Nfqueue, error) {
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
			w.packet(q, num == securedQueue, a)
			return 0
		}, func(err error) int {
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

// tryout tells whether xl2tpd can be answered.
func (w *work) tryout(ctx context.Context, port uint16) error {
	for range trials {
		if w.in.try(port) != nil {
			break // the kernel says itself that it was dropped
		}
		select {
		case <-w.back.C():
			return nil
		case <-time.After(trialTime):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return ErrBlocked
}

// tryAgain tells whether xl2tpd could be answered in the last minutes.
func (w *work) tryAgain() error {
	w.busy.Lock()
	defer w.busy.Unlock()
	if w.tried == trials {
		return ErrBlocked
	}
	w.tried++
	w.in.try(w.h.host.Port) // what is wrong with it shows later
	return nil
}

func (w *work) serve(ctx context.Context, failed <-chan error) error {
	tidy := time.NewTicker(tidyEvery)
	defer tidy.Stop()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return w.leave()
		case err := <-failed:
			if ctx.Err() != nil {
				return w.leave()
			}
			return err
		case <-w.changed.C():
			if done, err := w.told(); done || err != nil {
				return err
			}
		case <-w.wrong.C():
			if err := w.repair(); err != nil {
				return err
			}
		case <-tidy.C:
			if err := w.tryAgain(); err != nil {
				return errors.Join(err, w.leave())
			}
			w.hold(func() { w.h.tidy(time.Now()) })
			if done, err := w.told(); done || err != nil {
				return err
			}
		case <-timer.C:
		case <-w.alarm.C():
		}
		w.hold(func() {
			now := time.Now()
			w.armed = time.Time{}
			if next, ok := w.h.due(now); ok {
				w.armed = next
				timer.Reset(next.Sub(now))
			}
		})
	}
}

// hold calls do with busy held, and lets it go whatever happens: the queues' ends wait
// for their callbacks, which wait for busy.
func (w *work) hold(do func()) {
	w.busy.Lock()
	defer w.busy.Unlock()
	do()
}

// told takes in what Configure and Tell have said; done means that the guard is
// off and nobody needs it.
func (w *work) told() (done bool, err error) {
	on, _, host := w.settings()
	var port uint16
	var apart int
	w.hold(func() {
		port = w.h.host.Port
		w.h.meet(host, time.Now())
		apart = len(w.h.apart())
	})
	if !on && apart == 0 {
		return true, w.leave()
	}
	if port != host.Port {
		return false, w.install(host.Port)
	}
	return false, nil
}

func (w *work) install(port uint16) error {
	w.busy.Lock()
	defer w.busy.Unlock()
	return w.rules.install(port, w.h.needGuard(), 0)
}

// repair puts the table back if somebody has taken it, or a part of it, away.
func (w *work) repair() error {
	w.busy.Lock()
	defer w.busy.Unlock()
	intact, err := w.rules.intact()
	if intact {
		return nil
	}
	if err == nil {
		w.Log.Warn("hello guard: its nftables table was taken away, putting it back", "table", "ip "+tableName)
	}
	if err := w.rules.install(w.h.host.Port, w.h.needGuard(), 0); err != nil {
		return err
	}
	w.h.missed(time.Now())
	return nil
}

func (w *work) send(i translator.Injection) error { return w.in.send(i) }

// listen has nothing to do: every message is queued.
func (w *work) listen(translator.Tunnel, bool) error { return nil }

// failClosed is called with busy held.
func (w *work) failClosed(t translator.Tunnel, add bool) error {
	if err := w.rules.owe(t, add); err == nil {
		return nil
	}
	// The table may have just been taken away; then all of it has to come back.
	return w.rules.install(w.h.host.Port, w.h.needGuard(), 0)
}

// end has nobody call us any more.
func (w *work) end() {
	w.at(nil)
	w.hold(func() { w.ended = true })
}

// leave takes the table away, unless a tunnel can't do without us: its packets
// then wait for our return.
func (w *work) leave() error {
	w.busy.Lock()
	defer w.busy.Unlock()
	w.ended = true
	w.h.leave(time.Now())
	apart := w.h.apart()
	if len(apart) == 0 {
		return w.rules.remove()
	}
	return w.rules.install(w.h.host.Port, apart, leftFor)
}

// packet is called for each packet in a queue. One that is still there when we have left is
// lost with the queue, and sent again.
func (w *work) packet(q *nfqueue.Nfqueue, secured bool, a nfqueue.Attribute) {
	if a.PacketID == nil {
		return
	}
	w.busy.Lock()
	defer w.busy.Unlock()
	if w.ended {
		return
	}
	if a.Mark != nil && *a.Mark == trialMark {
		w.tried = 0
		w.back.Give()
		q.SetVerdict(*a.PacketID, nfqueue.NfDrop)
		return
	}
	action, changed, c := translator.Pass, []byte(nil), (*channel)(nil)
	if a.Payload != nil && a.Hook != nil {
		from := outbound
		if *a.Hook == hookInput {
			from = inbound
			if secured {
				from = inboundSecured
			}
			if verified(a.SkbInfo) {
				l2tp.TrustChecksum(*a.Payload)
			}
		}
		action, changed, c = w.h.handle(*a.Payload, from, time.Now())
	}
	var err error
	switch action {
	case translator.Drop:
		err = q.SetVerdict(*a.PacketID, nfqueue.NfDrop)
	case translator.Rewrite:
		err = q.SetVerdictWithOption(*a.PacketID, nfqueue.NfAccept, nfqueue.WithAlteredPacket(changed))
	default:
		err = q.SetVerdict(*a.PacketID, nfqueue.NfAccept)
	}
	if err != nil {
		w.Log.Warn("hello guard: no verdict on a packet", "err", err)
	}
	if c != nil {
		w.h.catchUp(c, time.Now())
	}
	if next := w.h.timers.Next(); !next.IsZero() && (w.armed.IsZero() || next.Before(w.armed)) {
		w.alarm.Give()
	}
}

func verified(info *[]byte) bool {
	return info == nil || len(*info) == 4 && binary.BigEndian.Uint32(*info)&notVerified == 0
}

// explain adds to an error of the kernel what an operator can do about it.
func explain(err error) error {
	switch {
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return fmt.Errorf("%w (needs CAP_NET_ADMIN and CAP_NET_RAW, and queues %d and %d free)", err, plainQueue, securedQueue)
	case errors.Is(err, unix.EBUSY):
		return fmt.Errorf("%w (another program has queue %d or %d)", err, plainQueue, securedQueue)
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.EPROTONOSUPPORT), errors.Is(err, unix.EINVAL):
		return fmt.Errorf("%w (the kernel needs nf_tables, nft_queue and nfnetlink_queue)", err)
	}
	return err
}
