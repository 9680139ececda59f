package helloguard

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"xl2tpd-keepalive/internal/helloguard/translator"
	"xl2tpd-keepalive/internal/l2tp"
)

const (
	tableName = "xl2tpd_keepalive"
	l2tpPort  = 1701 // RFC 2661 §8.1

	// The queue of packets that came through IPsec, or from xl2tpd, and the one of all
	// others: the IPsec policy, which drops what is forged, comes only behind the queue.
	plainQueue   = 1701
	securedQueue = 1702

	metaSecpath expr.MetaKey = 25 // NFT_META_SECPATH of linux/netfilter/nf_tables.h

	// late is the priority of our chains: behind every filter, so that what an
	// administrator drops is never judged.
	late = 200

	// maxElements is how many elements of the set go into one message: the length of
	// its list has 16 bits, and each takes 32 bytes.
	maxElements = 1000
	// batchSize is room for a batch with any number of tunnels, in bytes: one that is
	// larger than the socket's buffer is refused.
	batchSize = 8 << 20

	// The chains of what the hooks' own chains have found to be control messages.
	sent     = "sent"
	received = "received"

	// injectedMark is the mark of packets in xl2tpd's name. They are sent towards
	// lo, where they would vanish; our chain takes the mark away, and the kernel
	// then finds the way anew, with the ports and so with the IPsec policy. So it
	// does if somebody else has changed the mark before. A packet in the clear
	// can't come of it, table or no table.
	injectedMark = 0x4c325450
	// trialMark is the mark of packets that only show whether one on lo gets past the
	// host's own filters, as those to xl2tpd must.
	trialMark = injectedMark + 1
)

// flow is one direction of a tunnel's control channel, as its packets show it.
type flow struct {
	src, dst [4]byte
	ports    [4]byte // source and destination
	id       uint16
}

// flows are both directions of a tunnel.
func flows(t translator.Tunnel) [2]flow {
	ports := func(a, b uint16) (p [4]byte) {
		binary.BigEndian.PutUint16(p[:2], a)
		binary.BigEndian.PutUint16(p[2:], b)
		return p
	}
	local, peer := t.Local.Addr().As4(), t.Peer.Addr().As4()
	return [2]flow{
		{local, peer, ports(t.Local.Port(), t.Peer.Port()), t.PeerID},
		{peer, local, ports(t.Peer.Port(), t.Local.Port()), t.LocalID},
	}
}

// key is the flow as an element of the set: each part fills up a register.
func (f flow) key() []byte {
	k := slices.Concat(f.src[:], f.dst[:], f.ports[:2], []byte{0, 0}, f.ports[2:], []byte{0, 0})
	k = binary.BigEndian.AppendUint16(k, f.id)
	return append(k, 0, 0)
}

func elements(tunnels []translator.Tunnel, timeout time.Duration) []nftables.SetElement {
	var all []nftables.SetElement
	for _, t := range tunnels {
		for _, f := range flows(t) {
			all = append(all, nftables.SetElement{Key: f.key(), Timeout: timeout})
		}
	}
	return all
}

// rules are what is in the kernel.
type rules struct {
	table *nftables.Table
	owed  *nftables.Set // the flows that must not pass without us
	// want is how many rules each chain has.
	want map[string]int
}

func newRules() *rules {
	t := &nftables.Table{Family: nftables.TableFamilyIPv4, Name: tableName}
	return &rules{table: t, owed: &nftables.Set{
		Table: t, Name: "owed", Concatenation: true,
		HasTimeout: true, // of those that we leave behind
		// nft(8) has no type for a tunnel id; a service is a 16-bit number too.
		KeyType: nftables.MustConcatSetType(nftables.TypeIPAddr, nftables.TypeIPAddr,
			nftables.TypeInetService, nftables.TypeInetService, nftables.TypeInetService),
	}}
}

// install puts the table into the kernel, in place of an earlier one, at once. The tunnels
// that must not pass without us it has for that time; 0: until they are taken out.
func (r *rules) install(port uint16, owing []translator.Tunnel, timeout time.Duration) error {
	c, err := nftables.New(nftables.WithSockOptions(func(c *netlink.Conn) error { return c.SetWriteBuffer(batchSize) }))
	if err != nil {
		return fmt.Errorf("nf_tables: %w", err)
	}
	c.AddTable(r.table) // so that there is one to delete
	c.DelTable(r.table)
	c.AddTable(r.table)
	if err := c.AddSet(r.owed, nil); err != nil {
		return fmt.Errorf("nf_tables: set: %w", err)
	}
	for some := range slices.Chunk(elements(owing, timeout), maxElements) {
		if err := c.SetAddElements(r.owed, some); err != nil {
			return fmt.Errorf("nf_tables: set: %w", err)
		}
	}
	r.want = map[string]int{}
	chain := func(ch nftables.Chain, bodies ...[]expr.Any) {
		ch.Table = r.table
		c.AddChain(&ch)
		for _, b := range bodies {
			c.AddRule(&nftables.Rule{Table: r.table, Chain: &ch, Exprs: b})
		}
		r.want[ch.Name] = len(bodies)
	}
	priority := nftables.ChainPriority(late)
	base := func(name string, kind nftables.ChainType, hook *nftables.ChainHook, body []expr.Any) {
		chain(nftables.Chain{Name: name, Type: kind, Hooknum: hook, Priority: &priority}, body)
	}
	chain(nftables.Chain{Name: sent}, r.outgoing(port)...)
	chain(nftables.Chain{Name: received}, r.incoming(port)...)
	base("output", nftables.ChainTypeRoute, nftables.ChainHookOutput, control(sent))
	base("input", nftables.ChainTypeFilter, nftables.ChainHookInput, control(received))
	return flush(c)
}

// flush sends a batch. The kernel refuses each part of one on its own; the first
// word is enough.
func flush(c *nftables.Conn) error {
	err := c.Flush()
	var first unix.Errno
	if errors.As(err, &first) {
		err = first
	}
	if err != nil {
		err = fmt.Errorf("nf_tables: %w", err)
	}
	return err
}

// RemoveTable takes away what a guard that has ended may have left in the kernel.
// One that is at work puts it back.
func RemoveTable() error { return newRules().remove() }

// remove takes the table out of the kernel.
func (r *rules) remove() error {
	c, err := nftables.New()
	if err != nil {
		return err
	}
	c.AddTable(r.table)
	c.DelTable(r.table)
	return flush(c)
}

// intact tells whether the kernel still has all of it.
func (r *rules) intact() (bool, error) {
	c, err := nftables.New()
	if err != nil {
		return false, err
	}
	chains, err := c.ListChainsOfTableFamily(r.table.Family)
	if err != nil {
		return false, err
	}
	n := 0
	for _, ch := range chains {
		if ch.Table.Name != tableName {
			continue
		}
		rules, err := c.GetRules(r.table, ch)
		if err != nil || len(rules) != r.want[ch.Name] {
			return false, err
		}
		n++
	}
	return n == len(r.want), nil
}

// owe adds a tunnel to those that must not pass without us, or takes it out.
func (r *rules) owe(t translator.Tunnel, add bool) error {
	c, err := nftables.New()
	if err != nil {
		return err
	}
	change := c.SetDeleteElements
	if add {
		change = c.SetAddElements
	}
	if err := change(r.owed, elements([]translator.Tunnel{t}, 0)); err != nil {
		return err
	}
	return flush(c)
}

// outgoing and incoming are the rules for the control messages of a direction. Who
// floods the host with forged ones fills the queue of those that come in the clear,
// and no other.
func (r *rules) outgoing(port uint16) [][]expr.Any {
	return append([][]expr.Any{reroute(), request(), loopback(expr.MetaKeyOIF)}, r.queueing(port, securedQueue, nil)...)
}

func (r *rules) incoming(port uint16) [][]expr.Any {
	return slices.Concat([][]expr.Any{trial(), loopback(expr.MetaKeyIIF)},
		r.queueing(port, securedQueue, secured()), r.queueing(port, plainQueue, nil))
}

// reroute: meta oif lo meta mark injectedMark meta mark set 0
func reroute() []expr.Any {
	return append(marked(expr.MetaKeyOIF, injectedMark),
		&expr.Immediate{Register: 1, Data: binaryutil.NativeEndian.PutUint32(0)},
		&expr.Meta{Key: expr.MetaKeyMARK, Register: 1, SourceRegister: true},
	)
}

// trial: meta iif lo meta mark trialMark queue num securedQueue bypass. Who forges packets
// can't fill that queue.
func trial() []expr.Any {
	return append(marked(expr.MetaKeyIIF, trialMark),
		&expr.Queue{Num: securedQueue, Flag: expr.QueueFlagBypass},
	)
}

// request: meta oif lo @th,192,32 1 queue num securedQueue bypass. It has us see the SCCRQs
// for which there is no SA yet: the kernel drops them behind this hook, and until then their
// device is lo (net/ipv4/route.c, ipv4_blackhole_route).
func request() []expr.Any {
	return append(onLoopback(expr.MetaKeyOIF),
		payload(expr.PayloadBaseTransportHeader, 24, 4, 1), // the first AVP's type and value (RFC 2661 §4.4.1)
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{0, 0, 0, byte(l2tp.TypeSCCRQ)}},
		&expr.Queue{Num: securedQueue, Flag: expr.QueueFlagBypass},
	)
}

// loopback: meta iif lo return. What goes through lo is what we have sent
// ourselves, and to this hook it stays there on its new way too.
func loopback(device expr.MetaKey) []expr.Any {
	return append(onLoopback(device), &expr.Verdict{Kind: expr.VerdictReturn})
}

// marked matches what has a mark of ours, on lo.
func marked(device expr.MetaKey, mark uint32) []expr.Any {
	return append(onLoopback(device),
		&expr.Meta{Key: expr.MetaKeyMARK, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binaryutil.NativeEndian.PutUint32(mark)},
	)
}

func onLoopback(device expr.MetaKey) []expr.Any {
	const index = 1 // LOOPBACK_IFINDEX of net/flow.h
	return []expr.Any{
		&expr.Meta{Key: device, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binaryutil.NativeEndian.PutUint32(index)},
	}
}

// control sends control messages of L2TP version 2 to another chain: UDP
// datagrams that begin with T bit and version (RFC 2661 §3.1). Every packet of the
// host comes by here, and the first three expressions, for which nf_tables has
// short cuts, are all that a data packet costs.
func control(to string) []expr.Any {
	return []expr.Any{
		payload(expr.PayloadBaseTransportHeader, 8, 4, 1),
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: []byte{0x80, 0x0f, 0, 0}, Xor: []byte{0, 0, 0, 0}},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{0x80, 0x02, 0, 0}},
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.IPPROTO_UDP}},
		&expr.Verdict{Kind: expr.VerdictJump, Chain: to},
	}
}

// queueing returns the rules that queue control messages of one direction, or
// what of it matches which.
func (r *rules) queueing(port, queue uint16, which []expr.Any) [][]expr.Any {
	match := func(more ...expr.Any) []expr.Any { return slices.Concat(which, more) }
	const header = expr.PayloadBaseTransportHeader
	owed := match(
		payload(expr.PayloadBaseNetworkHeader, 12, 4, unix.NFT_REG32_00),
		payload(expr.PayloadBaseNetworkHeader, 16, 4, unix.NFT_REG32_01),
		payload(header, 0, 2, unix.NFT_REG32_02),
		payload(header, 2, 2, unix.NFT_REG32_03),
		payload(header, 12, 2, unix.NFT_REG32_04), // the tunnel id
		&expr.Lookup{SourceRegister: unix.NFT_REG32_00, SetName: r.owed.Name, SetID: r.owed.ID},
		&expr.Queue{Num: queue},
	)
	all := [][]expr.Any{owed}
	ports := []uint16{l2tpPort}
	if port != 0 && port != l2tpPort {
		ports = append(ports, port)
	}
	for _, p := range ports {
		for _, offset := range []uint32{0, 2} { // source, destination
			all = append(all, match(
				payload(header, offset, 2, 1),
				&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binaryutil.BigEndian.PutUint16(p)},
				&expr.Queue{Num: queue, Flag: expr.QueueFlagBypass},
			))
		}
	}
	return all
}

// secured matches what has come through IPsec.
func secured() []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: metaSecpath, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{1}},
	}
}

func payload(base expr.PayloadBase, offset, length, register uint32) *expr.Payload {
	return &expr.Payload{DestRegister: register, Base: base, Offset: offset, Len: length}
}
