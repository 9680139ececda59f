package l2tp

import "time"

// Output is one thing that a Tunnel wants done, in order: Send, OpenTunnel,
// OpenSession, CloseSession, CloseTunnel or Event.
type Output interface{ output() }

// Send is a control packet for the peer.
type Send struct{ Packet []byte }

// OpenTunnel asks for the data plane of the tunnel.
type OpenTunnel struct{ Local, Peer uint16 }

// OpenSession asks for the data plane of a session, and PPP on it.
type OpenSession struct{ Local, Peer uint16 }

// CloseSession ends a session's data plane.
type CloseSession struct{ Local uint16 }

// CloseTunnel ends the tunnel's data plane; all CloseSessions came before.
type CloseTunnel struct{}

// Event is something worth a line in the log. Name is one of the Event…
// constants; the rest is set where it applies.
type Event struct {
	Name    string
	Session uint16        // the LNS's id
	Message string        // the type of the control message
	Seq     *Seq          // of a received message
	Answer  HelloMode     // hello-received: what becomes of it
	Try     int           // hello-sent, retransmit: 1 is the first send
	Waited  time.Duration // hello-acked: since its first send
	Reason  string        // close, session-close: one of the Reason… constants
	Detail  string        // free text
}

// Seq is the sequence numbers of a received message, and the Ns that was due.
type Seq struct {
	Ns       uint16 `json:"ns"`
	Nr       uint16 `json:"nr"`
	Expected uint16 `json:"expected"`
}

func (Send) output()         {}
func (OpenTunnel) output()   {}
func (OpenSession) output()  {}
func (CloseSession) output() {}
func (CloseTunnel) output()  {}
func (Event) output()        {}

// Names of events.
const (
	EventTunnelUp      = "tunnel-up"      // SCCCN received
	EventSessionUp     = "session-up"     // ICCN received
	EventSessionClose  = "session-close"  // with its reason
	EventClose         = "close"          // of the tunnel, with its reason
	EventHelloReceived = "hello-received" // in order, or ignored
	EventHelloSent     = "hello-sent"
	EventHelloAcked    = "hello-acked"
	EventOutOfOrder    = "out-of-order" // a message's Ns is ahead
	EventIgnoredZLB    = "ignored-zlb"  // a ZLB's Ns is not as expected, so its Nr counts for nothing; see StrictNs
	EventDuplicate     = "duplicate"
	EventWedged        = "wedged" // an early message came before, nothing is taken any more
	EventRetransmit    = "retransmit"
	EventUnexpected    = "unexpected" // a message without meaning here, acknowledged
)

// Reasons of closes.
const (
	ReasonIdle              = "idle"
	ReasonKeepaliveTimeout  = "keepalive-timeout"
	ReasonRetransmitTimeout = "retransmit-timeout"
	ReasonSetupTimeout      = "setup-timeout"
	ReasonStopCCNFromPeer   = "stopccn-from-peer"
	ReasonCDNFromPeer       = "cdn-from-peer"
	ReasonMaxClients        = "max-clients"
	ReasonChallenged        = "challenged" // the peer wants a shared secret; the LNS has none
	ReasonPPPExit           = "ppp-exit"
	ReasonUnexpected        = "unexpected" // a message without meaning here
	ReasonDataPlane         = "data-plane" // the kernel or pppd could not be set up
	ReasonShutdown          = "shutdown"
)
