package infer

import (
	"slices"
	"time"

	"xl2tpd-keepalive/lab/lns/l2tp"
)

// replay is the state machine under one personality, in the place of the router.
type replay struct {
	x      *exchange
	b      l2tp.Behaviour
	tunnel *l2tp.Tunnel
	seen   int // how many of the router's messages are in the past
	now    time.Time
	exact  []time.Time // when acknowledgements are due
	data   uint64
	out    []message
}

// replay returns what a router of that personality would have sent.
func (x *exchange) replay(b l2tp.Behaviour) []message {
	r := &replay{x: x, b: b, now: x.in[0].at}
	tunnel, out, err := l2tp.Accept(r.now, b, max(x.RouterID, 1), x.session, withoutChallenge(x.in[0].packet), x.refusal)
	if err != nil {
		return nil
	}
	r.tunnel = tunnel
	r.take(out)
	for _, e := range x.eventsFor(b)[1:] {
		r.until(e.at)
		if e.at.After(r.now) {
			r.now = e.at
		}
		switch e.kind {
		case dataPassed:
			r.data++
			r.tunnel.Data(r.now, r.data)
		case sessionEnded:
			r.take(r.tunnel.SessionEnded(r.now, e.id, l2tp.ReasonPPPExit, ""))
		case operatorStop:
			r.take(r.tunnel.Close(r.now, l2tp.ReasonShutdown, ""))
		case packetCame:
			r.take(r.tunnel.Receive(r.now, e.packet))
			r.take(r.tunnel.Tick(r.now))
		}
	}
	r.until(x.End.Add(1)) // with the last packet
	return r.out
}

// eventsFor are the events for a router of that personality. What it did of its own accord, it did before the message that
// shows it left.
func (x *exchange) eventsFor(b l2tp.Behaviour) []event {
	if b.AnswerDelay == 0 {
		return x.in
	}
	events := slices.Clone(x.in)
	for i, e := range events {
		if e.kind == sessionEnded || e.kind == operatorStop {
			events[i].at = e.at.Add(-time.Duration(b.AnswerDelay))
		}
	}
	slices.SortStableFunc(events[1:], func(a, b event) int { return a.at.Compare(b.at) })
	return events
}

// withoutChallenge makes the state machine answer a client that asks for a shared secret: the real router knew it.
func withoutChallenge(p l2tp.Packet) l2tp.Packet {
	var kept []l2tp.AVP
	for _, a := range p.AVPs {
		if a.Vendor != 0 || a.Type != l2tp.AVPChallenge {
			kept = append(kept, a)
		}
	}
	p.AVPs = kept
	return p
}

// until lets time pass. No router's timers are exact, and it matters whether one runs before or after a packet of the
// client's comes. So a timer runs when the router sent a message, if that was at nearly the same time.
func (r *replay) until(at time.Time) {
	for r.seen < len(r.x.timed) && r.x.timed[r.seen].at.Before(at) {
		m := r.x.timed[r.seen]
		r.timers(m.at)
		r.seen++
		if wake := r.tunnel.Wake(); r.inexact(wake) && wake.Sub(m.at).Abs() <= late {
			r.tick(m.at, wake)
		}
	}
	r.timers(at)
}

// late is how inexact a timer that sends a message may be. A packet of the client that comes in that time may put it off.
const late = 250 * time.Millisecond

// inexact reports whether a time is that of a message's timer. Acknowledgements follow what they acknowledge.
func (r *replay) inexact(wake time.Time) bool {
	return !wake.IsZero() && !slices.ContainsFunc(r.exact, wake.Equal)
}

// timers runs those that are due, but for one that waits: for the router's next message, or for a packet of the
// client's that comes at a time and may put it off.
func (r *replay) timers(at time.Time) {
	for {
		wake := r.tunnel.Wake()
		if wake.IsZero() || wake.After(at) || r.inexact(wake) && r.waits(wake, at) || !r.tick(wake) {
			return
		}
	}
}

func (r *replay) waits(wake, at time.Time) bool {
	if r.seen < len(r.x.timed) {
		if wait := r.x.timed[r.seen].at.Sub(wake); wait >= 0 && wait <= late {
			return true
		}
	}
	return at.Sub(wake) <= late
}

// tick does what is due at the latest of these times, and reports whether there was anything.
func (r *replay) tick(times ...time.Time) bool {
	for _, at := range times {
		if at.After(r.now) {
			r.now = at
		}
	}
	was := r.tunnel.Wake()
	r.take(r.tunnel.Tick(r.now))
	return !r.tunnel.Wake().Equal(was)
}

func (r *replay) take(out []l2tp.Output) {
	const kept = 8
	for _, d := range []l2tp.Duration{r.b.AckDelay, r.b.AnswerDelay} {
		if d > 0 {
			r.exact = append(r.exact[max(0, len(r.exact)-kept):], r.now.Add(time.Duration(d)))
		}
	}
	for _, o := range out {
		send, ok := o.(l2tp.Send)
		if !ok {
			continue
		}
		p, err := l2tp.Parse(send.Packet)
		if err != nil {
			continue // the state machine's own packets can be read
		}
		r.out = append(r.out, message{at: r.now, Packet: p})
	}
}
