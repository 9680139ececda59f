package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// From linux/if_pppox.h, linux/if_pppol2tp.h and linux/ppp-ioctl.h, which
// golang.org/x/sys/unix does not cover.
const (
	pxProtoOL2TP     = 1
	pppiocgl2tpstats = 0x80487436 // _IOR('t', 54, struct pppol2tp_ioc_stats)
)

// kernel is the data plane of Linux: PPPoL2TP sockets, with a real pppd.
type kernel struct {
	listen netip.AddrPort
	pppd   pppd
}

// kernelTunnel holds the two sockets that keep a tunnel in the kernel. It
// lives as long as its UDP socket is open.
type kernelTunnel struct {
	kernel      kernel
	local, peer uint16
	remote      netip.AddrPort
	conn        *net.UDPConn // connected: the kernel sends data where it leads
	pppox       int          // the tunnel's own PPPoL2TP socket
}

// tunnel makes a UDP socket of its own for the tunnel, since the kernel ties
// one socket to one tunnel. It shares address and port with the listening
// socket; being connected it gets all packets of this peer.
func (k kernel) tunnel(remote netip.AddrPort, local, peer uint16, receive func(datagram)) (dataTunnel, error) {
	dialer := net.Dialer{LocalAddr: net.UDPAddrFromAddrPort(k.listen), Control: reuseAddress}
	conn, err := dialer.Dial("udp4", remote.String())
	if err != nil {
		return nil, fmt.Errorf("UDP socket of the tunnel: %w", err)
	}
	t := &kernelTunnel{kernel: k, local: local, peer: peer, remote: remote, conn: conn.(*net.UDPConn)}
	// Session 0 at both ends stands for the tunnel itself.
	if t.pppox, err = t.connect(0, 0); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	go read(t.conn, receive)
	return t, nil
}

// connect makes a PPPoL2TP socket for a session; the caller closes it.
func (t *kernelTunnel) connect(local, peer uint16) (int, error) {
	fd, err := unix.Socket(unix.AF_PPPOX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, pxProtoOL2TP)
	if err != nil {
		return -1, fmt.Errorf("PPPoL2TP socket (is the module l2tp_ppp loaded?): %w", err)
	}
	raw, err := t.conn.SyscallConn()
	if err == nil {
		var connecting error
		err = raw.Control(func(udp uintptr) {
			address := t.sockaddr(int32(udp), local, peer)
			if _, _, errno := unix.Syscall(unix.SYS_CONNECT, uintptr(fd), uintptr(unsafe.Pointer(&address[0])), uintptr(len(address))); errno != 0 {
				connecting = errno
			}
		})
		err = errors.Join(err, connecting)
	}
	if err != nil {
		return -1, errors.Join(fmt.Errorf("connect PPPoL2TP socket of session %d: %w", local, err), unix.Close(fd))
	}
	return fd, nil
}

// sockaddr is struct sockaddr_pppol2tp, which is packed.
func (t *kernelTunnel) sockaddr(udp int32, localSession, peerSession uint16) []byte {
	host := binary.NativeEndian
	b := host.AppendUint16(nil, unix.AF_PPPOX)
	b = host.AppendUint32(b, pxProtoOL2TP)
	b = host.AppendUint32(b, 0) // pid that owns the descriptor: this process
	b = host.AppendUint32(b, uint32(udp))
	b = host.AppendUint16(b, unix.AF_INET)
	b = binary.BigEndian.AppendUint16(b, t.remote.Port())
	b = append(b, t.remote.Addr().AsSlice()...)
	b = append(b, make([]byte, 8)...)
	for _, id := range []uint16{t.local, localSession, t.peer, peerSession} {
		b = host.AppendUint16(b, id)
	}
	return b
}

func (t *kernelTunnel) session(local, peer uint16, assigned netip.Addr, news func(pppNews)) (dataSession, error) {
	fd, err := t.connect(local, peer)
	if err != nil {
		return nil, err
	}
	file := os.NewFile(uintptr(fd), "pppol2tp")
	defer file.Close() // pppd has its own copy
	return t.kernel.pppd.start(file, t.local, local, t.remote.Addr(), assigned, news)
}

// packets reads the kernel's counters of the tunnel. They count every L2TP
// packet without the T bit, received or sent: user data, and also LCP, IPCP
// and LCP echoes, which to a router's idle timer are data as well. Control
// messages (Hello, ZLB) never enter them.
func (t *kernelTunnel) packets() (uint64, error) {
	// struct pppol2tp_ioc_stats; session 0 asks for the whole tunnel.
	var stats struct {
		tunnel, session                                             uint16
		ipsec                                                       uint32
		txPackets, txBytes, txErrors                                uint64
		rxPackets, rxBytes, rxDiscards, rxOutOfOrderPacks, rxErrors uint64
	}
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(t.pppox), pppiocgl2tpstats, uintptr(unsafe.Pointer(&stats))); errno != 0 {
		return 0, fmt.Errorf("counters of the tunnel: %w", errno)
	}
	return stats.txPackets + stats.rxPackets, nil
}

// close takes the tunnel out of the kernel, with every session in it.
func (t *kernelTunnel) close() {
	_ = unix.Close(t.pppox)
	_ = t.conn.Close()
}

// read delivers packets until the socket is closed. Any other error is the
// echo of an ICMP message about a packet sent earlier.
func read(conn *net.UDPConn, receive func(datagram)) {
	buffer := make([]byte, 0xffff)
	for {
		n, from, err := conn.ReadFromUDPAddrPort(buffer)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err == nil {
			receive(datagram{netip.AddrPortFrom(from.Addr().Unmap(), from.Port()), bytes.Clone(buffer[:n])})
		}
	}
}

// reuseAddress lets the tunnels' sockets share the listening socket's port.
func reuseAddress(_, _ string, raw syscall.RawConn) error {
	var option error
	err := raw.Control(func(fd uintptr) {
		option = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
	})
	return errors.Join(err, option)
}
