package main

import (
	"encoding/json"
	"io"
	"net/netip"
	"time"

	"xl2tpd-keepalive/lab/lns/l2tp"
)

// record is one line of the event log. What does not apply is left out.
type record struct {
	Time    string `json:"t"` // RFC 3339 with nanoseconds
	Peer    string `json:"peer"`
	Event   string `json:"event"`
	Tunnel  uint16 `json:"tunnel,omitempty"` // the LNS's id
	Session uint16 `json:"session,omitempty"`
	Remote  string `json:"remote,omitempty"`
	Reason  string `json:"reason,omitempty"`
	Message string `json:"message,omitempty"`
	*l2tp.Seq
	Answer    l2tp.HelloMode `json:"answer,omitempty"`
	Try       int            `json:"try,omitempty"`
	WaitedMS  float64        `json:"waited_ms,omitempty"`
	Interface string         `json:"interface,omitempty"` // of ppp-up
	Local     string         `json:"local,omitempty"`     // PPP address of the LNS
	Assigned  string         `json:"assigned,omitempty"`  // PPP address, the client's
	Detail    string         `json:"detail,omitempty"`
}

// journal writes records; each is one Write.
type journal struct {
	peer string
	out  io.Writer
}

// write stamps r and writes it as one line. An error of the writer shows
// nowhere better than in the writer, and is left there.
func (j journal) write(r record) {
	r.Time = time.Now().Format(time.RFC3339Nano)
	r.Peer = j.peer
	line, err := json.Marshal(r)
	if err != nil {
		return
	}
	_, _ = j.out.Write(append(line, '\n'))
}

// control turns an event of the control channel into a record.
func (j journal) control(tunnel uint16, remote netip.AddrPort, e l2tp.Event) {
	j.write(record{
		Event: e.Name, Tunnel: tunnel, Session: e.Session, Remote: remote.String(),
		Reason: e.Reason, Message: e.Message, Seq: e.Seq, Answer: e.Answer, Try: e.Try,
		WaitedMS: float64(e.Waited) / float64(time.Millisecond), Detail: e.Detail,
	})
}
