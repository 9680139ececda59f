package foreign

import (
	"encoding/binary"
	"math/rand/v2"
)

// message is a kind of control message, with the numbers that it has in the
// set-up of a tunnel (RFC 2661 §5.1, §5.2).
type message struct {
	name   string
	kind   uint16 // 0: a ZLB
	ns, nr uint16
	avps   []avp
}

// avp is an AVP with a fixed value, or with a random one for each packet.
type avp struct {
	kind  uint16
	value []byte // nil: 16 random bits
}

var (
	start = []avp{{2, []byte{1, 0}}, {3, []byte{0, 0, 0, 3}}, {7, []byte("flood")}, {9, nil}}
	call  = []avp{{14, nil}, {15, []byte{0, 0, 0, 1}}}
	end   = []byte{0, 1, 0, 0}
)

var messages = []message{
	{"SCCRQ", 1, 0, 0, start},
	{"SCCRP", 2, 0, 1, start},
	{"SCCCN", 3, 1, 1, nil},
	{"ICRQ", 10, 2, 1, call},
	{"ICRP", 11, 1, 3, []avp{{14, nil}}},
	{"ICCN", 12, 3, 2, []avp{{24, []byte{0, 0, 0, 1}}, {19, []byte{0, 0, 0, 1}}}},
	{"CDN", 14, 4, 2, []avp{{1, end}, {14, nil}}},
	{"StopCCN", 4, 4, 2, []avp{{9, nil}, {1, end}}},
	{"Hello", 6, 4, 2, nil},
	{"ZLB", 0, 4, 2, nil},
}

// packet makes one with ids of its own; an SCCRQ is for no tunnel yet.
func (m message) packet(rng *rand.Rand, tunnel uint16) []byte {
	var avps []avp
	for _, a := range m.avps {
		if a.value == nil {
			a.value = binary.BigEndian.AppendUint16(nil, id(rng))
		}
		avps = append(avps, a)
	}
	switch {
	case m.name == "SCCRQ":
		tunnel = 0
	case tunnel == 0:
		tunnel = id(rng)
	}
	return encode(m.kind, tunnel, m.ns, m.nr, avps)
}

// encode writes a control message (RFC 2661 §3.1, §4.1).
func encode(kind, tunnel, ns, nr uint16, avps []avp) []byte {
	b := make([]byte, 12, 64)
	if kind != 0 {
		b = appendAVP(b, 0, binary.BigEndian.AppendUint16(nil, kind))
	}
	for _, a := range avps {
		b = appendAVP(b, a.kind, a.value)
	}
	binary.BigEndian.PutUint16(b, 0xc802)
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
	binary.BigEndian.PutUint16(b[4:], tunnel)
	binary.BigEndian.PutUint16(b[8:], ns)
	binary.BigEndian.PutUint16(b[10:], nr)
	return b
}

func appendAVP(b []byte, kind uint16, value []byte) []byte {
	b = binary.BigEndian.AppendUint16(b, 0x8000|uint16(6+len(value)))
	b = append(b, 0, 0)
	b = binary.BigEndian.AppendUint16(b, kind)
	return append(b, value...)
}

func id(rng *rand.Rand) uint16 { return uint16(1 + rng.IntN(0xffff)) }
