package helloguard

import (
	"cmp"
	"fmt"
	"net"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"

	"xl2tpd-keepalive/internal/helloguard/translator"
	"xl2tpd-keepalive/internal/l2tp"
)

// injector sends whole IPv4 packets.
type injector struct {
	local int // to xl2tpd; by lo, which IPsec policies leave alone
	peer  int // to the peer; see injectedMark
	trial int // to nobody; see trialMark
	lo    int32
}

func newInjector() (*injector, error) {
	lo, err := net.InterfaceByName("lo")
	if err != nil {
		return nil, fmt.Errorf("lo: %w", err)
	}
	in := &injector{local: -1, peer: -1, trial: -1, lo: int32(lo.Index)}
	for _, fd := range []*int{&in.local, &in.peer, &in.trial} {
		if *fd, err = unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.IPPROTO_RAW); err != nil {
			in.close()
			return nil, fmt.Errorf("raw socket: %w", err)
		}
	}
	for fd, mark := range map[int]int{in.peer: injectedMark, in.trial: trialMark} {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK, mark); err != nil {
			in.close()
			return nil, fmt.Errorf("raw socket: mark: %w", err)
		}
	}
	return in, nil
}

func (in *injector) send(i translator.Injection) error {
	to := &unix.SockaddrInet4{Addr: [4]byte(i.Packet[16:20])}
	if i.To == translator.ToLocal {
		return os.NewSyscallError("sendto", unix.Sendto(in.local, i.Packet, 0, to))
	}
	via := unix.PktInfo4(&unix.Inet4Pktinfo{Ifindex: in.lo})
	return os.NewSyscallError("sendmsg", unix.Sendmsg(in.peer, i.Packet, via, to, 0))
}

// try sends what looks like an acknowledgement of a peer that there is not (RFC 5737 §3). To
// tunnel 0, should it ever get as far as xl2tpd, that would make one.
func (in *injector) try(port uint16) error {
	from, to := netip.AddrFrom4([4]byte{192, 0, 2, 1}), netip.AddrFrom4([4]byte{127, 0, 0, 1})
	p := l2tp.AppendPacket(nil, netip.AddrPortFrom(from, l2tpPort), netip.AddrPortFrom(to, cmp.Or(port, l2tpPort)), l2tp.Message{Tunnel: 0xffff})
	return os.NewSyscallError("sendto", unix.Sendto(in.trial, p, 0, &unix.SockaddrInet4{Addr: to.As4()}))
}

func (in *injector) close() {
	for _, fd := range []int{in.local, in.peer, in.trial} {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
}
