package helloguard

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"xl2tpd-keepalive/internal/l2tp"
)

// kernel is a packet as a rule sees it: what nf_tables does with the
// expressions that the guard uses.
type kernel struct {
	device string
	ip     []byte
	ipsec  bool
	uid    uint32
	sets   map[string][][]byte

	regs  [64]byte // NFT_REG32_00 is at 0
	queue *expr.Queue
	jump  string
	drop  bool
	done  bool // with the chain

	updated map[string][]byte // elements that were put into sets
}

// follow takes the packet through the guard's chains of one direction.
func (k *kernel) follow(t *testing.T, to string, chain [][]expr.Any) {
	var more []expr.Any
	if to == sent {
		more = ofRoot()
	}
	if !k.run(t, control(to, more...)) || k.jump != to {
		return
	}
	for _, rule := range chain {
		if k.run(t, rule); k.done {
			return
		}
	}
}

// at is where a register begins; NFT_REG_1 is NFT_REG32_00.
func at(register uint32) int {
	if register < unix.NFT_REG32_00 {
		return int(register-1) * 16
	}
	return int(register-unix.NFT_REG32_00) * 4
}

func (k *kernel) load(register uint32, b []byte) {
	r := k.regs[at(register):]
	clear(r[:(len(b)+3)/4*4])
	copy(r, b)
}

// run returns whether the rule was followed to its end.
func (k *kernel) run(t *testing.T, rule []expr.Any) bool {
	for _, e := range rule {
		switch e := e.(type) {
		case *expr.Meta:
			switch e.Key {
			case expr.MetaKeySKUID:
				k.load(e.Register, binary.NativeEndian.AppendUint32(nil, k.uid))
			case metaSecpath:
				k.load(e.Register, []byte{map[bool]byte{true: 1}[k.ipsec]})
			case expr.MetaKeyL4PROTO:
				k.load(e.Register, k.ip[9:10])
			default:
				k.load(e.Register, binary.NativeEndian.AppendUint32(nil, map[string]uint32{"lo": 1, "eth0": 2}[k.device]))
			}
		case *expr.Payload:
			b := k.ip
			if e.Base == expr.PayloadBaseTransportHeader {
				b = b[int(b[0]&15)*4:]
			}
			if int(e.Offset+e.Len) > len(b) {
				return false
			}
			k.load(e.DestRegister, b[e.Offset:e.Offset+e.Len])
		case *expr.Bitwise:
			for i := range e.Mask {
				k.regs[at(e.DestRegister)+i] = k.regs[at(e.SourceRegister)+i]&e.Mask[i] ^ e.Xor[i]
			}
		case *expr.Cmp:
			got := k.regs[at(e.Register):][:len(e.Data)]
			if bytes.Equal(got, e.Data) != (e.Op == expr.CmpOpEq) {
				return false
			}
		case *expr.Lookup:
			key := k.regs[at(e.SourceRegister):]
			if slices.ContainsFunc(k.sets[e.SetName], func(o []byte) bool { return bytes.HasPrefix(key, o) }) == e.Invert {
				return false
			}
		case *expr.Dynset:
			k.update(e)
		case *expr.Counter:
		case *expr.Queue:
			k.queue, k.done = e, true
		case *expr.Verdict:
			k.jump, k.drop = e.Chain, e.Kind == expr.VerdictDrop
			k.done = e.Kind != expr.VerdictJump
		default:
			t.Fatalf("a rule has %T, which the test does not know", e)
		}
	}
	return true
}

// holding returns a kernel whose sets hold these tunnels.
func holding(c contents) *kernel {
	k := &kernel{device: "eth0", sets: map[string][][]byte{}}
	put := func(name string, elements []nftables.SetElement) {
		for _, e := range elements {
			k.sets[name] = append(k.sets[name], e.Key)
		}
	}
	put("failclosed", bothFlows(c.failClosed, 0))
	connections, peers := listened(c.listen)
	put("connections", connections)
	put("peers", peers)
	put("datapeers", inwardPaths(c.data))
	return k
}

// outcome says in a word what has become of the packet.
func (k *kernel) outcome() string {
	switch {
	case k.drop:
		return "drop"
	case k.queue == nil:
		return "pass"
	case k.queue.Flag&expr.QueueFlagBypass != 0:
		return "queue, bypass"
	}
	return "queue"
}

func to(id uint16) l2tp.Message { return l2tp.Message{Tunnel: id} }

func addr(a string, port uint16) netip.AddrPort {
	return netip.AddrPortFrom(netip.MustParseAddr(a), port)
}

var failClosed = l2tp.Connection{Local: here, Peer: there, LocalID: 7, PeerID: 9}

// What of xl2tpd's packets is queued, and what of it passes when nobody listens.
func TestOutgoing(t *testing.T) {
	request := l2tp.Message{Type: l2tp.TypeSCCRQ}
	data := l2tp.AppendPacket(nil, here, there, to(9))
	data[28] &^= 0x80
	v3 := l2tp.AppendPacket(nil, here, there, to(9))
	v3[29]++
	tcp := l2tp.AppendPacket(nil, here, there, to(9))
	tcp[9] = unix.IPPROTO_TCP
	options := slices.Insert(l2tp.AppendPacket(nil, here, there, to(9)), 20, 1, 1, 1, 1)
	options[0]++
	for name, c := range map[string]struct {
		device string
		uid    uint32
		ip     []byte
		want   string
	}{
		"of a fail-closed tunnel":       {"eth0", 0, l2tp.AppendPacket(nil, here, there, to(9)), "queue"},
		"IP options":                    {"eth0", 0, options, "queue"},
		"another tunnel":                {"eth0", 0, l2tp.AppendPacket(nil, here, there, to(7)), "queue, bypass"},
		"another peer":                  {"eth0", 0, l2tp.AppendPacket(nil, here, addr("192.0.2.2", 1701), to(9)), "queue, bypass"},
		"from an ephemeral port":        {"eth0", 0, l2tp.AppendPacket(nil, addr("192.0.2.100", 40000), there, to(9)), "queue, bypass"},
		"from the configured port":      {"eth0", 0, l2tp.AppendPacket(nil, addr("192.0.2.100", 1801), addr("192.0.2.1", 5), to(9)), "queue, bypass"},
		"other ports":                   {"eth0", 0, l2tp.AppendPacket(nil, addr("192.0.2.100", 40000), addr("192.0.2.1", 53), to(9)), "pass"},
		"of another user":               {"eth0", 65534, l2tp.AppendPacket(nil, here, there, to(7)), "pass"},
		"forged by another user":        {"eth0", 1000, l2tp.AppendPacket(nil, here, there, to(9)), "pass"},
		"a request":                     {"eth0", 0, l2tp.AppendPacket(nil, here, there, request), "queue, bypass"},
		"a request without an SA":       {"lo", 0, l2tp.AppendPacket(nil, here, there, request), "queue, bypass"},
		"another user's, without an SA": {"lo", 1000, l2tp.AppendPacket(nil, here, there, request), "pass"},
		"a reply without an SA":         {"lo", 0, l2tp.AppendPacket(nil, here, there, l2tp.Message{Type: l2tp.TypeSCCRP}), "pass"},
		"data":                          {"eth0", 0, data, "pass"},
		"L2TPv3":                        {"eth0", 0, v3, "pass"},
		"not UDP":                       {"eth0", 0, tcp, "pass"},
		"shorter than its version":      {"eth0", 0, l2tp.AppendPacket(nil, here, there, to(9))[:29], "pass"},
		"to xl2tpd":                     {"lo", 0, l2tp.AppendPacket(nil, there, here, to(7)), "pass"},
	} {
		k := holding(contents{failClosed: []l2tp.Connection{failClosed}})
		k.device, k.uid, k.ip = c.device, c.uid, c.ip
		k.follow(t, sent, newRules().outgoing([]uint16{1701, 1801}))
		if got := k.outcome(); got != c.want || k.queue != nil && k.queue.Num != securedQueue {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

// What of the peers' packets is queued: those of named connections, and no others. What has come
// through IPsec has a queue of its own.
func TestIncoming(t *testing.T) {
	r := newRules()
	in := func(peer netip.AddrPort, id uint16) []byte { return l2tp.AppendPacket(nil, peer, here, to(id)) }
	other := addr("192.0.2.7", 1701)
	for name, c := range map[string]struct {
		device string
		ip     []byte
		want   string
	}{
		"of a fail-closed tunnel":          {"eth0", in(there, 7), "queue"},
		"of a connection":                  {"eth0", in(there, 8), "queue, bypass"},
		"to an id that nobody has":         {"eth0", in(there, 6), "pass"},
		"from another port":                {"eth0", in(netip.AddrPortFrom(there.Addr(), 1702), 8), "pass"},
		"from another address":             {"eth0", in(addr("192.0.2.8", 1701), 8), "pass"},
		"to another address":               {"eth0", l2tp.AppendPacket(nil, there, addr("192.0.2.101", 1701), to(8)), "pass"},
		"of a peer whose ids are unknown":  {"eth0", in(other, 1234), "queue, bypass"},
		"the same, from another port":      {"eth0", in(netip.AddrPortFrom(other.Addr(), 1702), 1234), "pass"},
		"what the guard sends":             {"lo", in(there, 7), "pass"},
		"a loopback check":                 {"lo", checkPacket(path{here, there}, r.check), "queue"},
		"a loopback check from outside":    {"eth0", checkPacket(path{here, there}, r.check), "pass"},
		"a loopback check of another time": {"lo", checkPacket(path{here, there}, newCheck()), "pass"},
		"a ZLB to a check's tunnel":        {"lo", in(there, checkTunnel), "pass"},
	} {
		for ipsec, queue := range map[bool]uint16{false: plainQueue, true: securedQueue} {
			k := holding(contents{
				failClosed: []l2tp.Connection{failClosed},
				listen:     []l2tp.Connection{failClosed, {Local: here, Peer: there, LocalID: 8}, {Local: here, Peer: other}},
			})
			if c.device == "lo" {
				queue = securedQueue
			}
			k.device, k.ip, k.ipsec = c.device, c.ip, ipsec
			k.follow(t, received, r.incoming([]uint16{l2tpPort}))
			if got := k.outcome(); got != c.want || k.queue != nil && k.queue.Num != queue {
				t.Errorf("%s, IPsec %v: %s, want %s", name, ipsec, got, c.want)
			}
		}
	}
}

func TestExplain(t *testing.T) {
	for _, c := range []struct {
		err  error
		want string
	}{
		{unix.EPERM, "CAP_NET_ADMIN"}, {unix.EBUSY, "another program"}, {unix.EOPNOTSUPP, "nft_queue"}, {io.EOF, "EOF"},
	} {
		if got := withRemedy(fmt.Errorf("x: %w", c.err)); !strings.Contains(got.Error(), c.want) || !errors.Is(got, c.err) {
			t.Errorf("got %v, want %q in it", got, c.want)
		}
	}
}

// Every key is its flow's alone.
func TestKeys(t *testing.T) {
	seen := map[string]flow{}
	for range 1000 {
		tunnel := l2tp.Connection{LocalID: uint16(rand.Uint32()), PeerID: uint16(rand.Uint32())}
		for _, a := range []*netip.AddrPort{&tunnel.Local, &tunnel.Peer} {
			b := binary.BigEndian.AppendUint32(nil, rand.Uint32())
			*a = netip.AddrPortFrom(netip.AddrFrom4([4]byte(b)), uint16(rand.Uint32()))
		}
		for _, f := range flows(tunnel) {
			k := string(f.key())
			if other, ok := seen[k]; ok && other != f || len(k) != 16 {
				t.Fatalf("%v and %v share %x", f, other, k)
			}
			seen[k] = f
		}
	}
}

// A flood in the clear in the name of a caller leaves the rate alone of what that caller sends through IPsec.
func TestSecuredCallersHaveNoRate(t *testing.T) {
	r := newRules()
	r.paces = true
	for ipsec, want := range map[bool]int{false: 1, true: 0} {
		k := &kernel{device: "eth0", ipsec: ipsec, updated: map[string][]byte{}}
		k.ip = l2tp.AppendPacket(nil, there, here, l2tp.Message{Type: l2tp.TypeSCCRQ})
		k.follow(t, received, r.unknown([]uint16{l2tpPort}))
		if got := len(k.updated); got != want {
			t.Errorf("IPsec %v: %d rates are noted, want %d", ipsec, got, want)
		}
	}
}

// Peers that come when as many others have just been forgotten, whose rates stay a while, get a rate too.
func TestRatesOfPeersBefore(t *testing.T) {
	if r := newRules(); r.rates.Size < 2*r.peers.Size || r.rates.Timeout > r.peers.Timeout {
		t.Errorf("%d rates for %v, %d peers for %v", r.rates.Size, r.rates.Timeout, r.peers.Size, r.peers.Timeout)
	}
}

// What the kernel has no use for does not stay in the table either: nft(8) lists no table at all if it does not know the
// type of a set, as that of Debian 11 does not know cgroups.
func TestSetsOfOldKernels(t *testing.T) {
	sets := func(r *rules) string {
		var sent []byte
		c, err := nftables.New(nftables.WithTestDial(func(messages []netlink.Message) ([]netlink.Message, error) {
			for _, m := range messages {
				sent = append(sent, m.Data...)
			}
			return messages, nil
		}))
		if err != nil {
			t.Fatal(err)
		}
		if err := r.addTable(c, contents{}, 0, r.outgoing(nil), r.incoming(nil)); err != nil {
			t.Fatal(err)
		}
		c.Flush()
		return string(sent)
	}
	for _, can := range []bool{false, true} {
		r := newRules()
		r.notesSenders, r.paces = can, can
		all := sets(r)
		for _, name := range []string{"senders\x00", "rates\x00"} {
			if got := strings.Contains(all, name); got != can {
				t.Errorf("a kernel that can: %v, set %q: %v", can, name, got)
			}
		}
		if !strings.Contains(all, "failclosed\x00") {
			t.Error("the rules have no set failclosed")
		}
	}
}
