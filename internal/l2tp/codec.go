// Package l2tp reads and builds L2TP control messages (RFC 2661), and the UDP packets that carry them.
package l2tp

import (
	"encoding/binary"
	"errors"
	"iter"
)

// MessageType is the value of the Message Type AVP (RFC 2661 §3.2).
type MessageType uint16

// The control messages that this package distinguishes. It treats all others the same way: each
// must arrive.
const (
	TypeNone    MessageType = 0 // a ZLB, or a message whose first AVP is no Message Type
	TypeSCCRQ   MessageType = 1
	TypeSCCRP   MessageType = 2
	TypeSCCCN   MessageType = 3
	TypeStopCCN MessageType = 4
	TypeHello   MessageType = 6
	TypeICRQ    MessageType = 10
	TypeCDN     MessageType = 14
)

// Sizes in bytes of the messages that this package builds.
const (
	HeaderLen = 12            // control header, and so a ZLB (RFC 2661 §3.1, §5.8)
	HelloLen  = HeaderLen + 8 // header and Message Type AVP (§6.5)
	StopLen   = HelloLen + 16 // with Assigned Tunnel ID and Result Code (§6.4)
)

// Header bits (RFC 2661 §3.1).
const (
	bitType     = 0x8000
	bitLength   = 0x4000
	bitSequence = 0x0800
	bitOffset   = 0x0200

	flagsControl = bitType | bitLength | bitSequence | 2
)

// AVP numbers and the bits of an AVP's first word (RFC 2661 §4.1, §4.4.1).
const (
	avpMessageType    = 0
	avpResult         = 1
	avpVendor         = 8
	avpAssignedTunnel = 9
	avpMandatory      = 0x8000
	avpHidden         = 0x4000
	maskAVPLen        = 0x03FF

	resultClear = 1 // of a StopCCN (§4.4.2)
)

// Why a UDP payload is not a control message, for xl2tpd.
var (
	errShort  = errors.New("shorter than a control header")
	errData   = errors.New("a data message")
	errFlags  = errors.New("control header without L and S")
	errLength = errors.New("the header's length is not the datagram's")
)

// Message is one control message: its header's fields and its type.
type Message struct {
	Length  uint16 // of the whole message, in bytes
	Tunnel  uint16 // the receiver's tunnel id
	Session uint16 // the receiver's session id, 0 for the tunnel itself
	Ns, Nr  uint16
	Type    MessageType
	// Assigned is the sender's tunnel id. AppendMessage puts it into a StopCCN;
	// ParseMessage leaves it out, see AssignedTunnel.
	Assigned uint16
}

// ZLB reports whether m is a header alone: an acknowledgement that takes no
// sequence number (RFC 2661 §5.8).
func (m Message) ZLB() bool { return m.Length == HeaderLen }

// ParseMessage reads the UDP payload b. It accepts exactly the messages that xl2tpd counts.
// xl2tpd (control.c, check_control) counts a message before it checks the version, the other
// bits or the AVPs. Without L or S it never finds the numbers (network.c, fix_hdr and
// extract). It drops a message if the Length field is not the datagram's length.
func ParseMessage(b []byte) (Message, error) {
	if len(b) < 2 {
		return Message{}, errShort
	}
	flags := binary.BigEndian.Uint16(b)
	switch {
	case flags&bitType == 0:
		return Message{}, errData
	case len(b) < HeaderLen:
		return Message{}, errShort
	case flags&(bitLength|bitSequence) != bitLength|bitSequence:
		return Message{}, errFlags
	}
	m := Message{
		Length:  binary.BigEndian.Uint16(b[2:]),
		Tunnel:  binary.BigEndian.Uint16(b[4:]),
		Session: binary.BigEndian.Uint16(b[6:]),
		Ns:      binary.BigEndian.Uint16(b[8:]),
		Nr:      binary.BigEndian.Uint16(b[10:]),
	}
	if int(m.Length) != len(b) {
		return Message{}, errLength
	}
	if flags&bitOffset != 0 {
		return m, nil // xl2tpd misreads the first AVP then
	}
	m.Type = TypeOf(b)
	return m, nil
}

// avp is one attribute-value pair (RFC 2661 §4.1).
type avp struct {
	typ    uint16
	plain  bool // the IETF's (vendor 0), and not hidden
	hidden bool
	value  []byte
}

func (a avp) is(typ uint16) bool { return a.plain && a.typ == typ }

// avps yields the AVPs in b up to the first that is damaged.
func avps(b []byte) iter.Seq[avp] {
	return func(yield func(avp) bool) {
		for len(b) >= avpHeaderLen {
			first := binary.BigEndian.Uint16(b)
			n := int(first & maskAVPLen)
			if n < avpHeaderLen || n > len(b) {
				return
			}
			hidden := first&avpHidden != 0
			plain := !hidden && binary.BigEndian.Uint16(b[2:]) == 0
			if !yield(avp{binary.BigEndian.Uint16(b[4:]), plain, hidden, b[avpHeaderLen:n]}) {
				return
			}
			b = b[n:]
		}
	}
}

// AssignedTunnel finds the Assigned Tunnel ID (RFC 2661 §4.4.3) in the UDP
// payload b of an SCCRQ, SCCRP or StopCCN: the id that the sender has chosen.
// The header of an SCCRP also has the receiver's id, so an SCCRP pairs the two
// ids of a tunnel unambiguously.
func AssignedTunnel(b []byte) (uint16, bool) {
	for a := range avps(b[min(HeaderLen, len(b)):]) {
		if a.is(avpAssignedTunnel) && len(a.value) == 2 {
			return binary.BigEndian.Uint16(a.value), true
		}
	}
	return 0, false
}

// Result finds the Result Code (RFC 2661 §4.4.2) in the UDP payload b of a
// StopCCN or CDN: the code, and the sender's message, which may be empty.
func Result(b []byte) (code uint16, message string, ok bool) {
	for a := range avps(b[min(HeaderLen, len(b)):]) {
		if v := a.value; a.is(avpResult) && len(v) >= 2 {
			return binary.BigEndian.Uint16(v), string(v[min(4, len(v)):]), true // behind the error code
		}
	}
	return 0, "", false
}

// AppendMessage appends m to b. TypeNone makes a ZLB. TypeStopCCN with m.Assigned makes a
// general request to clear the control connection. Any other type makes a message with no
// further AVP. m.Length is ignored.
func AppendMessage(b []byte, m Message) []byte {
	n := uint16(HeaderLen)
	stop := m.Type == TypeStopCCN && m.Assigned != 0
	switch {
	case stop:
		n = StopLen
	case m.Type != TypeNone:
		n = HelloLen
	}
	for _, w := range [...]uint16{flagsControl, n, m.Tunnel, m.Session, m.Ns, m.Nr} {
		b = binary.BigEndian.AppendUint16(b, w)
	}
	if m.Type != TypeNone {
		for _, w := range [...]uint16{avpMandatory | 8, 0, avpMessageType, uint16(m.Type)} {
			b = binary.BigEndian.AppendUint16(b, w)
		}
	}
	if stop {
		for _, w := range [...]uint16{
			avpMandatory | 8, 0, avpAssignedTunnel, m.Assigned,
			avpMandatory | 8, 0, avpResult, resultClear,
		} {
			b = binary.BigEndian.AppendUint16(b, w)
		}
	}
	return b
}
