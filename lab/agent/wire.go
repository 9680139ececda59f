package main

import (
	"fmt"
	"strings"
)

// wire lays the wires of peer number n: a veth pair, or two with a NAT between them.
func (p *peer) wire(n int) error {
	ns := "peer-" + p.name
	near := fmt.Sprintf("to%d", n)
	steps := []string{
		"ip netns add " + ns,
		"ip -n " + ns + " link set lo up",
	}
	first := ns
	if p.nat != "" {
		first = "nat-" + p.name
		steps = append(steps, "ip netns add "+first, "ip -n "+first+" link set lo up")
	}
	steps = append(steps,
		fmt.Sprintf("ip link add %s type veth peer name up0 netns %s", near, first),
		fmt.Sprintf("ip addr add 10.77.%d.1/24 dev %s", n, near),
		fmt.Sprintf("ip link set %s up", near),
		fmt.Sprintf("ip -n %s addr add 10.77.%d.2/24 dev up0", first, n),
		fmt.Sprintf("ip -n %s link set up0 up", first),
	)
	if p.nat == "" {
		steps = append(steps, fmt.Sprintf("ip -n %s route add default via 10.77.%d.1", ns, n))
	} else {
		steps = append(steps,
			fmt.Sprintf("ip -n %s link add down0 type veth peer name up0 netns %s", first, ns),
			fmt.Sprintf("ip -n %s addr add 10.78.%d.1/24 dev down0", first, n),
			fmt.Sprintf("ip -n %s link set down0 up", first),
			fmt.Sprintf("ip -n %s addr add 10.78.%d.2/24 dev up0", ns, n),
			fmt.Sprintf("ip -n %s link set up0 up", ns),
			fmt.Sprintf("ip -n %s route add default via 10.78.%d.1", ns, n),
			"ip netns exec "+first+" sysctl -qw net.ipv4.ip_forward=1",
			"ip netns exec "+first+" nft add table ip nat",
		)
	}
	inNAT := "ip netns exec " + first + " nft "
	masquerade := func(out string) {
		steps = append(steps,
			inNAT+"add chain ip nat post { type nat hook postrouting priority srcnat ; }",
			inNAT+"add rule ip nat post oifname "+out+" masquerade")
	}
	switch {
	case p.nat == "client" && p.calls(): // the client host sees the caller as 10.77.n.2
		masquerade("up0")
	case p.nat == "client": // the peer sees the client host as 10.78.n.1
		p.reach = addr("10.78.%d.2", n)
		steps = append(steps, fmt.Sprintf("ip route add 10.78.%d.0/24 via 10.77.%d.2", n, n))
		masquerade("down0")
	case p.nat == "server": // the client host knows only the NAT's address
		steps = append(steps,
			inNAT+"add chain ip nat pre { type nat hook prerouting priority dstnat ; }",
			fmt.Sprintf(inNAT+"add rule ip nat pre iifname up0 udp dport { 500, 4500 } dnat to 10.78.%d.2", n))
	}
	for _, step := range steps {
		if err := do(strings.Fields(step)...); err != nil {
			return err
		}
	}
	return nil
}
