package helloguard

import (
	"context"
	"testing"
	"time"

	"xl2tpd-keepalive/internal/helloguard/translator"
	"xl2tpd-keepalive/internal/l2tp"
	"xl2tpd-keepalive/proc"
)

// The peer's own message of a moment ago is a sign of life whatever is known of links.
func TestPeersMessagesAreEvidence(t *testing.T) {
	for name, tc := range map[string]struct {
		signs Signs
		ago   time.Duration
		want  bool
	}{
		"no links known":        {Signs{Wanted: true, Window: 39 * time.Second}, 39 * time.Second, true},
		"no links known, late":  {Signs{Wanted: true, Window: 39 * time.Second}, 40 * time.Second, false},
		"silent links":          {Signs{Linked: true, Wanted: true, Window: 39 * time.Second}, time.Second, true},
		"living links":          {Signs{Linked: true, Wanted: true, Alive: true, Window: 39 * time.Second}, time.Hour, true},
		"not wanted":            {Signs{Linked: true, Alive: true, Window: 39 * time.Second}, time.Second, false},
		"silent links, and all": {Signs{Linked: true, Wanted: true, Window: 39 * time.Second}, time.Minute, false},
	} {
		b := newFixture(t, t.TempDir())
		b.connect()
		b.now = b.now.Add(time.Hour)
		b.handle(packet(true, l2tp.Message{Type: l2tp.TypeHello, Tunnel: 7, Ns: 1, Nr: 2}), inbound, b.now)
		b.signs = tc.signs
		if life, _ := b.life(b.x.list[0], b.now.Add(tc.ago)); life.Tunnel != tc.want {
			t.Errorf("%s: alive %v", name, life.Tunnel)
		}
	}
}

// What is half open, closing, silent, an ended xl2tpd's or no xl2tpd's does not count among
// the tunnels that are up: each would take the links of unknown origin from the others.
func TestWhatCounts(t *testing.T) {
	for name, more := range map[string]func(b *fixture){
		"a scanner's SCCRQ, which xl2tpd answers": func(b *fixture) {
			for i := range 10 {
				b.handle(between(here, peerNumber(i), l2tp.Message{Type: l2tp.TypeSCCRP, Tunnel: 5, Nr: 1}, 77), outbound, b.now)
				b.handle(between(here, peerNumber(i), l2tp.Message{Type: l2tp.TypeStopCCN, Tunnel: 5, Ns: 1, Nr: 1}, 77), outbound, b.now)
			}
		},
		"an attempt": func(b *fixture) {
			b.handlesRaw(false, assigning(false, l2tp.TypeSCCRQ, 0, 8, 0, 0), translator.Pass)
		},
		"an answered attempt": func(b *fixture) {
			b.handlesRaw(false, assigning(false, l2tp.TypeSCCRQ, 0, 8, 0, 0), translator.Pass)
			b.handlesRaw(true, assigning(true, l2tp.TypeSCCRP, 8, 10, 0, 1), translator.Pass)
		},
		"the ZLB to the StopCCN of a tunnel older than the guard": func(b *fixture) {
			b.handle(packet(false, l2tp.Message{Type: l2tp.TypeICRQ, Tunnel: 10, Ns: 8, Nr: 1}), outbound, b.now.Add(-time.Minute))
			b.handle(packet(false, l2tp.Message{Type: l2tp.TypeStopCCN, Tunnel: 10, Ns: 9, Nr: 1}), outbound, b.now)
			b.handle(packet(true, l2tp.Message{Tunnel: 8, Ns: 1, Nr: 10}), inbound, b.now)
		},
		"a tunnel that closes": func(b *fixture) {
			b.dial(1)
			b.handle(between(here, peerNumber(0), l2tp.Message{Type: l2tp.TypeStopCCN, Assigned: 1, Tunnel: 20000, Ns: 2, Nr: 1}, 0), outbound, b.now)
		},
		"an ended xl2tpd's": func(b *fixture) {
			b.world.start(office, 8)
			b.meet(Host{Daemon: watched, Sessions: []Session{{translator.Tunnel{Local: here, Peer: peerNumber(0), LocalID: 3, PeerID: 4}, office.Pid}}}, b.now)
			b.world.end(office)
			b.closeOrphans(b.now)
		},
		"another program's": func(b *fixture) {
			b.world.none()
			b.dial(3)
		},
	} {
		b := newFixture(t, t.TempDir())
		b.connect()
		var asked int
		b.handler.signs = func(_ context.Context, _ translator.Tunnel, tunnels int) Signs {
			asked = tunnels
			return b.signs
		}
		more(b)
		b.handle(packet(false, ourHello(2)), outbound, b.now)
		if asked != 1 || b.x.stand() != 1 {
			t.Errorf("%s: %d tunnels, said to be %d", name, b.x.stand(), asked)
		}
	}
}

// A tunnel without a packet counts as silent after some minutes, and counts again when xl2tpd
// sends in it. Until then others may have its links; it is not forgotten for that.
func TestSilentTunnelsDoNotCount(t *testing.T) {
	b := newFixture(t, t.TempDir())
	b.connect()
	b.dial(1)
	for range 2 * silentRounds {
		b.age(1)
		b.handle(between(here, peerNumber(0), l2tp.Message{Tunnel: 20000, Ns: 2, Nr: 1}, 0), outbound, b.now)
	}
	if b.x.stand() != 1 || len(b.x.list) != 2 {
		t.Errorf("%d tunnels of %d", b.x.stand(), len(b.x.list))
	}
	b.handle(packet(false, l2tp.Message{Tunnel: 9, Ns: 2, Nr: 1}), outbound, b.now)
	if b.x.stand() != 2 {
		t.Errorf("%d tunnels", b.x.stand())
	}
}

// The clock is set back for hours, and xl2tpd's timers rest. A tunnel is forgotten when it is
// over, not because nothing comes.
func TestSilence(t *testing.T) {
	const hours = 5 * 60
	for name, tc := range map[string]struct {
		prepare func(b *fixture)
		kept    bool
	}{
		"userspace mode, its link is there":   {func(*fixture) {}, true},
		"userspace mode, its link is gone":    {func(b *fixture) { b.signs.Linked = false }, false},
		"held, and its link is gone":          {func(b *fixture) { b.handle(packet(false, ourHello(2)), outbound, b.now); b.signs.Linked = false }, false},
		"nobody knows whose, its link is":     {func(b *fixture) { b.x.list[0].owner = owner{ownership: unclear} }, true},
		"kernel mode, its session is there":   {func(b *fixture) { b.session(true); b.signs.Linked = false }, true},
		"kernel mode, its session is gone":    {func(b *fixture) { b.session(true); b.session(false) }, false},
		"its xl2tpd has ended":                {func(b *fixture) { b.world.end(watched); b.host = Host{} }, false},
		"xl2tpd has sent a StopCCN":           {func(b *fixture) { b.handle(closing(false, l2tp.TypeStopCCN, 2, 1, 1, ""), outbound, b.now) }, false},
		"the peer has sent one":               {func(b *fixture) { b.handle(closing(true, l2tp.TypeStopCCN, 1, 2, 1, ""), inbound, b.now) }, false},
		"xl2tpd is stopped, and not for long": {func(b *fixture) { b.meet(Host{}, b.now) }, true},
	} {
		b := newFixture(t, t.TempDir())
		b.connect()
		tc.prepare(b)
		for range hours {
			b.age(1)
			b.due(b.now)
		}
		if kept := len(b.x.list) == 1; kept != tc.kept {
			t.Errorf("%s: kept %v", name, kept)
		}
		if tc.kept {
			b.handle(packet(false, ourHello(2)), outbound, b.now)
			if len(b.apart()) != 1 {
				t.Errorf("%s: not held any more", name)
			}
		}
	}
}

// session puts the session of the tunnel that connect sets up into the kernel's table, or
// takes it out.
func (b *fixture) session(there_ bool) {
	h := Host{Daemon: watched}
	if there_ {
		h.Sessions = []Session{{translator.Tunnel{Local: here, Peer: there, LocalID: 7, PeerID: 9}, watched.Pid}}
	}
	b.meet(h, b.now)
}

// What the service asks a peer, or says of it, concerns tunnels of the watched xl2tpd.
func TestAsksOnlyForTheWatched(t *testing.T) {
	for name, tc := range map[string]struct {
		owner  owner
		asked  bool
		hangup bool
	}{
		"the watched one's": {owner{known, watched}, true, true},
		"nobody knows":      {owner{ownership: unclear}, false, true},
		"another's":         {owner{known, proc.ID{Pid: 1, Start: 1}}, false, false},
	} {
		b := newFixture(t, t.TempDir())
		b.connect()
		c := b.x.list[0]
		b.handle(packet(true, l2tp.Message{Tunnel: 7, Ns: 1, Nr: 2}), inbound, b.now)
		c.owner = tc.owner
		g := &Guard{}
		g.at(&session{Guard: g, h: b.handler})
		if g.Ask(there.Addr()) != tc.asked {
			t.Errorf("%s: asked %v", name, !tc.asked)
		}
		if g.Hanging(there.Addr(), true); c.hangingUp.IsZero() == tc.hangup {
			t.Errorf("%s: hanging up at %v", name, c.hangingUp)
		}
	}
}
