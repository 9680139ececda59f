package l2tp

import (
	"bytes"
	"encoding/binary"
)

// AVP numbers that only a person reads (RFC 2661 §4.4).
const (
	avpHostName        = 7
	avpWindow          = 10
	avpChallenge       = 11
	avpResponse        = 13
	avpAssignedSession = 14
	avpCalled          = 21
	avpCalling         = 22
	avpSubAddress      = 23
	avpProxyName       = 30
	avpProxyChallenge  = 31
	avpProxyResponse   = 33
	avpGroup           = 37
)

// Attributes are the AVPs of a control message that help to understand it. A zero value is an AVP that is not there.
type Attributes struct {
	Result, Error   uint16 // codes (§4.4.2)
	Text            string // the sender's words with the codes
	Host, Vendor    string
	Window          uint16 // receive window size
	AssignedTunnel  uint16
	AssignedSession uint16
}

// ParseAttributes finds the attributes in the UDP payload b of a control message.
func ParseAttributes(b []byte) (a Attributes) {
	for one := range avps(b[min(HeaderLen, len(b)):]) {
		if one.plain {
			a.set(one)
		}
	}
	return a
}

func (a *Attributes) set(one avp) {
	v := one.value
	switch one.typ {
	case avpHostName:
		a.Host = string(v)
		return
	case avpVendor:
		a.Vendor = string(v)
		return
	}
	if len(v) < 2 {
		return
	}
	first := binary.BigEndian.Uint16(v)
	switch one.typ {
	case avpResult:
		a.Result = first
		if len(v) >= 4 {
			a.Error, a.Text = binary.BigEndian.Uint16(v[2:]), string(v[4:])
		}
	case avpWindow:
		a.Window = first
	case avpAssignedTunnel:
		a.AssignedTunnel = first
	case avpAssignedSession:
		a.AssignedSession = first
	}
}

// Blank overwrites with zeros what is secret in the UDP payload b of a control message: challenges, the responses to
// them, what a proxy knows of a user, and all that is hidden (§4.3). Lengths stay, so the rest can be read. Whatever
// comes after a damaged AVP can't be told apart, so it goes too.
func Blank(b []byte) {
	rest := b[min(HeaderLen, len(b)):]
	for one := range avps(rest) {
		if one.secret() {
			clear(one.value)
		}
		rest = rest[avpHeaderLen+len(one.value):]
	}
	clear(rest)
}

// BlankWords overwrites with x what names a host, a person or a number, and the text with a result.
func BlankWords(b []byte) {
	for one := range avps(b[min(HeaderLen, len(b)):]) {
		words := one.value
		switch one.typ {
		case avpResult:
			words = words[min(4, len(words)):] // after the codes
		case avpHostName, avpCalled, avpCalling, avpSubAddress, avpGroup:
		default:
			continue
		}
		if one.plain {
			copy(words, bytes.Repeat([]byte{'x'}, len(words)))
		}
	}
}

const avpHeaderLen = 6

func (a avp) secret() bool {
	switch a.typ {
	case avpChallenge, avpResponse, avpProxyName, avpProxyChallenge, avpProxyResponse:
		return a.hidden || a.plain
	}
	return a.hidden
}

// TypeOf returns the type of the control message that begins with b, whatever its Length says.
func TypeOf(b []byte) MessageType {
	for a := range avps(b[min(HeaderLen, len(b)):]) {
		if a.is(avpMessageType) && len(a.value) == 2 {
			return MessageType(binary.BigEndian.Uint16(a.value))
		}
		break // it is the first or none
	}
	return TypeNone
}
