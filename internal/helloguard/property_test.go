package helloguard

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"xl2tpd-keepalive/internal/helloguard/translator"
	"xl2tpd-keepalive/internal/l2tp"
	"xl2tpd-keepalive/internal/procfs"
)

// program is an xl2tpd, another program that speaks L2TP, or another user's.
type program struct {
	procfs.ID
	xl2tpd   bool
	user     uint32
	cgroup   uint32
	port     uint16
	connects bool // has a connected socket for each tunnel: xl2tpd in kernel mode, or kl2tpd
	says     bool // its file can be read
	alive    bool
}

// connection is one that a program has really opened.
type connection struct {
	l2tp.Connection
	by          *program
	established bool
	closed      bool // a StopCCN has gone, of either end
	ns, peerNs  uint16
	began       time.Time
	sentAt      time.Time // when xl2tpd last sent a message
}

// histories is a host with several programs, and what the guard makes of it.
type histories struct {
	t        *rapid.T
	h        *handler
	dir      string
	now      time.Time
	programs []*program
	conns    []*connection
	opening  []*connection // the one that is being opened
	sender   *program      // who sends the message at hand
	nextID   uint16
	nextPid  int
	dialled  []OwnedConnection // what Dials was called with
	listened map[l2tp.Connection]bool
	noted    map[path]bool
	came     map[address]arrival // data that came in on noted paths
}

// of is what the kernel and /proc say of the host.
func (w *histories) of(port uint16, _ time.Time) (f facts) {
	for _, p := range w.programs {
		if !p.alive {
			continue
		}
		if p.xl2tpd {
			d := Daemon{ID: p.ID, Cgroup: p.cgroup}
			if p.says {
				d.Listens = netip.AddrPortFrom(netip.IPv4Unspecified(), p.port)
			}
			f.daemons = append(f.daemons, d)
		}
		if p.port != port {
			continue
		}
		if p.xl2tpd || !p.connects {
			f.sockets = append(f.sockets, socket{local: netip.AddrPortFrom(netip.IPv4Unspecified(), p.port), uid: p.user, cgroup: p.cgroup})
		}
		for _, c := range append(w.conns[:len(w.conns):len(w.conns)], w.opening...) {
			if c.by == p && p.connects && !c.closed && (c.established || !p.xl2tpd) {
				f.sockets = append(f.sockets, socket{local: c.Local, peer: c.Peer, uid: p.user, cgroup: p.cgroup})
			}
		}
	}
	return f
}

func (w *histories) forget() {}

func (w *histories) gone(id procfs.ID) bool {
	return !slices.ContainsFunc(w.programs, func(p *program) bool { return p.alive && p.ID == id })
}

func (w *histories) noteData(at path, on bool) error {
	if w.noted[at] == on {
		w.t.Fatalf("%v is noted twice, or not at all: %v", at, on)
	}
	w.noted[at] = on
	return nil
}

func (w *histories) arrivals() (map[address]arrival, error) { return w.came, nil }

func (w *histories) failClosed(l2tp.Connection, bool) error { return nil }

func (w *histories) listen(t l2tp.Connection, on bool) error {
	if t.PeerID = 0; on {
		w.listened[t] = true
	} else {
		delete(w.listened, t)
	}
	return nil
}

// send checks that nobody who lives, and no other program, is spoken for with a StopCCN that
// it has not sent.
func (w *histories) send(i translator.Injection) error {
	p, err := l2tp.ParsePacket(i.Packet)
	if err != nil {
		w.t.Fatal(err)
	}
	if i.To != translator.ToPeer {
		return nil
	}
	for _, c := range w.conns {
		if p.Msg.Type == l2tp.TypeSCCCN && c.Local == p.Src && c.Peer == p.Dst && c.PeerID == p.Msg.Tunnel && !(c.by.xl2tpd && c.by.alive) {
			w.t.Fatalf("question about %v in the name of %+v", c.Connection, *c.by)
		}
	}
	if p.Msg.Type != l2tp.TypeStopCCN {
		return nil
	}
	for _, c := range w.conns {
		if c.Local == p.Src && c.Peer == p.Dst && c.PeerID == p.Msg.Tunnel && !c.closed && (c.by.alive || !c.by.xl2tpd) {
			w.t.Fatalf("StopCCN for %v in the name of %+v", c.Connection, *c.by)
		}
	}
	return nil
}

// start starts the guard, or another in place of it.
func (w *histories) start() {
	w.h = newHandler(context.Background(), &Guard{
		Dir: w.dir, Log: slog.New(slog.DiscardHandler),
		Links: func(_ context.Context, t OwnedConnection) Links {
			linked := slices.ContainsFunc(w.conns, func(c *connection) bool { return c.established && !c.closed && c.by.alive && c.Peer == t.Peer })
			return Links{Certain: t.LocalID%5 == 1, Linked: linked, Wanted: true, PassFirst: t.LocalID%2 == 0, Alive: t.LocalID%3 != 0, Window: time.Minute}
		},
		Ended:         func(OwnedConnection, CloseReason) {},
		AttemptFailed: func(OwnedConnection, CloseReason) {},
		Dials:         func(c OwnedConnection, _ bool) { w.dialled = append(w.dialled, c) },
		Calls:         func(OwnedConnection) {},
	}, w.host(), w)
	w.h.owners.facts, w.h.owners.gone = w, w.gone
	w.listened, w.noted, w.came = map[l2tp.Connection]bool{}, map[path]bool{}, map[address]arrival{}
	w.h.unpaired.watched = w.now
	if err := w.h.restore(w.now); err != nil {
		w.t.Fatal(err)
	}
	for _, t := range w.h.listening() {
		w.listen(t, true)
	}
}

// host is what the watcher says: the xl2tpds, and the sessions of kernel mode.
func (w *histories) host() Host {
	var h Host
	for _, p := range w.programs {
		if p.xl2tpd && p.alive {
			h.Daemons = append(h.Daemons, p.ID)
			if p.says {
				h.GiveUp = append(h.GiveUp, p.ID)
			}
		}
	}
	for _, c := range w.conns {
		if !c.established || c.closed || !c.by.connects {
			continue
		}
		s := KernelSession{Connection: c.Connection}
		if c.by.xl2tpd && c.by.alive && c.LocalID%2 == 0 { // pppd is found, and its parent lives
			s.Xl2tpd = c.by.Pid
		}
		h.Sessions = append(h.Sessions, s)
	}
	return h
}

func (w *histories) out(c *connection, m l2tp.Message, own uint16) {
	if c.by.user != 0 {
		return // the nftables rules queue root's packets alone
	}
	w.sender, c.sentAt = c.by, w.now
	w.handle(between(c.Local, c.Peer, m, own), outbound, c)
	w.sender = nil
}

func (w *histories) in(c *connection, m l2tp.Message, own uint16) {
	key := l2tp.Connection{Local: c.Local, Peer: c.Peer, LocalID: c.LocalID}
	if !w.listened[key] && !w.listened[l2tp.Connection{Local: c.Local, Peer: c.Peer}] {
		return
	}
	w.handle(between(c.Peer, c.Local, m, own), inbound, c)
}

// data has a packet of a connection's link come in. It may be forged.
func (w *histories) data() {
	c, ok := pick(w, w.conns, func(c *connection) bool { return c.established && !c.closed })
	if !ok || !w.noted[pathOf(c.Connection)] {
		return
	}
	w.came[address{pathOf(c.Connection), c.LocalID, false}] = arrival{clear: w.now}
}

func (w *histories) handle(raw []byte, from direction, c *connection) {
	action, _, done := handleRaw(w.h, raw, from, w.now)
	if from != outbound && action == translator.Drop && c.by.alive {
		w.t.Fatalf("a message to %+v was dropped", *c.by)
	}
	if done != nil {
		w.h.catchUp(done, w.now)
	}
}

// pick draws one of those that are as wanted, or nil.
func pick[T any](w *histories, all []T, like func(T) bool) (one T, ok bool) {
	var some []T
	for _, a := range all {
		if like(a) {
			some = append(some, a)
		}
	}
	if len(some) == 0 {
		return one, false
	}
	return some[rapid.IntRange(0, len(some)-1).Draw(w.t, "which")], true
}

func (w *histories) startProgram() {
	p := &program{
		ID:       procfs.ID{Pid: 100 + w.nextPid%3, Start: uint64(w.nextPid)},
		xl2tpd:   rapid.IntRange(0, 3).Draw(w.t, "kind") > 0,
		cgroup:   rapid.SampledFrom([]uint32{0, 7, 8, 9}).Draw(w.t, "cgroup"),
		port:     rapid.SampledFrom([]uint16{1701, 1701, 1801}).Draw(w.t, "port"),
		connects: rapid.Bool().Draw(w.t, "connects"),
		says:     rapid.Bool().Draw(w.t, "says"),
		alive:    true,
	}
	if w.nextPid++; !p.xl2tpd && rapid.Bool().Draw(w.t, "another user's") {
		p.user = 1000
	}
	if !p.xl2tpd && p.connects && p.cgroup != 0 {
		p.cgroup += 20 // in one cgroup, from one port, to one peer: nothing shows which of two programs sends
	}
	// Pids do not repeat among the living.
	if slices.ContainsFunc(w.programs, func(o *program) bool { return o.alive && o.Pid == p.Pid }) {
		return
	}
	w.programs = append(w.programs, p)
}

func (w *histories) endProgram() {
	if p, ok := pick(w, w.programs, func(p *program) bool { return p.alive }); ok {
		p.alive = false
		for _, c := range w.conns {
			c.closed = c.closed || c.by == p && !p.xl2tpd
		}
	}
}

// open has a program open a connection, as LAC or as LNS.
func (w *histories) open() {
	p, ok := pick(w, w.programs, func(p *program) bool { return p.alive })
	if !ok {
		return
	}
	w.nextID++
	c := &connection{by: p, began: w.now, Connection: l2tp.Connection{
		Local: netip.AddrPortFrom(here.Addr(), p.port), Peer: peerNumber(rapid.IntRange(0, 2).Draw(w.t, "peer")),
		LocalID: w.nextID, PeerID: 30000 + w.nextID,
	}}
	w.opening = []*connection{c}
	defer func() { w.opening = nil }()
	w.dialled = nil
	dials := rapid.Bool().Draw(w.t, "dials")
	if dials {
		w.out(c, l2tp.Message{Type: l2tp.TypeSCCRQ}, c.LocalID)
		for _, by := range w.dialled {
			if by.Owner != (procfs.ID{}) && (by.Owner != p.ID || !p.xl2tpd) || by.Connection != c.Connection.WithoutPeerID() {
				w.t.Fatalf("%+v dials %v, and %v is said to", *p, c.Connection, by)
			}
		}
	} else {
		w.out(c, l2tp.Message{Type: l2tp.TypeSCCRP, Tunnel: c.PeerID, Nr: 1}, c.LocalID)
	}
	if rapid.IntRange(0, 3).Draw(w.t, "answered") == 0 {
		return
	}
	w.conns = append(w.conns, c)
	c.ns, c.peerNs = 1, 1
	if dials {
		w.in(c, l2tp.Message{Type: l2tp.TypeSCCRP, Tunnel: c.LocalID, Nr: 1}, c.PeerID)
		if rapid.IntRange(0, 3).Draw(w.t, "ends meanwhile") == 0 {
			p.alive = false
			return
		}
		w.out(c, l2tp.Message{Type: l2tp.TypeSCCCN, Tunnel: c.PeerID, Ns: 1, Nr: 1}, 0)
		c.established, c.ns = true, 2
		w.in(c, l2tp.Message{Tunnel: c.LocalID, Ns: 1, Nr: 2}, 0)
		return
	}
	c.peerNs = 2
	w.out(c, l2tp.Message{Tunnel: c.PeerID, Ns: 1, Nr: 2}, 0)
	c.established = true
}

// exchange has a program and its peer say something in a connection.
func (w *histories) exchange() {
	c, ok := pick(w, w.conns, func(c *connection) bool { return c.by.alive && c.established && !c.closed })
	if !ok {
		return
	}
	switch rapid.IntRange(0, 5).Draw(w.t, "what") {
	case 0, 1: // a Hello, which the peer may ignore
		w.out(c, l2tp.Message{Type: l2tp.TypeHello, Tunnel: c.PeerID, Ns: c.ns, Nr: c.peerNs}, 0)
		c.ns++
	case 2:
		w.in(c, l2tp.Message{Type: l2tp.TypeHello, Tunnel: c.LocalID, Ns: c.peerNs, Nr: c.ns}, 0)
		c.peerNs++
		w.out(c, l2tp.Message{Tunnel: c.PeerID, Ns: c.ns, Nr: c.peerNs}, 0)
	case 3:
		w.out(c, l2tp.Message{Type: l2tp.TypeICRQ, Tunnel: c.PeerID, Ns: c.ns, Nr: c.peerNs}, 0)
		c.ns++
		w.in(c, l2tp.Message{Tunnel: c.LocalID, Ns: c.peerNs, Nr: c.ns}, 0)
	case 4:
		c.closed = true
		w.out(c, l2tp.Message{Type: l2tp.TypeStopCCN, Assigned: c.LocalID, Tunnel: c.PeerID, Ns: c.ns, Nr: c.peerNs}, 0)
	case 5:
		w.in(c, l2tp.Message{Tunnel: c.LocalID, Ns: c.peerNs, Nr: c.ns}, 0)
	}
}

// forge sends what nobody meant, from one of the peers or to any.
func (w *histories) forge() {
	m := l2tp.Message{
		Type:   rapid.SampledFrom([]l2tp.MessageType{0, 1, 2, 3, 6, 14}).Draw(w.t, "type"),
		Tunnel: uint16(rapid.IntRange(0, 3).Draw(w.t, "far")*20000 + rapid.IntRange(0, 20).Draw(w.t, "id")),
		Ns:     uint16(rapid.IntRange(0, 4).Draw(w.t, "ns")), Nr: uint16(rapid.IntRange(0, 4).Draw(w.t, "nr")),
	}
	c := &connection{by: &program{}, Connection: l2tp.Connection{Local: here, Peer: peerNumber(rapid.IntRange(0, 3).Draw(w.t, "peer")), LocalID: m.Tunnel}}
	w.in(c, m, uint16(rapid.IntRange(0, 20).Draw(w.t, "own")))
}

func (w *histories) pass() {
	w.now = w.now.Add(rapid.SampledFrom([]time.Duration{time.Millisecond, time.Second, 30 * time.Second}).Draw(w.t, "time"))
	w.h.handleTimers(w.now)
}

// check compares the guard with what is true.
func (w *histories) check() {
	if n := len(w.h.table.list); n > len(w.conns)+1 || w.h.table.awaited.order.Len() > int(w.nextID) || w.h.table.callers.order.Len() > int(w.nextID) {
		w.t.Fatalf("%d channels of %d connections, %d awaited, %d half open", n, len(w.conns), w.h.table.awaited.order.Len(), w.h.table.callers.order.Len())
	}
	for _, c := range w.conns {
		k := w.h.table.find(pathOf(c.Connection), c.PeerID, true)
		if k == nil {
			continue
		}
		switch {
		case !c.by.xl2tpd && k.owner.ownership == ownerKnown:
			w.t.Fatalf("%v of another program is %+v's", c.Connection, k.owner)
		case k.owner.ownership == ownerKnown && k.owner.process != c.by.ID:
			w.t.Fatalf("%v is %+v's, not that of %v", c.Connection, k.owner, c.by.ID)
		case k.phase.xl2tpdEnded() && c.by.alive:
			w.t.Fatalf("%v has an xl2tpd that lives", c.Connection)
		}
	}
	files, err := os.ReadDir(w.dir)
	if err != nil || len(files) > len(w.h.table.list) {
		w.t.Fatalf("%d files of %d channels %v", len(files), len(w.h.table.list), err)
	}
}

// keeps lets minutes pass, and checks that no established connection of an xl2tpd that lives
// is forgotten. xl2tpd sends a Hello every minute, so a connection that is silent for longer may be,
// if no data has come either for dataTTL.
func (w *histories) keeps() {
	had := map[*channel]*connection{}
	for _, c := range w.conns {
		if k := w.h.table.find(pathOf(c.Connection), c.PeerID, true); k != nil && k.phase.agreed() && c.established && !c.closed && c.by.alive && c.by.xl2tpd {
			had[k] = c
		}
	}
	for range rapid.IntRange(1, 6).Draw(w.t, "minutes") {
		w.now = w.now.Add(tidyEvery)
		w.h.handleTimers(w.now)
		w.h.tidy(w.now)
	}
	for k, c := range had {
		lasts := w.now.Sub(c.sentAt) <= silentRounds*tidyEvery || w.now.Sub(c.began) <= dataTTL
		if lasts && !k.translator.Closing() && !slices.Contains(w.h.table.list, k) {
			w.t.Fatalf("%v of %v is forgotten", c.Connection, c.by.ID)
		}
	}
}

// However programs come and go, the guard sends no StopCCN in the name of a program that lives or is
// no xl2tpd. It drops no message to one. It reports nobody else's attempt. It takes no connection for
// another's, forgets none, and keeps nothing without bound.
func TestHistories(t *testing.T) {
	dir := memoryDir(t)
	n := 0
	rapid.Check(t, func(t *rapid.T) {
		n++
		w := &histories{t: t, now: epoch, dir: fmt.Sprintf("%s/%d", dir, n)}
		defer os.RemoveAll(w.dir)
		w.startProgram()
		w.start()
		do := func(f func()) func(*rapid.T) {
			return func(t *rapid.T) { w.t = t; f(); w.check() }
		}
		t.Repeat(map[string]func(*rapid.T){
			"start":     do(w.startProgram),
			"end":       do(w.endProgram),
			"open":      do(w.open),
			"open more": do(w.open),
			"exchange":  do(w.exchange),
			"talk":      do(w.exchange),
			"more":      do(w.exchange),
			"forge":     do(w.forge),
			"data":      do(w.data),
			"time":      do(w.pass),
			"minutes":   do(w.keeps),
			"meet":      do(func() { w.h.update(w.host(), w.now) }),
			"restart":   do(w.start),
		})
	})
}

func (w *histories) sentFrom(at address) func(uint32) bool {
	sender := w.sender
	return func(cgroup uint32) bool {
		return sender != nil && cgroupKnown(sender.cgroup) && (cgroup == sender.cgroup || cgroup == 5) // with the one above it
	}
}
