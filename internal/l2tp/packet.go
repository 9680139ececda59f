package l2tp

import (
	"encoding/binary"
	"errors"
	"net/netip"
)

const (
	ipHeaderLen  = 20
	udpHeaderLen = 8
	protoUDP     = 17

	// MaxInjectLen is the size in bytes of the largest packet that this package builds.
	MaxInjectLen = ipHeaderLen + udpHeaderLen + StopLen
)

// Reasons why this package does not read an IPv4 packet. The caller passes all such
// packets untouched.
var (
	errIPv4     = errors.New("not a whole IPv4 packet")
	errFragment = errors.New("a fragment")
	errUDP      = errors.New("not a whole UDP datagram")
	errChecksum = errors.New("wrong UDP checksum")
)

// Packet is a control message in its IPv4 packet.
type Packet struct {
	Src, Dst netip.AddrPort
	Msg      Message

	raw []byte // the IPv4 packet, kept for SetSeq
	udp int    // offset of the UDP header: the IP header may carry options
}

// ParsePacket reads the IPv4 packet b, which the result keeps. It verifies the UDP
// checksum (0 means that there is none, RFC 768): a damaged packet must not change
// any state, and the host's own check comes later.
func ParsePacket(b []byte) (Packet, error) {
	if len(b) < ipHeaderLen || b[0]>>4 != 4 {
		return Packet{}, errIPv4
	}
	ihl := int(b[0]&0x0F) * 4
	total := int(binary.BigEndian.Uint16(b[2:]))
	if ihl < ipHeaderLen || total < ihl || total > len(b) {
		return Packet{}, errIPv4
	}
	const moreOrOffset = 0x3FFF // MF bit and fragment offset (RFC 791 §3.1)
	if binary.BigEndian.Uint16(b[6:])&moreOrOffset != 0 {
		return Packet{}, errFragment
	}
	if b[9] != protoUDP || total < ihl+udpHeaderLen {
		return Packet{}, errUDP
	}
	udp := b[ihl:total]
	n := int(binary.BigEndian.Uint16(udp[4:]))
	if n < udpHeaderLen || n > len(udp) {
		return Packet{}, errUDP
	}
	udp = udp[:n]
	m, err := ParseMessage(udp[udpHeaderLen:])
	if err != nil {
		return Packet{}, err
	}
	if binary.BigEndian.Uint16(udp[6:]) != 0 && udpSum(b, udp) != 0xFFFF {
		return Packet{}, errChecksum
	}
	return Packet{
		Src: netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[12:16])), binary.BigEndian.Uint16(udp)),
		Dst: netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[16:20])), binary.BigEndian.Uint16(udp[2:])),
		Msg: m,
		raw: b,
		udp: ihl,
	}, nil
}

// TrustChecksum removes the UDP checksum from the IPv4 packet b. It is for packets
// that the kernel accepts without the checksum. A packet from an ESP transport SA
// behind a NAT has a checksum over addresses that the NAT has changed since
// (RFC 3948 §3.1.2).
func TrustChecksum(b []byte) {
	if len(b) < ipHeaderLen || b[9] != protoUDP {
		return
	}
	if udp := int(b[0]&0x0F) * 4; udp >= ipHeaderLen && len(b) >= udp+udpHeaderLen {
		b[udp+6], b[udp+7] = 0, 0
	}
}

// Payload returns the control message's bytes.
func (p Packet) Payload() []byte {
	start := p.udp + udpHeaderLen
	return p.raw[start : start+int(p.Msg.Length)]
}

// Raw returns the whole IPv4 packet, as SetSeq may have changed it.
func (p Packet) Raw() []byte { return p.raw }

// SetSeq writes Ns and Nr into the packet in place. It corrects the checksum by the
// difference (RFC 1624), so that a wrong checksum stays wrong. A packet without a
// checksum gets none.
func (p *Packet) SetSeq(ns, nr uint16) {
	udp := p.raw[p.udp:]
	sum := udp[6:8]
	msg := udp[udpHeaderLen:]
	if c := binary.BigEndian.Uint16(sum); c != 0 {
		s := uint32(^c) + uint32(^p.Msg.Ns) + uint32(ns) + uint32(^p.Msg.Nr) + uint32(nr)
		putChecksum(sum, fold(s))
	}
	binary.BigEndian.PutUint16(msg[8:], ns)
	binary.BigEndian.PutUint16(msg[10:], nr)
	p.Msg.Ns, p.Msg.Nr = ns, nr
}

// AppendPacket appends an IPv4 packet with m, as AppendMessage makes it, in a
// UDP datagram from src to dst. Both must be IPv4.
func AppendPacket(b []byte, src, dst netip.AddrPort, m Message) []byte {
	start := len(b)
	b = AppendMessage(appendHeaders(b, src, dst), m)
	finish(b[start:], 0)
	return b
}

// AppendDatagram appends an IPv4 packet with a UDP datagram from src to dst that has this payload. Both must be IPv4.
// If the whole payload has more bytes than that, the headers say so, and there is no UDP checksum.
func AppendDatagram(b []byte, src, dst netip.AddrPort, payload []byte, whole int) []byte {
	start := len(b)
	b = append(appendHeaders(b, src, dst), payload...)
	finish(b[start:], whole-len(payload))
	return b
}

// appendHeaders appends an IPv4 and a UDP header without lengths and checksums.
func appendHeaders(b []byte, src, dst netip.AddrPort) []byte {
	b = append(b,
		0x45, 0, 0, 0,
		0, 0, 0, 0,
		64, protoUDP, 0, 0)
	from, to := src.Addr().As4(), dst.Addr().As4()
	b = append(b, from[:]...)
	b = append(b, to[:]...)
	b = binary.BigEndian.AppendUint16(b, src.Port())
	b = binary.BigEndian.AppendUint16(b, dst.Port())
	return append(b, 0, 0, 0, 0)
}

// finish puts lengths and checksums into a packet of which that many bytes are missing at the end.
func finish(ip []byte, missing int) {
	udp := ip[ipHeaderLen:]
	binary.BigEndian.PutUint16(ip[2:], uint16(len(ip)+missing))
	binary.BigEndian.PutUint16(udp[4:], uint16(len(udp)+missing))
	binary.BigEndian.PutUint16(ip[10:], ^fold(sum16(0, ip[:ipHeaderLen])))
	if missing == 0 {
		putChecksum(udp[6:8], udpSum(ip, udp))
	}
}

// putChecksum writes the complement of sum; 0 is written as 0xFFFF, because 0
// says that there is no checksum (RFC 768).
func putChecksum(b []byte, sum uint16) {
	c := ^sum
	if c == 0 {
		c = 0xFFFF
	}
	binary.BigEndian.PutUint16(b, c)
}

// udpSum adds up the datagram udp and the pseudo header of the packet ip
// (RFC 768). With a correct checksum in place the sum is 0xFFFF.
func udpSum(ip, udp []byte) uint16 {
	s := sum16(uint32(protoUDP)+uint32(len(udp)), ip[12:20])
	return fold(sum16(s, udp))
}

func sum16(s uint32, b []byte) uint32 {
	for len(b) >= 2 {
		s += uint32(b[0])<<8 | uint32(b[1])
		b = b[2:]
	}
	if len(b) == 1 {
		s += uint32(b[0]) << 8
	}
	return s
}

func fold(s uint32) uint16 {
	s = s&0xFFFF + s>>16
	s = s&0xFFFF + s>>16
	return uint16(s)
}
