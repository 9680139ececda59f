package l2tp

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// AVP header, RFC 2661 §4.1: M, H, four reserved bits, ten bits of length,
// then the vendor and the attribute type.
const (
	avpM          = 0x8000
	avpH          = 0x4000
	avpLength     = 0x03ff
	avpHeaderSize = 6

	// MaxValue is the longest AVP value that the ten bits of length allow.
	MaxValue = avpLength - avpHeaderSize
)

// Attribute types of the IETF (vendor 0), RFC 2661 §4.4.
const (
	AVPMessageType     = 0
	AVPResultCode      = 1
	AVPProtocolVersion = 2
	AVPFramingCaps     = 3
	AVPBearerCaps      = 4
	AVPFirmware        = 6
	AVPHostName        = 7
	AVPVendorName      = 8
	AVPAssignedTunnel  = 9
	AVPReceiveWindow   = 10
	AVPChallenge       = 11
	AVPAssignedSession = 14
)

// AVP is one attribute. Value is kept as it came; a hidden one stays
// scrambled.
type AVP struct {
	Mandatory, Hidden bool
	Vendor, Type      uint16
	Value             []byte
}

func parseAVP(b []byte) (AVP, int, error) {
	if len(b) < avpHeaderSize {
		return AVP{}, 0, fmt.Errorf("%d bytes left where an AVP begins", len(b))
	}
	flags := binary.BigEndian.Uint16(b)
	n := int(flags & avpLength)
	if n < avpHeaderSize || n > len(b) {
		return AVP{}, 0, fmt.Errorf("AVP length %d, %d bytes are left", n, len(b))
	}
	return AVP{
		Mandatory: flags&avpM != 0,
		Hidden:    flags&avpH != 0,
		Vendor:    binary.BigEndian.Uint16(b[2:]),
		Type:      binary.BigEndian.Uint16(b[4:]),
		Value:     bytes.Clone(b[avpHeaderSize:n]),
	}, n, nil
}

func (a AVP) append(b []byte) []byte {
	if len(a.Value) > MaxValue {
		panic(fmt.Sprintf("l2tp: AVP %d has %d bytes, at most %d fit", a.Type, len(a.Value), MaxValue))
	}
	flags := uint16(avpHeaderSize + len(a.Value))
	if a.Mandatory {
		flags |= avpM
	}
	if a.Hidden {
		flags |= avpH
	}
	b = binary.BigEndian.AppendUint16(b, flags)
	b = binary.BigEndian.AppendUint16(b, a.Vendor)
	b = binary.BigEndian.AppendUint16(b, a.Type)
	return append(b, a.Value...)
}

// Find returns the value of an IETF attribute. Hidden ones count as absent:
// this LNS shares no secret with anybody.
func (p Packet) Find(typ uint16) ([]byte, bool) {
	for _, a := range p.AVPs {
		if a.Vendor == 0 && a.Type == typ && !a.Hidden {
			return a.Value, true
		}
	}
	return nil, false
}

// Find16 returns a two-byte attribute, false when absent or of another size.
func (p Packet) Find16(typ uint16) (uint16, bool) {
	v, ok := p.Find(typ)
	if !ok || len(v) != 2 {
		return 0, false
	}
	return binary.BigEndian.Uint16(v), true
}

func mandatory(typ uint16, value []byte) AVP {
	return AVP{Mandatory: true, Type: typ, Value: value}
}

func mandatory16(typ, v uint16) AVP {
	return mandatory(typ, binary.BigEndian.AppendUint16(nil, v))
}

func mandatory32(typ uint16, v uint32) AVP {
	return mandatory(typ, binary.BigEndian.AppendUint32(nil, v))
}

// resultCode is the Result Code AVP, §4.4.2: a result, an error code that
// says more when the result is 2, and a text.
func resultCode(result, errorCode uint16, text string) AVP {
	v := binary.BigEndian.AppendUint16(nil, result)
	v = binary.BigEndian.AppendUint16(v, errorCode)
	return mandatory(AVPResultCode, append(v, text...))
}
