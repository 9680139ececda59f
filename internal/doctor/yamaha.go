package doctor

import "strings"

// yamaha tells a Yamaha router by its Vendor Name.
func yamaha(vendor string) bool { return strings.Contains(strings.ToLower(vendor), "yamaha") }

// yamahaLines are for the router's console; GATEWAY is the number behind `ipsec
// tunnel` and `ipsec ike`.
var yamahaLines = []string{
	"`l2tp tunnel disconnect time off`: its idle timer, 60 s by default, closes no tunnel any more",
	"`l2tp keepalive use on 10 6`: with `10 3`, three lost packets in a row cost the tunnel",
	"`ipsec ike keepalive use GATEWAY on dpd 10 6`: the SA of a client that is gone does not keep it out",
	"`ipsec ike nat-traversal GATEWAY on`: clients behind a NAT, which is off by default",
	"`l2tp syslog on`: its log says who closed a tunnel, and why",
	"for Windows and macOS clients the same; those that stop answering its Hello under load (macOS) need `l2tp keepalive use off`",
	"`save` when all is well",
}
