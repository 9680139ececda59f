package main

import (
	"fmt"
	"net/netip"
	"strings"
)

// wire lays the wires of peer number n: a veth pair, or two with a NAT between them. The NAT may be another caller's.
func (p *peer) wire(n int) error {
	ns, nat := "peer-"+p.name, "nat-"+p.name
	outer, inner := fmt.Sprintf("to%d", n), fmt.Sprintf("down%d", n)
	switch {
	case p.neighbour != nil:
		p.host, p.reach = p.neighbour.host, p.neighbour.reach
		return steps(namespace(ns), veth("nat-"+p.neighbour.name, inner, ns, addr("10.78.%d.1", n)))
	case p.nat == "":
		return steps(namespace(ns), veth("", outer, ns, p.host))
	}
	lines := [][]string{
		namespace(nat), namespace(ns), veth("", outer, nat, p.host), veth(nat, inner, ns, addr("10.78.%d.1", n)),
		{"ip netns exec " + nat + " sysctl -qw net.ipv4.ip_forward=1", "ip netns exec " + nat + " nft add table ip nat"},
	}
	switch {
	case p.calls(): // the client host sees the caller as 10.77.n.2
		lines = append(lines, masquerade(nat, "up0"))
	case p.nat == "client": // the peer sees the client host as 10.78.n.1
		p.reach = addr("10.78.%d.2", n)
		lines = append(lines, masquerade(nat, inner), []string{fmt.Sprintf("ip route add 10.78.%d.0/24 via 10.77.%d.2", n, n)})
	case p.nat == "server": // the client host knows only the NAT's address
		lines = append(lines, []string{
			"ip netns exec " + nat + " nft add chain ip nat pre { type nat hook prerouting priority dstnat ; }",
			fmt.Sprintf("ip netns exec %s nft add rule ip nat pre iifname up0 udp dport { 500, 4500 } dnat to 10.78.%d.2", nat, n),
		})
	}
	return steps(lines...)
}

func namespace(ns string) []string {
	return []string{"ip netns add " + ns, "ip -n " + ns + " link set lo up"}
}

// veth joins two namespaces, "" being the client host's. The near end gets the address, the far end is called up0, has
// the next address and sends everything here.
func veth(nearNS, near, farNS string, address netip.Addr) []string {
	in := "ip "
	if nearNS != "" {
		in = "ip -n " + nearNS + " "
	}
	return []string{
		fmt.Sprintf("%slink add %s type veth peer name up0 netns %s", in, near, farNS),
		fmt.Sprintf("%saddr add %v/24 dev %s", in, address, near),
		fmt.Sprintf("%slink set %s up", in, near),
		fmt.Sprintf("ip -n %s addr add %v/24 dev up0", farNS, address.Next()),
		fmt.Sprintf("ip -n %s link set up0 up", farNS),
		fmt.Sprintf("ip -n %s route add default via %v", farNS, address),
	}
}

// masquerade gives what leaves by that device the NAT's own address.
func masquerade(nat, out string) []string {
	in := "ip netns exec " + nat + " nft "
	return []string{
		in + "add chain ip nat post { type nat hook postrouting priority srcnat ; }",
		in + "add rule ip nat post oifname " + out + " masquerade",
	}
}

func steps(lists ...[]string) error {
	for _, lines := range lists {
		for _, line := range lines {
			if err := do(strings.Fields(line)...); err != nil {
				return err
			}
		}
	}
	return nil
}
