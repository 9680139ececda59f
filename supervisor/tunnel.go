package supervisor

import (
	"net/netip"
	"time"

	"xl2tpd-keepalive/internal/config"
	"xl2tpd-keepalive/internal/ppp"
	"xl2tpd-keepalive/internal/xl2tpd"
)

// State is what the brain makes of a tunnel.
type State int

const (
	Down   State = iota // the link is not up, or gone
	Off                 // up, but its section says keepalive = no
	Up                  // up, no sign of life yet
	Alive               // something has been received from the far end
	Silent              // echo requests stay unanswered and nothing else comes
	states
)

func (s State) String() string {
	return [...]string{"down", "off", "up", "alive", "silent"}[s]
}

// Evidence has the time of the latest sign of life of each kind since the link
// came up; zero: none.
type Evidence struct {
	Reply time.Time // an echo reply came in
	Data  time.Time // the receive counter was found grown
}

// Last is the time of the latest sign of life of any kind.
func (e Evidence) Last() time.Time {
	if e.Data.After(e.Reply) {
		return e.Data
	}
	return e.Reply
}

// Tunnel is what is known of one tunnel, for others to read.
type Tunnel struct {
	Link     Key
	State    State
	Since    time.Time // of State
	Section  string    // "lac NAME", "lns NAME"; empty if not known
	Outer    netip.Addr
	Target   netip.Addr // of the echo requests
	SA       string     // name of the IKE SA; empty if none
	Evidence Evidence

	Daemon  int            // the pid of its xl2tpd
	Session xl2tpd.Session // in kernel mode; zero if not known
	Guard   config.Guard   // which of its Hellos are to be held back while it is alive
	Window  time.Duration  // for how long evidence is fresh
}

// flight is what a tunnel waits for.
type flight int

const (
	none flight = iota
	counting
	echoing
)

// tunnel is the brain's own record, keyed by link.
type tunnel struct {
	key  Key
	link ppp.Link
	gone bool // no longer in the snapshot, but something is still in flight

	identity     identity
	sessionUntil time.Time // until then its session is waited for; zero: it has not been up
	settings     config.Settings

	state    State
	since    time.Time
	found    bool      // up at our first look, and not watched yet
	up       time.Time // when it came up last
	secured  bool      // has had an SA that carries it
	saLostAt time.Time // since when there is none, though there was; zero: there is one, or there never was
	echoes   echoes
	source   netip.Addr
	target   netip.Addr
	evidence Evidence
	replied  bool      // has answered an echo since it came up
	lost     int       // echoes in a row without an answer
	asked    time.Time // when the first of those was sent

	packets uint64 // receive counter, up to which everything has been seen
	counted bool   // packets is known

	inFlight flight
	stale    bool // what is in flight was asked before the link changed

	// An echo is due at armed + wait*stretch if nothing comes in until then.
	armed   time.Time
	wait    time.Duration
	stretch float64
	retry   bool      // wait is not the interval
	looked  time.Time // when the counter was read last
	lookAt  time.Time // when it is to be read again
}

// linked tells whether there is a link with addresses.
func (t *tunnel) linked() bool { return t.state != Down }

// watched tells whether the tunnel should get echo requests at all.
func (t *tunnel) watched() bool { return t.state >= Up }

// echoAt is when the link will have been idle for long enough.
func (t *tunnel) echoAt() time.Time {
	return t.armed.Add(time.Duration(float64(t.wait) * t.stretch))
}

// due is when something is to be done about the tunnel next. The counter does
// not tell when data came, so it is read a few times in each interval: an echo
// then follows the last data by little more than the interval. It waits for the next
// tick, counted from epoch.
func (t *tunnel) due(epoch time.Time) time.Time {
	at := t.echoAt()
	switch {
	case t.retry:
		return at
	case t.lookAt.Before(at):
		return t.lookAt
	}
	return at.Add((tick - at.Sub(epoch)%tick) % tick)
}

// lookEvery is the time between two readings of the counter.
func (t *tunnel) lookEvery() time.Duration { return t.wait / looks }

func (t *tunnel) view() Tunnel {
	return Tunnel{
		Link: t.key, State: t.state, Since: t.since, Section: t.identity.section(),
		Outer: t.identity.outer, Target: t.target, SA: t.identity.sa.Name, Evidence: t.evidence,
		Daemon: t.identity.daemon, Session: t.identity.session, Guard: t.settings.HelloGuard(), Window: Window(t.settings),
	}
}
