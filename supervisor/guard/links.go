package guard

import (
	"context"
	"time"

	"xl2tpd-keepalive/internal/config"
	"xl2tpd-keepalive/internal/helloguard"
	"xl2tpd-keepalive/supervisor"
)

// answerIn is how long a control message may wait for the supervisor's answer.
const answerIn = 200 * time.Millisecond

// linksOf asks the supervisor for the links of a control connection.
func (g *Guard) linksOf(ctx context.Context, c helloguard.OwnedConnection) helloguard.Links {
	ctx, cancel := context.WithTimeout(ctx, answerIn)
	defer cancel()
	links, certain := g.supervisor.LinksOf(ctx, c)
	s := linksShow(links, certain, g.global.Load(), time.Now())
	if ctx.Err() != nil { // without an answer, there may be a link
		s.Unknown, s.Linked = true, true
	}
	return s
}

// linksShow returns what the links of a control connection show. Without links, [global] counts: the connection is only
// being set up, or is one of several in userspace mode.
func linksShow(links []supervisor.Tunnel, certain bool, global *config.Settings, now time.Time) helloguard.Links {
	if len(links) == 0 {
		if global == nil {
			return helloguard.Links{}
		}
		which := global.HelloGuard()
		return helloguard.Links{
			Wanted: which != config.GuardOff, PassFirst: which == config.GuardAuto, Window: supervisor.Window(*global),
		}
	}
	s := helloguard.Links{Linked: true, Certain: certain, Wanted: true, Alive: certain, Window: links[0].Window}
	for _, l := range links {
		s.Wanted = s.Wanted && l.Guard != config.GuardOff
		s.PassFirst = s.PassFirst || l.Guard == config.GuardAuto
		s.Alive = s.Alive && l.Fresh(now)
		s.Window = min(s.Window, l.Window)
	}
	return s
}
