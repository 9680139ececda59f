package helloguard

import (
	"testing"
	"time"

	"xl2tpd-keepalive/internal/controltrace"
	"xl2tpd-keepalive/internal/helloguard/translator"
	"xl2tpd-keepalive/internal/l2tp"
	"xl2tpd-keepalive/internal/procfs"
)

// The peer's own message of a moment ago is a sign of life whatever is known of links.
func TestPeersMessagesAreEvidence(t *testing.T) {
	for name, tc := range map[string]struct {
		links Links
		ago   time.Duration
		want  bool
	}{
		"no links known":                  {Links{Wanted: true, Window: 39 * time.Second}, 39 * time.Second, true},
		"no links known, late":            {Links{Wanted: true, Window: 39 * time.Second}, 40 * time.Second, false},
		"silent links":                    {Links{Linked: true, Wanted: true, Window: 39 * time.Second}, time.Second, true},
		"living links":                    {Links{Certain: true, Linked: true, Wanted: true, Alive: true, Window: 39 * time.Second}, time.Hour, true},
		"living links, perhaps another's": {Links{Linked: true, Wanted: true, Alive: true, Window: 39 * time.Second}, time.Hour, false},
		"not wanted":                      {Links{Linked: true, Alive: true, Window: 39 * time.Second}, time.Second, false},
		"silent links, and all":           {Links{Linked: true, Wanted: true, Window: 39 * time.Second}, time.Minute, false},
	} {
		b := newFixture(t, t.TempDir())
		b.connect()
		b.now = b.now.Add(time.Hour)
		b.handle(packet(true, l2tp.Message{Type: l2tp.TypeHello, Tunnel: 7, Ns: 1, Nr: 2}), inbound, b.now)
		b.links = tc.links
		if live, _ := b.evidence.liveness(b.table.list[0], b.now.Add(tc.ago)); live.Peer != tc.want {
			t.Errorf("%s: alive %v", name, live.Peer)
		}
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
		"userspace mode, its link is gone":    {func(b *fixture) { b.links.Linked = false }, false},
		"held, and its link is gone":          {func(b *fixture) { b.handle(packet(false, ourHello(2)), outbound, b.now); b.links.Linked = false }, false},
		"nobody knows whose, its link is":     {func(b *fixture) { b.table.list[0].owner = owner{ownership: ownerUnclear} }, true},
		"kernel mode, its session is there":   {func(b *fixture) { b.session(true); b.links.Linked = false }, true},
		"kernel mode, its session is gone":    {func(b *fixture) { b.session(true); b.session(false) }, false},
		"its xl2tpd has ended":                {func(b *fixture) { b.world.end(watched); b.owners.host = Host{} }, false},
		"xl2tpd has sent a StopCCN":           {func(b *fixture) { b.handle(closing(false, l2tp.TypeStopCCN, 2, 1, 1, ""), outbound, b.now) }, false},
		"the peer has sent one":               {func(b *fixture) { b.handle(closing(true, l2tp.TypeStopCCN, 1, 2, 1, ""), inbound, b.now) }, false},
		"xl2tpd is stopped, and not for long": {func(b *fixture) { b.update(Host{}, b.now) }, true},
	} {
		b := newFixture(t, t.TempDir())
		b.connect()
		tc.prepare(b)
		for range hours {
			b.age(1)
			b.handleTimers(b.now)
		}
		if kept := len(b.table.list) == 1; kept != tc.kept {
			t.Errorf("%s: kept %v", name, kept)
		}
		if tc.kept {
			b.handle(packet(false, ourHello(2)), outbound, b.now)
			if len(b.diverged()) != 1 {
				t.Errorf("%s: not held any more", name)
			}
		}
	}
}

// session puts the session of the tunnel that connect sets up into the kernel's table, or
// takes it out.
func (b *fixture) session(there_ bool) {
	h := Host{Daemons: []procfs.ID{watched}}
	if there_ {
		h.Sessions = []KernelSession{{l2tp.Connection{Local: here, Peer: there, LocalID: 7, PeerID: 9}, watched.Pid}}
	}
	b.update(h, b.now)
}

// What the service asks a peer, or says of it, concerns tunnels that are certainly the named
// xl2tpd's.
func TestServiceConcernsOneOwner(t *testing.T) {
	for name, tc := range map[string]struct {
		owner   owner
		localID uint16
		want    bool
	}{
		"its own":                   {owner{ownerKnown, watched}, 0, true},
		"its own, and that one":     {owner{ownerKnown, watched}, 7, true},
		"its own, and not that one": {owner{ownerKnown, watched}, 8, false},
		"nobody knows":              {owner{ownership: ownerUnclear}, 0, false},
		"another's":                 {owner{ownerKnown, office}, 0, false},
	} {
		which := Selector{Owner: watched, Peer: there.Addr(), LocalID: tc.localID}
		b := newFixture(t, t.TempDir())
		b.connect()
		c := b.table.list[0]
		b.handle(packet(true, l2tp.Message{Tunnel: 7, Ns: 1, Nr: 2}), inbound, b.now)
		c.owner = tc.owner
		g := &Guard{}
		g.setSession(&session{Guard: g, h: b.handler})
		if g.Ask(which) != tc.want {
			t.Errorf("%s: asked %v", name, !tc.want)
		}
		if all := c.recorder.Records(); (all[len(all)-1].Verdict == controltrace.Asked) != tc.want {
			t.Errorf("%s: recorded %+v", name, all[len(all)-1])
		}
		if got := g.NoteHangUp(which) != 0; got != tc.want {
			t.Errorf("%s: a hang-up noted %v", name, got)
		}
		if g.AckStops(which); c.peerDead != tc.want {
			t.Errorf("%s: dead %v", name, c.peerDead)
		}
		if got := g.Channels()[0].Owner; got != tc.owner.process {
			t.Errorf("%s: shown as that of %v", name, got)
		}
	}
}

// Each xl2tpd dials for itself.
func TestDiallingOfOneOwner(t *testing.T) {
	b := newFixture(t, t.TempDir())
	b.now = time.Now()
	b.handlesRaw(false, assigning(false, l2tp.TypeSCCRQ, 0, 7, 0, 0), translator.Pass)
	g := &Guard{}
	g.setSession(&session{Guard: g, h: b.handler})
	if is, known := g.Dialling(watched, there.Addr()); !is || !known {
		t.Errorf("dialling %v, known %v", is, known)
	}
	for _, other := range []procfs.ID{office, {}} {
		if is, _ := g.Dialling(other, there.Addr()); is {
			t.Errorf("%v is said to dial", other)
		}
	}
}

// Only of an xl2tpd that is certainly the owner it is known whether it gives up.
func TestWhoGivesUp(t *testing.T) {
	b := newFixture(t, t.TempDir())
	b.connect()
	for name, tc := range map[string]struct {
		giveUp []procfs.ID
		owner  owner
		want   bool
	}{
		"it gives up":        {[]procfs.ID{watched}, owner{ownerKnown, watched}, true},
		"another one does":   {[]procfs.ID{office}, owner{ownerKnown, watched}, false},
		"nobody knows whose": {[]procfs.ID{{}}, owner{ownership: ownerUnclear}, false},
	} {
		b.owners.host.GiveUp, b.table.list[0].owner = tc.giveUp, tc.owner
		if live, _ := b.evidence.liveness(b.table.list[0], b.now); live.GivesUp != tc.want {
			t.Errorf("%s: got %v, want %v", name, live.GivesUp, tc.want)
		}
	}
}
