package helloguard

import (
	"net/netip"
	"time"

	"xl2tpd-keepalive/internal/l2tp"
)

// closer takes in why tunnels close, and closes those whose xl2tpd has ended.
type closer struct {
	table     *channelTable
	owners    *owners
	evidence  *evidence
	flight    *flightRecorder
	exec      *executor
	requested requestedHangUps
	ended     func(c OwnedConnection, r CloseReason)
	failed    func(c OwnedConnection, r CloseReason)
	calls     func(c OwnedConnection)
}

// learn takes in what a message says of the tunnel.
func (cl *closer) learn(c *channel, p *l2tp.Packet, byPeer bool, now time.Time) {
	switch p.Msg.Type {
	case l2tp.TypeICRQ: // another call begins, though none that will come to anything in a dying tunnel
		if c.translator.Closing() {
			return
		}
		if c.newCall(); !byPeer {
			cl.calls(c.connection())
		}
	case l2tp.TypeStopCCN, l2tp.TypeCDN:
		cl.explain(c, p, byPeer, now)
	}
}

// explain reports why a tunnel or call is being closed, once. A duplicate of a StopCCN or CDN changes nothing: one of
// the peer is not expected, see follow, and one of xl2tpd is in c.reported already.
func (cl *closer) explain(c *channel, p *l2tp.Packet, byPeer bool, now time.Time) {
	r := closeReason(p.Msg, p.Payload(), byPeer, since(c.helloSince, now), since(c.unackedSince, now))
	r.CallOnly = !byPeer && p.Msg.Type == l2tp.TypeCDN
	end := tunnelEnd
	if r.CallOnly {
		end = callEnd
	}
	c.peerDead = c.peerDead || r.Unanswered
	c.ackStop = c.peerDead && !byPeer && p.Msg.Type == l2tp.TypeStopCCN
	if end <= c.reported {
		return
	}
	switch {
	case c.owner.ownership != ownerKnown: // the service can't say that it hangs up such a tunnel
		r.Operator, r.MayBeOperator = false, r.Operator
	case r.Operator:
		c.byService = c.byService || cl.requested.take(c.connection(), now)
		r.Operator = !c.byService
	case c.dialled:
		cl.lapse(c.connection(), now)
	}
	r.StopAcked = c.peerDead
	c.reported, c.reason = end, &r
	cl.exec.save(c)
	if !r.Operator {
		cl.flight.keep(c, now)
	}
	cl.ended(c.connection(), r)
}

// newCall notes that another call begins. What was recorded up to the end of the last one stays as it is.
func (c *channel) newCall() {
	if c.reported != noEnd {
		c.reported, c.byService, c.recorder = noEnd, false, nil
	}
}

// forgetReasons forgets for the next process how tunnels with a peer have ended, once another is
// dialled.
func (cl *closer) forgetReasons(peer netip.Addr) {
	for _, c := range cl.table.list {
		if c.reason != nil && c.translator.Connection().Peer.Addr() == peer {
			c.reason = nil
			cl.exec.save(c)
		}
	}
}

// clock notes since when either end waits for an acknowledgement.
func (c *channel) clock(now time.Time) {
	c.helloSince = begun(c.helloSince, c.translator.HelloUnanswered(), now)
	c.unackedSince = begun(c.unackedSince, c.translator.PeerUnanswered(), now)
}

func begun(at time.Time, waiting bool, now time.Time) time.Time {
	switch {
	case !waiting:
		return time.Time{}
	case at.IsZero():
		return now
	}
	return at
}

func since(at, now time.Time) time.Duration {
	if at.IsZero() {
		return 0
	}
	return now.Sub(at)
}
