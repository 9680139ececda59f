package helloguard

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"xl2tpd-keepalive/internal/procfs"
)

const (
	// factsAge is for how long facts are used again: thousands of connections may be
	// opened in one second.
	factsAge = time.Second
	// maxPorts is how many ports are asked about in that time. xl2tpds have one each.
	maxPorts = 16

	// From linux/sock_diag.h and linux/inet_diag.h.
	sockDiagByFamily = 20
	diagCgroupID     = 21 // Linux 5.8 and later
	diagV6Only       = 11
	diagMsgLen       = 72 // struct inet_diag_msg
	allStates        = 0xffffffff
)

// factReader asks the host for facts, and remembers them for a moment.
type factReader struct {
	daemons func() []Daemon

	at    time.Time
	host  facts // without sockets
	ports map[uint16]facts
}

// of returns the facts about a port of this host. Of more ports than xl2tpds can have it
// knows nothing, which makes their senders foreign.
func (r *factReader) of(port uint16, now time.Time) facts {
	if age := now.Sub(r.at); r.ports == nil || age < 0 || age >= factsAge {
		r.at, r.ports, r.host = now, map[uint16]facts{}, facts{daemons: r.daemons()}
		if slices.ContainsFunc(r.host.daemons, func(d Daemon) bool { return d.Saref }) {
			r.host.loopback = loopbackAddresses()
		}
	}
	if f, ok := r.ports[port]; ok {
		return f
	}
	if len(r.ports) == maxPorts {
		return facts{}
	}
	f := r.host
	if len(f.daemons) > 0 {
		var err error
		f.sockets, err = readSockets(port)
		f.unread = err != nil
	}
	r.ports[port] = f
	return f
}

// forget makes the next answer a fresh one.
func (r *factReader) forget() { r.ports = nil }

func loopbackAddresses() []netip.Addr {
	lo, err := net.InterfaceByName("lo")
	if err != nil {
		return nil
	}
	addrs, err := lo.Addrs()
	if err != nil {
		return nil
	}
	var all []netip.Addr
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			all = append(all, p.Addr())
		}
	}
	return all
}

// readSockets lists the UDP sockets that can send IPv4 packets from a port. Any user may
// ask for them.
func readSockets(port uint16) ([]socket, error) {
	c, err := netlink.Dial(unix.NETLINK_SOCK_DIAG, nil)
	if err != nil {
		return nil, fmt.Errorf("sock_diag: %w", err)
	}
	defer c.Close()
	// The kernel answers in the call; this only bounds a bug.
	if err := c.SetDeadline(time.Now().Add(time.Second)); err != nil {
		return nil, fmt.Errorf("sock_diag: %w", err)
	}
	var all []socket
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		msgs, err := c.Execute(netlink.Message{
			Header: netlink.Header{Type: sockDiagByFamily, Flags: netlink.Request | netlink.Dump},
			Data:   socketRequest(family, port),
		})
		if err != nil && family == unix.AF_INET {
			return nil, fmt.Errorf("sock_diag: %w", err)
		}
		for _, m := range msgs { // none if the kernel has no IPv6
			if s, ok := parseSocket(m.Data); ok {
				all = append(all, s)
			}
		}
	}
	return all, nil
}

// socketRequest is a struct inet_diag_req_v2.
func socketRequest(family uint8, port uint16) []byte {
	b := []byte{family, unix.IPPROTO_UDP, 0, 0}
	b = binary.NativeEndian.AppendUint32(b, allStates)
	b = binary.BigEndian.AppendUint16(b, port)
	b = append(b, make([]byte, 2+16+16+4)...)
	return append(b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff) // any cookie
}

// parseSocket reads a struct inet_diag_msg and its attributes.
func parseSocket(b []byte) (socket, bool) {
	if len(b) < diagMsgLen {
		return socket{}, false
	}
	local, ok := diagAddress(b[0], b[8:24])
	if !ok {
		return socket{}, false
	}
	s := socket{
		local: netip.AddrPortFrom(local, binary.BigEndian.Uint16(b[4:])),
		uid:   binary.NativeEndian.Uint32(b[64:]),
	}
	if peer, ok := diagAddress(b[0], b[24:40]); ok && !peer.IsUnspecified() {
		s.peer = netip.AddrPortFrom(peer, binary.BigEndian.Uint16(b[6:]))
	}
	ad, err := netlink.NewAttributeDecoder(b[diagMsgLen:])
	if err != nil {
		return socket{}, false
	}
	for ad.Next() {
		switch ad.Type() {
		case diagCgroupID:
			s.cgroup = procfs.CgroupID(ad.Uint64())
		case diagV6Only:
			if ad.Uint8() != 0 {
				return socket{}, false
			}
		}
	}
	return s, ad.Err() == nil
}

// diagAddress reads an address. An IPv6 socket without an address of its own can send IPv4
// too; one with an IPv6 address can't.
func diagAddress(family uint8, b []byte) (netip.Addr, bool) {
	if family == unix.AF_INET {
		return netip.AddrFrom4([4]byte(b[:4])), true
	}
	a := netip.AddrFrom16([16]byte(b)).Unmap()
	if a == netip.IPv6Unspecified() {
		a = netip.IPv4Unspecified()
	}
	return a, a.Is4()
}
