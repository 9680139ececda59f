package helloguard

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"xl2tpd-keepalive/internal/controltrace"
	"xl2tpd-keepalive/internal/l2tp"
	"xl2tpd-keepalive/internal/procfs"
	"xl2tpd-keepalive/internal/wake"
)

// DefaultDir is where the channels' state is kept.
const DefaultDir = "/run/xl2tpd-keepalive/hello"

// A guard that fails is soon back, because tunnels may need it. If the kernel does not
// allow the guard, the guard tries again in ever longer intervals: a module may be loaded, or
// another program may leave the queue.
const (
	minRetry = time.Second
	maxRetry = time.Minute
)

// OwnedConnection is a control connection and the xl2tpd that has opened it.
type OwnedConnection struct {
	l2tp.Connection
	Owner procfs.ID // zero: not known
}

// Links is what is known of the links of a control connection.
type Links struct {
	Unknown   bool          // the links did not say in time; the rest goes by [global]
	Certain   bool          // the links are surely this tunnel's
	Linked    bool          // there is a link that can be the tunnel's
	Wanted    bool          // the guard is to hold this tunnel
	PassFirst bool          // but only those Hellos that the peer leaves unanswered
	Alive     bool          // the links show fresh signs of life; it counts only if Certain
	Window    time.Duration // for how long a sign of life is fresh, that of the connection's own packets too
}

// Guard holds the Hellos of living tunnels back. All fields but Unlisted must be set.
type Guard struct {
	Dir string
	Log *slog.Logger
	// Links returns what is known of the links of a control connection. It must answer soon: packets wait for it.
	Links func(ctx context.Context, c OwnedConnection) Links
	// Daemons returns every xl2tpd that runs in this network namespace.
	Daemons func() []Daemon
	// Ended is called with the reason why a tunnel is being closed. It must not block.
	Ended func(OwnedConnection, CloseReason)
	// AttemptFailed is called when an attempt of xl2tpd's ends that has got no tunnel, unless somebody has hung up. The peer has
	// refused it (ByPeer; the message may be forged), or has not answered. It must not block either.
	AttemptFailed func(OwnedConnection, CloseReason)
	// Dials is called each time that an xl2tpd of Host.Daemons asks a peer for a tunnel. The connection is the one that it
	// would open: its PeerID is 0, and its Owner is zero if it is unknown which xl2tpd asks. again says that xl2tpd only
	// repeats a request that was reported. Dials must not block either.
	Dials func(c OwnedConnection, again bool)
	// Calls is called each time that an xl2tpd asks for a call in a tunnel that stands, or asks again. It must not block
	// either.
	Calls func(OwnedConnection)
	// Unlisted is called when an xl2tpd runs that Host.Daemons does not list, at most once a
	// second. It must not block either. It may be nil.
	Unlisted func()
	// Report is called with why the guard is not available; nil: it is in place, or is off. The
	// first report comes after the first Configure.
	Report func(error)

	changed    wake.Signal
	hub        controltrace.Hub
	recordings recordings

	mu         sync.Mutex
	configured bool
	on         bool
	required   bool
	host       Host
	session    *session // nil: none runs
}

// Configure switches the guard on or off. required says that the configuration asks for it by name (`hello guard = on`):
// then it is an error if the guard is not available.
func (g *Guard) Configure(on, required bool) {
	g.mu.Lock()
	g.configured, g.on, g.required = true, on, required
	g.mu.Unlock()
	g.changed.Send()
}

// SetHost sets what is known of the xl2tpds.
func (g *Guard) SetHost(h Host) {
	g.mu.Lock()
	g.host = h
	g.mu.Unlock()
	g.changed.Send()
}

func (g *Guard) settings() (on, required bool, h Host) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.on, g.required, g.host.normal()
}

// awaitConfiguration waits for the first Configure.
func (g *Guard) awaitConfiguration(ctx context.Context) error {
	for {
		g.mu.Lock()
		configured := g.configured
		g.mu.Unlock()
		if configured {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-g.changed.C():
		}
	}
}

// Run guards until ctx ends, then returns its error.
func (g *Guard) Run(ctx context.Context) error {
	if err := g.awaitConfiguration(ctx); err != nil {
		return err
	}
	o := newOutage()
	for {
		on, required, _ := g.settings()
		var wait <-chan time.Time
		if on || g.leftFailClosed() {
			err := g.runSession(ctx, func() { g.endOutage(&o) })
			switch {
			case ctx.Err() != nil:
				return ctx.Err()
			case err == nil:
				continue // switched off, perhaps on again meanwhile
			}
			wait = g.failed(ctx, &o, err, required)
		} else {
			o.reason = ""
			g.Report(nil)
		}
		if err := g.rest(ctx, wait, on, required); err != nil {
			return err
		}
	}
}

// outage is the time in which the guard is not available.
type outage struct {
	reason  string // as the log says; empty: there is no outage
	backoff wake.Backoff
}

func newOutage() outage {
	return outage{backoff: wake.Backoff{First: minRetry, Longest: maxRetry}}
}

// endOutage notes that all is in place.
func (g *Guard) endOutage(o *outage) {
	if o.reason != "" {
		g.Log.Info("hello guard available again")
	}
	*o = newOutage()
	g.Report(nil)
}

// failed notes why the guard is not available, and returns when to try again.
func (g *Guard) failed(ctx context.Context, o *outage, err error, required bool) <-chan time.Time {
	g.Report(err)
	if err.Error() != o.reason {
		o.reason = err.Error()
		g.logUnavailable(ctx, err, required)
	}
	return time.After(o.backoff.Next(0))
}

// logUnavailable writes to the log that the guard is not available. If somebody has asked for the guard
// by name, that is an error.
func (g *Guard) logUnavailable(ctx context.Context, why error, required bool) {
	level := slog.LevelWarn
	if required {
		level = slog.LevelError
	}
	g.Log.Log(ctx, level, "hello guard unavailable, echo requests go on", "reason", why.Error())
}

// rest waits for a time, or until on or required are no longer what they were.
func (g *Guard) rest(ctx context.Context, wait <-chan time.Time, on, required bool) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-wait:
			return nil
		case <-g.changed.C():
			if o, f, _ := g.settings(); o != on || f != required {
				return nil
			}
		}
	}
}

// leftFailClosed reports whether an earlier session has left tunnels behind that need the guard to their end, whatever
// the configuration says.
func (g *Guard) leftFailClosed() bool {
	channels, _ := store(g.Dir).load(time.Now(), func(string, error) {}) // with an error there are none
	return slices.ContainsFunc(channels, func(c *channel) bool { return c.translator.Diverged() })
}

// with calls do with the handler of the session that runs, if there is one.
func (g *Guard) with(do func(*handler)) {
	g.mu.Lock()
	w := g.session
	g.mu.Unlock()
	if w == nil {
		return
	}
	w.locked(func() {
		if !w.ended {
			do(w.h)
		}
	})
}

// setSession notes the session that is running; nil: none.
func (g *Guard) setSession(s *session) {
	g.mu.Lock()
	g.session = s
	g.mu.Unlock()
}
