package helloguard

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"xl2tpd-keepalive/internal/helloguard/translator"
	"xl2tpd-keepalive/internal/l2tp"
	"xl2tpd-keepalive/internal/procfs"
	"xl2tpd-keepalive/internal/statefile"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// watched is the xl2tpd that the service watches, and runs at first.
var watched = procfs.ID{Pid: 100, Start: 5}

// fakeHost has the processes and sockets that a test needs.
type fakeHost struct {
	facts
	ended map[procfs.ID]bool
	asked int
}

func newFakeHost() *fakeHost {
	f := &fakeHost{ended: map[procfs.ID]bool{}}
	f.start(watched, 7)
	return f
}

// start has an xl2tpd run that listens on port 1701 of all addresses.
func (f *fakeHost) start(p procfs.ID, cgroup uint32) {
	all := netip.AddrPortFrom(netip.IPv4Unspecified(), l2tpPort)
	f.daemons = append(f.daemons, Daemon{ID: p, Cgroup: cgroup, Listens: all})
	f.sockets = append(f.sockets, socket{local: all, cgroup: cgroup})
}

// end ends an xl2tpd that start has started.
func (f *fakeHost) end(p procfs.ID) {
	f.ended[p] = true
	for i, d := range f.daemons {
		if d.ID == p {
			f.daemons = slices.Delete(slices.Clone(f.daemons), i, i+1)
			f.sockets = slices.DeleteFunc(slices.Clone(f.sockets), func(s socket) bool { return s.cgroup == d.Cgroup })
			return
		}
	}
}

func (f *fakeHost) of(port uint16, _ time.Time) facts {
	f.asked++
	all := f.facts
	all.sockets = slices.DeleteFunc(slices.Clone(all.sockets), func(s socket) bool { return s.local.Port() != port })
	return all
}

func (f *fakeHost) forget() {}

// fixture is a handler whose effects are written down.
type fixture struct {
	*handler
	t             testing.TB
	now           time.Time
	links         Links
	world         *fakeHost
	acts          []string
	noted         map[path]bool
	came          map[address]arrival // data, as the kernel has noted them
	from          []uint32            // the cgroups from which is sent
	unread        error               // why that can't be read
	reads         int
	unlistedCalls int
	dialledBy     []procfs.ID
	listened      map[l2tp.Connection]bool
	known         map[l2tp.Connection]bool
	sent          []translator.Injection
	endOf         []OwnedConnection
	ends          []CloseReason
	dialled       []netip.Addr
	dialledAgain  []bool
	calledIn      []OwnedConnection
	failed        []CloseReason
	failedOf      []OwnedConnection
	log           bytes.Buffer
}

func newFixture(t testing.TB, dir string) *fixture {
	b := &fixture{t: t, now: epoch, world: newFakeHost(), listened: map[l2tp.Connection]bool{}, known: map[l2tp.Connection]bool{},
		noted: map[path]bool{}, came: map[address]arrival{},
		links: Links{Certain: true, Linked: true, Wanted: true, Alive: true, Window: 39 * time.Second}}
	b.handler = newHandler(t.Context(), &Guard{
		Dir: dir, Log: slog.New(slog.NewTextHandler(&b.log, nil)),
		Ended: func(c OwnedConnection, r CloseReason) {
			b.ends = append(b.ends, r)
			b.endOf = append(b.endOf, c)
		},
		AttemptFailed: func(c OwnedConnection, r CloseReason) {
			b.failed = append(b.failed, r)
			b.failedOf = append(b.failedOf, c)
		},
		Dials: func(c OwnedConnection, again bool) {
			b.dialled = append(b.dialled, c.Peer.Addr())
			b.dialledBy = append(b.dialledBy, c.Owner)
			b.dialledAgain = append(b.dialledAgain, again)
		},
		Calls:    func(c OwnedConnection) { b.calledIn = append(b.calledIn, c) },
		Unlisted: func() { b.unlistedCalls++ },
		Links:    func(context.Context, OwnedConnection) Links { return b.links },
	}, Host{Daemons: []procfs.ID{watched}, GiveUp: []procfs.ID{watched}}, b)
	b.unpaired.watched = epoch
	b.owners.facts, b.owners.gone = b.world, func(p procfs.ID) bool { return b.world.ended[p] }
	return b
}

func (b *fixture) failClosed(t l2tp.Connection, on bool) error {
	if on && !b.kept(t) {
		b.t.Error("a tunnel fails closed before its state is kept")
	}
	b.acts = append(b.acts, map[bool]string{true: "fail closed", false: "clear"}[on])
	return nil
}

func (b *fixture) send(i translator.Injection) error {
	b.acts = append(b.acts, map[translator.Side]string{translator.ToXl2tpd: "to local", translator.ToPeer: "to peer"}[i.To])
	b.sent = append(b.sent, translator.Injection{To: i.To, Packet: bytes.Clone(i.Packet)})
	return nil
}

// listen keeps whose messages are queued, for which the ids of peers do not matter, and the tunnels with both ids.
func (b *fixture) listen(t l2tp.Connection, on bool) error {
	if delete(b.known, t); on && t.LocalID != 0 && t.PeerID != 0 {
		b.known[t] = true
	}
	t.PeerID = 0
	if on {
		b.listened[t] = true
	} else {
		delete(b.listened, t)
	}
	return nil
}

func (b *fixture) noteData(at path, on bool) error {
	if b.noted[at] = on; !on {
		delete(b.noted, at)
	}
	return nil
}

func (b *fixture) arrivals() (map[address]arrival, error) {
	b.reads++
	return maps.Clone(b.came), b.unread
}

// again puts a guard in place of this one, with what it has kept.
func (b *fixture) again() *fixture {
	b.t.Helper()
	next := newFixture(b.t, string(b.exec.store))
	next.now, next.world = b.now, b.world
	next.owners.facts, next.owners.gone = b.world, b.owners.gone
	if err := next.restore(next.now); err != nil {
		b.t.Fatal(err)
	}
	return next
}

func (b *fixture) kept(t l2tp.Connection) bool {
	_, err := os.Stat(b.exec.store.file(t))
	return err == nil
}

// stand is how many tunnels are up, as far as is known.
func (b *fixture) stand() (n int) {
	for _, c := range b.table.list {
		if c.stands() {
			n++
		}
	}
	return n
}

// age lets so many minutes pass.
func (b *fixture) age(minutes int) {
	for range minutes {
		b.now = b.now.Add(tidyEvery)
		b.tidy(b.now)
	}
}

// handleRaw parses a packet and gives it to a handler.
func handleRaw(h *handler, raw []byte, from direction, now time.Time) (translator.Action, []byte, *channel) {
	p, err := l2tp.ParsePacket(raw)
	if err != nil {
		return translator.Pass, nil, nil
	}
	o := h.handle(&p, from, now)
	return o.action, o.packet, o.channel
}

func (b *fixture) handle(raw []byte, from direction, now time.Time) (translator.Action, []byte, *channel) {
	return handleRaw(b.handler, raw, from, now)
}

func (b *fixture) handles(in bool, m l2tp.Message, want translator.Action) {
	b.t.Helper()
	b.handlesRaw(in, packet(in, m), want)
}

func (b *fixture) handlesRaw(in bool, raw []byte, want translator.Action) {
	b.t.Helper()
	from := outbound
	if in {
		from = inbound
	}
	if got, _, _ := b.handle(raw, from, b.now); got != want {
		b.t.Fatalf("action %d, want %d\n%s", got, want, b.log.String())
	}
}

// connect sets a tunnel up: 7 here, 9 there.
func (b *fixture) connect() l2tp.Connection {
	b.t.Helper()
	b.handlesRaw(false, assigning(false, l2tp.TypeSCCRQ, 0, 7, 0, 0), translator.Pass)
	b.handlesRaw(true, assigning(true, l2tp.TypeSCCRP, 7, 9, 0, 1), translator.Pass)
	b.handles(false, l2tp.Message{Type: l2tp.TypeSCCCN, Tunnel: 9, Ns: 1, Nr: 1}, translator.Pass)
	b.handles(true, l2tp.Message{Tunnel: 7, Ns: 1, Nr: 2}, translator.Pass)
	b.now = b.now.Add(time.Minute)
	return l2tp.Connection{Local: here, Peer: there, LocalID: 7, PeerID: 9}
}

func ourHello(ns uint16) l2tp.Message {
	return l2tp.Message{Type: l2tp.TypeHello, Tunnel: 9, Ns: ns, Nr: 1}
}

// With Offer the peer gets the Hello, and the log says nothing of it. Until the peer has shown
// that it counts Hellos, no packet may pass without the guard for a moment. A Hello that stays
// unanswered is asked about, and the peer's word decides.
func TestOfferedHello(t *testing.T) {
	b := newFixture(t, t.TempDir())
	b.links.PassFirst = true
	b.connect()
	b.handles(false, ourHello(2), translator.Pass)
	if want := []string{"fail closed"}; !slices.Equal(b.acts, want) || len(b.diverged()) != 0 || b.log.Len() != 0 {
		t.Errorf("%q, want %q\n%s", b.acts, want, b.log.String())
	}
	b.handles(true, l2tp.Message{Tunnel: 7, Ns: 1, Nr: 3}, translator.Pass)
	b.handles(false, ourHello(3), translator.Pass)
	if want := []string{"fail closed", "clear"}; !slices.Equal(b.acts, want) {
		t.Errorf("%q, want %q", b.acts, want)
	}
	b.acts = nil
	for _, after := range []time.Duration{1, 2, 4, 8} { // xl2tpd's copies
		b.now = b.now.Add(after * time.Second)
		b.handles(false, ourHello(3), translator.Pass)
	}
	b.now = b.now.Add(2 * time.Second)
	b.handleTimers(b.now)
	b.handles(true, l2tp.Message{Tunnel: 7, Ns: 1, Nr: 3}, translator.Rewrite) // the Hello was not counted
	if want := []string{"to peer", "fail closed", "to local"}; !slices.Equal(b.acts, want) || !strings.Contains(b.log.String(), "holds the tunnel") {
		t.Errorf("got %q, want %q\n%s", b.acts, want, b.log.String())
	}
}

// A Hello of a living tunnel goes no further, and everything that must not be
// lost is done before.
func TestHolds(t *testing.T) {
	b := newFixture(t, t.TempDir())
	tunnel := b.connect()
	b.handles(false, ourHello(2), translator.Drop)
	if want := []string{"fail closed", "to local"}; !slices.Equal(b.acts, want) {
		t.Errorf("%q, want %q", b.acts, want)
	}
	b.handles(false, l2tp.Message{Type: l2tp.TypeStopCCN, Tunnel: 9, Ns: 3, Nr: 1}, translator.Rewrite)

	// The next process goes on with it.
	next := b.again()
	if got := next.failClosedSet(); len(got) != 1 || got[0] != tunnel {
		t.Errorf("fail closed: %v, want the tunnel alone", got)
	}
	next.tidy(next.now.Add(time.Hour))
	if len(next.acts) != 0 {
		t.Errorf("%q after an hour in which nothing of the host ran", next.acts)
	}
	next.age(silentRounds)
	if want := []string{"clear"}; !slices.Equal(next.acts, want) || next.kept(tunnel) {
		t.Errorf("%q, want %q", next.acts, want)
	}
}

// Without a sign of life a Hello passes; the peer's own messages are one.
func TestPasses(t *testing.T) {
	b := newFixture(t, t.TempDir())
	b.connect()
	b.links.Alive = false
	b.handles(false, ourHello(2), translator.Pass)
	b.handles(true, l2tp.Message{Tunnel: 7, Ns: 1, Nr: 3}, translator.Pass)
	b.now = b.now.Add(20 * time.Second)
	b.handles(false, ourHello(3), translator.Drop)
	if got := b.table.list[0].counts; got.Passed != 1 || got.Held != 1 {
		t.Errorf("got counts %+v, want one passed and one held", got)
	}
}

// A tunnel that is not to be guarded is left alone, unless its ends count differently.
func TestNotWanted(t *testing.T) {
	b := newFixture(t, t.TempDir())
	tunnel := b.connect()
	b.handles(false, ourHello(2), translator.Drop)
	b.links.Wanted = false
	b.handles(false, l2tp.Message{Tunnel: 9, Ns: 3, Nr: 1}, translator.Rewrite)

	b = newFixture(t, t.TempDir())
	b.connect()
	b.links.Wanted = false
	b.handles(false, ourHello(2), translator.Pass)
	if len(b.table.list) != 0 || b.kept(tunnel) {
		t.Errorf("%d channels", len(b.table.list))
	}
}

// A peer that has restarted may give the same id again, to a tunnel that xl2tpd dials
// or to one that it dials: that has nothing of the old one's numbers.
func TestSameIDAgain(t *testing.T) {
	for _, dialled := range []bool{true, false} {
		b := newFixture(t, t.TempDir())
		old := b.connect()
		b.handles(false, ourHello(2), translator.Drop)
		b.acts = nil
		if dialled {
			b.handlesRaw(false, assigning(false, l2tp.TypeSCCRQ, 0, 8, 0, 0), translator.Pass)
			b.handlesRaw(true, assigning(true, l2tp.TypeSCCRP, 8, 9, 0, 1), translator.Pass)
			for range 2 {
				b.handles(false, l2tp.Message{Type: l2tp.TypeSCCCN, Tunnel: 9, Ns: 1, Nr: 1}, translator.Pass)
			}
		} else {
			b.handlesRaw(true, assigning(true, l2tp.TypeSCCRQ, 0, 9, 0, 0), translator.Pass)
			for range 2 {
				b.handlesRaw(false, assigning(false, l2tp.TypeSCCRP, 9, 8, 0, 1), translator.Pass)
			}
			b.handles(true, l2tp.Message{Type: l2tp.TypeSCCCN, Tunnel: 8, Ns: 1, Nr: 1}, translator.Pass)
		}
		for ns := uint16(2); ns < 5; ns++ {
			b.handles(false, l2tp.Message{Type: 10, Tunnel: 9, Ns: ns, Nr: 2}, translator.Pass)
		}
		if want := []string{"clear"}; !slices.Equal(b.acts, want) || b.kept(old) || len(b.table.list) != 1 {
			t.Errorf("dialled %v: %q, %d channels", dialled, b.acts, len(b.table.list))
		}
	}
}

// Where the peer's packets come through IPsec, one that did not is nobody's.
func TestForged(t *testing.T) {
	b := newFixture(t, t.TempDir())
	b.connect()
	b.handles(false, ourHello(2), translator.Drop)
	stop := l2tp.Message{Type: l2tp.TypeStopCCN, Tunnel: 7, Ns: 1, Nr: 2}
	if action, _, _ := b.handle(packet(true, l2tp.Message{Tunnel: 7, Ns: 1, Nr: 2}), inboundSecured, b.now); action != translator.Rewrite {
		t.Errorf("action %d", action)
	}
	b.handles(true, stop, translator.Pass)
	if b.table.list[0].translator.Closing() {
		t.Error("a forged StopCCN counts")
	}
}

// The guard acknowledges for an xl2tpd that does not answer, if it is still the same process.
func TestAcksForXl2tpd(t *testing.T) {
	for _, same := range []bool{true, false} {
		b := newFixture(t, t.TempDir())
		b.connect()
		if !same {
			b.world.end(watched)
		}
		b.handles(true, l2tp.Message{Type: l2tp.TypeHello, Tunnel: 7, Ns: 1, Nr: 2}, translator.Pass)
		next, ok := b.handleTimers(b.now)
		if !ok || !next.After(b.now) {
			t.Fatalf("next at %v %v", next, ok)
		}
		b.handleTimers(next)
		if slices.Contains(b.acts, "to peer") != same {
			t.Errorf("same daemon %v: %q", same, b.acts)
		}
	}
}

// A StopCCN that xl2tpd will not take, for its number is not the next, closes nothing.
func TestForgedStop(t *testing.T) {
	for _, ns := range []uint16{0, 2, 5, 40000} {
		b := newFixture(t, t.TempDir())
		b.connect()
		b.handles(false, l2tp.Message{Tunnel: 9, Ns: 2, Nr: 1}, translator.Pass) // nothing has gone past the guard
		b.handlesRaw(true, closing(true, l2tp.TypeStopCCN, ns, 2, 1, ""), translator.Pass)
		b.age(1 + closedRounds)
		if b.stand() != 1 || len(b.ends) > 0 {
			t.Fatalf("Ns %d: %d tunnels left, %+v", ns, b.stand(), b.ends)
		}
		b.handles(false, ourHello(2), translator.Drop)
	}
}

func TestStore(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new")
	s := store(dir)
	if all, err := s.load(epoch, nil); err != nil || len(all) != 0 {
		t.Fatalf("got %v %v, want no channel", all, err)
	}
	c := &channel{owner: owner{ownerKnown, watched}, translator: translator.New(
		l2tp.Connection{Local: here, Peer: there, LocalID: 7, PeerID: 9}, epoch)}
	if err := s.save(c); err != nil {
		t.Fatal(err)
	}
	broken := filepath.Join(dir, statePrefix+"broken"+stateSuffix)
	other := filepath.Join(dir, "other.json")
	for _, path := range []string{broken, other} {
		if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	// State is not read from what may take its place.
	pipe, link, huge := filepath.Join(dir, statePrefix+"pipe"+stateSuffix), filepath.Join(dir, statePrefix+"link"+stateSuffix), filepath.Join(dir, statePrefix+"huge"+stateSuffix)
	if err := errors.Join(unix.Mkfifo(pipe, 0o600), os.Symlink(s.file(c.translator.Connection()), link),
		os.WriteFile(huge, bytes.Repeat([]byte(" "), statefile.Max+1), 0o600)); err != nil {
		t.Fatal(err)
	}
	// Nor that of one tunnel from another's file.
	copied := filepath.Join(dir, statePrefix+"copied"+stateSuffix)
	if state, err := os.ReadFile(s.file(c.translator.Connection())); err != nil || os.WriteFile(copied, state, 0o600) != nil {
		t.Fatal(err)
	}
	var bad []string
	all, err := s.load(epoch, func(path string, _ error) { bad = append(bad, path) })
	if err != nil || len(all) != 1 || all[0].owner != c.owner || all[0].translator.Connection() != c.translator.Connection() {
		t.Fatalf("got %+v %v, want the channel that was saved", all, err)
	}
	if !slices.Equal(bad, []string{broken, copied, huge, link, pipe}) {
		t.Errorf("bad: %q", bad)
	}

	b := newFixture(t, dir)
	if err := b.restore(epoch); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(broken); !errors.Is(err, os.ErrNotExist) || !strings.Contains(b.log.String(), broken) {
		t.Errorf("a broken file stays, or goes without a word: %v", err)
	}
	if _, err := os.Stat(other); err != nil {
		t.Error(err)
	}
}

// Before it is configured the guard reports nothing: who waits for the first report waits for
// the guard. Switched off, it touches nothing of the kernel's.
func TestReports(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var reports []error
		g := &Guard{Dir: t.TempDir(), Log: slog.New(slog.DiscardHandler), Report: func(err error) { reports = append(reports, err) }}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- g.Run(ctx) }()
		g.SetHost(Host{Ports: []uint16{1701}})
		synctest.Wait()
		if len(reports) != 0 {
			t.Errorf("reports %v before it is configured", reports)
		}
		g.Configure(false, false)
		synctest.Wait()
		if !slices.Equal(reports, []error{nil}) {
			t.Errorf("switched off, it reports %v", reports)
		}
		cancel()
		if err := <-done; err != context.Canceled {
			t.Error(err)
		}
	})
}

// What xl2tpd sends to a peer that is known to be dead is acknowledged after its
// StopCCN. If that has gone out before, it is acknowledged immediately.
func TestAcksStopForADeadPeer(t *testing.T) {
	stop := l2tp.Message{Type: l2tp.TypeStopCCN, Tunnel: 9, Ns: 2, Nr: 1}
	for name, first := range map[string]bool{"known before": true, "known later": false} {
		b := newFixture(t, t.TempDir())
		b.connect()
		c := b.table.list[0]
		c.peerDead = first
		b.handles(false, stop, translator.Pass)
		if c.ackStop != first || b.ends[0].StopAcked != first {
			t.Errorf("%s: got %+v, want an acknowledged stop only for a dead peer", name, b.ends)
		}
		c.peerDead, c.ackStop = true, true
		b.acts = nil
		b.catchUp(c, b.now)
		sent := len(b.acts)
		b.catchUp(c, b.now)
		if sent == 0 || len(b.acts) != sent || slices.Contains(b.acts, "to peer") {
			t.Errorf("%s: got %q, want nothing to the peer", name, b.acts)
		}
		b.handles(true, l2tp.Message{Tunnel: 7, Ns: 1, Nr: 3}, translator.Pass)
		if c.peerDead {
			t.Errorf("%s: the peer speaks, and is dead", name)
		}
	}
}

// xl2tpd gives an attempt up that nobody has answered; it need not wait for an
// acknowledgement. Of a tunnel that was never asked for, nothing is known.
func TestGivesUp(t *testing.T) {
	for name, tc := range map[string]struct {
		id     uint16
		wanted bool
		want   []string
	}{
		"asked for":     {7, true, []string{"to local"}},
		"not asked for": {8, true, nil},
		"not wanted":    {7, false, nil},
	} {
		b := newFixture(t, t.TempDir())
		b.links.Wanted = tc.wanted
		b.handlesRaw(false, assigning(false, l2tp.TypeSCCRQ, 0, 7, 0, 0), translator.Pass)
		for range 2 {
			b.handlesRaw(false, assigning(false, l2tp.TypeStopCCN, 0, tc.id, 1, 0), translator.Pass)
		}
		if !slices.Equal(b.acts, tc.want) {
			t.Errorf("%s: %q, want %q", name, b.acts, tc.want)
		}
		if !slices.Equal(b.dialled, []netip.Addr{there.Addr()}) {
			t.Errorf("%s: dialled %v", name, b.dialled)
		}
	}
}

// That the operator has hung an attempt up is reported.
func TestAttemptHungUp(t *testing.T) {
	for words, want := range map[string][]CloseReason{
		"Goodbye!": {{Reason: "hung up on this host", Operator: true}},
		"Timeout":  nil,
	} {
		b := newFixture(t, t.TempDir())
		b.handlesRaw(false, assigning(false, l2tp.TypeSCCRQ, 0, 7, 0, 0), translator.Pass)
		for range 2 {
			b.handlesRaw(false, explained(assigning(false, l2tp.TypeStopCCN, 0, 7, 1, 0), 1, words), translator.Pass)
		}
		if !slices.Equal(b.ends, want) {
			t.Errorf("%s: %+v, want %+v", words, b.ends, want)
		}
		_, lapsed := b.table.lapsed.get(attempt{watched, there.Addr()})
		if lapsed != (want == nil) {
			t.Errorf("%s: got lapsed %v, want %v", words, lapsed, want == nil)
		}
	}
}

// An attempt or tunnel that ends by itself may leave xl2tpd with a planned redial, whoever ends it.
func TestLapsed(t *testing.T) {
	refuses := explained(packet(true, l2tp.Message{Type: l2tp.TypeStopCCN, Tunnel: 7, Ns: 0, Nr: 1}), 2, "no")
	for name, tc := range map[string]struct {
		owner owner
		up    bool
		raw   []byte
		from  direction
		want  bool
	}{
		"nothing":                {owner: owner{ownerKnown, watched}},
		"the peer refuses":       {owner{ownerKnown, watched}, false, refuses, inbound, true},
		"whose is not known":     {owner{ownership: ownerUnclear}, false, refuses, inbound, false},
		"the peer closes":        {owner{ownerKnown, watched}, true, explained(packet(true, l2tp.Message{Type: l2tp.TypeStopCCN, Tunnel: 7, Ns: 1, Nr: 2}), 1, ""), inbound, true},
		"the peer ends the call": {owner{ownerKnown, watched}, true, explained(packet(true, l2tp.Message{Type: l2tp.TypeCDN, Tunnel: 7, Ns: 1, Nr: 2}), 1, ""), inbound, true},
		"xl2tpd gives up":        {owner{ownerKnown, watched}, true, explained(packet(false, l2tp.Message{Type: l2tp.TypeStopCCN, Tunnel: 9, Ns: 2, Nr: 1}), 1, "Timeout"), outbound, true},
		"somebody hangs up":      {owner{ownerKnown, watched}, true, explained(packet(false, l2tp.Message{Type: l2tp.TypeStopCCN, Tunnel: 9, Ns: 2, Nr: 1}), 1, "Goodbye!"), outbound, false},
		"another one does":       {owner{ownerKnown, office}, true, explained(packet(true, l2tp.Message{Type: l2tp.TypeStopCCN, Tunnel: 7, Ns: 1, Nr: 2}), 1, ""), inbound, false},
	} {
		b := newFixture(t, t.TempDir())
		g := &Guard{}
		g.setSession(&session{Guard: g, h: b.handler})
		if tc.up {
			b.connect()
		} else {
			b.handlesRaw(false, assigning(false, l2tp.TypeSCCRQ, 0, 7, 0, 0), translator.Pass)
		}
		b.table.awaited.all(func(c l2tp.Connection, a awaited) bool {
			a.owner = tc.owner
			b.table.awaited.update(c, a)
			return true
		})
		for _, c := range b.table.list {
			c.owner = tc.owner
		}
		if tc.raw != nil {
			b.handle(tc.raw, tc.from, b.now)
			b.handle(tc.raw, tc.from, b.now.Add(time.Second)) // a copy says nothing new
		}
		if got := g.Lapsed(watched, there.Addr(), b.now); got != tc.want {
			t.Errorf("%s: got %v, want %v", name, got, tc.want)
		}
		if g.Lapsed(watched, there.Addr(), b.now.Add(time.Second)) {
			t.Errorf("%s: it lapsed once more", name)
		}
		if tc.owner.process != office && g.Lapsed(office, there.Addr(), b.now) {
			t.Errorf("%s: it lapsed for another xl2tpd", name)
		}
	}
}

// A refusal shows that the SA works if it came through IPsec. One in the clear may be forged, and does not hide a later one.
func TestRefused(t *testing.T) {
	refuses := explained(packet(true, l2tp.Message{Type: l2tp.TypeStopCCN, Tunnel: 7, Ns: 0, Nr: 1}), 2, "no")
	for name, tc := range map[string]struct {
		asks, unclear bool
		from          []direction
		want          bool
	}{
		"through IPsec":                  {asks: true, from: []direction{inboundSecured}, want: true},
		"in the clear":                   {asks: true, from: []direction{inbound}},
		"in the clear, and then through": {asks: true, from: []direction{inbound, inboundSecured}, want: true},
		"xl2tpd has not asked":           {from: []direction{inboundSecured}},
		"whose attempt is not known":     {asks: true, unclear: true, from: []direction{inboundSecured}},
	} {
		b := newFixture(t, t.TempDir())
		g := &Guard{}
		g.setSession(&session{Guard: g, h: b.handler})
		if tc.asks {
			b.handlesRaw(false, assigning(false, l2tp.TypeSCCRQ, 0, 7, 0, 0), translator.Pass)
		}
		b.table.awaited.all(func(c l2tp.Connection, a awaited) bool {
			if tc.unclear {
				a.owner = owner{ownership: ownerUnclear}
			}
			b.table.awaited.update(c, a)
			return true
		})
		for _, from := range tc.from {
			b.handle(refuses, from, b.now)
		}
		if got := g.Refused(watched, there.Addr(), b.now); got != tc.want {
			t.Errorf("%s: got %v, want %v", name, got, tc.want)
		}
		if g.Refused(watched, there.Addr(), b.now.Add(1)) || g.Refused(office, there.Addr(), b.now) {
			t.Errorf("%s: refused later, or another xl2tpd", name)
		}
	}
}

// An xl2tpd that has ended leaves tunnels that are closed in its name, until the peer
// acknowledges it. Its successor does not learn of it.
func TestClosesForAnEndedDaemon(t *testing.T) {
	b := newFixture(t, t.TempDir())
	tunnel := b.connect()
	b.owners.host.Daemons = nil
	b.closer.noteOwnerEnds(b.now)
	if b.handleTimers(b.now); b.acts != nil {
		t.Fatalf("%q for an xl2tpd that runs", b.acts)
	}
	b.world.end(watched)
	b.closer.noteOwnerEnds(b.now)
	next, ok := b.handleTimers(b.now)
	if want := []string{"to peer"}; !slices.Equal(b.acts, want) || !ok || next != b.now.Add(time.Second) {
		t.Fatalf("%q, want %q; again %v", b.acts, want, next)
	}
	b.now = next
	b.closer.noteOwnerEnds(b.now)
	if next, _ = b.handleTimers(b.now); next != b.now.Add(2*time.Second) || len(b.acts) != 2 {
		t.Errorf("%q, again %v", b.acts, next)
	}
	b.handles(true, l2tp.Message{Tunnel: 7, Ns: 1, Nr: 3}, translator.Drop)
	if _, ok := b.handleTimers(next); ok || len(b.acts) != 2 {
		t.Errorf("acknowledged, and %q", b.acts)
	}
	b.age(1 + closedRounds)
	if len(b.table.list) != 0 || b.kept(tunnel) || len(b.listened) != 0 {
		t.Errorf("%d channels, listening to %v", len(b.table.list), b.listened)
	}
}

// The peer of an xl2tpd that has ended may say only later which number it expects.
func TestClosesOnceThePeerHasSpoken(t *testing.T) {
	b := newFixture(t, t.TempDir())
	b.opener.takeSessions([]KernelSession{{l2tp.Connection{Local: here, Peer: there, LocalID: 7, PeerID: 9}, watched.Pid}}, b.now)
	b.handles(false, l2tp.Message{Tunnel: 9, Ns: 5, Nr: 1}, translator.Pass)
	b.world.end(watched)
	b.closer.noteOwnerEnds(b.now)
	next, _ := b.handleTimers(b.now)
	if len(b.sent) != 0 || next != b.now.Add(time.Second) {
		t.Fatalf("%q, again %v", b.acts, next)
	}
	b.handles(true, l2tp.Message{Type: l2tp.TypeHello, Tunnel: 7, Ns: 1, Nr: 5}, translator.Drop)
	if b.handleTimers(next); len(b.sent) != 1 {
		t.Errorf("%q, want one StopCCN", b.acts)
	}
}

// The watched xl2tpd may dial before the service knows that it runs.
func TestMeetsTheDaemonLate(t *testing.T) {
	b := newFixture(t, t.TempDir())
	b.owners.host = Host{}
	b.handlesRaw(false, assigning(false, l2tp.TypeSCCRQ, 0, 7, 0, 0), translator.Pass)
	if len(b.dialled) != 0 {
		t.Errorf("dialled %v before it is known who is watched", b.dialled)
	}
	for range 2 {
		b.update(Host{Daemons: []procfs.ID{watched}}, b.now)
	}
	if want := []netip.Addr{there.Addr()}; !slices.Equal(b.dialled, want) {
		t.Errorf("dialled %v, want %v", b.dialled, want)
	}
	b.handlesRaw(false, assigning(false, l2tp.TypeSCCRQ, 0, 7, 0, 0), translator.Pass)
	b.handlesRaw(false, assigning(false, l2tp.TypeSCCRQ, 0, 8, 0, 0), translator.Pass)
	if want := []bool{false, true, false}; !slices.Equal(b.dialledAgain, want) {
		t.Errorf("requests that are sent again: %v, want %v", b.dialledAgain, want)
	}
}

// An SCCRP in the clear, and then one through IPsec, do not make an unreported dial a reported one. It is reported once its
// xl2tpd is known, and a refusal only if the dial was.
func TestDistrustKeepsDialUnreported(t *testing.T) {
	known := Host{Daemons: []procfs.ID{watched}}
	for name, tc := range map[string]struct {
		from     Host
		refusals int // reported before the xl2tpd is known
	}{
		"xl2tpd was known":         {known, 1},
		"xl2tpd was not known yet": {Host{}, 0},
	} {
		distrusted := func() *fixture {
			b := newFixture(t, t.TempDir())
			b.owners.host = tc.from
			b.handlesRaw(false, assigning(false, l2tp.TypeSCCRQ, 0, 7, 0, 0), translator.Pass)
			b.handlesRaw(true, assigning(true, l2tp.TypeSCCRP, 7, 9, 0, 1), translator.Pass)
			b.handle(packet(true, l2tp.Message{Type: l2tp.TypeSCCRP, Tunnel: 7, Nr: 1}), inboundSecured, b.now) // assigns no id
			return b
		}
		b := distrusted()
		if b.update(known, b.now); len(b.dialled) != 1 {
			t.Errorf("%s: got %d reports of the dial, want 1", name, len(b.dialled))
		}
		b = distrusted()
		if b.handle(assigning(true, l2tp.TypeStopCCN, 7, 9, 0, 1), inboundSecured, b.now); len(b.failed) != tc.refusals {
			t.Errorf("%s: got %d reports of a refusal, want %d", name, len(b.failed), tc.refusals)
		}
	}
}

// The links are asked about a Hello, and about the first packet of all: what else
// there is does not depend on whether they live.
func TestAsksAboutHellos(t *testing.T) {
	b := newFixture(t, t.TempDir())
	b.connect()
	asked := 0
	b.evidence.links = func(context.Context, OwnedConnection) Links {
		asked++
		return b.links
	}
	b.handles(true, l2tp.Message{Type: l2tp.TypeHello, Tunnel: 7, Ns: 1, Nr: 2}, translator.Pass)
	b.handles(false, l2tp.Message{Tunnel: 9, Ns: 2, Nr: 2}, translator.Pass)
	if asked != 0 {
		t.Errorf("asked %d times", asked)
	}
	b.handles(false, l2tp.Message{Type: l2tp.TypeHello, Tunnel: 9, Ns: 2, Nr: 2}, translator.Drop)
	b.links.Wanted = false
	b.table.list[0].wanted = false
	b.handles(true, l2tp.Message{Tunnel: 7, Ns: 2, Nr: 2}, translator.Rewrite)
	if asked != 2 {
		t.Errorf("asked %d times, want 2", asked)
	}
}

func (b *fixture) sentFrom(_ address) func(uint32) bool {
	return func(cgroup uint32) bool { return slices.Contains(b.from, cgroup) }
}
