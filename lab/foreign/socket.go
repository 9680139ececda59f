// Package foreign implements other programs than xl2tpd that use L2TP's port: one
// that floods it, and a LAC.
package foreign

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"
)

// l2tpPort is RFC 2661 §8.1's.
const l2tpPort = 1701

// lowPriority is the DSCP CS1 as a TOS byte: the peers limit what has it, for
// they are not what is attacked.
const lowPriority = 0x20

// open returns what sends to the target: by a UDP socket, or by a raw one with
// a forged source.
func open(target netip.Addr, source string, port uint16) (send func([]byte) error, err error) {
	to := &unix.SockaddrInet4{Port: l2tpPort, Addr: target.As4()}
	if source != "" {
		from, err := netip.ParseAddr(source)
		if err != nil {
			return nil, err
		}
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_RAW)
		return func(b []byte) error { return unix.Sendto(fd, datagram(from, target, b), 0, to) }, err
	}
	// A socket that is connected elsewhere takes no packet away from xl2tpd's.
	fd, err := shared(port, &unix.SockaddrInet4{Port: 9, Addr: to.Addr})
	if err != nil {
		return nil, err
	}
	err = unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_TOS, lowPriority)
	return func(b []byte) error { return unix.Sendto(fd, b, 0, to) }, err
}

// shared makes a UDP socket on a port that another one may have, connected to
// the far end.
func shared(port uint16, far *unix.SockaddrInet4) (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		return 0, err
	}
	if err := unix.Bind(fd, &unix.SockaddrInet4{Port: int(port)}); err != nil {
		return 0, err
	}
	return fd, unix.Connect(fd, far)
}

// datagram puts IPv4 and UDP headers before a payload. The kernel fills in the
// IPv4 checksum, and the UDP one may be 0.
func datagram(from, to netip.Addr, payload []byte) []byte {
	b := make([]byte, 28, 28+len(payload))
	b[0], b[1], b[8], b[9] = 0x45, lowPriority, 64, unix.IPPROTO_UDP
	binary.BigEndian.PutUint16(b[2:], uint16(28+len(payload)))
	copy(b[12:], from.AsSlice())
	copy(b[16:], to.AsSlice())
	binary.BigEndian.PutUint16(b[20:], l2tpPort)
	binary.BigEndian.PutUint16(b[22:], l2tpPort)
	binary.BigEndian.PutUint16(b[24:], uint16(8+len(payload)))
	return append(b, payload...)
}
