package l2tp

import (
	"slices"
	"testing"
	"time"
)

var start = time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)

const (
	ourTunnel, ourSession   = 7, 70
	peerTunnel, peerSession = 9, 90
)

// peer is the LAC at the other end, and the clock. It numbers its messages,
// acknowledges nothing by itself, and keeps what the tunnel put out.
type peer struct {
	t      *testing.T
	tunnel *Tunnel
	now    time.Time
	ns, nr uint16
	events []Event
	sent   []Packet // by the tunnel
	orders []Output // for the data plane
}

func newPeer(t *testing.T, b Behaviour) *peer {
	t.Helper()
	if err := b.Check(); err != nil {
		t.Fatal(err)
	}
	p := &peer{t: t, now: start, ns: 1}
	tunnel, out, err := Accept(p.now, b, ourTunnel, ourSession, sccrq(), "")
	if err != nil {
		t.Fatal(err)
	}
	p.tunnel = tunnel
	p.take(out)
	return p
}

func sccrq(more ...AVP) Packet {
	return Packet{AVPs: append([]AVP{SCCRQ.avp(), mandatory16(AVPAssignedTunnel, peerTunnel), mandatory16(AVPReceiveWindow, 4)}, more...)}
}

// take sorts outputs, and keeps the Nr that acknowledges all that was sent.
func (p *peer) take(out []Output) {
	p.t.Helper()
	for _, o := range out {
		switch o := o.(type) {
		case Send:
			packet, err := Parse(o.Packet)
			if err != nil {
				p.t.Fatalf("the tunnel sends what cannot be read: %v", err)
			}
			p.sent = append(p.sent, packet)
			if !packet.ZLB() && packet.Ns == p.nr {
				p.nr++
			}
		case Event:
			p.events = append(p.events, o)
		default:
			p.orders = append(p.orders, o)
		}
	}
}

// message sends the next message, with an Nr that acknowledges everything.
func (p *peer) message(session uint16, avps ...AVP) Packet {
	packet := Packet{Tunnel: ourTunnel, Session: session, Ns: p.ns, Nr: p.nr, AVPs: avps}
	p.ns++
	p.take(p.tunnel.Receive(p.now, packet))
	return packet
}

// again delivers a packet once more.
func (p *peer) again(packet Packet) { p.take(p.tunnel.Receive(p.now, packet)) }

func (p *peer) zlb() {
	p.take(p.tunnel.Receive(p.now, Packet{Tunnel: ourTunnel, Ns: p.ns, Nr: p.nr}))
}

func (p *peer) establish() {
	p.message(0, SCCCN.avp())
}

func (p *peer) call() {
	p.message(0, ICRQ.avp(), mandatory16(AVPAssignedSession, peerSession))
	p.message(ourSession, ICCN.avp())
}

// run lets time pass, tick by tick as the tunnel asks for; each is called at
// every tick.
func (p *peer) run(d time.Duration, each func()) {
	end := p.now.Add(d)
	for {
		wake := p.tunnel.Wake()
		if wake.IsZero() || wake.After(end) {
			p.now = end
			return
		}
		if wake.After(p.now) {
			p.now = wake
		}
		p.take(p.tunnel.Tick(p.now))
		if each != nil {
			each()
		}
	}
}

func (p *peer) elapsed() time.Duration { return p.now.Sub(start) }

func (p *peer) count(name string) int {
	n := 0
	for _, e := range p.events {
		if e.Name == name {
			n++
		}
	}
	return n
}

// last is the last packet that the tunnel sent.
func (p *peer) last() Packet {
	p.t.Helper()
	if len(p.sent) == 0 {
		p.t.Fatal("nothing was sent")
	}
	return p.sent[len(p.sent)-1]
}

// closed returns the reason of the close, "" when the tunnel is up.
func (p *peer) closed() string {
	p.t.Helper()
	if n := p.count(EventClose); n > 1 {
		p.t.Fatalf("%d closes", n)
	}
	i := slices.IndexFunc(p.events, func(e Event) bool { return e.Name == EventClose })
	if i < 0 {
		return ""
	}
	return p.events[i].Reason
}
