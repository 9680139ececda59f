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

// ErrOtherWay is the error for an address to which echo requests take another way than xl2tpd's packets.
var ErrOtherWay = errors.New("the rules of this host send L2TP another way than echo requests")

// Routed asks the kernel (RTM_GETROUTE, as `ip route get`) by which device it would now send xl2tpd's packets to an IPv4
// address. The device may be without a carrier. If from is valid it is their source address. Rules may depend on that,
// on the ports of L2TP, and on the user. The error is ErrNoRoute, or the failure to ask.
func Routed(to, from netip.Addr) (device string, err error) {
	w, err := route(to, from, ofL2TP)
	if err != nil {
		return "", err
	}
	return w.link(to)
}

// Route returns ErrNoRoute if the kernel would now send none of xl2tpd's packets to an IPv4 address, see Routed.
func Route(to, from netip.Addr) error {
	_, err := route(to, from, ofL2TP)
	return err
}

// echoRouted returns by which device echo requests would leave. It is an error if xl2tpd's packets take another way.
func echoRouted(to, from netip.Addr) (device string, err error) {
	w, err := route(to, from, ofEcho)
	if err != nil {
		return "", err
	}
	if l2tp, err := route(to, from, ofL2TP); err != nil {
		return "", err
	} else if l2tp != w {
		return "", fmt.Errorf("route to %v: %w", to, ErrOtherWay)
	}
	return w.link(to)
}

// way is a route: its device, and the router behind it.
type way struct {
	device  uint32
	gateway netip.Addr // invalid: none
}

func (w way) link(to netip.Addr) (name string, err error) {
	i, err := net.InterfaceByIndex(int(w.device))
	if err != nil {
		return "", fmt.Errorf("route to %v: its device: %w", to, err)
	}
	return i.Name, nil
}

// ofEcho and ofL2TP say what rules may depend on: an echo request of this process, or a packet of xl2tpd, which by
// default sends from port 1701 to port 1701.
func ofEcho(e *netlink.AttributeEncoder) { e.Uint8(unix.RTA_IP_PROTO, unix.IPPROTO_ICMP) }

func ofL2TP(e *netlink.AttributeEncoder) {
	const port, root = 1701, 0
	e.Uint8(unix.RTA_IP_PROTO, unix.IPPROTO_UDP)
	e.Uint32(unix.RTA_UID, root)
	e.ByteOrder = binary.BigEndian
	e.Uint16(unix.RTA_SPORT, port)
	e.Uint16(unix.RTA_DPORT, port)
}

// question asks for the route of a packet.
type question struct {
	*rtnetlink.RouteMessage
	from   netip.Addr
	packet func(*netlink.AttributeEncoder)
}

func (q question) MarshalBinary() ([]byte, error) {
	e := netlink.NewAttributeEncoder()
	if q.from.Is4() {
		q.SrcLength = 32
		e.Bytes(unix.RTA_SRC, q.from.AsSlice())
	}
	b, err := q.RouteMessage.MarshalBinary()
	if err != nil {
		return nil, err
	}
	q.packet(e)
	more, err := e.Encode()
	return append(b, more...), err
}

// route asks for the route of a packet to an address.
func route(to, from netip.Addr, packet func(*netlink.AttributeEncoder)) (way, error) {
	if to = to.Unmap(); !to.Is4() {
		return way{}, fmt.Errorf("route to %v: not IPv4", to)
	}
	q := question{&rtnetlink.RouteMessage{Family: unix.AF_INET, DstLength: 32}, from.Unmap(), packet}
	q.Attributes.Dst = to.AsSlice()
	c, err := rtnetlink.Dial(nil)
	if err != nil {
		return way{}, fmt.Errorf("route to %v: rtnetlink: %w", to, err)
	}
	defer c.Close()
	// It answers in the call, with one message and without a final one.
	answers, err := c.Execute(q, unix.RTM_GETROUTE, netlink.Request)
	var refused *netlink.OpError
	if errors.As(err, &refused) {
		for _, is := range noRoute {
			if errors.Is(err, is) {
				return way{}, fmt.Errorf("route to %v: %w (%v)", to, ErrNoRoute, is)
			}
		}
	}
	if err != nil {
		return way{}, fmt.Errorf("route to %v: rtnetlink: %w", to, err)
	}
	if len(answers) == 1 {
		if is, ok := answers[0].(*rtnetlink.RouteMessage); ok && is.Attributes.OutIface != 0 {
			gateway, _ := netip.AddrFromSlice(is.Attributes.Gateway)
			return way{is.Attributes.OutIface, gateway}, nil
		}
	}
	return way{}, fmt.Errorf("route to %v: %w", to, ErrNoRoute)
}

// noRoute is what the kernel answers for each type of route (net/ipv4/fib_semantics.c, fib_props).
var noRoute = []error{unix.ENETUNREACH, unix.EHOSTUNREACH, unix.EACCES, unix.EINVAL}
