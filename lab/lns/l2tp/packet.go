// Package l2tp implements the control channel of an L2TPv2 LNS (RFC 2661) as a codec
// and a pure state machine: packets and times go in, packets, events and
// orders for the data plane come out. It owns no socket, clock or goroutine.
package l2tp

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Control header bits, RFC 2661 §3.1. A control message has T, L and S set
// and O and P clear; the other bits are reserved and ignored.
const (
	bitT       = 0x8000
	bitL       = 0x4000
	bitS       = 0x0800
	bitO       = 0x0200
	bitP       = 0x0100
	maskVer    = 0x000f
	version    = 2
	headerSize = 12
)

// Packet is one control message. Without AVPs it is a ZLB, the bare
// acknowledgement.
type Packet struct {
	Tunnel, Session uint16 // the receiver's ids
	Ns, Nr          uint16
	AVPs            []AVP
}

// ZLB reports whether the packet is a Zero-Length Body acknowledgement.
func (p Packet) ZLB() bool { return len(p.AVPs) == 0 }

// Type is the message type, 0 for a ZLB.
func (p Packet) Type() MessageType {
	if p.ZLB() {
		return 0
	}
	return MessageType(binary.BigEndian.Uint16(p.AVPs[0].Value))
}

// IsControl reports whether a packet is a control message, by its T bit.
func IsControl(b []byte) bool { return len(b) > 0 && b[0]&0x80 != 0 }

// Parse reads one control message. The result shares no memory with b.
// A body must begin with a Message Type AVP (§4.1).
func Parse(b []byte) (Packet, error) {
	if len(b) < headerSize {
		return Packet{}, fmt.Errorf("control message of %d bytes, the header alone has %d", len(b), headerSize)
	}
	flags := binary.BigEndian.Uint16(b)
	if flags&maskVer != version {
		return Packet{}, fmt.Errorf("L2TP version %d, want 2", flags&maskVer)
	}
	if flags&(bitT|bitL|bitS|bitO|bitP) != bitT|bitL|bitS {
		return Packet{}, fmt.Errorf("header flags %#04x are not those of a control message", flags)
	}
	if n := int(binary.BigEndian.Uint16(b[2:])); n != len(b) {
		return Packet{}, fmt.Errorf("header says %d bytes, the packet has %d", n, len(b))
	}
	p := Packet{
		Tunnel:  binary.BigEndian.Uint16(b[4:]),
		Session: binary.BigEndian.Uint16(b[6:]),
		Ns:      binary.BigEndian.Uint16(b[8:]),
		Nr:      binary.BigEndian.Uint16(b[10:]),
	}
	for rest := b[headerSize:]; len(rest) > 0; {
		a, n, err := parseAVP(rest)
		if err != nil {
			return Packet{}, err
		}
		p.AVPs = append(p.AVPs, a)
		rest = rest[n:]
	}
	if !p.ZLB() {
		if first := p.AVPs[0]; first.Vendor != 0 || first.Type != AVPMessageType || first.Hidden || len(first.Value) != 2 {
			return Packet{}, errors.New("the first AVP is not a Message Type")
		}
	}
	return p, nil
}

// Marshal writes the packet as sent on the wire. It panics when an AVP value
// is longer than MaxValue or the whole longer than 65535 bytes: both are
// mistakes in the caller.
func (p Packet) Marshal() []byte {
	b := make([]byte, headerSize, 128)
	for _, a := range p.AVPs {
		b = a.append(b)
	}
	if len(b) > 0xffff {
		panic(fmt.Sprintf("l2tp: control message of %d bytes", len(b)))
	}
	binary.BigEndian.PutUint16(b, bitT|bitL|bitS|version)
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
	binary.BigEndian.PutUint16(b[4:], p.Tunnel)
	binary.BigEndian.PutUint16(b[6:], p.Session)
	binary.BigEndian.PutUint16(b[8:], p.Ns)
	binary.BigEndian.PutUint16(b[10:], p.Nr)
	return b
}
