package supervisor

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"xl2tpd-keepalive/internal/ppp"
	"xl2tpd-keepalive/internal/wake"
)

// tunnelTable owns the tunnels: what their links and echo requests show, and how they end.
type tunnelTable struct {
	byKey map[LinkKey]*tunnel
	due   wake.Queue[*tunnel] // watched tunnels with nothing in flight, and tunnels that wait for their sessions
	index *tunnelIndex        // of the tunnels by their identities; nil: an identity has changed
	ends  ends
	count [states]int // tunnels in each state
	news  []news      // for the LACs, the oldest first

	anyHadSA      bool // a tunnel has had an SA
	linksReported bool // the watcher of links has reported
	began         time.Time
	started       bool // links may be acted on

	jitter   jitter
	topology *topology
	health   *health
	out      *outbox
}

func newTunnelTable(jitter jitter, topology *topology, health *health, out *outbox) *tunnelTable {
	return &tunnelTable{
		byKey:  make(map[LinkKey]*tunnel),
		ends:   ends{xl2tpdEndedAt: make(map[string]time.Time), last: make(map[origin]*end)},
		jitter: jitter, topology: topology, health: health, out: out,
	}
}

// news is what the LACs need to know about a tunnel that has changed.
type news struct {
	names []name // of the sections that the tunnel may come from

	end         *end      // how the tunnel has ended; nil: it has not
	silentSince time.Time // with end: when the peer, or another target, fell silent; zero: it was not
	otherTarget bool      // with end: the echo requests went to another target than the peer
	lived       bool      // with end: the tunnel had shown a sign of life
	saLost      time.Time // with end: when the SA was lost, if that counts as the reason; zero: it does not

	renewed bool       // the tunnel is silent, and has a new SA
	came    bool       // the tunnel has just come up
	outer   netip.Addr // with came: the outer address of the far end; invalid: not known
}

// changed notes that something about a tunnel with that identity has changed.
func (ts *tunnelTable) changed(id identity) { ts.news = append(ts.news, news{names: id.names}) }

// takeNews returns the news since the last call.
func (ts *tunnelTable) takeNews() []news {
	all := ts.news
	ts.news = nil
	return all
}

// begin notes the time of the first step.
func (ts *tunnelTable) begin(now time.Time) {
	if ts.began.IsZero() {
		ts.began = now
	}
}

// start lets the service act on links once the configuration is known, or startupTimeout has passed.
func (ts *tunnelTable) start(known bool, now time.Time) {
	if ts.started || !known && now.Before(ts.began.Add(startupTimeout)) {
		return
	}
	ts.started = true
	for _, t := range ts.inOrder() {
		ts.refresh(t, now)
	}
}

// nextWake returns when something is due for a tunnel; zero: nothing is.
func (ts *tunnelTable) nextWake() time.Time {
	if !ts.started && !ts.began.IsZero() {
		return ts.began.Add(startupTimeout)
	}
	return ts.due.Next()
}

// everHadSA reports whether a tunnel has had an SA.
func (ts *tunnelTable) everHadSA() bool { return ts.anyHadSA }

// checkDue does what is due.
func (ts *tunnelTable) checkDue(now time.Time) {
	for _, t := range ts.due.Take(now) {
		ts.check(t, now)
	}
}

// takeLinks takes the links that exist now.
func (ts *tunnelTable) takeLinks(links []ppp.Link, dialled dialledFunc, now time.Time) {
	here := make(map[LinkKey]bool, len(links))
	for _, l := range links {
		k := key(l.Name, l.Index)
		here[k] = true
		t, known := ts.byKey[k]
		if !known {
			t = &tunnel{key: k, since: now}
			if l.Up && !ts.linksReported {
				t.presence = foundAtStart
			}
			if at := ts.health.guardAt; !at.IsZero() && now.Sub(at) > callTime {
				t.calls = ts.ends.callsFor(l.Xl2tpdPid, now)
			}
			ts.byKey[k] = t
			ts.count[Down]++
		}
		if known && t.presence != gone && t.link == l {
			continue
		}
		p := ts.identify(l, dialled)
		if known && t.presence != gone && t.link.Pid == l.Pid {
			p = p.keepKnown(t.identity)
		}
		if !known || t.presence == gone || t.link.Pid != l.Pid {
			t.began = now
		}
		t.link, t.identity = l, p
		if t.presence == gone {
			t.presence = present
		}
		ts.index = nil
		ts.changed(p) // the link may be a call without addresses
		ts.refresh(t, now)
	}
	for _, t := range ts.inOrder() {
		if here[t.key] || t.presence == gone {
			continue
		}
		t.presence = gone
		ts.index = nil
		ts.changed(t.identity)
		ts.refresh(t, now)
		ts.forget(t)
	}
	ts.linksReported = true
}

// dialledFunc returns the address that xl2tpd last dialled for a LAC. It is invalid if nobody has seen it.
type dialledFunc func(name) netip.Addr

// identify returns the identity of a link. If its LNS has several addresses, the outer address is the one that xl2tpd
// has dialled.
func (ts *tunnelTable) identify(l ppp.Link, dialled dialledFunc) identity {
	p := ts.topology.identify(l)
	if n, ok := p.lac(); ok && !p.outer.IsValid() {
		p.outer = dialled(n)
		p.sa = ts.topology.sas[p.outer]
	}
	return p
}

// reidentify finds the identity and the settings of every tunnel again.
func (ts *tunnelTable) reidentify(dialled dialledFunc, now time.Time) {
	for _, t := range ts.inOrder() {
		if t.presence == gone {
			continue
		}
		p := ts.identify(t.link, dialled).keepKnown(t.identity)
		fresh := p.sa.replaces(t.identity.sa)
		if !p.equal(t.identity) {
			t.identity = p
			ts.index = nil
		}
		ts.refresh(t, now)
		if fresh && t.state == Silent { // a new SA may have repaired the tunnel
			ts.askAnew(t, now)
			ts.news = append(ts.news, news{names: t.identity.names, renewed: true})
		}
	}
}

// askOfUnknownPeers asks every silent tunnel soon of which nobody knows with whom it is: a new SA may have repaired it.
func (ts *tunnelTable) askOfUnknownPeers(now time.Time) {
	for _, t := range ts.inOrder() {
		if t.presence != gone && t.state == Silent && !t.identity.outer.IsValid() {
			ts.askSoon(t, now)
		}
	}
}

// askSoon makes a tunnel's echo due earlier, but not more often than the counter is read: while many callers come back,
// there is a new SA every second. An echo in flight may have been sent through the new SA. So only if it is lost, there is
// another one.
func (ts *tunnelTable) askSoon(t *tunnel, now time.Time) {
	if t.inFlight == echoing {
		t.again = true
		return
	}
	ts.retry(t, now, t.untilSoon(now))
}

// askAnew makes a tunnel's echo due now, even if one is in flight.
func (ts *tunnelTable) askAnew(t *tunnel, now time.Time) {
	ts.cancel(t)
	ts.hurry(t, now)
}

// inOrder returns the tunnels in the order of their links. So the same events always have the same outcome.
func (ts *tunnelTable) inOrder() []*tunnel {
	return slices.SortedFunc(maps.Values(ts.byKey), func(x, y *tunnel) int {
		return cmp.Or(cmp.Compare(x.key.Index, y.key.Index), strings.Compare(x.key.Name, y.key.Name))
	})
}

// forget drops a tunnel whose link is gone, unless something is still in flight for it.
func (ts *tunnelTable) forget(t *tunnel) {
	if t.presence == gone && t.inFlight == none {
		ts.unqueue(t)
		delete(ts.byKey, t.key)
		ts.health.forgetUnsent(t.key)
		ts.count[t.state]--
	}
}
