package recovery

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"time"

	"go.uber.org/goleak"

	"xl2tpd-keepalive/internal/helloguard"
	"xl2tpd-keepalive/internal/l2tp"
	"xl2tpd-keepalive/internal/procfs"
	"xl2tpd-keepalive/internal/wake"
	"xl2tpd-keepalive/probe"
	"xl2tpd-keepalive/vici"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeCharon lists the connections of a test and notes commands. It can't end the IKE SA "?".
type fakeCharon struct {
	connections func() ([]vici.Connection, error)
	commands    []string
}

func (c *fakeCharon) Connections(context.Context) ([]vici.Connection, error) { return c.connections() }

func (c *fakeCharon) Initiate(_ context.Context, child, ike string) error {
	c.commands = append(c.commands, "initiate "+ike+"/"+child)
	return nil
}

func (c *fakeCharon) TerminateIKE(_ context.Context, uniqueID, name string, remote netip.Addr) error {
	if uniqueID == "?" {
		return errors.New("no id of an IKE SA")
	}
	what := "terminate " + uniqueID
	if name != "" {
		what += " of " + name + " with " + remote.String()
	}
	c.commands = append(c.commands, what)
	return nil
}

// fakeGuard is asked only what a test has an answer for.
type fakeGuard struct {
	channels      func() []helloguard.Channel
	ask, ackStops func(peer netip.Addr) bool
	dialling      func() (is, known bool)
	lapsed        bool
	answered      bool
	refusedAt     time.Time
	drops         func(what string) // "noted", "taken" or "taken back"
	nothing       bool              // to drop
}

func (g fakeGuard) Channels() []helloguard.Channel                 { return g.channels() }
func (g fakeGuard) Ask(w helloguard.Selector) bool                 { return g.ask(w.Peer) }
func (g fakeGuard) AckStops(w helloguard.Selector) bool            { return g.ackStops(w.Peer) }
func (fakeGuard) NoteHangUp(helloguard.Selector) helloguard.HangUp { return 1 }
func (g fakeGuard) Answered(procfs.ID, netip.Addr, time.Time) bool { return g.answered }

func (g fakeGuard) Refused(_ procfs.ID, _ netip.Addr, since time.Time) bool {
	return !g.refusedAt.Before(since)
}

func (g fakeGuard) NoteDrop(helloguard.Selector) helloguard.HangUp {
	if g.nothing {
		return 0
	}
	g.drops("noted")
	return 2
}

func (g fakeGuard) EndHangUp(id helloguard.HangUp, taken bool) {
	switch {
	case id != 2:
	case taken:
		g.drops("taken")
	default:
		g.drops("taken back")
	}
}
func (g fakeGuard) Dialling(procfs.ID, netip.Addr) (is, known bool) { return g.dialling() }
func (g fakeGuard) Lapsed(procfs.ID, netip.Addr, time.Time) bool    { return g.lapsed }

// fakeNames answers lookups.
type fakeNames func(host string) ([]netip.Addr, error)

func (fakeNames) Resolve(string) {}

func (n fakeNames) LookupIPv4(_ context.Context, host string) ([]netip.Addr, error) { return n(host) }

var unknownNames = fakeNames(func(string) ([]netip.Addr, error) { return nil, errors.New("no name server") })

// fakePinger returns how an echo request ends that goes outside the tunnel.
type fakePinger func() error

func (p fakePinger) Echo(context.Context, probe.Request) probe.Result { return probe.Result{Err: p()} }

// farEnds are the interfaces inside which the far end answers, and after how long. All other echo requests are lost; those
// outside the tunnel are answered.
type farEnds map[int]time.Duration

func (f farEnds) Echo(ctx context.Context, r probe.Request) probe.Result {
	takes, answers := f[r.Index]
	if r.Index == 0 {
		return probe.Result{}
	}
	if !answers {
		takes = time.Hour
	}
	ctx, cancel := context.WithTimeout(ctx, r.Timeout)
	defer cancel()
	return probe.Result{Err: wake.After(ctx, takes)}
}

// ownedBy is a control connection with a peer.
func ownedBy(owner procfs.ID, peer netip.Addr) helloguard.OwnedConnection {
	return helloguard.OwnedConnection{Connection: l2tp.Connection{Peer: netip.AddrPortFrom(peer, 1701)}, Owner: owner}
}
