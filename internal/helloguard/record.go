package helloguard

import (
	"time"

	"xl2tpd-keepalive/internal/controltrace"
	"xl2tpd-keepalive/internal/helloguard/translator"
	"xl2tpd-keepalive/internal/l2tp"
)

// glance is what a packet shows before the translator may change it.
type glance struct {
	l2tp.Message
	again bool // its sender has sent it before
}

// flightRecorder notes each message, and what becomes of it.
type flightRecorder struct {
	hub        *controltrace.Hub // who watches
	recordings *recordings       // of tunnels that have ended
	// opens keeps the message at hand if it asks for a connection; nil: it does not.
	opens *controltrace.Recorder
}

// record notes a message of a channel and what becomes of it.
func (f *flightRecorder) record(c *channel, p *l2tp.Packet, was glance, from direction, o outcome, why translator.Reason, now time.Time) {
	r := controltrace.NewRecord(now, from == outbound, was.Message, p.Payload())
	r.Again, r.Why = was.again, why
	to := &r.Peer
	if from != outbound {
		to = &r.Xl2tpd
	}
	switch o.action {
	case translator.Rewrite:
		r.Verdict, to.Ns, to.Nr = controltrace.Renumbered, p.Msg.Ns, p.Msg.Nr
	case translator.Drop:
		r.Verdict, *to = controltrace.Dropped, controltrace.End{}
		if from == outbound && why.Holds() {
			r.Verdict = controltrace.Held
		}
	default:
		r.Verdict = controltrace.Passed
	}
	f.add(&c.recorder, c.translator.Connection(), &r)
}

// passed notes a message that passes without a channel. If it opens a connection, opens keeps it.
func (f *flightRecorder) passed(p *l2tp.Packet, from direction, now time.Time) {
	if f.opens == nil && !f.hub.Watched() {
		return
	}
	r := controltrace.NewRecord(now, from == outbound, p.Msg, p.Payload())
	r.Verdict = controltrace.Passed
	t := receiverOf(p, from == outbound)
	if f.opens == nil {
		f.hub.Publish(&t, &r)
		return
	}
	r.Again = f.opens.Len() > 0 // one is all that a connection begins with
	t.LocalID, _ = l2tp.AssignedTunnel(p.Payload())
	f.add(&f.opens, t, &r)
}

// receiverOf returns what a packet shows of its connection: the addresses, and the receiver's id.
func receiverOf(p *l2tp.Packet, toPeer bool) l2tp.Connection {
	if toPeer {
		return l2tp.Connection{Local: p.Src, Peer: p.Dst, PeerID: p.Msg.Tunnel}
	}
	return l2tp.Connection{Local: p.Dst, Peer: p.Src, LocalID: p.Msg.Tunnel}
}

// sent notes a message that the guard sends in an end's name; c is nil if it belongs to no channel.
func (f *flightRecorder) sent(c *channel, t l2tp.Connection, i translator.Injection, why translator.Reason, now time.Time) {
	if c == nil && !f.hub.Watched() {
		return
	}
	p, err := l2tp.ParsePacket(i.Packet)
	if err != nil {
		return // the translator makes whole packets only
	}
	r := controltrace.NewRecord(now, i.To == translator.ToPeer, p.Msg, p.Payload())
	r.Verdict, r.Why = controltrace.Sent, why
	if i.Question {
		r.Verdict = controltrace.Asked
	}
	if r.ToPeer {
		r.Xl2tpd = controltrace.End{}
	} else {
		r.Peer = controltrace.End{}
	}
	if c == nil {
		f.hub.Publish(&t, &r)
		return
	}
	f.add(&c.recorder, t, &r)
}

// add gives a record to the connection's recorder, and to who watches.
func (f *flightRecorder) add(to **controltrace.Recorder, t l2tp.Connection, r *controltrace.Record) {
	if *to == nil {
		*to = new(controltrace.Recorder)
	}
	(*to).Add(r)
	f.hub.Publish(&t, r)
}

// keep keeps what the recorder of a channel has and gets, for its tunnel is being closed.
func (f *flightRecorder) keep(c *channel, now time.Time) {
	if c.recorder != nil {
		f.recordings.keep(c.translator.Connection(), c.vendor, c.recorder, now)
	}
}
