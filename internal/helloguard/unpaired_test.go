package helloguard

import (
	"slices"
	"testing"
	"time"

	"xl2tpd-keepalive/internal/helloguard/translator"
	"xl2tpd-keepalive/internal/l2tp"
)

// deaf is a peer whose tunnels are older than the guard: it takes no Hello, and says nothing of
// its own. It acknowledges what it has got before.
type deaf struct {
	own, id uint16 // of the tunnel: xl2tpd's, and its own
	counts  uint16 // what it expects of xl2tpd
	mute    bool   // it does not even answer what it has got before
	data    bool   // data come in
}

// live plays xl2tpd's Hellos to peers that are deaf to them, and returns which tunnels have got
// no answer in time. The guard begins that long after the first copy.
func (b *fixture) live(begins time.Duration, peers ...*deaf) (closed []uint16) {
	b.t.Helper()
	const ns, step = 5, 100 * time.Millisecond
	start := b.now
	b.unpaired.watched = start.Add(begins)
	saved := map[uint16]bool{}
	var answers []func()
	for at := time.Duration(0); at < 31*time.Second; at += step {
		b.now = start.Add(at)
		answers = answers[:0]
		for _, p := range peers {
			if at%(5*time.Second) == 0 && p.data {
				b.bring(p.own, b.now)
			}
			copies := []time.Duration{0, 1, 3, 7, 15}
			if at >= begins && slices.ContainsFunc(copies, func(c time.Duration) bool { return c*time.Second == at }) && !saved[p.own] {
				b.handle(packet(false, l2tp.Message{Type: l2tp.TypeHello, Tunnel: p.id, Ns: ns, Nr: 3}), outbound, b.now)
			}
		}
		b.handleTimers(b.now)
		for ; len(b.sent) > 0; b.sent = b.sent[1:] {
			m, err := l2tp.ParsePacket(b.sent[0].Packet)
			if err != nil {
				b.t.Fatal(err)
			}
			for _, p := range peers {
				switch {
				case b.sent[0].To == translator.ToXl2tpd && m.Msg.Tunnel == p.own && m.Msg.Nr == ns+1:
					saved[p.own] = true
				case b.sent[0].To == translator.ToPeer && m.Msg.Tunnel == p.id && !p.mute && l2tp.Before(m.Msg.Ns, p.counts):
					answers = append(answers, func() {
						raw := packet(true, l2tp.Message{Tunnel: p.own, Ns: 3, Nr: p.counts})
						if _, _, c := b.handle(raw, inbound, b.now); c != nil {
							b.catchUp(c, b.now)
							saved[p.own] = saved[p.own] || p.counts > ns
						}
					})
				}
			}
		}
		for _, answer := range answers {
			b.now = b.now.Add(10 * time.Millisecond)
			answer()
		}
	}
	for _, p := range peers {
		if !saved[p.own] {
			closed = append(closed, p.own)
		}
	}
	return closed
}

// bring has data of a tunnel come in, which the kernel notes if it is to.
func (b *fixture) bring(own uint16, now time.Time) {
	if b.noted[path{here, there}] {
		b.came[address{path{here, there}, own, false}] = arrival{clear: now}
	}
}

// A tunnel in userspace mode that is older than the guard is held from its first Hello on. It is also
// held if the guard begins between two copies of that Hello.
func TestLateStart(t *testing.T) {
	deafOne := deaf{own: 7, id: 9, counts: 5}
	with := func(change func(*deaf)) []*deaf { p := deafOne; change(&p); return []*deaf{&p} }
	two := func(data bool) []*deaf {
		return []*deaf{{own: 7, id: 9, counts: 5, data: data}, {own: 8, id: 10, counts: 5, data: data}}
	}
	for name, tc := range map[string]struct {
		peers  []*deaf
		owner  func(f *fakeHost)
		closed []uint16
	}{
		"it is asked":                      {with(func(*deaf) {}), nil, nil},
		"its data come in":                 {with(func(p *deaf) { p.data = true }), nil, nil},
		"it has counted the Hello":         {with(func(p *deaf) { p.counts = 6 }), nil, nil},
		"it answers nothing":               {with(func(p *deaf) { p.mute, p.data = true, true }), nil, []uint16{7}},
		"two with one peer":                {two(false), nil, nil},
		"two with one peer, with data":     {two(true), nil, nil},
		"one with data, one without":       {[]*deaf{{own: 7, id: 9, counts: 5, data: true}, {own: 8, id: 10, counts: 5}}, nil, nil},
		"nobody knows whose: not asked":    {two(false), func(f *fakeHost) { f.start(office, 8) }, []uint16{7, 8}},
		"another program's: it is ignored": {two(true), func(f *fakeHost) { f.none() }, []uint16{7, 8}},
	} {
		for _, begins := range []time.Duration{0, 500 * time.Millisecond, 2 * time.Second, 5 * time.Second, 12 * time.Second} {
			for _, offer := range []bool{false, true} {
				b := newFixture(t, t.TempDir())
				if b.links.PassFirst, b.links.Certain = offer, false; tc.owner != nil {
					tc.owner(b.world)
				}
				if got := b.live(begins, tc.peers...); !slices.Equal(got, tc.closed) {
					t.Errorf("%s, the guard begins after %v, offer %v: %v close, want %v", name, begins, offer, got, tc.closed)
				}
				if tc.owner != nil && toPeers(b.acts) != 0 {
					t.Errorf("%s: got %q, want nothing to the peer", name, b.acts)
				}
			}
		}
	}
}

// With a raised `max retries`, the message before the Hello may be unanswered too: the peer would take the question
// for it.
func TestManyCopiesOfAnOlderHello(t *testing.T) {
	b := newFixture(t, t.TempDir())
	b.links.Certain, b.owners.host.GiveUp = false, nil
	if b.live(0, &deaf{own: 7, id: 9, counts: 4}); toPeers(b.acts) != 0 {
		t.Errorf("got %q, want nothing to the peer", b.acts)
	}
}

// Each tunnel gets the ids that are its own, or none.
func TestPairsWhatBelongsTogether(t *testing.T) {
	for name, peers := range map[string][]*deaf{
		"both have data":      {{own: 7, id: 9, counts: 5, data: true}, {own: 8, id: 10, counts: 5, data: true}},
		"the other has data":  {{own: 7, id: 9, counts: 5}, {own: 8, id: 10, counts: 5, data: true}},
		"the first has data":  {{own: 7, id: 9, counts: 5, data: true}, {own: 8, id: 10, counts: 5}},
		"the other is silent": {{own: 7, id: 9, counts: 5}, {own: 8, id: 10, counts: 5, data: true, mute: true}},
	} {
		b := newFixture(t, t.TempDir())
		b.links.Certain = false
		b.live(0, peers...)
		for _, c := range b.table.list {
			if got := c.translator.Connection(); got.PeerID != got.LocalID+2 {
				t.Errorf("%s: %d belongs to %d", name, got.LocalID, got.PeerID)
			}
		}
		if len(b.table.list) == 0 {
			t.Errorf("%s: no tunnel is known", name)
		}
	}
}

// Data may be another tunnel's, whose Hello is not due yet: they pair nothing. What the peer says,
// and xl2tpd's answer to it, do.
func TestDataPairNothing(t *testing.T) {
	b := newFixture(t, t.TempDir())
	b.links.Certain = false
	hello := packet(false, l2tp.Message{Type: l2tp.TypeHello, Tunnel: 9, Ns: 5, Nr: 3})
	b.handle(hello, outbound, b.now)
	b.came[address{path{here, there}, 8, false}] = arrival{clear: b.now}
	for range 3 {
		b.run(time.Second)
		b.handle(hello, outbound, b.now)
	}
	if len(b.table.list) != 0 {
		t.Fatalf("data have paired %+v", b.table.list[0].translator.Connection())
	}
	b.handle(packet(true, l2tp.Message{Type: l2tp.TypeHello, Tunnel: 7, Ns: 3, Nr: 5}), inbound, b.now)
	b.handle(packet(false, l2tp.Message{Tunnel: 9, Ns: 6, Nr: 4}), outbound, b.now)
	if len(b.table.list) != 1 || b.table.list[0].translator.Connection().LocalID != 7 {
		t.Fatalf("%d channels", len(b.table.list))
	}
}

// The ZLB to the StopCCN of a tunnel that was never paired makes no channel, whatever xl2tpd
// has sent before it.
func TestZLBToAStopMakesNoChannel(t *testing.T) {
	for name, before := range map[string]*l2tp.Message{
		"nothing": nil,
		"a CDN":   {Type: l2tp.TypeCDN, Tunnel: 10, Ns: 8, Nr: 1},
		"a Hello": {Type: l2tp.TypeHello, Tunnel: 10, Ns: 8, Nr: 1},
	} {
		for _, other := range []bool{true, false} {
			b := newFixture(t, t.TempDir())
			b.links.Certain, b.unpaired.watched = false, epoch.Add(-time.Minute)
			if other {
				b.handle(packet(false, l2tp.Message{Type: l2tp.TypeHello, Tunnel: 9, Ns: 9, Nr: 1}), outbound, b.now)
				b.now = b.now.Add(pairEvery)
				b.handleTimers(b.now) // its peer is asked
			}
			if before != nil {
				b.handle(packet(false, *before), outbound, b.now)
			}
			b.handle(packet(false, l2tp.Message{Type: l2tp.TypeStopCCN, Tunnel: 10, Ns: 9, Nr: 1}), outbound, b.now)
			for nr := uint16(9); nr <= 10; nr++ {
				b.handle(packet(true, l2tp.Message{Tunnel: 8, Ns: 1, Nr: nr}), inbound, b.now)
			}
			if len(b.table.list) != 0 {
				t.Errorf("%s before it, another waits %v: %+v", name, other, b.table.list[0].translator.Connection())
			}
		}
	}
}

// A message must not be sent again that the peer may not have: xl2tpd has to be watched first.
// The answer pairs the ids, and says nothing of the Hello, of which a copy may be under way.
func TestAsksOnceXl2tpdWasWatched(t *testing.T) {
	hello := packet(false, l2tp.Message{Type: l2tp.TypeHello, Tunnel: 9, Ns: 5, Nr: 3})
	b := newFixture(t, t.TempDir())
	b.links.Certain, b.links.PassFirst = false, true
	for at := range 9 {
		if b.now = epoch.Add(time.Duration(at) * time.Second); at == 0 || at == 7 {
			b.handle(hello, outbound, b.now)
		}
		if b.handleTimers(b.now); len(b.sent) != 0 {
			t.Fatalf("the peer is asked after %v", b.now.Sub(epoch))
		}
	}
	b.run(time.Second)
	if toPeers(b.acts) != 1 {
		t.Fatalf("got %q, want one question to the peer", b.acts)
	}
	b.handle(answers(true, 7, 5), inbound, b.now)
	b.run(27 * time.Second)
	b.handle(answers(true, 7, 5), inbound, b.now)
	c := b.table.find(path{here, there}, 7, false)
	if c == nil || !c.translator.Diverged() || c.translator.Offset() != 0 {
		t.Error("the tunnel is not held, or the peer is said not to have counted the Hello")
	}
}

// What waits for its pair is bounded, and forgotten in time.
func TestUnpairedIsBounded(t *testing.T) {
	b := newFixture(t, t.TempDir())
	b.links.Certain = false
	for id := range uint16(200) {
		b.handle(packet(false, l2tp.Message{Type: l2tp.TypeHello, Tunnel: 100 + id, Ns: 5, Nr: 3}), outbound, b.now)
	}
	at := path{here, there}
	if n := len(b.unpaired.paths[at].tunnels); n != maxUnpairedTunnels {
		t.Errorf("%d tunnels wait, want %d", n, maxUnpairedTunnels)
	}
	b.age(5)
	if b.handleTimers(b.now); len(b.unpaired.paths) != 0 || !b.unpaired.pairAt.IsZero() {
		t.Errorf("%d paths wait", len(b.unpaired.paths))
	}
}
