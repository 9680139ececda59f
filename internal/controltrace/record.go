// Package controltrace holds what was seen of L2TP control connections: one record for each message, as xl2tpd and as
// the peer see it. A Recorder keeps the last ones of a connection. A Hub passes them on to those who watch. The rest
// shows them to people and to Wireshark.
package controltrace

import (
	"time"

	"xl2tpd-keepalive/internal/helloguard/translator"
	"xl2tpd-keepalive/internal/l2tp"
)

// Verdict is what became of a message.
type Verdict uint8

const (
	Seen       Verdict = iota // it was seen on its way, and nobody decided about it
	Passed                    // it went on untouched
	Renumbered                // it went on with other numbers
	Held                      // the guard kept it, and answers it or waits for a copy
	Dropped                   // the guard let nobody have it
	Sent                      // the guard has made and sent it
	Asked                     // the same; it repeats an old number, because the peer answers that
)

// End is what one end of the connection has of a message.
type End struct {
	Sees   bool // false: the message does not get there, or does not come from there
	Ns, Nr uint16
}

// Record is one control message.
type Record struct {
	Time         time.Time
	ToPeer       bool // else to xl2tpd
	Xl2tpd, Peer End
	Again        bool // its sender has sent it before
	Verdict      Verdict
	Why          translator.Reason
	Length       int    // of the whole message, in bytes
	Payload      []byte // the message, perhaps cut; its numbers are those of one of the ends
}

// maxPayload is how much of a message is kept, in bytes. Messages of xl2tpd and of routers have less than 300.
const maxPayload = 1024

// NewRecord makes the record of a message that both ends see in the same way. The record shares the payload.
func NewRecord(at time.Time, toPeer bool, m l2tp.Message, payload []byte) Record {
	end := End{Sees: true, Ns: m.Ns, Nr: m.Nr}
	return Record{
		Time: at, ToPeer: toPeer, Xl2tpd: end, Peer: end,
		Length: len(payload), Payload: payload[:min(len(payload), maxPayload)],
	}
}

// byGuard reports whether the guard has made the message.
func (r *Record) byGuard() bool { return r.Verdict == Sent || r.Verdict == Asked }

// sender and receiver return the two ends in the order in which the message goes.
func (r *Record) sender() End {
	if r.ToPeer {
		return r.Xl2tpd
	}
	return r.Peer
}

func (r *Record) receiver() End {
	if r.ToPeer {
		return r.Peer
	}
	return r.Xl2tpd
}

// message returns the message's header and type.
func (r *Record) message() l2tp.Message {
	m, err := l2tp.ParseMessage(r.Payload)
	if err != nil { // it was cut
		m.Length = uint16(r.Length)
		m.Type = l2tp.TypeOf(r.Payload)
	}
	return m
}

// mayHoldSecrets reports whether a message has more than a header and its type.
func (r *Record) mayHoldSecrets() bool { return len(r.Payload) > l2tp.HelloLen }
