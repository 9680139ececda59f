package supervisor

import (
	"log/slog"
	"net/netip"
	"time"

	"xl2tpd-keepalive/internal/hook"
	"xl2tpd-keepalive/internal/procfs"
	"xl2tpd-keepalive/internal/xl2tpd"
	"xl2tpd-keepalive/probe"
)

// Key names a link. The index tells a new ppp0 from the one before.
type Key struct {
	Name  string
	Index int
}

// An Event is something the brain should know of: ppp.Snapshot,
// xl2tpd.Snapshot, vici.Snapshot, *config.Config, probe.Result, or one of the
// types below.
type Event any

// Counter answers a ReadCounter.
type Counter struct {
	Link    Key
	Packets uint64 // received on the link since it exists
	Err     error
}

// TaskFailed says that a task has returned an error. It counts as failing
// until it delivers a snapshot again.
type TaskFailed struct {
	Task string
	Err  error
}

// TaskWorks says that a task that delivers no snapshot works again.
type TaskWorks struct{ Task string }

// Fault says that something else does not work; an empty Text that it does
// again.
type Fault struct{ What, Text string }

// Ending says why xl2tpd or the peer is closing a control tunnel.
type Ending struct {
	Tunnel ControlConnection
	Reason string // in plain words
	// Unexplained: it is the peer that closes, and it does not say why.
	Unexplained bool
	Operator    bool // somebody has hung up on this host
	Half        bool // xl2tpd has closed the call, and not the tunnel
	Unanswered  bool // xl2tpd gave up on a peer that does not answer
	Buried      bool // the peer is dead, and xl2tpd does not wait for its answer
}

// Dials says that xl2tpd asks a peer for a tunnel, whoever has made it do so.
type Dials struct {
	Daemon procfs.ID // the xl2tpd
	Peer   netip.Addr
}

// LAC names a LAC.
type LAC struct {
	Instance string // of the xl2tpd, see instanceID
	Name     string
}

// Recovered says what a Recover has come to.
type Recovered struct {
	LAC  LAC
	Step Step
	Err  error
}

// Tick says that time has passed.
type Tick struct{}

// Names of the eyes, as the operator reads them in the log and in STATUS.
const (
	WatcherPPP    = "PPP links"
	WatcherXl2tpd = "xl2tpd"
	WatcherVICI   = "VICI"
	WatcherConfig = "keepalive.conf"
)

// TaskGuard is the Hello guard's name in a Fault that says that it is unavailable.
const TaskGuard = "hello guard"

// An Action is something the loop should do.
type Action interface{ action() }

// ReadCounter asks for the receive counter of a link.
type ReadCounter struct{ Link Key }

// SendEcho asks for one echo request.
type SendEcho struct{ probe.Request }

// CancelEcho ends the echo that is out on a link; its result still follows.
type CancelEcho struct{ Link Key }

// Recover asks for a step that may bring a LAC's tunnel back.
type Recover struct {
	LAC  LAC
	To   xl2tpd.Target // the xl2tpd that dials and hangs up
	Step Step
	Up   bool       // its link is there, but silent
	Dead bool       // and its peer has been asked, in vain
	From netip.Addr // the address that xl2tpd sends from; invalid: as the routes say
	LNS  netip.Addr // where it would be dialled now; invalid: its name could not be resolved
	Peer netip.Addr // the far end of its link, or else of xl2tpd's latest attempt, or else the LNS
	Host string     // the LNS as xl2tpd.conf calls it
	SA   string     // unique id of the IKE SA with it; empty: there is none
	// Tried is when xl2tpd has asked for the tunnel last, as far as is known; zero: it has not since
	// the latest one was up.
	Tried time.Time
	IKE   string // the connection that its latest tunnel came through; empty: none
	// Since is when the SA that the link had was replaced by one with another address of the LNS:
	// earlier messages of the peer say nothing of the link; zero: it was not.
	Since time.Time
}

// CallHook asks for the operator's executable to be told.
type CallHook struct{ hook.Event }

// Note is a line for the log.
type Note struct {
	Level slog.Level
	Text  string
	Attrs []slog.Attr
}

// Ready says that every eye has had its first look.
type Ready struct{}

func (ReadCounter) action() {}
func (SendEcho) action()    {}
func (CancelEcho) action()  {}
func (Recover) action()     {}
func (CallHook) action()    {}
func (Note) action()        {}
func (Ready) action()       {}

// key is the link that a request or a result is about.
func key(name string, index int) Key { return Key{Name: name, Index: index} }
