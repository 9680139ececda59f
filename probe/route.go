package probe

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/jsimonetti/rtnetlink/v2"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// ErrNoRoute is Routed's for an address that the kernel sends nothing to: no
// route, or one that is unreachable, prohibit or blackhole.
var ErrNoRoute = errors.New("no route")

// Routed asks the kernel (RTM_GETROUTE, as `ip route get`) by which device a
// packet to an IPv4 address would leave now. That the device has a carrier does
// not follow. An error is ErrNoRoute, or else a failure to ask.
func Routed(to netip.Addr) (device string, err error) {
	if to = to.Unmap(); !to.Is4() {
		return "", fmt.Errorf("route to %v: not IPv4", to)
	}
	c, err := rtnetlink.Dial(nil)
	if err != nil {
		return "", fmt.Errorf("route to %v: rtnetlink: %w", to, err)
	}
	defer c.Close()
	// It answers in the call, with one message and without a final one.
	routes, err := c.Route.Get(&rtnetlink.RouteMessage{
		Family: unix.AF_INET, DstLength: 32, Attributes: rtnetlink.RouteAttributes{Dst: to.AsSlice()},
	})
	var refused *netlink.OpError
	if errors.As(err, &refused) {
		// What the kernel answers for each type of route (net/ipv4/fib_semantics.c, fib_props).
		for _, is := range []error{unix.ENETUNREACH, unix.EHOSTUNREACH, unix.EACCES, unix.EINVAL} {
			if errors.Is(err, is) {
				return "", fmt.Errorf("route to %v: %w (%v)", to, ErrNoRoute, is)
			}
		}
	}
	if err != nil {
		return "", fmt.Errorf("route to %v: rtnetlink: %w", to, err)
	}
	if len(routes) != 1 || routes[0].Attributes.OutIface == 0 {
		return "", fmt.Errorf("route to %v: %w", to, ErrNoRoute)
	}
	i, err := net.InterfaceByIndex(int(routes[0].Attributes.OutIface))
	if err != nil {
		return "", fmt.Errorf("route to %v: its device: %w", to, err)
	}
	return i.Name, nil
}
