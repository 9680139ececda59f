package helloguard

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"

	"xl2tpd-keepalive/internal/helloguard/translator"
)

const (
	loIndex = 1 // LOOPBACK_IFINDEX of net/flow.h

	ipHeaderLen  = 20 // of the packets that the translator makes: they have no options
	udpHeaderLen = 8

	// discard is a port (RFC 863) from which no program of this host sends. A socket that is
	// connected to it receives nothing, so xl2tpd's sockets lose no packet to it.
	discard = 9

	nobody = 65534
)

// injector sends packets in an end's name.
type injector struct {
	local int // raw, for packets to xl2tpd
}

func newInjector() (*injector, error) {
	fd, err := openSocket(unix.SOCK_RAW, unix.IPPROTO_RAW)
	if err != nil {
		return nil, fmt.Errorf("raw socket: %w", err)
	}
	return &injector{local: fd}, nil
}

func (in *injector) send(i translator.Injection) error {
	if i.To == translator.ToPeer {
		return sendToPeer(i.Packet)
	}
	return in.sendToLocal(i.Packet)
}

// sendToLocal sends a packet through lo, which IPsec policies leave alone. If its destination is
// no longer an address of this host, the packet must not look for a router: MSG_DONTROUTE.
func (in *injector) sendToLocal(packet []byte) error {
	to := &unix.SockaddrInet4{Addr: [4]byte(packet[16:20])}
	return os.NewSyscallError("sendto", unix.Sendto(in.local, packet, unix.MSG_DONTROUTE, to))
}

// sendToPeer sends a packet's payload as xl2tpd would send it: from a UDP socket with the same
// address and port. The kernel therefore applies the same routes, IPsec policies and filters,
// and refuses what a filter drops. A socket lives for one packet only: programs that look
// whether port 1701 is free must not find it taken.
func sendToPeer(packet []byte) error {
	src, dst := [4]byte(packet[12:16]), [4]byte(packet[16:20])
	udp := packet[ipHeaderLen:]
	sport, dport := binary.BigEndian.Uint16(udp), binary.BigEndian.Uint16(udp[2:])
	fd, err := deafSocket(src, sport)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	to := &unix.SockaddrInet4{Addr: dst, Port: int(dport)}
	return os.NewSyscallError("sendto", unix.Sendto(fd, udp[udpHeaderLen:], 0, to))
}

// deafSocket opens a UDP socket at an address that xl2tpd listens on too, and that receives
// none of xl2tpd's packets. A socket that is bound and not yet connected would receive them;
// it is therefore confined to lo until it is connected.
func deafSocket(addr [4]byte, port uint16) (int, error) {
	fd, err := openSocket(unix.SOCK_DGRAM, unix.IPPROTO_UDP)
	if err != nil {
		return -1, err
	}
	err = cmp.Or(
		os.NewSyscallError("SO_REUSEADDR", unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)),
		os.NewSyscallError("SO_BINDTODEVICE", unix.SetsockoptString(fd, unix.SOL_SOCKET, unix.SO_BINDTODEVICE, "lo")),
		os.NewSyscallError("bind", unix.Bind(fd, &unix.SockaddrInet4{Addr: addr, Port: int(port)})),
		os.NewSyscallError("connect", unix.Connect(fd, &unix.SockaddrInet4{Addr: addr, Port: discard})),
		os.NewSyscallError("SO_BINDTODEVICE", unix.SetsockoptString(fd, unix.SOL_SOCKET, unix.SO_BINDTODEVICE, "")),
	)
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// openSocket opens a socket that is not root's: the rules queue packets of root's sockets, and the
// guard's own packets must not come back to it. The kernel goes by the file system user id of
// the thread that opens the socket (nft_meta.c, skuid).
func openSocket(kind, protocol int) (int, error) {
	if os.Geteuid() == 0 {
		runtime.LockOSThread()
		if _, err := unix.SetfsuidRetUid(nobody); err != nil {
			return -1, os.NewSyscallError("setfsuid", err) // the thread ends with its goroutine
		}
		defer func() {
			if _, err := unix.SetfsuidRetUid(0); err == nil {
				runtime.UnlockOSThread()
			}
		}()
	}
	fd, err := unix.Socket(unix.AF_INET, kind|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, protocol)
	return fd, os.NewSyscallError("socket", err)
}

func (in *injector) close() { unix.Close(in.local) }
