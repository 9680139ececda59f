package doctor

import (
	"slices"
	"strings"

	"xl2tpd-keepalive/internal/message"
	"xl2tpd-keepalive/internal/status"
)

// router returns lines for the console of a Yamaha router, to which these tunnels lead. They go into the configuration
// of one of the router's own tunnels.
func router(tunnels []*status.Tunnel) Finding {
	var names, locals []string
	for _, t := range tunnels {
		names = append(names, title(t))
		if t.Local.IsValid() {
			locals = append(locals, t.Local.String())
		}
	}
	slices.Sort(locals)
	client := message.Text("its NAT's")
	if locals = slices.Compact(locals); locals != nil {
		client = message.Sprintf("%s or its NAT's", strings.Join(locals, ", "))
	}
	f := note("router", strings.Join(names, ", "), "a Yamaha; these lines at its console would spare all its clients the trouble",
		message.Sprintf("N is the number of its tunnel: while it is up, `show status l2tp` lists it with the address of its client, %s", client),
		"G is the number in the `ipsec ike` lines of that tunnel in `show config`",
		"clients that stop answering its Hello under load, such as macOS, need `l2tp keepalive use off` instead")
	f.Paste = yamahaLines
	return f
}

// yamahaLines switch the router's idle timer off. They raise its L2TP keepalive from three to six lost packets in a row.
// They end the SA of a client that is gone, admit clients behind a NAT, and log which end closed a tunnel.
var yamahaLines = []string{
	"administrator",
	"tunnel select N",
	"l2tp tunnel disconnect time off",
	"l2tp keepalive use on 10 6",
	"l2tp syslog on",
	"ipsec ike keepalive use G on dpd 10 6",
	"ipsec ike nat-traversal G on",
	"tunnel enable N",
	"save",
}
