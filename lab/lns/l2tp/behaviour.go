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

	// DeafFrom and DeafUntil bound a time of the tunnel's life in which the
	// peer is deaf to Hellos, whatever Hello says (both 0: none).
	DeafFrom  Duration `json:"deaf_from"`
	DeafUntil Duration `json:"deaf_until"`

	// The own keepalive: a Hello every KeepaliveInterval (0: none), sent
	// again at the same pace until acknowledged; after KeepaliveTries sends
	// and one more interval the tunnel is closed. With 0 tries the Hello is
	// sent again as any other message is.
	KeepaliveInterval Duration `json:"keepalive_interval"`
	KeepaliveTries    int      `json:"keepalive_tries"`

	// KeepaliveQuiet sends a Hello only after an interval in which no control
	// packet arrived.
	KeepaliveQuiet bool `json:"keepalive_quiet"`

	// Idle closes a tunnel that has carried no data packet, in either
	// direction, for so long (0: never).
	Idle Duration `json:"idle"`

	// IdleLook is how often data packets are counted for that: so late may
	// the close come.
	IdleLook Duration `json:"idle_look"`

	// MaxClients limits the tunnels up at one time (0: no limit). One more
	// is refused with StopCCN, result 2, error 4.
	MaxClients int `json:"max_clients"`

	// StrictNs ignores the Nr of a ZLB or an early message, that is of one
	// with a higher Ns than the expected one. Otherwise each Nr counts.
	StrictNs bool `json:"strict_ns"`

	// Early says what becomes of an early message, and AckEarly whether it is
	// answered.
	Early    EarlyMode    `json:"early"`
	AckEarly AckEarlyMode `json:"ack_early"`

	// AckDuplicates acknowledges a message that has come before (§5.8).
	AckDuplicates bool `json:"ack_duplicates"`

	// NrFollows acknowledges by one more than the Ns of what came last, also
	// if that was a duplicate.
	NrFollows bool `json:"nr_follows"`

	// AnswerDelay is how much later everything leaves once a call is up, in
	// order, as on an uplink that is full. Delay on the way to the peer looks
	// the same from here.
	AnswerDelay Duration `json:"answer_delay"`

	// AckDelay is how long an acknowledgement waits for a message that can
	// carry it. One ZLB then acknowledges all that came in that time.
	AckDelay Duration `json:"ack_delay"`

	ZLB ZLBMode `json:"zlb"`

	// CloseOn names messages that end the tunnel.
	CloseOn CloseOnMode `json:"close_on"`

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

	// RetransmitOldNr repeats a message byte by byte, with the Nr of its first
	// send.
	RetransmitOldNr bool `json:"retransmit_old_nr"`
}

// Defaults is a peer that keeps to RFC 2661 and closes nothing of its own
// accord; its retransmission is xl2tpd's (5 sends, 31 s in all).
func Defaults() Behaviour {
	return Behaviour{
		HostName:        "lns",
		Hello:           HelloAck,
		StrictNs:        true,
		Early:           EarlyDrop,
		AckEarly:        AckEarlyNone,
		AckDuplicates:   true,
		ZLB:             ZLBAlways,
		CloseOn:         CloseOnNothing,
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
	case b.KeepaliveTries < 0:
		return errors.New("keepalive_tries: want 0 (as other messages) or more")
	case b.DeafFrom < 0 || b.DeafUntil < b.DeafFrom:
		return errors.New("deaf_from, deaf_until: want 0 <= from <= until")
	case b.AnswerDelay < 0 || b.AckDelay < 0:
		return errors.New("answer_delay, ack_delay: want 0 (none) or more")
	case b.Idle > 0 && b.IdleLook <= 0:
		return errors.New("idle_look: want more than 0 with an idle")
	case b.ReceiveWindow < 1:
		return errors.New("receive_window: want at least 1")
	case b.RetransmitFirst <= 0 || b.RetransmitCap < b.RetransmitFirst:
		return errors.New("retransmit_first, retransmit_cap: want 0 < first <= cap")
	case b.RetransmitTries < 1:
		return errors.New("retransmit_tries: want at least 1")
	}
	return b.checkModes()
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
