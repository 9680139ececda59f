package helloguard

import (
	"bytes"
	"time"

	"xl2tpd-keepalive/internal/l2tp"
)

// A tunnel that is older than the guard, in userspace mode: xl2tpd's messages show the peer's
// id, the peer's show xl2tpd's own. Two things say which belong together: a message and its
// answer, and the peer, if it is asked. Data do not: they may be another tunnel's.

const (
	// answerGap is the longest that a message and its answer are taken to be apart.
	answerGap = time.Second

	// pairEvery is how often tunnels are looked at whose Hello waits for an answer.
	pairEvery = time.Second

	// helloWaits is for how long after a copy of its Hello xl2tpd goes on without an answer
	// (network.c, control_xmit).
	helloWaits = 16 * time.Second

	// watchedFor is for how long xl2tpd has to be watched before the guard sends the peer a
	// message again that it must have acknowledged. What it has not, xl2tpd has sent again in
	// that time, or gives up on.
	watchedFor = 8200 * time.Millisecond

	maxCopies = 5 // that xl2tpd sends of a message (network.c, control_xmit)

	// askAgain is how often one peer is asked about one tunnel.
	askAgain = 2 * time.Second

	// maxUnpairedTunnels is how many tunnels of one path may wait for their pair.
	maxUnpairedTunnels = 64
)

// pending is the latest message of one end that has not been paired with an answer yet.
type pending struct {
	id, nr      uint16 // its receiver's id, and the Nr that acknowledges it
	at          time.Time
	unambiguous bool // no message of another tunnel was pending then
}

// unpaired is a path with tunnels that are older than the guard.
type unpaired struct {
	since   time.Time
	owner   owner
	secured bool // the peer's packets come through IPsec
	out, in pending
	tunnels map[uint16]*unpairedTunnel // by the peer's id
	asked   *unpairedTunnel            // was asked about last; nil: none was
	tooMany bool                       // there are more than tunnels holds
	closed  time.Time                  // when xl2tpd last closed an unknown tunnel
}

// unpairedTunnel is what is known of a tunnel without a known id of xl2tpd.
type unpairedTunnel struct {
	peerID  uint16
	since   time.Time // all messages of xl2tpd are seen from then on, but for its Hello
	copies  []helloCopy
	nr      uint16    // what xl2tpd expects, as it said last
	askedAt time.Time // when the guard has asked the peer; zero: it has not
}

// helloCopy is a copy of xl2tpd's latest Hello that the peer got.
type helloCopy struct {
	raw []byte
	ns  uint16
	at  time.Time
}

// waits reports whether xl2tpd waits for the answer to its Hello.
func (f *unpairedTunnel) waits(now time.Time) bool {
	n := len(f.copies)
	return n > 0 && now.Sub(f.copies[n-1].at) < helloWaits
}

// sends notes a message of xl2tpd.
func (f *unpairedTunnel) sends(p *l2tp.Packet, now time.Time) {
	f.nr = p.Msg.Nr
	switch {
	case p.Msg.ZLB():
	case p.Msg.Type != l2tp.TypeHello:
		f.since, f.copies = now, nil
	default:
		if len(f.copies) == maxCopies || len(f.copies) > 0 && f.copies[0].ns != p.Msg.Ns {
			f.copies = nil
		}
		f.copies = append(f.copies, helloCopy{bytes.Clone(p.Raw()), p.Msg.Ns, now})
	}
}

// pair finds the other id of a message's tunnel. A message is answered immediately, and a ZLB is
// sent for no other reason.
func (u *unpaired) pair(m l2tp.Message, out bool, now time.Time) (id uint16, ok bool) {
	mine, other := &u.in, &u.out
	if out {
		mine, other = other, mine
	}
	switch {
	case m.Type == l2tp.TypeStopCCN: // a tunnel that closes needs no pair
		if mine.id == m.Tunnel {
			*mine = pending{}
		}
		return 0, false
	case !m.ZLB():
		unambiguous := now.Sub(mine.at) >= answerGap || mine.id == m.Tunnel && mine.unambiguous
		*mine = pending{m.Tunnel, m.Ns + 1, now, unambiguous}
		return 0, false
	case !other.unambiguous || now.Sub(other.at) >= answerGap || m.Nr != other.nr:
		return 0, false
	}
	id = other.id
	u.in, u.out = pending{}, pending{}
	return id, true
}

// answer reports whether a peer's message answers the guard's question, and returns the peer's id of
// the tunnel. Such an answer acknowledges all messages before the Hello, or the Hello too.
func (u *unpaired) answer(m l2tp.Message, now time.Time) (id uint16, ok bool) {
	f := u.asked
	if f == nil || !m.ZLB() || len(f.copies) == 0 || now.Sub(u.closed) < answerGap || now.Sub(f.askedAt) >= answerGap && len(u.tunnels) > 1 {
		return 0, false
	}
	ns := f.copies[0].ns
	return f.peerID, m.Nr == ns || m.Nr == ns+1
}
