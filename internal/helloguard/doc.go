// Package helloguard is the kernel side of the Hello guard: an nftables table of its
// own hands the L2TP control packets of the host to an NFQUEUE, package translator
// judges them, and raw sockets send what is to be said in an end's name. Data
// packets never enter the queue.
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
