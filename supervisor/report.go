package supervisor

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"xl2tpd-keepalive/internal/config"
	"xl2tpd-keepalive/internal/status"
	"xl2tpd-keepalive/internal/xl2tpd"
	"xl2tpd-keepalive/probe"
)

// recent is how many round trips a tunnel remembers.
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

func (e *echoes) report() status.Echoes {
	n := min(e.sent, recent)
	out := status.Echoes{Sent: e.sent, Lost: e.lost, Recent: make([]*status.Seconds, n)}
	for i := range n {
		if trip := status.Seconds(e.trips[(e.sent-n+i)%recent]); trip != 0 {
			out.Recent[i] = &trip
		}
	}
	return out
}

// A Detail is a tunnel as it is reported, and as it can be joined with what is
// known of its control channel.
type Detail struct {
	Tunnel
	Report status.Tunnel
}

// Report is what is known of every tunnel, the LACs without one included, by
// name, and what does not work.
func (b *Brain) Report(now time.Time) (details []Detail, problems []string) {
	up := map[string]bool{}
	last := map[string]*closing{} // of each section
	for _, c := range b.closes.last {
		if len(c.place.names) != 1 {
			continue
		}
		key := c.place.names[0].key()
		if l := last[key]; l == nil || c.Time.After(l.Time) {
			last[key] = c
		}
	}
	for _, t := range b.tunnels {
		if t.gone {
			continue
		}
		for _, n := range t.place.names {
			up[n.key()] = true
		}
		details = append(details, Detail{t.view(), b.report(t, now)})
	}
	for _, in := range b.atlas.instances {
		for _, s := range in.lacs {
			if key := in.name(s).key(); s.Name != "default" && !up[key] {
				details = append(details, Detail{Report: b.absent(in, s, last[key], now)})
			}
		}
	}
	for _, r := range b.someDown() {
		details = append(details, Detail{Report: r})
	}
	slices.SortFunc(details, func(x, y Detail) int {
		return cmp.Or(
			strings.Compare(x.Report.Instance, y.Report.Instance),
			strings.Compare(x.Report.Name, y.Report.Name),
			x.Report.Peer.Compare(y.Report.Peer),
			strings.Compare(x.Link.Name, y.Link.Name),
		)
	})
	return details, b.problems()
}

// alikes are LACs that can't be told apart, and how many links they have together.
type alikes struct {
	names []name // those that are to be kept up
	links int
}

// someDown reports LACs that can't be told apart if they have fewer links than they are: one of them
// is down.
func (b *Brain) someDown() (rows []status.Tunnel) {
	for _, a := range b.alikes() {
		missing := len(a.names) - a.links
		if missing < 1 {
			continue
		}
		rows = append(rows, status.Tunnel{
			Name: together(a.names), Instance: b.atlas.called[a.names[0].instance], State: Down.String(),
			Doing: fmt.Sprintf("%d of these %d LACs are down; which, only a pppoptfile of its own for each could tell", missing, len(a.names)),
		})
	}
	return rows
}

// alikes finds them by the links that may be any of theirs. One that has a link for sure is not among
// them.
func (b *Brain) alikes() map[string]*alikes {
	all := make(map[string]*alikes)
	for _, t := range b.tunnels {
		if t.gone || len(t.place.names) < 2 || t.place.names[0].kind != "lac" {
			continue
		}
		key := fmt.Sprint(t.place.names)
		if all[key] == nil {
			all[key] = &alikes{names: slices.DeleteFunc(slices.Clone(t.place.names), func(n name) bool {
				return n.kind != "lac" || !b.configured(n).Keepalive || len(b.places().claims(n).sole) > 0
			})}
		}
		all[key].links++
	}
	return all
}

// together names several LACs of one xl2tpd; of many only the first.
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

// problems are what does not work.
func (b *Brain) problems() []string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(b.failing)) {
		all = append(all, failure(name, b.failing[name]))
	}
	for _, what := range slices.Sorted(maps.Keys(b.faults)) {
		all = append(all, b.faults[what])
	}
	return all
}

// failure says what does not work.
func failure(task string, err error) string {
	switch {
	case task == EyeVICI:
		return status.NoVICI
	case strings.HasPrefix(err.Error(), task+": "):
		return err.Error()
	}
	return task + ": " + err.Error()
}

func (b *Brain) report(t *tunnel, now time.Time) status.Tunnel {
	r := status.Tunnel{
		Name: t.place.section(), Instance: b.atlas.calls(t.place), Peer: t.place.outer, State: t.state.String(), Since: t.since, Doing: t.doing(now),
		Link: &status.Link{
			Name: t.key.Name, Local: t.link.Local, Remote: t.link.Peer, Up: t.up, Target: t.target,
			Echoes: t.echoes.report(),
			Signs:  status.Signs{Reply: t.evidence.Reply, Data: t.evidence.Data},
		},
	}
	r.SA = t.place.sa.report()
	if c := b.closes.last[t.origin()]; c != nil {
		r.Last = &c.Close
	}
	return r
}

func (s sa) report() *status.SA {
	if s.Name == "" {
		return nil
	}
	return &status.SA{Name: s.Name, State: s.State, Since: s.Since, NAT: s.NAT, Child: s.Child, Encap: s.Encap}
}

// doing says what is done for a tunnel.
func (t *tunnel) doing(now time.Time) string {
	switch {
	case t.state == Down:
		return "waits for the link's addresses"
	case t.state == Off:
		return "nothing: keepalive = no"
	case t.settings.Observe:
		return "watches only: keepalive = observe"
	case t.state == Silent:
		return fmt.Sprintf("asks every %v, %d echo requests unanswered", t.settings.Interval, t.lost)
	}
	if t.inFlight == echoing {
		return "waits for an echo reply"
	}
	return fmt.Sprintf("echo request in %v unless data comes", max(t.echoAt().Sub(now), 0).Round(time.Second))
}

// absent reports a LAC that has no link; last is how its latest tunnel ended.
func (b *Brain) absent(in *instance, s *xl2tpd.Section, last *closing, now time.Time) status.Tunnel {
	r := status.Tunnel{Name: in.name(s).String(), Instance: b.atlas.called[in.id], State: Down.String()}
	if len(s.LNSIPs) > 0 {
		r.Peer = s.LNSIPs[0]
	}
	if last != nil {
		r.Last, r.Since = &last.Close, last.Time
	}
	r.SA = b.atlas.sas[r.Peer].report()
	l := b.lac(in.name(s))
	switch {
	case in.NetworkManager():
		r.Doing = "waits for NetworkManager"
	case !in.Runs():
		r.Doing = "waits for xl2tpd"
	case b.climbing(l, s, now) != "":
		r.Doing = b.climbing(l, s, now)
	case l.last != nil && l.last.operator:
		r.Doing, r.ByHand = "stays down until it is dialled again", true
	case s.Redial || s.Autodial:
		r.Doing = "xl2tpd redials, unless it was hung up"
	default:
		r.Doing, r.ByHand = "waits to be dialled", true
	}
	if !b.configured(in.name(s)).Keepalive {
		r.State, r.Doing, r.ByHand = Off.String(), "nothing: keepalive = no", false
	}
	return r
}

// GuardName is how keepalive.conf calls a setting of the Hello guard.
func GuardName(g config.Guard) string {
	return [...]string{config.GuardOff: "off", config.GuardAuto: "auto", config.GuardOn: "on"}[g]
}

// Report asks the brain for its report; ok is false if ctx ends first.
func (l *Loop) Report(ctx context.Context) (details []Detail, problems []string, ok bool) {
	type report struct {
		details  []Detail
		problems []string
	}
	answer := make(chan report, 1) // ours alone, should we be gone by then
	if !l.ask(ctx, func(b *Brain) {
		details, problems := b.Report(time.Now())
		answer <- report{details, problems}
	}) {
		return nil, nil, false
	}
	r := <-answer
	return r.details, r.problems, true
}
