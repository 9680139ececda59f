package supervisor

import (
	"net/netip"
	"time"

	"xl2tpd-keepalive/internal/config"
	"xl2tpd-keepalive/internal/l2tp"
	"xl2tpd-keepalive/internal/ppp"
	"xl2tpd-keepalive/internal/xl2tpd"
	"xl2tpd-keepalive/probe"
)

// State is the state of a tunnel.
type State int

const (
	Down   State = iota // the link is not up, or has gone
	Off                 // up, but its section has keepalive = no
	Up                  // up, no sign of life yet
	Alive               // something was received from the far end
	Silent              // echo requests are unanswered, and nothing else was received
	states
)

func (s State) String() string {
	return [...]string{"down", "off", "up", "alive", "silent"}[s]
}

// Evidence holds the time of the latest sign of life of each kind since the link came up; zero: none.
type Evidence struct {
	Reply time.Time // an echo reply came in
	Data  time.Time // the receive counter had grown
}

// Last returns the time of the latest sign of life of any kind; zero: none.
func (e Evidence) Last() time.Time {
	if e.Data.After(e.Reply) {
		return e.Data
	}
	return e.Reply
}

// Tunnel is what other packages may know about a tunnel.
type Tunnel struct {
	Link     LinkKey
	Outer    netip.Addr
	Evidence Evidence
	Daemon   int              // the pid of its xl2tpd
	Session  xl2tpd.Session   // in kernel mode; zero if not known
	Guard    config.GuardMode // which Hellos the guard holds back while the tunnel is alive
	Window   time.Duration    // for how long evidence is fresh
}

// flight is the answer that a tunnel waits for.
type flight int

const (
	none flight = iota
	counting
	echoing
)

// presence says whether a tunnel's link is there.
type presence int

const (
	present      presence = iota
	foundAtStart          // it was up when the links were first seen, and is not watched yet
	gone                  // it is no longer in the snapshot, but something is still in flight
)

// tunnel is the core's record of a tunnel, keyed by its link.
type tunnel struct {
	key      LinkKey
	link     ppp.Link
	presence presence

	identity     identity
	calls        []l2tp.Connection // its control connection is one of these, if xl2tpd has dialled; nil: not known
	sessionUntil time.Time         // until then refresh waits for its session; zero: it has not waited
	settings     config.Settings

	state       State
	since       time.Time // when it has come to this state
	began       time.Time // when its link was first seen
	up          time.Time // when it last came up
	hadSA       bool      // an SA has carried it
	saLostAt    time.Time // since when it is without that SA; zero: it has one, or never had
	echoes      echoes
	source      netip.Addr
	target      netip.Addr
	evidence    Evidence
	replied     bool      // its far end has answered an echo since it came up
	lostInARow  int       // echoes in a row without an answer
	firstLostAt time.Time // when the first of those was sent

	packets uint64 // receive counter as last read, and echo replies since
	counted bool   // packets is known

	inFlight flight
	stale    bool // the question in flight is from before the link changed

	echoSchedule
}

// linked reports whether there is a link with addresses.
func (t *tunnel) linked() bool { return t.state != Down }

// watched reports whether the tunnel is watched.
func (t *tunnel) watched() bool { return t.state >= Up }

// askFarEnd adds an echo request to the far end.
func (t *tunnel) askFarEnd(all []probe.Request) []probe.Request {
	if !t.watched() || !t.link.Peer.IsValid() {
		return all
	}
	return append(all, probe.Request{Link: t.key.Name, Index: t.key.Index, Source: t.source, Target: t.link.Peer})
}

// view returns what other packages may know about the tunnel.
func (t *tunnel) view() Tunnel {
	return Tunnel{
		Link: t.key, Outer: t.identity.outer, Evidence: t.evidence, Daemon: t.identity.daemon, Session: t.identity.session,
		Guard: t.settings.HelloGuard(), Window: Window(t.settings),
	}
}
