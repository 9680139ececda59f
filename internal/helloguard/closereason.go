package helloguard

import (
	"strconv"
	"time"

	"xl2tpd-keepalive/internal/l2tp"
	"xl2tpd-keepalive/internal/message"
)

// CloseReason is why a tunnel or call is being closed. It is part of a channel's file, which may be of another version:
// its JSON names stay as they were.
type CloseReason struct {
	ByPeer bool
	Reason message.Text // in plain words
	// Vague: the reason is no more than what the message says.
	Vague    bool
	Operator bool // somebody has hung up on this host
	// The operator or the service has hung up, and nobody can tell which.
	MayBeOperator bool
	CallOnly      bool `json:"Half"` // xl2tpd has closed the call, and not the tunnel
	Unanswered    bool // xl2tpd gave up on a peer that does not answer
	// The peer is dead, and xl2tpd gets its acknowledgement from the guard.
	StopAcked bool `json:"Buried"`
}

// Unexplained reports whether the peer closes the tunnel, and does not say why.
func (r CloseReason) Unexplained() bool { return r.ByPeer && r.Vague }

const (
	// An end that gives up on a message has sent it for a while: xl2tpd 31 s,
	// routers 30 s and more.
	gaveUp = 20 * time.Second

	maxWords = 60 // of a message's own text, in bytes
)

// What xl2tpd writes into a message of its own (network.c, xl2tpd.c).
const (
	hungUp   = "Goodbye!"
	timedOut = "Timeout"
)

var xl2tpdSays = map[string]message.Text{
	hungUp:           "hung up on this host",
	"Server closing": "xl2tpd was stopped",
	timedOut:         "the peer left xl2tpd's messages unanswered",
}

// Result codes of a StopCCN and a CDN (RFC 2661 §4.4.2).
var (
	stopResults = []message.Text{1: "request to clear", 2: "general error", 3: "tunnel already exists", 4: "not authorized",
		5: "protocol version not supported", 6: "requester is being shut down", 7: "protocol error"}
	callResults = []message.Text{1: "loss of carrier", 2: "general error", 3: "administrative reasons", 4: "no facilities at present",
		5: "no facilities", 6: "invalid destination", 7: "no carrier", 8: "busy", 9: "no dial tone", 10: "timeout",
		11: "no framing"}
)

// closeReason explains a StopCCN or CDN. unanswered is for how long a Hello of xl2tpd has
// waited for its acknowledgement, unacked the same for a message of the peer.
func closeReason(m l2tp.Message, payload []byte, byPeer bool, unanswered, unacked time.Duration) CloseReason {
	code, words, _ := l2tp.Result(payload)
	switch {
	case !byPeer && unanswered >= gaveUp && words != hungUp:
		return CloseReason{Reason: message.Sprintf("xl2tpd's Hello was unanswered for %.0f s", unanswered.Seconds()), Unanswered: true}
	case byPeer && unacked >= gaveUp:
		return CloseReason{ByPeer: true, Reason: message.Sprintf("the peer's keepalive: its Hello was unanswered for %.0f s", unacked.Seconds())}
	}
	if plain, ok := xl2tpdSays[words]; ok && !byPeer {
		return CloseReason{Reason: plain, Operator: words == hungUp, Unanswered: words == timedOut}
	}
	e := CloseReason{ByPeer: byPeer, Reason: "closed by xl2tpd", Vague: true}
	if byPeer {
		e.Reason = "closed by the peer"
	}
	if result := resultText(m.Type, code); result != "" {
		e.Reason = message.Sprintf("%s: %s", e.Reason, result)
	}
	if words != "" {
		e.Reason = message.Sprintf("%s %s", e.Reason, strconv.QuoteToASCII(words[:min(len(words), maxWords)]))
	}
	return e
}

func resultText(kind l2tp.MessageType, code uint16) message.Text {
	names := stopResults
	if kind == l2tp.TypeCDN {
		names = callResults
	}
	switch {
	case int(code) < len(names) && names[code] != "":
		return names[code]
	case code != 0:
		return message.Sprintf("result code %d", code)
	}
	return ""
}
