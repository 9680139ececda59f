package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"xl2tpd-keepalive/internal/config"
	"xl2tpd-keepalive/internal/helloguard"
	"xl2tpd-keepalive/internal/helloguard/translator"
	"xl2tpd-keepalive/internal/ppp"
	"xl2tpd-keepalive/internal/procfs"
	"xl2tpd-keepalive/internal/xl2tpd"
	"xl2tpd-keepalive/supervisor"
)

// answerIn is how long a control packet may wait for what the brain knows.
const answerIn = 200 * time.Millisecond

// helloGuard ties the Hello guard to what the brain knows of the links.
type helloGuard struct {
	*helloguard.Guard
	loop   *supervisor.Loop
	global atomic.Pointer[config.Settings] // for a tunnel whose links are not known

	mu      sync.Mutex
	seen    xl2tpd.Snapshot
	parents map[int]int // of the links' pppds, by interface index
}

// newGuard makes the guard. found is told of an xl2tpd that is not watched yet.
func newGuard(loop *supervisor.Loop, log *slog.Logger, works, found func()) *helloGuard {
	g := &helloGuard{loop: loop}
	g.Guard = &helloguard.Guard{
		Dir: helloguard.DefaultDir, Log: log, Signs: g.signs, Stranger: found,
		Report: func(err error) {
			f := supervisor.Fault{What: taskGuard}
			if err != nil {
				f.Text = fmt.Sprintf("hello guard unavailable: %v", err)
			}
			loop.Post(f)
			loop.Post(supervisor.TaskWorks{Task: taskGuard})
			works()
		},
		Daemons: daemons,
		Dials: func(owner procfs.ID, peer netip.Addr) {
			loop.Post(supervisor.Dials{Daemon: owner, Peer: peer})
		},
		Ended: func(c helloguard.Connection, e helloguard.CloseReason) {
			loop.Post(supervisor.Ending{
				Tunnel: control(c), Reason: e.Reason, Unexplained: e.ByPeer && e.Vague,
				Operator: e.Operator, Half: e.Half, Unanswered: e.Unanswered, Buried: e.Buried,
			})
		},
	}
	return g
}

func control(c helloguard.Connection) supervisor.Control {
	return supervisor.Control{Local: c.Local, Peer: c.Peer, LocalID: c.LocalID, Owner: c.Owner}
}

// configure is called before the guard asks for signs.
func (g *helloGuard) configure(c *config.Config) {
	g.global.Store(&c.Global)
	most := c.Guard()
	g.Configure(most != config.GuardOff, most == config.GuardOn)
}

func (g *helloGuard) signs(ctx context.Context, c helloguard.Connection) helloguard.Signs {
	ctx, cancel := context.WithTimeout(ctx, answerIn)
	defer cancel()
	links, certain := g.loop.Witnesses(ctx, control(c))
	s := signs(links, certain, g.global.Load(), time.Now())
	if ctx.Err() != nil { // nobody has said that there is no link
		s.Unknown, s.Linked = true, true
	}
	return s
}

// signs tells what its links say of a control connection. One without links, such as one that
// is only being set up, or one of several in userspace mode, goes by [global].
func signs(links []supervisor.Tunnel, certain bool, global *config.Settings, now time.Time) helloguard.Signs {
	if len(links) == 0 {
		if global == nil {
			return helloguard.Signs{}
		}
		which := global.HelloGuard()
		return helloguard.Signs{Wanted: which != config.GuardOff, Offer: which == config.GuardAuto, Window: supervisor.Window(*global)}
	}
	s := helloguard.Signs{Linked: true, Certain: certain, Wanted: true, Alive: certain, Window: links[0].Window}
	for _, l := range links {
		s.Wanted = s.Wanted && l.Guard != config.GuardOff
		s.Offer = s.Offer || l.Guard == config.GuardAuto
		s.Alive = s.Alive && l.Fresh(now)
		s.Window = min(s.Window, l.Window)
	}
	return s
}

// daemons returns what the guard needs to know of every xl2tpd.
func daemons() []helloguard.Daemon {
	var all []helloguard.Daemon
	for _, d := range xl2tpd.Daemons() {
		all = append(all, guardDaemon(d))
	}
	return all
}

func guardDaemon(d xl2tpd.Daemon) helloguard.Daemon {
	is := helloguard.Daemon{ID: d.ID, Cgroup: d.Cgroup, Alone: d.Alone}
	if d.Conf != nil {
		is.Saref = d.Conf.Saref
		if d.Conf.Port != 0 && d.Conf.ListenAddr.IsValid() {
			is.Listens = netip.AddrPortFrom(d.Conf.ListenAddr, d.Conf.Port)
		}
	}
	return is
}

// tell tells the guard about every xl2tpd.
func (g *helloGuard) tell(s xl2tpd.Snapshot) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.seen = s
	g.Tell(host(s, g.parents))
}

// tellLinks tells the guard whose the kernel's sessions are.
func (g *helloGuard) tellLinks(links []ppp.Link) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.parents = make(map[int]int, len(links))
	for _, l := range links {
		g.parents[l.Index] = l.Xl2tpdPid
	}
	g.Tell(host(g.seen, g.parents))
}

// host is what the guard needs to know of the host.
func host(s xl2tpd.Snapshot, parents map[int]int) helloguard.Host {
	var h helloguard.Host
	for _, in := range s.Instances {
		if in.Runs() {
			h.Daemons = append(h.Daemons, in.Process)
		}
		if in.Conf != nil && in.Conf.Port != 0 && !slices.Contains(h.Ports, in.Conf.Port) {
			h.Ports = append(h.Ports, in.Conf.Port)
		}
	}
	for _, one := range s.Sessions {
		h.Sessions = append(h.Sessions, helloguard.Session{
			Tunnel: translator.Tunnel{Local: one.Local, Peer: one.Peer, LocalID: one.LocalTunnel, PeerID: one.PeerTunnel},
			Xl2tpd: parents[one.Ifindex],
		})
	}
	return h
}

// removeTable is for those who stop us for good: a stop leaves the table behind
// for our return if a tunnel needs us.
func removeTable(stderr io.Writer) int {
	if err := helloguard.RemoveTable(); err != nil {
		fmt.Fprintln(stderr, "xl2tpd-keepalive:", withSudo(err))
		return exitError
	}
	return exitOK
}
