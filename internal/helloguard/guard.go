package helloguard

import (
	"context"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"xl2tpd-keepalive/hint"
	"xl2tpd-keepalive/internal/helloguard/translator"
	"xl2tpd-keepalive/proc"
)

// DefaultDir is where the channels' state is kept.
const DefaultDir = "/run/xl2tpd-keepalive/hello"

// A guard that fails is soon back, for tunnels may wait for it. One that the
// kernel does not allow tries again in ever longer intervals: a module may be
// loaded, or another program may leave the queue.
const (
	minRetry = time.Second
	maxRetry = time.Minute
)

// Host is what is known of the watched xl2tpd.
type Host struct {
	Port     uint16    // of xl2tpd.conf
	Daemon   proc.ID   // zero: none runs
	Sessions []Session // of the kernel, every xl2tpd's
}

// Session is a session of kernel mode.
type Session struct {
	translator.Tunnel     // Peer may be invalid
	Xl2tpd            int // pid of its pppd's parent; 0: not known
}

// Signs are what the tunnel's links say.
type Signs struct {
	Unknown bool          // the links did not say in time; the rest goes by [global]
	Linked  bool          // there is a link that can be the tunnel's
	Wanted  bool          // the guard is to hold this tunnel
	Offer   bool          // but only those Hellos that the peer leaves unanswered
	Alive   bool          // the links show fresh signs of life
	Window  time.Duration // for how long a sign of life is fresh, that of the peer's messages too
}

// Guard holds the Hellos of living tunnels back. All fields are to be set.
type Guard struct {
	Dir string
	Log *slog.Logger
	// Signs tells about a tunnel; tunnels is how many there are, 0: so few that any link
	// of unknown origin can be this one's. It must answer soon: packets wait for it.
	Signs func(ctx context.Context, t translator.Tunnel, tunnels int) Signs
	// Daemons returns every xl2tpd that runs in this network namespace.
	Daemons func() []Daemon
	// Ended is told why a tunnel is being closed. It must not block.
	Ended func(translator.Tunnel, CloseReason)
	// Dials is told that the watched xl2tpd asks a peer for a tunnel, each time. It must
	// not block either.
	Dials func(peer netip.Addr)
	// Report is told why the guard is not available, nil when it is, or is off.
	Report func(error)

	changed hint.Hint

	mu     sync.Mutex
	on     bool
	forced bool
	host   Host
	now    *session // nil: nobody is at work
}

// Configure switches the guard on or off; forced says that somebody has asked
// for it by name, so that it is an error not to have it.
func (g *Guard) Configure(on, forced bool) {
	g.mu.Lock()
	g.on, g.forced = on, forced
	g.mu.Unlock()
	g.changed.Give()
}

// Tell tells the guard about xl2tpd.
func (g *Guard) Tell(h Host) {
	g.mu.Lock()
	g.host = h
	g.mu.Unlock()
	g.changed.Give()
}

func (g *Guard) settings() (on, forced bool, h Host) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.on, g.forced, g.host
}

// Run guards until ctx ends, then returns its error.
func (g *Guard) Run(ctx context.Context) error {
	reason := ""
	retry := minRetry
	for {
		on, forced, _ := g.settings()
		var wait <-chan time.Time
		if on || g.owing() {
			err := g.work(ctx, func() {
				if reason != "" {
					g.Log.Info("hello guard available again")
				}
				reason, retry = "", minRetry
				g.Report(nil)
			})
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if err == nil {
				continue // switched off, perhaps on again meanwhile
			}
			g.Report(err)
			if err.Error() != reason {
				reason = err.Error()
				level := slog.LevelWarn
				if forced {
					level = slog.LevelError
				}
				g.Log.Log(ctx, level, "hello guard unavailable, echo requests go on", "reason", reason)
			}
			wait = time.After(retry)
			retry = min(2*retry, maxRetry)
		} else {
			reason = ""
			g.Report(nil)
		}
		if err := g.rest(ctx, wait, on, forced); err != nil {
			return err
		}
	}
}

// rest waits for a time, or until on or forced are no longer what they were.
func (g *Guard) rest(ctx context.Context, wait <-chan time.Time, on, forced bool) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-wait:
			return nil
		case <-g.changed.C():
			if o, f, _ := g.settings(); o != on || f != forced {
				return nil
			}
		}
	}
}

// owing reports whether tunnels were left behind that need the guard to their end,
// whatever the configuration says.
func (g *Guard) owing() bool {
	channels, err := store(g.Dir).load(time.Now(), func(string, error) {})
	if err != nil {
		return false
	}
	for _, c := range channels {
		if c.translator.Diverged() {
			return true
		}
	}
	return false
}
