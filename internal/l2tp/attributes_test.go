package l2tp

import (
	"bytes"
	"encoding/binary"
	"testing"
)

// attribute makes an AVP of the IETF's.
func attribute(flags, typ uint16, value string) string {
	b := binary.BigEndian.AppendUint16(nil, flags|uint16(avpHeaderLen+len(value)))
	return string(binary.BigEndian.AppendUint16(append(b, 0, 0), typ)) + value
}

func TestParseAttributes(t *testing.T) {
	b := string(AppendMessage(nil, Message{Type: TypeSCCRP})) +
		attribute(avpMandatory, avpHostName, "router") + attribute(0, avpVendor, "YAMAHA") +
		attribute(avpMandatory, avpWindow, "\x00\x04") + attribute(avpMandatory, avpAssignedTunnel, "\x12\x34") +
		attribute(avpMandatory, avpAssignedSession, "\x00\x09") + attribute(avpMandatory|avpHidden, avpHostName, "other") +
		attribute(avpMandatory, avpResult, "\x00\x02\x00\x06busy") + attribute(avpMandatory, avpWindow, "\x01")
	want := Attributes{Result: 2, Error: 6, Text: "busy", Host: "router", Vendor: "YAMAHA", Window: 4, AssignedTunnel: 0x1234, AssignedSession: 9}
	if got := ParseAttributes([]byte(b)); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if got := ParseAttributes([]byte("short")); got != (Attributes{}) {
		t.Errorf("got %+v of no message", got)
	}
}

// What names somebody goes, and the rest stays.
func TestBlankWords(t *testing.T) {
	of := func(host, number, text string) []byte {
		return []byte(string(AppendMessage(nil, Message{Type: TypeStopCCN})) + attribute(avpMandatory, avpHostName, host) +
			attribute(0, avpVendor, "YAMAHA") + attribute(0, avpCalling, number) + attribute(avpMandatory, avpResult, "\x00\x01\x00\x02"+text) +
			attribute(avpMandatory, avpResult, "\x00\x01"))
	}
	b := of("router", "0312345678", "busy")
	if BlankWords(b); !bytes.Equal(b, of("xxxxxx", "xxxxxxxxxx", "xxxx")) {
		t.Errorf("got %q, want %q", b, of("xxxxxx", "xxxxxxxxxx", "xxxx"))
	}
	for n := range len(b) {
		BlankWords(bytes.Clone(b[:n])) // must not panic
	}
}

// Nothing secret stays, and no length changes.
func TestBlank(t *testing.T) {
	keep := string(AppendMessage(nil, Message{Type: TypeSCCRP, Ns: 1, Nr: 2})) + attribute(avpMandatory, avpHostName, "router") +
		"\x80\x08\x00\x09\x00\x0bno" // another vendor's
	secret := func(value string) string {
		return attribute(avpMandatory, avpChallenge, value) + attribute(avpMandatory, avpResponse, value) +
			attribute(0, avpProxyName, value) + attribute(0, avpProxyChallenge, value) + attribute(0, avpProxyResponse, value) +
			attribute(avpMandatory|avpHidden, avpAssignedTunnel, value)
	}
	b := []byte(keep + secret("TOPSECRET") + attribute(avpMandatory, avpWindow, "\x00\x04") + "\x80\xffTOPSECRET")
	Blank(b)
	want := keep + secret("\x00\x00\x00\x00\x00\x00\x00\x00\x00") + attribute(avpMandatory, avpWindow, "\x00\x04") + string(make([]byte, 11))
	if !bytes.Equal(b, []byte(want)) {
		t.Errorf("got  %q\nwant %q", b, want)
	}
	for n := range len(b) {
		Blank(bytes.Clone(b[:n])) // must not panic
	}
}
