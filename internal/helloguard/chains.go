package helloguard

import (
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"xl2tpd-keepalive/internal/l2tp"
)

// outgoing are the rules for control messages that a program of root sends: an xl2tpd on its
// port, or any on port 1701.
func (r *rules) outgoing(ports []uint16) [][]expr.Any {
	all := slices.Concat(r.noteSender(), [][]expr.Any{
		withoutSA(l2tp.TypeSCCRQ), withoutSA(l2tp.TypeStopCCN), loopback(expr.MetaKeyOIF), r.queued(r.failClosed, nil, securedQueue, 0),
	})
	return append(all, ofPorts(ports, &expr.Queue{Num: securedQueue, Flag: expr.QueueFlagBypass})...)
}

// ofPorts are rules for what comes from a port, or goes to it: th sport PORT, and the same for the destination.
func ofPorts(ports []uint16, then ...expr.Any) (all [][]expr.Any) {
	for _, p := range ports {
		for _, offset := range []uint32{0, 2} {
			all = append(all, append([]expr.Any{
				payload(header, offset, 2, 1),
				&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binaryutil.BigEndian.PutUint16(p)},
			}, then...))
		}
	}
	return all
}

// incoming are the rules for control messages of the peers that the guard listens to. Others,
// such as those of a scanner, never come to it. What is forged in a peer's name fills the queue
// of those that come in the clear, and no other. At the ports of xl2tpds alone a flood does not get through.
func (r *rules) incoming(ofXl2tpds []uint16) [][]expr.Any {
	all := [][]expr.Any{r.checked(), loopback(expr.MetaKeyIIF)}
	for _, q := range []struct {
		num   uint16
		which []expr.Any
	}{{securedQueue, secured()}, {plainQueue, nil}} {
		all = append(all,
			r.queued(r.failClosed, q.which, q.num, 0),
			r.queued(r.connections, q.which, q.num, expr.QueueFlagBypass),
			r.queued(r.peers, q.which, q.num, expr.QueueFlagBypass, r.paced()...))
	}
	return append(all, r.unknown(ofXl2tpds)...)
}

// checked: meta iif lo @th,80,80 CHECK queue num securedQueue. Without bypass: if nobody
// listens, xl2tpd must not see the packet either.
func (r *rules) checked() []expr.Any {
	return append(onLoopback(expr.MetaKeyIIF),
		payload(header, udpHeaderLen+2, checkLen, 1),
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: r.check[:]},
		&expr.Queue{Num: securedQueue},
	)
}

// withoutSA: meta oif lo @th,192,32 TYPE queue num securedQueue bypass. It queues messages of a type for which there is no
// SA: the kernel drops them after this hook, and until then their device is lo (net/ipv4/route.c, ipv4_blackhole_route). So
// the guard sees that xl2tpd dials, or has hung up.
func withoutSA(t l2tp.MessageType) []expr.Any {
	return append(onLoopback(expr.MetaKeyOIF),
		payload(header, messageType, 4, 1),
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{0, 0, 0, byte(t)}},
		&expr.Queue{Num: securedQueue, Flag: expr.QueueFlagBypass},
	)
}

// loopback: meta iif lo return. What goes through lo is what the guard has sent itself.
func loopback(device expr.MetaKey) []expr.Any {
	return append(onLoopback(device), &expr.Verdict{Kind: expr.VerdictReturn})
}

func onLoopback(device expr.MetaKey) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: device, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binaryutil.NativeEndian.PutUint32(loIndex)},
	}
}

// control sends control messages of L2TP version 2, or which of them match more, to another
// chain.
func control(to string, more ...expr.Any) []expr.Any { return messages(0x80, to, more...) }

// messages sends UDP datagrams to another chain that begin with this T bit and version 2
// (RFC 2661 §3.1): @th,64,32 | 0x7ff0ffff == 0xfff2ffff. nft 1.1.3 can't list a mask with a gap (&) so that it can read it
// again. Every packet of the host comes by here. Any other packet costs the first three expressions, for which nf_tables
// has short cuts.
func messages(t byte, to string, more ...expr.Any) []expr.Any {
	return slices.Concat([]expr.Any{
		payload(header, udpHeaderLen, 4, 1),
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: []byte{0x80, 0x0f, 0, 0}, Xor: []byte{0x7f, 0xf0, 0xff, 0xff}},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{t | 0x7f, 0xf2, 0xff, 0xff}},
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.IPPROTO_UDP}},
	}, more, []expr.Any{&expr.Verdict{Kind: expr.VerdictJump, Chain: to}})
}

// ofRoot: meta skuid 0. xl2tpd runs as root. What other users send on its port, they forge.
func ofRoot() []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeySKUID, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binaryutil.NativeEndian.PutUint32(0)},
	}
}

// queued is the rule that queues which packets of the flows in a set, if they match more.
func (r *rules) queued(s *nftables.Set, which []expr.Any, queue uint16, flag expr.QueueFlag, more ...expr.Any) []expr.Any {
	return slices.Concat(which, r.lookup(s), more, []expr.Any{&expr.Queue{Num: queue, Flag: flag}})
}

// lookup matches the flows in a set.
func (r *rules) lookup(s *nftables.Set) []expr.Any {
	parts := pathKey()
	if s != r.peers {
		parts = append(parts, payload(header, udpHeaderLen+4, 2, unix.NFT_REG32_03)) // the tunnel id
	}
	return append(parts, &expr.Lookup{SourceRegister: unix.NFT_REG32_00, SetName: s.Name, SetID: s.ID})
}

// pathKey loads addresses and ports.
func pathKey() []expr.Any {
	return []expr.Any{
		payload(expr.PayloadBaseNetworkHeader, 12, 4, unix.NFT_REG32_00),
		payload(expr.PayloadBaseNetworkHeader, 16, 4, unix.NFT_REG32_01),
		payload(header, 0, 4, unix.NFT_REG32_02),
	}
}

// secured matches what has come through IPsec.
func secured() []expr.Any { return throughIPsec(1) }

// unsecured matches what has come in the clear.
func unsecured() []expr.Any { return throughIPsec(0) }

func throughIPsec(is byte) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: metaSecpath, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{is}},
	}
}

func payload(base expr.PayloadBase, offset, length, register uint32) *expr.Payload {
	return &expr.Payload{DestRegister: register, Base: base, Offset: offset, Len: length}
}
