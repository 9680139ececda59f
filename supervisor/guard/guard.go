// Package guard connects the Hello guard and the supervisor. The guard learns what the links of a tunnel show, and
// which xl2tpds run. The supervisor learns why a tunnel is closed.
package guard

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"

	"xl2tpd-keepalive/internal/config"
	"xl2tpd-keepalive/internal/helloguard"
	"xl2tpd-keepalive/internal/message"
	"xl2tpd-keepalive/internal/status"
	"xl2tpd-keepalive/internal/xl2tpd"
	"xl2tpd-keepalive/supervisor"
)

// Task is the name of the guard's task, as the operator reads it.
const Task = supervisor.TaskGuard

// answers is the name of the fault that the guard can't answer xl2tpd.
const answers = Task + ": answers"

// Supervisor answers which links a control connection has.
type Supervisor interface {
	Post(supervisor.Event)
	LinksOf(context.Context, helloguard.OwnedConnection) (links []supervisor.Tunnel, certain bool)
}

// Watcher looks for xl2tpds.
type Watcher interface {
	Look() // hints that there may be another one; does not block
}

// Guard is the Hello guard as the service runs it.
type Guard struct {
	*helloguard.Guard
	supervisor Supervisor
	reported   func()
	global     atomic.Pointer[config.Settings] // settings of a tunnel without known links

	mu      sync.Mutex
	seen    xl2tpd.Snapshot
	parents map[int]int // of the links' pppds, by interface index
}

// New makes the guard. The guard calls watcher.Look when it sees an unknown xl2tpd. It calls reported whenever it has
// said whether it works.
func New(s Supervisor, watcher Watcher, reported func(), log *slog.Logger) *Guard {
	g := &Guard{supervisor: s, reported: reported}
	g.Guard = &helloguard.Guard{
		Dir: helloguard.DefaultDir, Log: log,
		Links: g.linksOf, Daemons: daemons, Unlisted: watcher.Look,
		Dials: g.dials, Calls: g.calls, Ended: g.ended, AttemptFailed: g.attemptFailed, Report: g.report,
	}
	return g
}

// Apply takes a configuration. The guard does nothing before the first one.
func (g *Guard) Apply(c *config.Config) {
	g.global.Store(&c.Global)
	most := c.Guard()
	g.Configure(most != config.GuardOff, most == config.GuardOn)
}

// report passes on whether the guard works. A firewall rule in INPUT only keeps the guard's answers from one xl2tpd. The
// guard still sees what each xl2tpd sends, and asks peers, so that is a fault of its own. A rule in OUTPUT may drop what
// xl2tpd sends before the guard sees it, and a check on lo can't show to which peers.
func (g *Guard) report(err error) {
	absent, unanswered := supervisor.Fault{What: Task}, supervisor.Fault{What: answers}
	switch {
	case err == nil:
	case errors.Is(err, helloguard.ErrBlockedInput):
		unanswered.Problem = unavailable(status.CodeGuardInput, err)
	case errors.Is(err, helloguard.ErrBlockedOutput):
		absent.Problem = unavailable(status.CodeGuardOutput, err)
	default:
		absent.Problem = unavailable(status.CodeGuard, err)
	}
	g.supervisor.Post(absent)
	g.supervisor.Post(unanswered)
	g.supervisor.Post(supervisor.TaskWorks{Task: Task})
	g.reported()
}

func unavailable(code status.Code, err error) status.Problem {
	return status.Problem{Code: code, Text: message.Sprintf("hello guard unavailable: %v", err), Reason: message.TextOf(err)}
}

// dials passes on that an xl2tpd asks a peer for a tunnel.
func (g *Guard) dials(c helloguard.OwnedConnection, again bool) {
	g.supervisor.Post(supervisor.Dials{OwnedConnection: c, Again: again})
}

// calls passes on that an xl2tpd asks for a call in a tunnel that stands.
func (g *Guard) calls(c helloguard.OwnedConnection) {
	c.Connection = c.WithoutPeerID()
	g.supervisor.Post(supervisor.Calls{OwnedConnection: c})
}

// attemptFailed passes on that an attempt has got no tunnel.
func (g *Guard) attemptFailed(c helloguard.OwnedConnection, e helloguard.CloseReason) {
	c.Connection = c.WithoutPeerID()
	g.supervisor.Post(supervisor.AttemptFailed{OwnedConnection: c, CloseReason: e})
}

// ended passes on why a tunnel is closed.
func (g *Guard) ended(c helloguard.OwnedConnection, e helloguard.CloseReason) {
	c.Connection = c.WithoutPeerID()
	g.supervisor.Post(supervisor.Ending{OwnedConnection: c, CloseReason: e})
}
