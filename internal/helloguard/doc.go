// Package helloguard is the kernel side of the Hello guard: an nftables table of its
// own hands L2TP control packets to an NFQUEUE, those that programs of root send and
// those of the peers that the guard listens to. Package translator judges them. What is
// sent to a peer in xl2tpd's name leaves a UDP socket as xl2tpd's own packets do, so that
// routes, IPsec policies and filters are the same. What is sent to xl2tpd in a peer's
// name goes through lo; before the guard relies on that, it checks that no filter of the
// host is in the way. Data packets never enter the queue.
//
// While nobody listens on the queue, packets pass it: a dead guard changes
// nothing. Only the packets of tunnels whose two ends have been told different
// numbers are dropped then, and sent again by both ends until the guard is back.
// The table therefore outlives the guard; only an orderly end with no such tunnel
// takes it away.
//
// A control connection belongs to the process that has opened it (see owner.go). Those of
// other programs pass. If nobody can tell which xl2tpd has opened one, its Hellos may be
// held, but it is not closed, asked or answered for. All tables are bounded (channels.go):
// peers anywhere can make xl2tpd send.
package helloguard
