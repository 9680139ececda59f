package main

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
)

// The first addresses of a crowd: outer, and of both ends of the PPP link. The next peers have the next ones.
var (
	crowdReach  = netip.MustParseAddr("10.79.0.1")
	crowdPPP    = netip.MustParseAddr("10.89.0.1")
	crowdClient = netip.MustParseAddr("10.90.0.1")
)

// crowdCommand makes many peers, crowd1 and so on, that are one process behind one wire.
func crowdCommand(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, len(args) >= 2, "crowd N PERSONALITY [ipsec=yes] [SETTING=VALUE...]")
	count, err := strconv.Atoi(args[0])
	ts.Check(err)
	c := clientOf(ts)
	n := len(c.peers) + 1
	first := newPeer(c, n, "crowd1", args[1])
	first.crowd = count
	first.settings = slices.DeleteFunc(slices.Clone(args[2:]), func(a string) bool { return a == "ipsec=yes" })
	first.ipsec = len(first.settings) < len(args[2:])
	ts.Check(first.wire(n))
	wire := first.reach
	first.reach, first.ppp = crowdReach, crowdPPP
	c.join(first)
	for i, last := 2, *first; i <= count; i++ {
		last.name, last.twin, last.reach, last.ppp = fmt.Sprint("crowd", i), true, last.reach.Next(), last.ppp.Next()
		last.lac = last.name
		p := last
		c.join(&p)
	}
	ts.Check(do("ip", "route", "add", "10.79.0.0/16", "via", wire.String()))
	ts.Check(do(strings.Fields("ip -n peer-crowd1 route add local 10.79.0.0/16 dev lo")...))
	ts.Check(first.start())
}
