// Package helloguard is the kernel side of the Hello guard. An nftables table of its own
// hands L2TP control packets to an NFQUEUE: those that root's programs send, and those of
// the peers that the guard listens to. Package translator decides about them. Data packets
// never enter the queue.
//
// A tunnel lives if its certain links do, or if its own packets come in: the peer's control
// messages, or data. Where its links are not certain, the kernel notes when data came in
// (datarules.go). It measures that time by a clock that rests while the host is suspended, as
// this process does.
//
// A tunnel that is older than the guard is known from the kernel's table of sessions. In
// userspace mode there is none: its two ids have to be paired (unpaired.go).
//
// The guard speaks to a peer from a UDP socket, as xl2tpd does, so that the same routes,
// IPsec policies and filters apply. It speaks to xl2tpd through lo, and checks before each
// Hello that no filter of the host is in the way.
//
// The handler decides about a packet with the help of its parts. Each of them answers one question:
//
//   - owners: which xl2tpd sends (senders.go)
//   - evidence: whether the tunnel lives
//   - opener: which channel the packet belongs to
//   - unpairedTable: which two ids belong together
//   - closer: why tunnels end
//
// flightRecorder keeps what was seen, and executor does what was decided.
//
// While nobody listens on the queue, packets pass it: a guard that has ended changes nothing. The
// exception are tunnels whose two ends count differently. Their packets are dropped, and
// both ends send them again until the guard is back. The table therefore outlives the
// guard. Only an orderly end without such a tunnel removes the table.
//
// A control connection belongs to the process that has opened it (see owner.go); all xl2tpds
// are equal. Where several have one port, the kernel says from which cgroup's socket a message
// comes (senderrules.go; Linux 5.13 and later). Connections of other programs pass. If nobody
// knows which xl2tpd has opened a connection, the guard may hold its Hellos. The guard does not
// close such a connection, and asks or answers nothing in its name. All tables are bounded
// (channels.go): peers anywhere can make xl2tpd send.
package helloguard
