package vici

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"xl2tpd-keepalive/internal/l2tp"
)

// Selects reports whether traffic selectors, in the form of Child and ChildConfig, take packets
// to a peer itself and not only to a network behind it. "dynamic" is the peer. A selector in an
// unknown form counts as the peer.
func Selects(selectors []string, peer netip.Addr) bool {
	return slices.ContainsFunc(selectors, func(ts string) bool {
		prefix, _, _ := strings.Cut(ts, "[")
		p, err := netip.ParsePrefix(prefix)
		return err != nil || p.Contains(peer)
	})
}

// TakesL2TP reports whether a CHILD SA with these traffic selectors takes L2TP packets: to port
// 1701 of the peer, or, if the peer is the caller with any port, from port 1701 of this host. The
// selectors have the form of Child and ChildConfig. Without selectors it takes everything.
func TakesL2TP(local, remote []string) bool {
	if len(remote) == 0 {
		return true
	}
	callers := slices.ContainsFunc(local, func(ts string) bool {
		ports, ok := udpPorts(ts)
		return ok && ports == portRange{l2tp.Port, l2tp.Port}
	})
	return slices.ContainsFunc(remote, func(ts string) bool {
		ports, ok := udpPorts(ts)
		return ok && (callers || ports.from <= l2tp.Port && l2tp.Port <= ports.to)
	})
}

// CarriesL2TP reports whether a CHILD SA can carry a peer's L2TP packets. It must take UDP, and be in transport mode or
// have traffic selectors that contain the peer itself. The selectors of a route-based VPN may contain the peer too, but
// such an SA only takes packets that are routed into it.
func (c Child) CarriesL2TP(peer netip.Addr) bool {
	if len(c.RemoteTS) == 0 {
		return true
	}
	tunnel := strings.EqualFold(c.Mode, "TUNNEL")
	return TakesL2TP(c.LocalTS, c.RemoteTS) && (!tunnel || !c.RouteBased && Selects(c.RemoteTS, peer))
}

type portRange struct{ from, to int }

var anyPort = portRange{0, 65535}

// udpPorts returns the ports of a traffic selector such as 192.0.2.1/32[udp/l2f]; ok is false if it
// takes no UDP. charon writes 0 for any protocol, and names from /etc/services for ports
// (traffic_selector.c, print). A port that can't be read counts as any port.
func udpPorts(selector string) (ports portRange, ok bool) {
	_, limits, _ := strings.Cut(strings.TrimSuffix(selector, "]"), "[")
	protocol, port, _ := strings.Cut(limits, "/")
	switch strings.ToLower(protocol) {
	case "", "0", "17", "udp", "%any":
	default:
		return portRange{}, false
	}
	switch strings.ToLower(port) {
	case "l2f", "l2tp":
		return portRange{l2tp.Port, l2tp.Port}, true
	case "", "0", "%any":
		return anyPort, true
	case "opaque":
		return portRange{}, false
	}
	first, last, isRange := strings.Cut(port, "-")
	if !isRange {
		last = first
	}
	from, err1 := strconv.Atoi(first)
	to, err2 := strconv.Atoi(last)
	switch {
	case err1 != nil && !isRange && port[0] >= 'a': // another service
		return portRange{-1, -1}, true
	case err1 != nil || err2 != nil:
		return anyPort, true
	}
	return portRange{from, to}, true
}
