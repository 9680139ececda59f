package main

import (
	"embed"
	"encoding/binary"
	"math/rand/v2"
	"time"

	"xl2tpd-keepalive/lab/lns/l2tp"
)

//go:embed lns/personalities/*.json
var personalities embed.FS

// What scenarios/bad-lines.txtar asks netem for, besides the loss.
const (
	lineDelay  = 200 * time.Millisecond
	lineJitter = 80 * time.Millisecond
	overtakes  = 0.10 // is not delayed at all
	twice      = 0.05
)

// redialAfter is how long a tunnel stays closed there.
const redialAfter = 10 * time.Minute

// closesIn returns how often a tunnel to that peer closes within span because of the line alone. It is the mean of several
// simulations (draws). The guard answers xl2tpd for a peer that lives, so with the guard only the peer can give up.
func closesIn(span time.Duration, draws int, b l2tp.Behaviour, loss float64, guarded bool) (float64, error) {
	random := rand.New(rand.NewPCG(1, 2))
	closes := 0
	for range draws {
		now, late := time.Unix(0, 0), time.Duration(0)
		for end := now.Add(span); now.Before(end); {
			t := &simulatedTunnel{now: now, random: random, loss: loss, guarded: guarded}
			if err := t.start(b, late); err != nil {
				return 0, err
			}
			if t.play(end) {
				closes++
			}
			now, late = t.now.Add(redialAfter), t.delay()
		}
	}
	return float64(closes) / float64(draws), nil
}

// badPeer is the personality of that name. Echo requests keep its idle timer away.
func badPeer(name string) (l2tp.Behaviour, error) {
	b := l2tp.Defaults()
	text, err := personalities.ReadFile("lns/personalities/" + name + ".json")
	if err == nil {
		err = b.Decode(text)
	}
	b.Idle = 0
	return b, err
}

// simulatedTunnel is the control channel between xl2tpd and the lab's LNS on a bad line. It exists in memory alone.
type simulatedTunnel struct {
	now     time.Time
	random  *rand.Rand
	loss    float64
	guarded bool
	peer    *l2tp.Tunnel
	flying  []flight

	// xl2tpd: control.c, hello() and check_control(); network.c, control_xmit().
	ns, expected uint16
	acked        uint16 // by the last packet that was taken, even if an earlier one has acknowledged more
	nextHello    time.Time
	hello        l2tp.Packet // in flight
	tries        int         // of it; 0: none is in flight
	due          time.Time   // its next try
}

// flight is a packet on the line.
type flight struct {
	arrives time.Time
	toPeer  bool
	packet  l2tp.Packet
}

// What xl2tpd does with a Hello: it sends one every minute, five times in 15 s, and gives up after 31 s.
const (
	xl2tpdHello = time.Minute
	xl2tpdTries = 5
)

const peerID, clientID = 1, 2

// start brings the tunnel up. It is up a little later at the peer, if it was dialled on the bad line.
func (t *simulatedTunnel) start(b l2tp.Behaviour, late time.Duration) (err error) {
	request := message(l2tp.SCCRQ, 0, 0)
	request.AVPs = append(request.AVPs, l2tp.AVP{Type: l2tp.AVPAssignedTunnel, Value: number(clientID)})
	if t.peer, _, err = l2tp.Accept(t.now, b, peerID, 1, request, ""); err != nil {
		return err
	}
	t.peer.Receive(t.now.Add(late), message(l2tp.SCCCN, 1, 1))
	t.ns, t.expected, t.acked = 2, 1, 2
	if !t.guarded || b.Hello != l2tp.HelloDeaf { // a peer that was found to be deaf gets none
		t.nextHello = t.now.Add(xl2tpdHello)
	}
	return nil
}

func message(typ l2tp.MessageType, ns, nr uint16) l2tp.Packet {
	return l2tp.Packet{Tunnel: peerID, Ns: ns, Nr: nr, AVPs: []l2tp.AVP{{Type: l2tp.AVPMessageType, Value: number(uint16(typ))}}}
}

func number(n uint16) []byte { return binary.BigEndian.AppendUint16(nil, n) }

// play lets time pass until an end gives up, and reports whether one does.
func (t *simulatedTunnel) play(end time.Time) (closed bool) {
	for {
		if t.now = t.wake(); !t.now.Before(end) {
			t.now = end
			return false
		}
		t.arrivals()
		t.take(t.peer.Tick(t.now))
		if t.tick() || !t.peer.Active() {
			return true
		}
	}
}

// wake is when something happens next.
func (t *simulatedTunnel) wake() (next time.Time) {
	earlier := func(at time.Time) {
		if !at.IsZero() && (next.IsZero() || at.Before(next)) {
			next = at
		}
	}
	earlier(t.peer.Wake())
	earlier(t.nextHello)
	if t.tries > 0 {
		earlier(t.due)
	}
	for _, f := range t.flying {
		earlier(f.arrives)
	}
	return next
}

func (t *simulatedTunnel) arrivals() {
	flying := t.flying
	t.flying = nil
	for _, f := range flying {
		switch {
		case f.arrives.After(t.now):
			t.flying = append(t.flying, f)
		case f.toPeer:
			t.take(t.peer.Receive(t.now, f.packet))
		default:
			t.receive(f.packet)
		}
	}
}

// take does what the peer wants done.
func (t *simulatedTunnel) take(outputs []l2tp.Output) {
	for _, o := range outputs {
		if o, ok := o.(l2tp.Send); ok {
			if p, err := l2tp.Parse(o.Packet); err == nil {
				t.send(p, false)
			}
		}
	}
}

// receive is xl2tpd's check_control().
func (t *simulatedTunnel) receive(p l2tp.Packet) {
	if p.Ns == t.expected {
		t.acked = p.Nr
		if p.ZLB() {
			return
		}
		t.expected++
	} else if p.ZLB() || int16(p.Ns-t.expected) > 0 {
		return
	}
	t.send(l2tp.Packet{Tunnel: peerID, Ns: t.ns, Nr: t.expected}, true)
}

// tick does what is due at xl2tpd, and reports whether it gives up.
func (t *simulatedTunnel) tick() (gaveUp bool) {
	if t.tries > 0 && !t.now.Before(t.due) {
		switch {
		case t.acked > t.hello.Ns:
			t.tries = 0
		case t.tries < xl2tpdTries:
			t.try()
		case t.guarded: // it is answered in the peer's name; a peer that has taken it takes the next one for a duplicate
			t.tries = 0
			t.ns--
		default:
			return true
		}
	}
	if !t.nextHello.IsZero() && !t.now.Before(t.nextHello) {
		t.hello, t.tries = message(l2tp.Hello, t.ns, t.expected), 0
		t.ns++
		t.nextHello = t.now.Add(xl2tpdHello)
		t.try()
	}
	return false
}

func (t *simulatedTunnel) try() {
	t.due = t.now.Add(time.Second << t.tries)
	t.tries++
	t.send(t.hello, true)
}

// send is netem (net/sched/sch_netem.c, netem_enqueue): what is to be sent twice and is lost is sent once. The second one
// can be lost too.
func (t *simulatedTunnel) send(p l2tp.Packet, toPeer bool) {
	copies := 1
	if t.chance(twice) {
		copies++
	}
	if t.chance(t.loss) {
		copies--
	}
	if copies == 2 && t.chance(t.loss) {
		copies--
	}
	for range copies {
		t.flying = append(t.flying, flight{t.now.Add(t.delay()), toPeer, p})
	}
}

func (t *simulatedTunnel) delay() time.Duration {
	if t.chance(overtakes) {
		return 0
	}
	return lineDelay + time.Duration((2*t.random.Float64()-1)*float64(lineJitter))
}

func (t *simulatedTunnel) chance(p float64) bool { return t.random.Float64() < p }
