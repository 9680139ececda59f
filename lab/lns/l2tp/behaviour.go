package l2tp

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// Behaviour is the personality of a peer: everything in which one router
// differs from another. It is data; no code asks for a router's name.
type Behaviour struct {
	About    string `json:"about"` // what is imitated, and from which source
	HostName string `json:"host_name"`
	Vendor   string `json:"vendor"`

	// Hello says what becomes of the peer's Hello.
	Hello HelloMode `json:"hello"`

	// The own keepalive: a Hello every KeepaliveInterval (0: none), sent
	// again at the same pace until acknowledged; after KeepaliveTries sends
	// and one more interval the tunnel is closed.
	KeepaliveInterval Duration `json:"keepalive_interval"`
	KeepaliveTries    int      `json:"keepalive_tries"`

	// Idle closes a tunnel that has carried no data packet, in either
	// direction, for so long (0: never).
	Idle Duration `json:"idle"`

	// IdleLook is how often data packets are counted for that: so late may
	// the close come.
	IdleLook Duration `json:"idle_look"`

	// MaxClients limits the tunnels up at one time (0: no limit). One more
	// is refused with StopCCN, result 2, error 4.
	MaxClients int `json:"max_clients"`

	// StrictNs drops a message or a ZLB whole, its Nr included, when its Ns
	// is not the expected one. Otherwise a ZLB's Ns is not looked at, and a
	// gap is stepped over as if what was in it had come.
	StrictNs bool `json:"strict_ns"`

	// ZLBNsOffset is added to the Ns of outgoing ZLBs: those that answer a
	// Hello, or all with ZLBNsOffsetAll. Anything but 0 makes xl2tpd ignore
	// them; with all of them odd, no call outlives its ICCN's retries.
	ZLBNsOffset    int16 `json:"zlb_ns_offset"`
	ZLBNsOffsetAll bool  `json:"zlb_ns_offset_all"`

	// ReceiveWindow is the window offered to the peer, §4.4.3; at least 1.
	ReceiveWindow uint16 `json:"receive_window"`

	// An unacknowledged message other than the keepalive's Hello is sent
	// RetransmitTries times in all. The pause after the first send is
	// RetransmitFirst, and doubles up to RetransmitCap.
	RetransmitFirst Duration `json:"retransmit_first"`
	RetransmitCap   Duration `json:"retransmit_cap"`
	RetransmitTries int      `json:"retransmit_tries"`
}

// Defaults is a peer that keeps to RFC 2661 and closes nothing of its own
// accord; its retransmission is xl2tpd's (5 sends, 31 s in all).
func Defaults() Behaviour {
	return Behaviour{
		HostName:        "lns",
		Hello:           HelloAck,
		StrictNs:        true,
		IdleLook:        Duration(time.Second),
		ReceiveWindow:   4,
		RetransmitFirst: Duration(time.Second),
		RetransmitCap:   Duration(16 * time.Second),
		RetransmitTries: 5,
	}
}

// Check returns an error that names the first setting out of range.
func (b Behaviour) Check() error {
	switch {
	case b.HostName == "" || len(b.HostName) > 255:
		return errors.New("host_name: want 1 to 255 bytes")
	case len(b.Vendor) > 255:
		return errors.New("vendor: want at most 255 bytes")
	case b.KeepaliveInterval < 0 || b.Idle < 0 || b.MaxClients < 0:
		return errors.New("keepalive_interval, idle, max_clients: want 0 (off) or more")
	case b.KeepaliveInterval > 0 && b.KeepaliveTries < 1:
		return errors.New("keepalive_tries: want at least 1 with a keepalive_interval")
	case b.Idle > 0 && b.IdleLook <= 0:
		return errors.New("idle_look: want more than 0 with an idle")
	case b.ReceiveWindow < 1:
		return errors.New("receive_window: want at least 1")
	case b.RetransmitFirst <= 0 || b.RetransmitCap < b.RetransmitFirst:
		return errors.New("retransmit_first, retransmit_cap: want 0 < first <= cap")
	case b.RetransmitTries < 1:
		return errors.New("retransmit_tries: want at least 1")
	}
	return b.Hello.check()
}

// HelloMode is a peer's way with an incoming Hello.
type HelloMode string

const (
	// HelloAck acknowledges it, as it should.
	HelloAck HelloMode = "ack"
	// HelloDeaf takes it for never sent: no answer, and Ns does not advance.
	HelloDeaf HelloMode = "deaf"
	// HelloCountOnly counts its Ns but sends no answer of its own; the Nr of
	// a later message acknowledges it all the same.
	HelloCountOnly HelloMode = "count-only"
)

func (m HelloMode) check() error {
	switch m {
	case HelloAck, HelloDeaf, HelloCountOnly:
		return nil
	}
	return fmt.Errorf("hello: %q, want %q, %q or %q", string(m), HelloAck, HelloDeaf, HelloCountOnly)
}

// Duration is written in JSON as "90s", as a number of seconds, or as "off".
type Duration time.Duration

// UnmarshalJSON implements json.Unmarshaler.
func (d *Duration) UnmarshalJSON(b []byte) error {
	var v any
	if err := json.Unmarshal(b, &v); err != nil {
		return err
	}
	switch v := v.(type) {
	case float64:
		*d = Duration(v * float64(time.Second))
		return nil
	case string:
		if v == "off" {
			*d = 0
			return nil
		}
		parsed, err := time.ParseDuration(v)
		if err == nil {
			*d = Duration(parsed)
		}
		return err
	}
	return fmt.Errorf("duration %s: want seconds, \"90s\" or \"off\"", b)
}
