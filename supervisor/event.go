package supervisor

import (
	"log/slog"
	"net/netip"
	"time"

	"xl2tpd-keepalive/internal/helloguard"
	"xl2tpd-keepalive/internal/hook"
	"xl2tpd-keepalive/internal/status"
	"xl2tpd-keepalive/internal/xl2tpd"
	"xl2tpd-keepalive/probe"
	"xl2tpd-keepalive/supervisor/recovery/policy"
)

// LinkKey identifies a link. The index distinguishes a new ppp0 from an earlier one.
type LinkKey struct {
	Name  string
	Index int
}

// An Event is what the core reacts to: ppp.Snapshot, xl2tpd.Snapshot, vici.Snapshot, *config.Config, or
// one of the types below.
type Event any

// Counter is the answer to one ReadCounter.
type Counter struct {
	Link    LinkKey
	Packets uint64 // received since the link was made
	Err     error
}

// Counters are the answers to the ReadCounters of one request.
type Counters []Counter

// Results are the results of echo requests that have come at the same time.
type Results []probe.Result

// TaskFailed says that a task has returned an error. The task counts as failing until it delivers a snapshot again.
type TaskFailed struct {
	Task string
	Err  error
}

// TaskWorks says that a task works. It is for tasks that deliver no snapshots.
type TaskWorks struct{ Task string }

// Fault says that something other than a task does not work. An empty Text says that it works again.
type Fault struct {
	What string
	status.Problem
}

// Ending says why xl2tpd or the peer is closing a control connection. Its PeerID is 0: so the same connection is always
// equal to itself.
type Ending struct {
	helloguard.OwnedConnection
	helloguard.CloseReason
}

// AttemptFailed says that an attempt of xl2tpd's has ended without a tunnel, and why. Nobody on this host has hung up.
type AttemptFailed Ending

// Dials says that xl2tpd asks a peer for a tunnel, for whatever reason. The connection is the one that it would open; its
// PeerID is 0, as that of an Ending.
type Dials struct {
	helloguard.OwnedConnection
	Again bool // xl2tpd only sends a request again for which there was an event
}

// Calls says that xl2tpd asks for a call in a control connection that stands. Its PeerID is 0, as that of an Ending.
type Calls struct{ helloguard.OwnedConnection }

// LAC names a LAC.
type LAC struct {
	Instance string // of its xl2tpd, see instanceID
	Name     string
}

// StepDone is the result of a Recover.
type StepDone struct {
	LAC  LAC
	Step policy.Step
	Err  error
}

// Tick says that time has passed.
type Tick struct{}

// Names of the watchers, as the operator reads them in the log and in STATUS.
const (
	WatcherPPP    = "PPP links"
	WatcherXl2tpd = "xl2tpd"
	WatcherVICI   = "VICI"
	WatcherConfig = "keepalive.conf"
)

// TaskGuard is the name of the Hello guard, as a task and in a Fault.
const TaskGuard = "hello guard"

// An Action is something the loop should do.
type Action interface{ action() }

// ReadCounter asks for the receive counter of a link.
type ReadCounter struct{ Link LinkKey }

// SendEcho asks for one echo request.
type SendEcho struct{ probe.Request }

// CancelEcho ends the echo request in flight on a link. Its result still follows.
type CancelEcho struct{ Link LinkKey }

// Recover asks for a step that may bring a LAC's tunnel back.
type Recover struct {
	LAC  LAC
	To   xl2tpd.Target // the xl2tpd that dials and hangs up
	Step policy.Step
	Up   bool       // the LAC has a link, but the link is silent, or has lost its SA
	Dead bool       // with Up: its peer has just been asked, and has not answered
	From netip.Addr // the address that xl2tpd sends from; invalid: as the routes say
	LNS  netip.Addr // the address that xl2tpd would dial now; invalid: the name could not be resolved
	Peer netip.Addr // the far end of the LAC's link, or else of xl2tpd's latest attempt, or else the LNS
	// TunnelID is xl2tpd's id of the control connection of the LAC's link; 0: not known, as in userspace mode.
	TunnelID uint16
	Host     string // the LNS as xl2tpd.conf calls it
	SA       string // unique id of the IKE SA with the LNS; empty: there is none
	// SAName is the connection of that SA, and SAPeer its far end. A new charon may give its id to another SA.
	SAName string
	SAPeer netip.Addr
	// LastAttempt is when xl2tpd last asked for the tunnel, as far as is known; zero: not since the latest one was up.
	LastAttempt time.Time
	IKE         string // strongSwan's connection for the LNS when there was an SA last; empty: none is known
	// Since is when an SA with another address of the LNS replaced the SA of the link; zero: none has. Earlier messages
	// of the peer say nothing about the link.
	Since time.Time
	// Inside are echo requests to the far ends of the LAC's links, each through its own link. A link whose target is its
	// far end has none: that end has been asked already. Beside are the same for the other silent links that the SA may
	// carry.
	Inside, Beside []probe.Request
}

// LookUp asks for a lookup of the name of an LNS soon: it may fail now.
type LookUp struct{ Host string }

// CallHook asks for a call of the operator's hook.
type CallHook struct{ hook.Event }

// Note is a line for the log.
type Note struct {
	Level slog.Level
	Text  string
	Attrs []slog.Attr
}

// Ready says that every watcher has reported.
type Ready struct{}

func (ReadCounter) action() {}
func (SendEcho) action()    {}
func (CancelEcho) action()  {}
func (Recover) action()     {}
func (LookUp) action()      {}
func (CallHook) action()    {}
func (Note) action()        {}
func (Ready) action()       {}

// key returns the key of the link that a request or a result is about.
func key(name string, index int) LinkKey { return LinkKey{Name: name, Index: index} }
