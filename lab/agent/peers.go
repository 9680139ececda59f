package main

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
)

// The first addresses of many peers: outer, and of both ends of the PPP link. The next peers have the next ones.
var (
	firstReach  = netip.MustParseAddr("10.79.0.1")
	firstPPP    = netip.MustParseAddr("10.89.0.1")
	firstClient = netip.MustParseAddr("10.90.0.1")
)

// peersCommand makes many peers, peer1 and so on, that are one process behind one wire.
func peersCommand(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, len(args) >= 2, "peers N PERSONALITY [ipsec=yes] [SETTING=VALUE...]")
	count, err := strconv.Atoi(args[0])
	ts.Check(err)
	c := clientOf(ts)
	n := len(c.peers) + 1
	first := newPeer(c, n, "peer1", args[1])
	first.count = count
	first.settings = slices.DeleteFunc(slices.Clone(args[2:]), func(a string) bool { return a == "ipsec=yes" })
	first.ipsec = len(first.settings) < len(args[2:])
	ts.Check(first.wire(n))
	wire := first.reach
	first.reach, first.ppp = firstReach, firstPPP
	c.join(first)
	for i, last := 2, *first; i <= count; i++ {
		last.name, last.twin, last.reach, last.ppp = fmt.Sprint("peer", i), true, last.reach.Next(), last.ppp.Next()
		last.lac = last.name
		p := last
		c.join(&p)
	}
	ts.Check(do("ip", "route", "add", "10.79.0.0/16", "via", wire.String()))
	ts.Check(do(strings.Fields("ip -n peer-peer1 route add local 10.79.0.0/16 dev lo")...))
	ts.Check(first.start())
}
