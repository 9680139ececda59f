package helloguard

import (
	"time"

	"xl2tpd-keepalive/internal/helloguard/translator"
	"xl2tpd-keepalive/internal/l2tp"
)

// unpairedTable pairs the ids of tunnels that are older than the guard.
type unpairedTable struct {
	paths    map[path]*unpaired
	owners   *owners
	evidence *evidence
	exec     *executor

	watched time.Time // since when all that xl2tpds send is seen
	pairAt  time.Time // when to look at the unpaired again; zero: none of them waits
}

// sends takes in a message of this host in a tunnel that is not known. ok says that it pairs the peer's id with own.
func (x *unpairedTable) sends(p *l2tp.Packet, at path, now time.Time) (u *unpaired, own uint16, ok bool) {
	if isFirstAnswer(p.Msg) {
		return nil, 0, false
	}
	if u = x.ensure(at, now); u == nil {
		if !p.Msg.ZLB() && p.Msg.Type != l2tp.TypeHello {
			x.watched = now // a later Hello must not count as all that xl2tpd has sent
		}
		return nil, 0, false
	}
	f := x.tunnel(u, p.Msg.Tunnel)
	if own, ok = u.pair(p.Msg, true, now); ok || f == nil {
		return u, own, ok
	}
	if f.sends(p, now); f.waits(now) {
		x.pairSoon(now)
	}
	return u, 0, false
}

// answerMessages is how many messages xl2tpd may send to somebody who has no tunnel: it accepts one and then gives up on it,
// or refuses it. Their Ns are 0 and 1. A ZLB has the Ns of the message that comes next.
const answerMessages = 2

// isFirstAnswer reports whether a message of xl2tpd may answer a caller who has no tunnel yet. A tunnel that is older than the
// guard is past such messages.
func isFirstAnswer(m l2tp.Message) bool { return m.Ns < answerMessages && m.Type != l2tp.TypeHello }

// receives takes in a peer's message in a tunnel that is not known. ok says that it pairs xl2tpd's id with peerID.
func (x *unpairedTable) receives(p *l2tp.Packet, at path, secured bool, now time.Time) (u *unpaired, peerID uint16, ok bool) {
	u = x.paths[at]
	if u == nil || u.secured && !secured {
		return nil, 0, false
	}
	if secured && !u.secured {
		u.secured, u.in = true, pending{}
		x.exec.dropForged(at)
	}
	if peerID, ok = u.pair(p.Msg, false, now); !ok {
		peerID, ok = u.answer(p.Msg, now)
	}
	return u, peerID, ok
}

// ensure returns what is known of the tunnels of a path that are older than the guard; nil: the guard leaves them alone.
func (x *unpairedTable) ensure(at path, now time.Time) *unpaired {
	u := x.paths[at]
	if u != nil || len(x.paths) == maxUnpaired {
		return u
	}
	o := x.owners.ownerOf(at, false, now)
	t := at.connection(0, 0)
	if !x.owners.mayServe(o, at, now) || !x.evidence.linksOf(OwnedConnection{t, o.process}).Wanted {
		return nil
	}
	u = &unpaired{since: now, owner: o, tunnels: map[uint16]*unpairedTunnel{}}
	x.paths[at] = u
	x.exec.listen(t, true, now)
	return u
}

// closes takes in that xl2tpd closes a tunnel that is not known.
func (x *unpairedTable) closes(at path, id uint16, now time.Time) {
	if u := x.paths[at]; u != nil {
		u.closed = now
	}
	x.forget(at, id)
}

// tunnel returns what is known of the tunnel with that id of the peer; nil: there are too many.
func (x *unpairedTable) tunnel(u *unpaired, id uint16) *unpairedTunnel {
	f := u.tunnels[id]
	if f != nil {
		return f
	}
	if u.tooMany = u.tooMany || len(u.tunnels) == maxUnpairedTunnels; u.tooMany {
		return nil
	}
	f = &unpairedTunnel{peerID: id, since: x.watched}
	u.tunnels[id] = f
	return f
}

// forget forgets a tunnel that closes, or that is known otherwise.
func (x *unpairedTable) forget(at path, id uint16) {
	u := x.paths[at]
	if u == nil {
		return
	}
	delete(u.tunnels, id)
	if u.out.id == id {
		u.out = pending{}
	}
	if u.asked != nil && u.asked.peerID == id {
		u.asked = nil
	}
}

// expire forgets paths that have waited for too long.
func (x *unpairedTable) expire(now time.Time) {
	for at, u := range x.paths {
		if now.Sub(u.since) > openTTL {
			delete(x.paths, at)
		}
	}
}

// pairSoon makes handleTimers look at the tunnels whose Hellos wait.
func (x *unpairedTable) pairSoon(now time.Time) {
	if x.pairAt.IsZero() {
		x.pairAt = now.Add(pairEvery)
	}
}

// askWaiting asks the peers of tunnels whose Hellos wait for an answer.
func (x *unpairedTable) askWaiting(now time.Time) {
	x.pairAt = time.Time{}
	for at, u := range x.paths {
		if x.askOne(u, at, now) {
			x.pairAt = now.Add(pairEvery)
		}
	}
}

// askOne asks for one tunnel of a path, and reports whether a Hello waits there still.
func (x *unpairedTable) askOne(u *unpaired, at path, now time.Time) (waits bool) {
	var next *unpairedTunnel
	for _, f := range u.tunnels {
		if !f.waits(now) {
			continue
		}
		if waits = true; next == nil || f.askedAt.Before(next.askedAt) {
			next = f
		}
	}
	if waits {
		x.askUnpaired(u, at, next, now)
	}
	return waits
}

// askUnpaired makes the peer show xl2tpd's own id of a tunnel: it acknowledges a message that it
// gets again (RFC 2661 §5.8). Only the owner may ask that, so the owner has to be known.
func (x *unpairedTable) askUnpaired(u *unpaired, at path, f *unpairedTunnel, now time.Time) {
	if !x.owners.givesUp(u.owner) || x.owners.hasEnded(u.owner) || now.Sub(f.since) < watchedFor || now.Sub(f.askedAt) < askAgain {
		return
	}
	f.askedAt, u.asked = now, f
	m := l2tp.Message{Type: l2tp.TypeSCCCN, Tunnel: f.peerID, Ns: f.copies[0].ns - 1, Nr: f.nr}
	x.exec.inject(translator.Injection{To: translator.ToPeer, Packet: l2tp.AppendPacket(nil, at.local, at.peer, m), Question: true},
		at.connection(0, f.peerID), now)
}
