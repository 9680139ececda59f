package hello

import (
	"encoding/binary"
	"errors"
)

// MessageType is the value of the Message Type AVP (RFC 2661 §3.2).
type MessageType uint16

// The control messages this package tells apart; every other one is simply a
// message that has to arrive.
const (
	TypeNone    MessageType = 0 // a ZLB, or a message whose first AVP is no Message Type
	TypeSCCRQ   MessageType = 1
	TypeSCCRP   MessageType = 2
	TypeSCCCN   MessageType = 3
	TypeStopCCN MessageType = 4
	TypeHello   MessageType = 6
	TypeCDN     MessageType = 14
)

// Sizes in bytes of what is built here.
const (
	HeaderLen = 12            // control header, and so a ZLB (RFC 2661 §3.1, §5.8)
	HelloLen  = HeaderLen + 8 // header and Message Type AVP (§6.5)
)

// Header bits (RFC 2661 §3.1).
const (
	bitType     = 0x8000
	bitLength   = 0x4000
	bitSequence = 0x0800
	bitOffset   = 0x0200
	maskVersion = 0x000F

	flagsControl = bitType | bitLength | bitSequence | 2
)

// AVP numbers and the bits of an AVP's first word (RFC 2661 §4.1, §4.4.1).
const (
	avpMessageType    = 0
	avpAssignedTunnel = 9
	avpMandatory      = 0x8000
	avpHidden         = 0x4000
	maskAVPLen        = 0x03FF
)

// Why a UDP payload is not an L2TPv2 control message.
var (
	ErrShort   = errors.New("shorter than a control header")
	ErrData    = errors.New("a data message")
	ErrVersion = errors.New("not L2TP version 2")
	ErrFlags   = errors.New("control header without L and S, or with O")
	ErrLength  = errors.New("the header's length is not the datagram's")
)

// Message is one control message: its header's fields and its type.
type Message struct {
	Length  uint16 // of the whole message, in bytes
	Tunnel  uint16 // the receiver's tunnel id
	Session uint16 // the receiver's session id, 0 for the tunnel itself
	Ns, Nr  uint16
	Type    MessageType
}

// ZLB reports whether m is a header alone: an acknowledgement that takes no
// sequence number (RFC 2661 §5.8).
func (m Message) ZLB() bool { return m.Length == HeaderLen }

// ParseMessage reads the UDP payload b. A header is all it insists on: xl2tpd
// counts a message before it looks at the AVPs, so one with bad AVPs is a
// message here too, of TypeNone.
func ParseMessage(b []byte) (Message, error) {
	if len(b) < 2 {
		return Message{}, ErrShort
	}
	flags := binary.BigEndian.Uint16(b)
	switch {
	case flags&maskVersion != 2:
		return Message{}, ErrVersion
	case flags&bitType == 0:
		return Message{}, ErrData
	case len(b) < HeaderLen:
		return Message{}, ErrShort
	case flags&(bitLength|bitSequence|bitOffset) != bitLength|bitSequence:
		return Message{}, ErrFlags
	}
	m := Message{
		Length:  binary.BigEndian.Uint16(b[2:]),
		Tunnel:  binary.BigEndian.Uint16(b[4:]),
		Session: binary.BigEndian.Uint16(b[6:]),
		Ns:      binary.BigEndian.Uint16(b[8:]),
		Nr:      binary.BigEndian.Uint16(b[10:]),
	}
	if int(m.Length) != len(b) {
		return Message{}, ErrLength
	}
	if v, ok := avpUint16(b[HeaderLen:], avpMessageType); ok {
		m.Type = MessageType(v)
	}
	return m, nil
}

// avpUint16 reads the AVP that b starts with if it is the wanted one of the
// IETF (vendor 0), two bytes long and not hidden.
func avpUint16(b []byte, want uint16) (uint16, bool) {
	if len(b) < 8 {
		return 0, false
	}
	first := binary.BigEndian.Uint16(b)
	if first&maskAVPLen != 8 || first&avpHidden != 0 ||
		binary.BigEndian.Uint16(b[2:]) != 0 || binary.BigEndian.Uint16(b[4:]) != want {
		return 0, false
	}
	return binary.BigEndian.Uint16(b[6:]), true
}

// AssignedTunnel finds the Assigned Tunnel ID (RFC 2661 §4.4.3) in the UDP
// payload b of an SCCRQ, SCCRP or StopCCN: the id that the sender gave itself.
// In an SCCRP it stands beside the receiver's id in the header, and so pairs
// the two ids of a tunnel beyond doubt.
func AssignedTunnel(b []byte) (uint16, bool) {
	if len(b) < HeaderLen {
		return 0, false
	}
	for b = b[HeaderLen:]; len(b) >= 6; {
		if v, ok := avpUint16(b, avpAssignedTunnel); ok {
			return v, true
		}
		n := int(binary.BigEndian.Uint16(b) & maskAVPLen)
		if n < 6 || n > len(b) {
			return 0, false
		}
		b = b[n:]
	}
	return 0, false
}

// AppendMessage appends m to b: a ZLB for TypeNone, else a message of the type
// with no further AVP. m.Length is ignored.
func AppendMessage(b []byte, m Message) []byte {
	n := uint16(HeaderLen)
	if m.Type != TypeNone {
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
	return b
}
