package helloguard

import (
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"xl2tpd-keepalive/internal/controltrace"
	"xl2tpd-keepalive/internal/helloguard/translator"
	"xl2tpd-keepalive/internal/l2tp"
)

// says returns what the records say, without times and addresses.
func says(all []controltrace.Record) (lines []string) {
	for _, r := range all {
		line := controltrace.Line(l2tp.Connection{}, "", &r)
		_, line, _ = strings.Cut(line, "  ")
		lines = append(lines, strings.Join(strings.Fields(line), " "))
	}
	return lines
}

// ended returns what was kept of tunnels that have ended.
func (b *fixture) ended() []controltrace.Recording { return b.flight.recordings.list() }

func (b *fixture) hangUp(words string) {
	b.handlesRaw(false, withAVP(packet(false, l2tp.Message{Type: l2tp.TypeStopCCN, Tunnel: 9, Ns: 3, Nr: 1}), 1, []byte("\x00\x01\x00\x00"+words)), translator.Rewrite)
}

// The guard records each message from the first to the last, with what it has done, and keeps them behind the end.
func TestRecordsMessages(t *testing.T) {
	b := newFixture(t, t.TempDir())
	w, err := b.flight.hub.Watch(false)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	b.connect()
	b.handles(false, ourHello(2), translator.Drop)
	b.handles(true, l2tp.Message{Tunnel: 7, Ns: 1, Nr: 2}, translator.Rewrite)
	b.table.list[0].vendor = "router"
	if standing := b.standing(); len(standing) != 1 || standing[0].Vendor != "router" || len(b.ended()) != 0 {
		t.Errorf("got %+v, want one tunnel that stands", standing)
	}
	b.hangUp("out of luck")
	b.hangUp("out of luck")
	b.handles(true, l2tp.Message{Tunnel: 7, Ns: 1, Nr: 3}, translator.Rewrite)

	acked := translator.HelloAcked.String()
	want := []string{
		"xl2tpd → peer SCCRQ Ns 0 Nr 0 tunnel id 7 [passed]",
		"peer → xl2tpd SCCRP Ns 0 Nr 1 tunnel id 9 [passed]",
		"xl2tpd → peer SCCCN Ns 1 Nr 1 [passed]",
		"peer → xl2tpd ZLB Ns 1 Nr 2 [passed]",
		"xl2tpd → peer Hello Ns 2 Nr 1 [held, acknowledged by the guard: " + acked + "]",
		"guard → xl2tpd ZLB Ns 1 Nr 3 [sent by the guard: " + acked + "]",
		"peer → xl2tpd ZLB Ns 1 Nr 2→3 [renumbered]",
		`xl2tpd → peer StopCCN Ns 3→2 Nr 1 result 1 "out of luck" [renumbered]`,
		`xl2tpd → peer StopCCN Ns 3→2 Nr 1 result 1 "out of luck" [retransmission, renumbered]`,
		"peer → xl2tpd ZLB Ns 1 Nr 3→4 [renumbered]",
	}
	ended := b.ended()
	if len(ended) != 1 || ended[0].Vendor != "router" || ended[0].LocalID != 7 || ended[0].PeerID != 9 || !ended[0].Ended.Equal(b.now) || len(b.standing()) != 0 {
		t.Fatalf("got %+v, want the tunnel as one that has ended", ended)
	}
	got := says(ended[0].Records)
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	var watched []controltrace.Record
	for r := controltrace.NewReader(strings.NewReader(string(w.Take()))); ; {
		e, err := r.Next()
		if err != nil {
			break
		}
		watched = append(watched, e.Record)
	}
	if !slices.Equal(says(watched), want) {
		t.Errorf("watched\n%s", strings.Join(says(watched), "\n"))
	}
}

// What an operator has hung up is no drop. An xl2tpd that has ended, and what the peer closes, are.
func TestWhichEndsAreKept(t *testing.T) {
	for name, tc := range map[string]struct {
		end  func(b *fixture)
		kept int
	}{
		"operator":     {func(b *fixture) { b.hangUp(hungUp) }, 0},
		"xl2tpd ended": {func(b *fixture) { b.world.end(watched); b.closer.noteOwnerEnds(b.now) }, 1},
		"peer": {func(b *fixture) {
			b.handles(true, l2tp.Message{Type: l2tp.TypeStopCCN, Tunnel: 7, Ns: 1, Nr: 2}, translator.Rewrite)
		}, 1},
	} {
		b := newFixture(t, t.TempDir())
		b.connect()
		b.handles(false, ourHello(2), translator.Drop)
		if tc.end(b); len(b.ended()) != tc.kept {
			t.Errorf("%s: %d kept, want %d", name, len(b.ended()), tc.kept)
		}
	}
}

// A second call in a tunnel does not change what was recorded up to the end of the first.
func TestNewCallIsRecordedAnew(t *testing.T) {
	b := newFixture(t, t.TempDir())
	b.connect()
	b.handles(false, l2tp.Message{Type: l2tp.TypeCDN, Tunnel: 9, Session: 1, Ns: 2, Nr: 1}, translator.Pass)
	b.handles(false, l2tp.Message{Type: l2tp.TypeICRQ, Tunnel: 9, Ns: 3, Nr: 1}, translator.Pass)
	before := len(b.ended()[0].Records)
	b.handles(false, ourHello(4), translator.Pass)
	if got := b.ended(); len(got) != 1 || len(got[0].Records) != before {
		t.Errorf("%d messages, then %d", before, len(got[0].Records))
	}
}

// Messages of other programs are shown to who watches, and are not kept.
func TestUnknownConnectionsAreShown(t *testing.T) {
	b := newFixture(t, t.TempDir())
	w, err := b.flight.hub.Watch(false)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	b.world.none()
	b.handlesRaw(false, assigning(false, l2tp.TypeSCCRQ, 0, 7, 0, 0), translator.Pass)
	e, err := controltrace.NewReader(strings.NewReader(string(w.Take()))).Next()
	if err != nil || e.Connection.Peer != there || e.Record.TypeName() != "SCCRQ" || len(b.standing())+len(b.ended()) != 0 {
		t.Errorf("got %+v, %v, want the SCCRQ alone", e, err)
	}
}

// The recorders of 4,000 tunnels and of as many that have ended stay within their budget, which is a small part of the
// unit's MemoryMax=256M.
func TestRecordersAreBounded(t *testing.T) {
	const tunnels = 4000
	b := newFixture(t, memoryDir(t))
	b.dial(tunnels)
	if len(b.table.list) != tunnels {
		t.Fatalf("%d tunnels", len(b.table.list))
	}
	used := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := used()
	large := l2tp.Message{Type: l2tp.TypeSCCRQ}
	r := controltrace.NewRecord(b.now, true, large, append(l2tp.AppendMessage(nil, large), make([]byte, 40)...))
	fill := func(k *controltrace.Recorder) {
		for range 2 * controltrace.MaxMessages {
			k.Add(&r)
		}
	}
	for _, c := range b.table.list {
		fill(c.recorder)
		k := new(controltrace.Recorder)
		fill(k)
		t := c.translator.Connection()
		t.Peer = peerNumber(1<<20 + int(t.LocalID))
		b.flight.recordings.keep(t, "", k, b.now)
	}
	const most = 2 * tunnels * (controltrace.Budget + 512) // 512: the table of those that have ended
	if grown := used() - before; grown > most {
		t.Errorf("%d bytes for %d recorders, most %d", grown, 2*tunnels, most)
	}
	for i := range 2 * maxRecordings {
		b.flight.recordings.keep(l2tp.Connection{Local: here, Peer: peerNumber(i)}, "", new(controltrace.Recorder), b.now)
	}
	if n := len(b.ended()); n != maxRecordings {
		t.Errorf("%d are kept", n)
	}
	runtime.KeepAlive(b)
}

// A session of the guard that ends leaves what was kept. The time of an end is that of its first sign.
func TestRecordingsOutliveASession(t *testing.T) {
	g := &Guard{}
	tunnel := l2tp.Connection{Local: here, Peer: there, LocalID: 7, PeerID: 9}
	k := new(controltrace.Recorder)
	g.recordings.keep(tunnel, "router", k, epoch)
	g.recordings.keep(tunnel, "router", k, epoch.Add(time.Minute))
	if all := g.Recordings(); g.Works() || len(all) != 1 || !all[0].Ended.Equal(epoch) {
		t.Errorf("got %+v, want the recording of the ended tunnel", all)
	}
}
