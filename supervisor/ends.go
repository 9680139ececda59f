package supervisor

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"xl2tpd-keepalive/internal/helloguard"
	"xl2tpd-keepalive/internal/l2tp"
	"xl2tpd-keepalive/internal/message"
	"xl2tpd-keepalive/internal/status"
	"xl2tpd-keepalive/supervisor/recovery/policy"
)

const (
	// shortestIdleTimer is the shortest idle timer that a peer may have.
	shortestIdleTimer = 20 * time.Second

	maxReasons = 1000
	maxEnds    = 1000 // of callers from ever new addresses
)

// xl2tpdEnded is the reason when all tunnels of an xl2tpd have ended together.
const xl2tpdEnded message.Text = "xl2tpd ended"

// origin is what a tunnel has in common with the one before it: its section and peer. If the section is not known, it
// is the name of the link.
type origin struct {
	section name
	outer   netip.Addr
	link    string
}

func (t *tunnel) origin() origin {
	if len(t.identity.names) == 1 {
		return origin{section: t.identity.names[0], outer: t.identity.outer}
	}
	return origin{section: name{instance: t.identity.instance}, link: t.key.Name}
}

// ends records how tunnels ended.
type ends struct {
	reasons       []heardEnding
	calls         []heardCall // of the last callTime, the oldest first
	dials         []heardCall // which connections xl2tpds have asked to open, the oldest first
	last          map[origin]*end
	xl2tpdEndedAt map[string]time.Time // when an instance's xl2tpd last ended
}

type heardEnding struct {
	Ending
	at    time.Time
	began time.Time // when its xl2tpd has asked for the connection; zero: nobody has seen that
	spent time.Time // when the end of a link that it has explained right away was seen; zero: none was
	over  bool      // its xl2tpd has ended since: the links that end now have another reason
}

// explains reports whether this ending can be why the link of a tunnel ends now. In kernel mode the session proves it. In
// userspace mode only the peer's address connects an ending and a link. Then the ending belongs to another tunnel of that
// peer if one of these is true:
//   - It came before this tunnel was up.
//   - Its connection was asked for when this tunnel was up.
//   - It has already explained the end of another link, or its xl2tpd has ended since.
//   - The far end of this tunnel has answered since.
//   - This tunnel comes from a call in another control connection.
func (h *heardEnding) explains(t *tunnel, now time.Time) bool {
	if now.Sub(h.at) > policy.ReasonTTL || !h.matches(t.identity) {
		return false
	}
	certain := carries(h.Connection, t.identity.session)
	spent := h.over || !h.spent.IsZero() && now.Sub(h.spent) > policy.ReasonDelay
	lives := t.evidence.Reply.Sub(h.at) > policy.ReasonDelay
	return certain || !h.at.Before(t.up) && !h.began.After(t.up) && !spent && !lives && t.mayCarry(h.Connection)
}

// heardCall says that an xl2tpd has asked for a call, or for a connection.
type heardCall struct {
	helloguard.OwnedConnection
	at time.Time
}

// takeCall notes that an xl2tpd has asked for a call: a link may come of it.
func (es *ends) takeCall(ev Calls, now time.Time) {
	es.calls = slices.DeleteFunc(es.calls, func(one heardCall) bool { return now.Sub(one.at) > callTime })
	es.calls = appendLatest(es.calls, heardCall{ev.OwnedConnection, now})
}

// takeDial notes that an xl2tpd has asked for a connection.
func (es *ends) takeDial(ev Dials, now time.Time) {
	if !ev.Again || es.beganAt(ev.OwnedConnection).IsZero() {
		es.dials = appendLatest(es.dials, heardCall{ev.OwnedConnection, now})
	}
}

// beganAt returns when an xl2tpd has last asked for a connection; zero: nobody has seen that.
func (es *ends) beganAt(c helloguard.OwnedConnection) time.Time {
	for _, one := range slices.Backward(es.dials) {
		if one.OwnedConnection == c {
			return one.at
		}
	}
	return time.Time{}
}

// appendLatest appends one more to a list of at most maxReasons. If the list is full, its oldest goes.
func appendLatest[T any](all []T, one T) []T {
	if len(all) == maxReasons {
		all = slices.Delete(all, 0, 1)
	}
	return append(all, one)
}

// callsFor returns the control connections in which the xl2tpd with that pid has just asked for calls.
func (es *ends) callsFor(daemon int, now time.Time) (all []l2tp.Connection) {
	for _, one := range es.calls {
		if now.Sub(one.at) <= callTime && canBelongTo(one.Owner, daemon) {
			all = append(all, one.Connection)
		}
	}
	return all
}

// mayCarry reports whether a tunnel may have that control connection. If xl2tpd has dialled, it has asked for the call
// before the link came.
func (t *tunnel) mayCarry(c l2tp.Connection) bool {
	answers := slices.ContainsFunc(t.identity.names, func(n name) bool { return n.kind != "lac" })
	return len(t.calls) == 0 || answers || slices.Contains(t.calls, c)
}

// end is how a tunnel has ended.
type end struct {
	Ending   // why, as far as it is known
	Time     time.Time
	after    time.Duration // since it came up
	identity identity
	link     LinkKey
	sure     bool // somebody has said why
	failed   bool // something is known to have failed, whatever the Ending said
	assumed  bool // failed is only known from a hang-up by recovery that was under way
	inferred bool // failed is only known from the silence before

	withXl2tpd bool // its xl2tpd has ended too
}

// status returns an end as status shows it.
func (e *end) status() *status.Close {
	return &status.Close{Time: e.Time, After: status.Seconds(e.after), Reason: e.Reason, Control: e.control()}
}

// control returns the control connection of the tunnel that has ended, as its reason or the kernel has named it; nil:
// neither has.
func (e *end) control() *l2tp.Connection {
	s := e.identity.session
	switch {
	case e.Peer.IsValid():
		return new(e.Connection)
	case s.LocalTunnel != 0 && s.Peer.IsValid():
		return &l2tp.Connection{Local: s.Local, Peer: s.Peer, LocalID: s.LocalTunnel, PeerID: s.PeerTunnel}
	}
	return nil
}

// record takes the reason why a control connection is being closed. Its links may have gone already: record returns the
// ends that the reason explains, in the order of their links.
func (es *ends) record(e Ending, now time.Time) (explained []*end) {
	for _, one := range es.last {
		switch {
		case !e.matches(one.identity):
		case one.Reason == xl2tpdEnded && !carries(e.Connection, one.identity.session): // what comes now is of the next xl2tpd
		// A pppd whose peer has ended LCP stays for some seconds, and only then xl2tpd closes the call.
		case !one.sure && (now.Sub(one.Time) <= policy.ReasonDelay || now.Sub(one.Time) <= policy.ReasonTTL && carries(e.Connection, one.identity.session)):
			one.setReason(e)
			explained = append(explained, one)
		case one.CallOnly && !e.CallOnly && one.Connection == e.Connection: // after the call, the tunnel is closed too
			one.CallOnly, one.Operator = false, one.Operator || e.Operator
			explained = append(explained, one)
		}
	}
	slices.SortFunc(explained, func(x, y *end) int { return cmp.Compare(x.link.Index, y.link.Index) })
	es.reasons = slices.DeleteFunc(es.reasons, func(old heardEnding) bool { return now.Sub(old.at) > policy.ReasonTTL })
	heard := heardEnding{Ending: e, at: now, began: es.beganAt(e.OwnedConnection)}
	if len(explained) > 0 {
		heard.spent = now
	}
	es.reasons = appendLatest(es.reasons, heard)
	return explained
}

// reasonFor returns the latest reason that can be why a tunnel ends. A reason from before the tunnel came up may belong to
// an earlier tunnel, unless the session proves that it does not.
func (es *ends) reasonFor(t *tunnel, now time.Time) (Ending, bool) {
	for i := len(es.reasons) - 1; i >= 0; i-- {
		if e := &es.reasons[i]; e.explains(t, now) {
			if e.spent.IsZero() && now.Sub(e.at) <= policy.ReasonDelay {
				e.spent = now
			}
			return e.Ending, true
		}
	}
	return Ending{}, false
}

// recordClose notes that a tunnel has ended, and returns the reason, as far as it is known.
func (ts *tunnelTable) recordClose(t *tunnel, reason message.Text, was State, now time.Time) message.Text {
	why, sure := ts.ends.reasonFor(t, now)
	if !sure {
		why, sure = ts.ends.hangUpOf(t.identity, now)
	}
	var failed bool
	var saLost time.Time
	ended := ts.endedWithXl2tpd(t, now)
	switch {
	case sure:
		reason = why.Reason
		if quiet := now.Sub(t.evidence.Last()); why.Unexplained() && was != Silent && !t.evidence.Last().IsZero() && quiet >= shortestIdleTimer {
			reason = message.Sprintf("the peer's idle timer, it seems: nothing came for %.0f s", quiet.Seconds())
		}
	case ended:
		reason, failed = xl2tpdEnded, true
	case !t.saLostAt.IsZero() && !t.evidence.Last().After(t.saLostAt): // one that has lived on has another cause
		reason, failed, saLost = "the IPsec SA was lost", true, t.saLostAt
	}
	ts.ends.prune()
	c := &end{Time: now, after: now.Sub(t.up), identity: t.identity, link: t.key, failed: failed, withXl2tpd: ended}
	if sure {
		c.setReason(why)
	}
	c.Reason = reason
	ts.ends.last[t.origin()] = c
	one := news{names: t.identity.names, end: c, lived: !t.evidence.Last().IsZero(), saLost: saLost, otherTarget: t.target != t.link.Peer}
	if was == Silent {
		one.silentSince = t.firstLostAt
	}
	ts.news = append(ts.news, one)
	return reason
}

// endedWithXl2tpd reports whether the xl2tpd of a link has just ended. The link of a new xl2tpd came up later.
func (ts *tunnelTable) endedWithXl2tpd(t *tunnel, now time.Time) bool {
	at := ts.ends.xl2tpdEndedAt[t.identity.instance]
	return now.Sub(at) <= policy.ReasonDelay && !t.up.After(at)
}

// hangUpOf returns the hang-up by an operator that may be why a link with an unknown peer ends. The name of its LNS could
// not be looked up, so the address of the hung-up tunnel does not show whether it was this one.
func (es *ends) hangUpOf(id identity, now time.Time) (Ending, bool) {
	for i := range es.reasons {
		r := &es.reasons[i]
		if !id.outer.IsValid() && r.Operator && r.spent.IsZero() && now.Sub(r.at) <= policy.ReasonDelay && canBelongTo(r.Owner, id.daemon) {
			r.spent = now
			return r.Ending, true
		}
	}
	return Ending{}, false
}

// endOf returns how a link has ended; nil: it has not, or another one of the same origin has ended since.
func (ts *tunnelTable) endOf(t *tunnel) *end {
	if e := ts.ends.last[t.origin()]; e != nil && e.link == t.key {
		return e
	}
	return nil
}

// setReason notes the reason of an end.
func (e *end) setReason(ending Ending) { e.sure, e.Ending = !ending.MayBeOperator, ending }

// endList is a bounded list of ends that may be hang-ups, the latest last.
type endList []*end

// maxEndList is how many ends an endList has at most. What explains one of them may not explain another.
const maxEndList = 8

// add adds an end, unless it is there. Ends that turned out to be failures make room for it.
func (all *endList) add(c *end) {
	all.remove(func(one *end) bool { return one == c || !one.mayBeHangUp() })
	if *all = append(*all, c); len(*all) > maxEndList { // the oldest goes, but rather one that may also be no hang-up
		i := max(0, slices.IndexFunc(*all, func(one *end) bool { return !one.Operator }))
		*all = slices.Delete(*all, i, i+1)
	}
}

// remove removes ends, and reports whether there was one.
func (all *endList) remove(is func(*end) bool) (any bool) {
	before := len(*all)
	*all = slices.DeleteFunc(*all, is)
	return len(*all) < before
}

// endByOperator returns the end of a tunnel that the operator has hung up.
func endByOperator(c helloguard.OwnedConnection) *end {
	return &end{Ending: Ending{OwnedConnection: c, CloseReason: helloguard.CloseReason{Operator: true}}, sure: true}
}

// prune makes room for one more end: if there are maxEnds, it forgets the oldest.
func (es *ends) prune() {
	if len(es.last) < maxEnds {
		return
	}
	var oldest origin
	var at time.Time
	for o, one := range es.last {
		if at.IsZero() || one.Time.Before(at) {
			oldest, at = o, one.Time
		}
	}
	delete(es.last, oldest)
}
