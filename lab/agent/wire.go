package main

import (
	"fmt"
	"net/netip"
	"os"
	"strings"
)

var everywhere = netip.MustParsePrefix("0.0.0.0/0")

// wire lays the wires of peer number n: a veth pair, or two with a NAT between them. The NAT may be another caller's.
func (p *peer) wire(n int) (err error) {
	if p.space, err = newSpace("peer-" + p.name); err != nil {
		return err
	}
	outer, inner, private := fmt.Sprintf("to%d", n), fmt.Sprintf("down%d", n), addr("10.78.%d.1", n)
	switch {
	case p.neighbour != nil:
		p.host, p.reach = p.neighbour.host, p.neighbour.reach
		return veth(p.neighbour.natSpace, inner, p.space, private)
	case p.nat == "":
		p.outer = outer
		return veth(nil, outer, p.space, p.host)
	}
	p.outer = outer
	if p.natSpace, err = newSpace("nat-" + p.name); err != nil {
		return err
	}
	if err := veth(nil, outer, p.natSpace, p.host); err != nil {
		return err
	}
	if err := veth(p.natSpace, inner, p.space, private); err != nil {
		return err
	}
	way := p.reach // of what the client host sends to the NAT
	rule := masquerade(inner)
	switch {
	case p.calls(): // the client host sees the caller as 10.77.n.2
		rule = masquerade("up0")
	case p.nat == "client": // the peer sees the client host as 10.78.n.1
		p.reach = private.Next()
		if err := (*space)(nil).route(netip.PrefixFrom(private, 24).Masked(), way, outer); err != nil {
			return err
		}
	case p.nat == "server": // the client host knows only the NAT's address
		rule = fmt.Sprintf("chain pre { type nat hook prerouting priority dstnat; iifname up0 udp dport { 500, 4500 } dnat to %v; }", private.Next())
	}
	return p.natSpace.translate(rule)
}

// veth joins two namespaces, nil being the client host's. The near end gets the address, the far end is called up0, has
// the next address and sends everything here.
func veth(near *space, name string, far *space, address netip.Addr) error {
	if err := near.addVeth(name, far); err != nil {
		return err
	}
	if err := near.raise(name, address); err != nil {
		return err
	}
	if err := far.raise("up0", address.Next()); err != nil {
		return err
	}
	return far.route(everywhere, address, "up0")
}

// masquerade gives what leaves by that device the NAT's own address.
func masquerade(out string) string {
	return "chain post { type nat hook postrouting priority srcnat; oifname " + out + " masquerade; }"
}

// translate makes the space a NAT.
func (s *space) translate(chain string) error {
	err := s.do(func() error { return os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0o644) })
	if err != nil {
		return err
	}
	command := s.command("nft", "table ip nat { "+chain+"; }")
	if text, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("%v: %w: %s", command.Args, err, text)
	}
	return nil
}

func steps(lines []string) error {
	for _, line := range lines {
		if err := do(strings.Fields(line)...); err != nil {
			return err
		}
	}
	return nil
}
