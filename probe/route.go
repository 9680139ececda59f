package probe

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"

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
		for _, is := range noRoute {
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

// Route returns ErrNoRoute if the kernel would send nothing to an IPv4 address now. If from is valid
// it is the source address, because rules may depend on it. Route connects a UDP socket, which sends
// nothing.
func Route(to, from netip.Addr) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	defer unix.Close(fd)
	if from = from.Unmap(); from.Is4() {
		if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: from.As4()}); err != nil {
			return fmt.Errorf("route from %v: %w (%v)", from, ErrNoRoute, err)
		}
	}
	if to = to.Unmap(); !to.Is4() {
		return fmt.Errorf("route to %v: not IPv4", to)
	}
	err = unix.Connect(fd, &unix.SockaddrInet4{Addr: to.As4(), Port: 9})
	for _, is := range noRoute {
		if errors.Is(err, is) {
			return fmt.Errorf("route to %v: %w (%v)", to, ErrNoRoute, is)
		}
	}
	return os.NewSyscallError("connect", err)
}

// noRoute is what the kernel answers for each type of route (net/ipv4/fib_semantics.c, fib_props).
var noRoute = []error{unix.ENETUNREACH, unix.EHOSTUNREACH, unix.EACCES, unix.EINVAL}
