package main

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"

	"github.com/jsimonetti/rtnetlink/v2"
	"github.com/jsimonetti/rtnetlink/v2/driver"
	"github.com/jsimonetti/rtnetlink/v2/rtnl"
	"golang.org/x/sys/unix"
)

// netlink runs a function with a connection to the kernel's network configuration of the space; nil is the client host.
// An `ip` for each step would be one more program for the emulated processor to load.
func (s *space) netlink(f func(*rtnl.Conn) error) error {
	return s.do(func() error {
		conn, err := rtnl.Dial(nil)
		if err != nil {
			return err
		}
		defer conn.Close()
		return f(conn)
	})
}

// addVeth joins two namespaces. The far end is called up0.
func (s *space) addVeth(near string, far *space) error {
	return s.netlink(func(conn *rtnl.Conn) error {
		up0 := &rtnetlink.LinkMessage{Attributes: &rtnetlink.LinkAttributes{Name: "up0", NetNS: rtnetlink.NetNSForPID(uint32(far.thread))}}
		err := conn.Conn.Link.New(&rtnetlink.LinkMessage{Attributes: &rtnetlink.LinkAttributes{
			Name: near, Info: &rtnetlink.LinkInfo{Kind: "veth", Data: &driver.Veth{PeerInfo: up0}},
		}})
		if err != nil {
			return fmt.Errorf("link %s: %w", near, err)
		}
		return nil
	})
}

// raise gives a device its address and brings it up, without IPv6: each wire's solicitations and link-local addresses
// would keep all daemons busy.
func (s *space) raise(name string, address netip.Addr) error {
	return s.netlink(func(conn *rtnl.Conn) error {
		if err := os.WriteFile("/proc/sys/net/ipv6/conf/"+name+"/disable_ipv6", []byte("1"), 0o644); err != nil {
			return err
		}
		device, err := deviceOf(name)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if err := conn.AddrAdd(device, &net.IPNet{IP: address.AsSlice(), Mask: net.CIDRMask(24, 32)}); err != nil {
			return fmt.Errorf("address of %s: %w", name, err)
		}
		return conn.LinkUp(device)
	})
}

// route sends what goes to a network by a gateway that a device reaches.
func (s *space) route(network netip.Prefix, gateway netip.Addr, device string) error {
	return s.netlink(func(conn *rtnl.Conn) error {
		out, err := deviceOf(device)
		if err != nil {
			return fmt.Errorf("%s: %w", device, err)
		}
		to := net.IPNet{IP: network.Addr().AsSlice(), Mask: net.CIDRMask(network.Bits(), 32)}
		if err := conn.RouteAdd(out, to, gateway.AsSlice()); err != nil {
			return fmt.Errorf("route to %v: %w", network, err)
		}
		return nil
	})
}

// deviceOf asks for one device's index, where net.InterfaceByName lists them all.
func deviceOf(name string) (*net.Interface, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	ifreq, err := unix.NewIfreq(name)
	if err == nil {
		err = unix.IoctlIfreq(fd, unix.SIOCGIFINDEX, ifreq)
	}
	if err != nil {
		return nil, err
	}
	return &net.Interface{Index: int(ifreq.Uint32()), Name: name}, nil
}

func loopbackUp() error {
	return (*space)(nil).netlink(func(conn *rtnl.Conn) error { return conn.LinkUp(&net.Interface{Index: 1}) })
}

// removeWires removes the wires that are left. They go with their namespaces, but not immediately.
func removeWires() error {
	return (*space)(nil).netlink(func(conn *rtnl.Conn) error {
		devices, err := conn.Links()
		for _, d := range devices {
			if strings.HasPrefix(d.Name, "to") {
				conn.Conn.Link.Delete(uint32(d.Index)) // it may have gone meanwhile
			}
		}
		return err
	})
}
