package probe

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/jsimonetti/rtnetlink/v2"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// ErrNoRoute is the error for an address that the kernel sends nothing to: there is
// no route, or its type is unreachable, prohibit or blackhole.
var ErrNoRoute = errors.New("no route")

// Routed asks the kernel (RTM_GETROUTE, as `ip route get`) by which device a
// packet to an IPv4 address would leave now. The device may be without a carrier.
// The error is ErrNoRoute, or the failure to ask.
func Routed(to netip.Addr) (device string, err error) {
	m := &rtnetlink.RouteMessage{}
	index, err := route(to, m, m)
	if err != nil {
		return "", err
	}
	i, err := net.InterfaceByIndex(index)
	if err != nil {
		return "", fmt.Errorf("route to %v: its device: %w", to, err)
	}
	return i.Name, nil
}

// Route returns ErrNoRoute if the kernel would now send none of xl2tpd's packets to an IPv4 address. If from is valid it
// is their source address. Rules may depend on that, on the ports of L2TP, and on the user.
func Route(to, from netip.Addr) error {
	m := l2tpPacket{&rtnetlink.RouteMessage{}, from.Unmap()}
	_, err := route(to, m.RouteMessage, m)
	return err
}

// l2tpPacket asks for the route of a packet of xl2tpd, which by default sends from port 1701 to port 1701.
type l2tpPacket struct {
	*rtnetlink.RouteMessage
	from netip.Addr
}

func (m l2tpPacket) MarshalBinary() ([]byte, error) {
	const port, root = 1701, 0
	e := netlink.NewAttributeEncoder()
	if m.from.Is4() {
		m.SrcLength = 32
		e.Bytes(unix.RTA_SRC, m.from.AsSlice())
	}
	b, err := m.RouteMessage.MarshalBinary()
	if err != nil {
		return nil, err
	}
	e.Uint8(unix.RTA_IP_PROTO, unix.IPPROTO_UDP)
	e.Uint32(unix.RTA_UID, root)
	e.ByteOrder = binary.BigEndian
	e.Uint16(unix.RTA_SPORT, port)
	e.Uint16(unix.RTA_DPORT, port)
	more, err := e.Encode()
	return append(b, more...), err
}

// route asks for the route to an address, and returns the index of its device. m is the message of the question.
func route(to netip.Addr, m *rtnetlink.RouteMessage, question rtnetlink.Message) (device int, err error) {
	if to = to.Unmap(); !to.Is4() {
		return 0, fmt.Errorf("route to %v: not IPv4", to)
	}
	m.Family, m.DstLength, m.Attributes.Dst = unix.AF_INET, 32, to.AsSlice()
	c, err := rtnetlink.Dial(nil)
	if err != nil {
		return 0, fmt.Errorf("route to %v: rtnetlink: %w", to, err)
	}
	defer c.Close()
	// It answers in the call, with one message and without a final one.
	answers, err := c.Execute(question, unix.RTM_GETROUTE, netlink.Request)
	var refused *netlink.OpError
	if errors.As(err, &refused) {
		for _, is := range noRoute {
			if errors.Is(err, is) {
				return 0, fmt.Errorf("route to %v: %w (%v)", to, ErrNoRoute, is)
			}
		}
	}
	if err != nil {
		return 0, fmt.Errorf("route to %v: rtnetlink: %w", to, err)
	}
	if len(answers) == 1 {
		if is, ok := answers[0].(*rtnetlink.RouteMessage); ok && is.Attributes.OutIface != 0 {
			return int(is.Attributes.OutIface), nil
		}
	}
	return 0, fmt.Errorf("route to %v: %w", to, ErrNoRoute)
}

// noRoute is what the kernel answers for each type of route (net/ipv4/fib_semantics.c, fib_props).
var noRoute = []error{unix.ENETUNREACH, unix.EHOSTUNREACH, unix.EACCES, unix.EINVAL}
