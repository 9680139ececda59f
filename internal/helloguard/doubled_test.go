package helloguard

import (
	"net/netip"
	"testing"
	"time"

	"xl2tpd-keepalive/internal/helloguard/translator"
	"xl2tpd-keepalive/internal/l2tp"
	"xl2tpd-keepalive/internal/procfs"
)

// xl2tpd gives the id of a living tunnel, 7, to another tunnel: the guard has xl2tpd close that one, as its peer would.
func TestDoubledID(t *testing.T) {
	caller := netip.MustParseAddrPort("203.0.113.9:1701")
	stop := func(ns, nr, assigned uint16) *l2tp.Message {
		return &l2tp.Message{Type: l2tp.TypeStopCCN, Length: l2tp.StopLen, Tunnel: 7, Ns: ns, Nr: nr, Assigned: assigned}
	}
	ack := func(ns, nr uint16) *l2tp.Message {
		return &l2tp.Message{Length: l2tp.HeaderLen, Tunnel: 7, Ns: ns, Nr: nr}
	}
	for name, tc := range map[string]struct {
		to    netip.AddrPort
		m     l2tp.Message
		id    uint16
		alter func(b *fixture)
		want  *l2tp.Message // to xl2tpd; nil: the message passes, and nothing is sent
	}{
		"a caller is refused":                     {caller, l2tp.Message{Type: l2tp.TypeStopCCN, Tunnel: 5, Nr: 1}, 7, nil, ack(1, 1)},
		"an accepted caller is given up":          {caller, l2tp.Message{Type: l2tp.TypeStopCCN, Tunnel: 5, Ns: 1, Nr: 1}, 7, nil, ack(1, 2)},
		"a caller is accepted":                    {caller, l2tp.Message{Type: l2tp.TypeSCCRP, Tunnel: 5, Nr: 1}, 7, nil, stop(1, 1, 5)},
		"another LNS is dialled":                  {caller, l2tp.Message{Type: l2tp.TypeSCCRQ}, 7, nil, stop(0, 1, 7)},
		"the same LNS is dialled":                 {there, l2tp.Message{Type: l2tp.TypeSCCRQ}, 7, nil, stop(0, 1, 7)},
		"the tunnel's own peer calls":             {there, l2tp.Message{Type: l2tp.TypeSCCRP, Tunnel: 5, Nr: 1}, 7, nil, stop(1, 1, 5)},
		"another id":                              {caller, l2tp.Message{Type: l2tp.TypeStopCCN, Tunnel: 5, Nr: 1}, 8, nil, nil},
		"no id":                                   {caller, l2tp.Message{Type: l2tp.TypeStopCCN, Tunnel: 5, Nr: 1}, 0, nil, nil},
		"the tunnel itself is closed":             {there, l2tp.Message{Type: l2tp.TypeStopCCN, Tunnel: 9, Ns: 2, Nr: 1}, 7, nil, nil},
		"the tunnel is being closed":              {caller, l2tp.Message{Type: l2tp.TypeSCCRQ}, 7, (*fixture).closes, nil},
		"the tunnel was another xl2tpd's":         {caller, l2tp.Message{Type: l2tp.TypeSCCRQ}, 7, (*fixture).ofAnother, nil},
		"the tunnel is forgotten":                 {caller, l2tp.Message{Type: l2tp.TypeSCCRQ}, 7, (*fixture).forgets, nil},
		"two xl2tpds have the port":               {caller, l2tp.Message{Type: l2tp.TypeSCCRQ}, 7, (*fixture).joined, nil},
		"xl2tpd has been silent for some minutes": {caller, l2tp.Message{Type: l2tp.TypeSCCRQ}, 7, func(b *fixture) { b.table.list[0].rounds = silentRounds + 1 }, nil},
	} {
		b := newFixture(t, t.TempDir())
		b.connect()
		if tc.alter != nil {
			tc.alter(b)
		}
		b.sent = nil
		want := translator.Pass
		if tc.want != nil && tc.m.Type != l2tp.TypeStopCCN {
			want = translator.Drop
		}
		for range 2 { // xl2tpd may send it again
			if got, _, _ := b.handle(between(here, tc.to, tc.m, tc.id), outbound, b.now); got != want {
				t.Errorf("%s: action %d, want %d", name, got, want)
			}
		}
		if tc.want == nil {
			if len(b.sent) != 0 {
				t.Errorf("%s: %d messages sent", name, len(b.sent))
			}
			continue
		}
		if len(b.sent) != 2 || b.sent[0].To != translator.ToXl2tpd {
			t.Errorf("%s: sent %v, want one to xl2tpd each time", name, b.sent)
			continue
		}
		p, err := l2tp.ParsePacket(b.sent[1].Packet)
		if err != nil {
			t.Fatal(err)
		}
		p.Msg.Assigned, _ = l2tp.AssignedTunnel(p.Payload())
		if p.Src != tc.to || p.Dst != here || p.Msg != *tc.want {
			t.Errorf("%s: got %v → %v %+v, want %+v", name, p.Src, p.Dst, p.Msg, *tc.want)
		}
		// The living tunnel goes on.
		b.handles(true, l2tp.Message{Type: l2tp.TypeHello, Tunnel: 7, Ns: 1, Nr: 2}, translator.Pass)
		if n := b.stand(); n != 1 {
			t.Errorf("%s: %d tunnels stand", name, n)
		}
	}
}

// xl2tpd closes a tunnel after its host has got another address: from that address, because its socket has none. The tunnel is
// not another one, and its peer alone acknowledges the StopCCN.
func TestClosedFromAnotherAddress(t *testing.T) {
	b := newFixture(t, t.TempDir())
	b.connect()
	b.sent = nil
	moved := netip.MustParseAddrPort("192.0.2.200:1701")
	m := l2tp.Message{Type: l2tp.TypeStopCCN, Tunnel: 9, Ns: 2, Nr: 1}
	if got, _, _ := b.handle(between(moved, there, m, 7), outbound, b.now); got != translator.Pass || len(b.sent) != 0 {
		t.Errorf("action %d, sent %v", got, b.sent)
	}
}

// xl2tpd acknowledges the StopCCN that the guard sends it. Its peer must not get that: it would not ask again. The next tunnel
// that this peer asks for has its acknowledgements.
func TestDoubledIDIsClosedUnheard(t *testing.T) {
	caller := netip.MustParseAddrPort("203.0.113.9:1701")
	for name, tc := range map[string]struct {
		m   l2tp.Message // gives another tunnel the id of a living one
		ack l2tp.Message
	}{
		"a caller is accepted": {l2tp.Message{Type: l2tp.TypeSCCRP, Tunnel: 5, Nr: 1}, l2tp.Message{Tunnel: 5, Ns: 1, Nr: 2}},
		"an LNS is dialled":    {l2tp.Message{Type: l2tp.TypeSCCRQ}, l2tp.Message{Tunnel: 0xffff, Ns: 1, Nr: 1}},
	} {
		b := newFixture(t, t.TempDir())
		b.connect()
		for _, step := range []struct {
			what string
			m    l2tp.Message
			id   uint16
			want translator.Action
		}{
			{"with the id of a living tunnel", tc.m, 7, translator.Drop},
			{"the acknowledgement", tc.ack, 0, translator.Drop},
			{"another acknowledgement", tc.ack, 0, translator.Pass},
			{"with the id of a living tunnel", tc.m, 7, translator.Drop},
			{"with an id of its own", tc.m, 8, translator.Pass},
			{"the acknowledgement of another message", tc.ack, 0, translator.Pass},
		} {
			if got, _, _ := b.handle(between(here, caller, step.m, step.id), outbound, b.now); got != step.want {
				t.Errorf("%s, %s: action %d, want %d", name, step.what, got, step.want)
			}
		}
	}
}

func (b *fixture) closes() {
	b.handlesRaw(false, closing(false, l2tp.TypeStopCCN, 2, 1, 1, "Goodbye!"), translator.Pass)
}

func (b *fixture) forgets() { b.exec.drop(b.table.list[0]) }

// ofAnother ends the tunnel's xl2tpd, and starts one in its place.
func (b *fixture) ofAnother() {
	b.world.end(watched)
	b.world.start(procfs.ID{Pid: 101, Start: 9}, 8)
	b.now = b.now.Add(time.Second)
}

// joined starts another xl2tpd on the same port.
func (b *fixture) joined() { b.world.start(office, 8) }
