package supervisor

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"xl2tpd-keepalive/internal/message"
	"xl2tpd-keepalive/internal/status"
	"xl2tpd-keepalive/internal/xl2tpd"
	"xl2tpd-keepalive/probe"
	"xl2tpd-keepalive/supervisor/recovery/policy"
)

// recent is how many round-trip times are kept for a tunnel.
const recent = 20

// echoes are a tunnel's echo requests since it came up.
type echoes struct {
	sent, lost uint64
	trips      [recent]time.Duration // 0: lost
}

func (e *echoes) add(r probe.Result) {
	trip := max(r.RTT, time.Microsecond)
	if r.Err != nil {
		e.lost++
		trip = 0
	}
	e.trips[e.sent%recent] = trip
	e.sent++
}

func (e *echoes) status() status.Echoes {
	n := min(e.sent, recent)
	out := status.Echoes{Sent: e.sent, Lost: e.lost, Recent: make([]*status.Seconds, n)}
	for i := range n {
		if trip := status.Seconds(e.trips[(e.sent-n+i)%recent]); trip != 0 {
			out.Recent[i] = &trip
		}
	}
	return out
}

// Overview is what the supervisor knows of all tunnels.
type Overview struct {
	Details   []Detail // of every tunnel and of LACs without one, sorted by name
	Problems  []status.Problem
	Libreswan bool // it does IPsec here, so SAs are not known
}

// A Detail is a tunnel as status shows it, with what is needed to find its control connection.
type Detail struct {
	Tunnel
	Status status.Tunnel
}

// Overview returns what is known now.
func (core *Core) Overview(now time.Time) Overview {
	return Overview{core.details(now), core.health.problems(), core.health.libreswan()}
}

func (core *Core) details(now time.Time) []Detail {
	details, up := core.tunnels.details(now)
	last := core.tunnels.ends.ofSections()
	for _, in := range core.topology.instances {
		for _, s := range in.lacs {
			if key := in.name(s).key(); s.Name != "default" && !up[key] {
				details = append(details, Detail{Status: core.lacs.statusWithoutLink(in, s, last[key], now)})
			}
		}
	}
	for _, row := range core.tunnels.groupsDown() {
		details = append(details, Detail{Status: row})
	}
	slices.SortFunc(details, func(x, y Detail) int {
		return cmp.Or(
			strings.Compare(x.Status.Instance, y.Status.Instance),
			strings.Compare(x.Status.Name, y.Status.Name),
			x.Status.Peer.Compare(y.Status.Peer),
			strings.Compare(x.Link.Name, y.Link.Name),
		)
	})
	return details
}

// ofSections returns how the latest tunnel of each section ended, by name.key.
func (es *ends) ofSections() map[string]*end {
	last := make(map[string]*end)
	for _, one := range es.last {
		if len(one.identity.names) != 1 {
			continue
		}
		key := one.identity.names[0].key()
		if l := last[key]; l == nil || one.Time.After(l.Time) {
			last[key] = one
		}
	}
	return last
}

// details returns the details of every tunnel, and the sections that they may come from, by name.key.
func (ts *tunnelTable) details(now time.Time) (details []Detail, up map[string]bool) {
	up = make(map[string]bool)
	for _, t := range ts.byKey {
		if t.presence == gone {
			continue
		}
		for _, n := range t.identity.names {
			up[n.key()] = true
		}
		details = append(details, Detail{t.view(), ts.status(t, now)})
	}
	return details, up
}

// ambiguousGroup is a set of LACs that can't be told apart, and how many links they have together.
type ambiguousGroup struct {
	names []name // of those that are watched
	links int
}

// groupsDown returns a row for each group with fewer links than LACs: at least one of them is down.
func (ts *tunnelTable) groupsDown() (rows []status.Tunnel) {
	for _, a := range ts.ambiguousGroups() {
		missing := len(a.names) - a.links
		if missing < 1 {
			continue
		}
		rows = append(rows, status.Tunnel{
			Name: together(a.names), Instance: ts.topology.displayNames[a.names[0].instance], State: Down.String(),
			Doing: message.Sprintf("%d of these %d LACs are down; with a pppoptfile of its own for each, status could say which", missing, len(a.names)),
		})
	}
	return rows
}

// ambiguousGroups finds the groups by their ambiguous links. A LAC that certainly has a link is not in a group.
func (ts *tunnelTable) ambiguousGroups() map[string]*ambiguousGroup {
	all := make(map[string]*ambiguousGroup)
	for _, t := range ts.byKey {
		if t.presence == gone || len(t.identity.names) < 2 || t.identity.names[0].kind != "lac" {
			continue
		}
		key := fmt.Sprint(t.identity.names)
		if all[key] == nil {
			all[key] = &ambiguousGroup{names: slices.DeleteFunc(slices.Clone(t.identity.names), func(n name) bool {
				return n.kind != "lac" || !ts.topology.configured(n).Keepalive || len(ts.tunnelIndex().candidates(n).exact) > 0
			})}
		}
		all[key].links++
	}
	return all
}

// together returns one name for several LACs of an xl2tpd. It lists at most the first eight.
func together(names []name) string {
	const most = 8
	var called []string
	for _, n := range names[:min(len(names), most)] {
		called = append(called, n.name)
	}
	text := "lac " + strings.Join(called, ", ")
	if more := len(names) - most; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}

// status returns a tunnel as status shows it.
func (ts *tunnelTable) status(t *tunnel, now time.Time) status.Tunnel {
	r := status.Tunnel{
		Name: t.identity.section(), Instance: ts.topology.displayName(t.identity), Peer: t.identity.outer, State: t.state.String(), Since: t.since, Doing: t.doing(now),
		Link: &status.Link{
			Name: t.key.Name, Local: t.link.Local, Remote: t.link.Peer, Up: t.up, Target: t.target,
			Echoes:   t.echoes.status(),
			Evidence: status.Evidence{Reply: t.evidence.Reply, Data: t.evidence.Data},
		},
	}
	r.SA = t.identity.sa.status()
	r.Observe = t.settings.OnlyObserves()
	if c := ts.ends.last[t.origin()]; c != nil {
		r.Last = c.status()
	}
	return r
}

func (s sa) status() *status.SA {
	if s.Name == "" {
		return nil
	}
	return &status.SA{Name: s.Name, State: s.State, Since: s.Since, NAT: s.NAT, Child: s.Child, Encap: s.Encap}
}

// doing returns what the service does for a tunnel.
func (t *tunnel) doing(now time.Time) message.Text {
	switch {
	case t.state == Down:
		return "waits for the link's addresses"
	case t.state == Off:
		return "nothing: keepalive = no"
	case t.settings.Observe:
		return "watches only: keepalive = observe"
	case t.state == Silent:
		return message.Sprintf("asks every %v, %d echo requests unanswered", t.settings.Interval, t.lostInARow)
	}
	if t.inFlight == echoing {
		return "waits for an echo reply"
	}
	return message.Sprintf("echo request in %v unless data comes", max(t.echoAt.Sub(now), 0).Round(time.Second))
}

// statusWithoutLink returns a LAC without a link as status shows it. last is how its latest tunnel ended; nil: not known.
func (ls *lacTable) statusWithoutLink(in *instance, s *xl2tpd.Section, last *end, now time.Time) status.Tunnel {
	r := status.Tunnel{Name: in.name(s).String(), Instance: ls.topology.displayNames[in.id], State: Down.String()}
	if len(s.LNSIPs) > 0 {
		r.Peer = s.LNSIPs[0]
	}
	if last != nil {
		r.Last, r.Since = last.status(), last.Time
	}
	r.SA = ls.topology.sas[r.Peer].status()
	l, wanted := ls.ensureLAC(in.name(s)), s.Redial || s.Autodial
	switch {
	case in.NetworkManager():
		r.Doing = "waits for NetworkManager"
	case !in.Runs():
		r.Doing = "waits for xl2tpd"
	case ls.recoveryText(l, s, now) != "":
		r.Doing = ls.recoveryText(l, s, now)
	case l.lastEnd != nil && l.lastEnd.Operator:
		r.Doing, r.ByHand = "stays down until it is dialled again", true
	case wanted && lookupText(s) != "":
		r.Doing = lookupText(s)
	case s.Redial && l.notRedialled:
		r.Doing = "xl2tpd does not redial it: it has to be dialled"
	case wanted:
		r.Doing = "xl2tpd redials, unless it was hung up"
	default:
		r.Doing, r.ByHand = "waits to be dialled", true
	}
	settings := ls.topology.configured(in.name(s))
	r.Observe = settings.OnlyObserves()
	if !settings.Keepalive {
		r.State, r.Doing, r.ByHand = Off.String(), "nothing: keepalive = no", false
	}
	return r
}

// recoveryText returns what recovery does for a LAC without a tunnel, for the status; empty: nothing.
func (ls *lacTable) recoveryText(l *lac, s *xl2tpd.Section, now time.Time) message.Text {
	p := &l.progress
	switch waits := p.WaitText(now); {
	case ls.situations.goal(l, s) == policy.GoalNone || p.TroubleSince().IsZero():
		return ""
	case p.UnderWay() != policy.StepNone:
		return p.UnderWay().Text()
	case l.lastEnd.mayBeHangUp():
		return "" // xl2tpd redials, unless it was hung up
	case l.mayBeHungUp():
		return "left to xl2tpd: it, or another LAC like it, was hung up"
	case waits != "":
		return waits
	case lookupText(s) != "":
		return lookupText(s)
	case s.Redial && !l.notRedialled:
		return "xl2tpd redials"
	}
	return "about to bring it back"
}

// Overview is Core.Overview for other goroutines. ok is false if ctx ends first.
func (l *Loop) Overview(ctx context.Context) (o Overview, ok bool) {
	return ask(ctx, l, func(core *Core) Overview { return core.Overview(time.Now()) })
}
