package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"sync/atomic"
	"time"

	"xl2tpd-keepalive/config"
	"xl2tpd-keepalive/internal/helloguard"
	"xl2tpd-keepalive/internal/helloguard/translator"
	"xl2tpd-keepalive/supervisor"
	"xl2tpd-keepalive/xl2tpd"
)

// answerIn is how long a control packet may wait for what the brain knows.
const answerIn = 200 * time.Millisecond

// helloGuard ties the Hello guard to what the brain knows of the links.
type helloGuard struct {
	*helloguard.Guard
	loop   *supervisor.Loop
	global atomic.Pointer[config.Settings] // for a tunnel whose links are not known
}

func newGuard(loop *supervisor.Loop, log *slog.Logger) *helloGuard {
	g := &helloGuard{loop: loop}
	g.Guard = &helloguard.Guard{
		Dir: helloguard.DefaultDir, Log: log, Signs: g.signs,
		Report: func(err error) {
			f := supervisor.Fault{What: taskGuard}
			if err != nil {
				f.Text = fmt.Sprintf("hello guard unavailable: %v", err)
			}
			loop.Post(f)
			loop.Post(supervisor.TaskWorks{Task: taskGuard})
		},
		Gone:  gone,
		Dials: func(peer netip.Addr) { loop.Post(supervisor.Dials{Peer: peer}) },
		Ended: func(t translator.Tunnel, e helloguard.Ending) {
			loop.Post(supervisor.Ending{
				Tunnel: control(t), Reason: e.Reason, Unexplained: e.ByPeer && e.Vague,
				Operator: e.Operator, Half: e.Half, Unanswered: e.Unanswered, Buried: e.Buried,
			})
		},
	}
	return g
}

func control(t translator.Tunnel) supervisor.Control {
	return supervisor.Control{Local: t.Local, Peer: t.Peer, LocalID: t.LocalID}
}

// configure is called before the guard asks for signs.
func (g *helloGuard) configure(c *config.Config) {
	g.global.Store(&c.Global)
	most := c.Guard()
	g.Configure(most != config.GuardOff, most == config.GuardOn)
}

func (g *helloGuard) signs(ctx context.Context, t translator.Tunnel, tunnels int) helloguard.Signs {
	ctx, cancel := context.WithTimeout(ctx, answerIn)
	defer cancel()
	return signs(g.loop.Witnesses(ctx, control(t), tunnels), g.global.Load(), time.Now())
}

// signs tells what its links say of a control tunnel. One without links, such as
// one that is only being set up, goes by [global].
func signs(links []supervisor.Tunnel, global *config.Settings, now time.Time) helloguard.Signs {
	if len(links) == 0 {
		if global == nil {
			return helloguard.Signs{}
		}
		which := global.HelloGuard()
		return helloguard.Signs{Wanted: which != config.GuardOff, Offer: which == config.GuardAuto}
	}
	s := helloguard.Signs{Wanted: true, Alive: true, Window: links[0].Window}
	for _, l := range links {
		s.Wanted = s.Wanted && l.Guard != config.GuardOff
		s.Offer = s.Offer || l.Guard == config.GuardAuto
		s.Alive = s.Alive && l.Fresh(now)
		s.Window = min(s.Window, l.Window)
	}
	return s
}

// daemonName names an xl2tpd for good, by its pid and start.
const daemonName = "%d %d"

// gone tells whether an xl2tpd is certainly no more.
func gone(daemon string) bool {
	var pid int
	var started uint64
	_, err := fmt.Sscanf(daemon, daemonName, &pid, &started)
	return err == nil && xl2tpd.Gone(pid, started)
}

// host is what the guard needs to know of xl2tpd.
func host(s xl2tpd.Snapshot) helloguard.Host {
	var h helloguard.Host
	if s.Conf != nil {
		h.Port, h.Addr = s.Conf.Port, s.Conf.ListenAddr
	}
	if s.Pid != 0 {
		h.Daemon = fmt.Sprintf(daemonName, s.Pid, s.Started)
	}
	for _, one := range s.Sessions {
		h.Sessions = append(h.Sessions, translator.Tunnel{
			Local: one.Local, Peer: one.Peer, LocalID: one.LocalTunnel, PeerID: one.PeerTunnel,
		})
	}
	return h
}

// removeTable is for those who stop us for good: a stop leaves the table behind
// for our return if a tunnel needs us.
func removeTable(stderr io.Writer) int {
	if err := helloguard.RemoveTable(); err != nil {
		fmt.Fprintln(stderr, "xl2tpd-keepalive:", err)
		return exitError
	}
	return exitOK
}
