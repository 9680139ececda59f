package guard

import (
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"

	"xl2tpd-keepalive/hello"
)

// injector sends whole IPv4 packets.
type injector struct {
	local int // to xl2tpd; by lo, which IPsec policies leave alone
	peer  int // to the peer; see injectedMark
	lo    int32
}

func newInjector() (*injector, error) {
	lo, err := net.InterfaceByName("lo")
	if err != nil {
		return nil, fmt.Errorf("lo: %w", err)
	}
	in := &injector{local: -1, peer: -1, lo: int32(lo.Index)}
	for _, fd := range []*int{&in.local, &in.peer} {
		if *fd, err = unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.IPPROTO_RAW); err != nil {
			in.close()
			return nil, fmt.Errorf("raw socket: %w", err)
		}
	}
	if err := unix.SetsockoptInt(in.peer, unix.SOL_SOCKET, unix.SO_MARK, injectedMark); err != nil {
		in.close()
		return nil, fmt.Errorf("raw socket: mark: %w", err)
	}
	return in, nil
}

func (in *injector) send(i hello.Injection) error {
	to := &unix.SockaddrInet4{Addr: [4]byte(i.Packet[16:20])}
	if i.To == hello.ToLocal {
		return os.NewSyscallError("sendto", unix.Sendto(in.local, i.Packet, 0, to))
	}
	via := unix.PktInfo4(&unix.Inet4Pktinfo{Ifindex: in.lo})
	return os.NewSyscallError("sendmsg", unix.Sendmsg(in.peer, i.Packet, via, to, 0))
}

func (in *injector) close() {
	for _, fd := range []int{in.local, in.peer} {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
}
