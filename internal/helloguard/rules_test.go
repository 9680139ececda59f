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

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"xl2tpd-keepalive/internal/helloguard/translator"
	"xl2tpd-keepalive/internal/l2tp"
)

// kernel is a packet in the hands of a rule: what nf_tables does with the
// expressions that we use.
type kernel struct {
	device string
	ip     []byte
	mark   uint32
	ipsec  bool
	owed   [][]byte

	regs  [64]byte // NFT_REG32_00 is at 0
	queue *expr.Queue
	jump  string
	done  bool // with the chain
}

// follow takes the packet through our chains of one direction.
func (k *kernel) follow(t *testing.T, to string, chain [][]expr.Any) {
	if !k.run(t, control(to)) || k.jump != to {
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
			switch {
			case e.SourceRegister:
				k.mark = binary.NativeEndian.Uint32(k.regs[at(e.Register):])
			case e.Key == expr.MetaKeyMARK:
				k.load(e.Register, binary.NativeEndian.AppendUint32(nil, k.mark))
			case e.Key == metaSecpath:
				k.load(e.Register, []byte{map[bool]byte{true: 1}[k.ipsec]})
			case e.Key == expr.MetaKeyL4PROTO:
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
				k.regs[at(e.DestRegister)+i] = k.regs[at(e.SourceRegister)+i] & e.Mask[i]
			}
		case *expr.Cmp:
			got := k.regs[at(e.Register):][:len(e.Data)]
			if bytes.Equal(got, e.Data) != (e.Op == expr.CmpOpEq) {
				return false
			}
		case *expr.Lookup:
			key := k.regs[at(e.SourceRegister):][:20]
			if !slices.ContainsFunc(k.owed, func(o []byte) bool { return bytes.Equal(o, key) }) {
				return false
			}
		case *expr.Immediate:
			k.load(e.Register, e.Data)
		case *expr.Queue:
			k.queue, k.done = e, true
		case *expr.Verdict:
			k.jump, k.done = e.Chain, e.Kind == expr.VerdictReturn
		default:
			t.Fatalf("%T", e)
		}
	}
	return true
}

// What is queued, and what of it passes when nobody listens.
func TestQueueing(t *testing.T) {
	owing := translator.Tunnel{Local: here, Peer: there, LocalID: 7, PeerID: 9}
	r := newRules()
	at := func(addr string, port uint16) netip.AddrPort {
		return netip.AddrPortFrom(netip.MustParseAddr(addr), port)
	}
	hi := l2tp.Message{Type: l2tp.TypeHello, Tunnel: 9}
	to := func(id uint16) l2tp.Message { return l2tp.Message{Tunnel: id} }
	data := l2tp.AppendPacket(nil, here, there, hi)
	data[28] &^= 0x80
	v3 := l2tp.AppendPacket(nil, here, there, hi)
	v3[29]++
	tcp := l2tp.AppendPacket(nil, here, there, hi)
	tcp[9] = unix.IPPROTO_TCP
	options := l2tp.AppendPacket(nil, here, there, hi)
	options = slices.Insert(options, 20, 1, 1, 1, 1)
	options[0]++
	for name, c := range map[string]struct {
		device string
		ip     []byte
		want   string
	}{
		"ours":               {"eth0", l2tp.AppendPacket(nil, here, there, to(9)), "queue"},
		"ours, inwards":      {"eth0", l2tp.AppendPacket(nil, there, here, to(7)), "queue"},
		"options":            {"eth0", options, "queue"},
		"another tunnel":     {"eth0", l2tp.AppendPacket(nil, here, there, to(7)), "bypass"},
		"another host":       {"eth0", l2tp.AppendPacket(nil, here, at("192.0.2.2", 1701), to(9)), "bypass"},
		"ephemeral port":     {"eth0", l2tp.AppendPacket(nil, at("192.0.2.100", 40000), there, to(9)), "bypass"},
		"its answer":         {"eth0", l2tp.AppendPacket(nil, there, at("192.0.2.100", 40000), to(9)), "bypass"},
		"configured port":    {"eth0", l2tp.AppendPacket(nil, at("192.0.2.100", 1801), at("192.0.2.1", 5), to(9)), "bypass"},
		"other ports":        {"eth0", l2tp.AppendPacket(nil, at("192.0.2.100", 40000), at("192.0.2.1", 53), to(9)), ""},
		"data":               {"eth0", data, ""},
		"L2TPv3":             {"eth0", v3, ""},
		"not UDP":            {"eth0", tcp, ""},
		"what we have sent":  {"lo", l2tp.AppendPacket(nil, there, here, to(7)), ""},
		"shorter than a tag": {"eth0", l2tp.AppendPacket(nil, here, there, hi)[:29], ""},
	} {
		k := &kernel{device: c.device, ip: c.ip}
		for _, e := range elements([]translator.Tunnel{owing}, 0) {
			k.owed = append(k.owed, e.Key)
		}
		k.follow(t, sent, r.outgoing(1801))
		got := ""
		switch {
		case k.queue == nil:
		case k.queue.Flag&expr.QueueFlagBypass != 0:
			got = "bypass"
		default:
			got = "queue"
		}
		if got != c.want || k.queue != nil && k.queue.Num != securedQueue {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

// What has come through IPsec has a queue of its own; what has come through lo
// has none.
func TestIncoming(t *testing.T) {
	for _, c := range []struct {
		device string
		ipsec  bool
		want   uint16
	}{{"eth0", true, securedQueue}, {"eth0", false, plainQueue}, {"lo", false, 0}} {
		k := &kernel{device: c.device, ipsec: c.ipsec, ip: zlb(true, 7)}
		k.follow(t, received, newRules().incoming(0))
		if k.queue == nil && c.want != 0 || k.queue != nil && k.queue.Num != c.want {
			t.Errorf("%+v: %v", c, k.queue)
		}
	}
}

// What is tried on lo comes to us, and so does a request for which there is no SA yet.
func TestOnLo(t *testing.T) {
	request := l2tp.AppendPacket(nil, here, there, l2tp.Message{Type: l2tp.TypeSCCRQ})
	reply := l2tp.AppendPacket(nil, here, there, l2tp.Message{Type: l2tp.TypeSCCRP})
	for name, c := range map[string]struct {
		k     kernel
		to    string
		rules [][]expr.Any
		want  bool
	}{
		"a trial":                 {kernel{device: "lo", mark: trialMark, ip: zlb(true, 0)}, received, newRules().incoming(0), true},
		"a trial's mark":          {kernel{device: "eth0", mark: trialMark, ip: zlb(true, 0)}, received, newRules().incoming(1801), false},
		"one to xl2tpd":           {kernel{device: "lo", ip: zlb(true, 0)}, received, newRules().incoming(0), false},
		"a request, on its way":   {kernel{device: "lo", ip: request}, sent, newRules().outgoing(0), true},
		"a request that comes in": {kernel{device: "lo", ip: request}, received, newRules().incoming(0), false},
		"a reply":                 {kernel{device: "lo", ip: reply}, sent, newRules().outgoing(0), false},
		"too short":               {kernel{device: "lo", ip: zlb(false, 0)}, sent, newRules().outgoing(0), false},
	} {
		c.k.follow(t, c.to, c.rules)
		queued := c.k.queue != nil && c.k.device == "lo"
		if queued != c.want || queued && (c.k.queue.Num != securedQueue || c.k.queue.Flag != expr.QueueFlagBypass) {
			t.Errorf("%s: %+v", name, c.k.queue)
		}
	}
}

// The mark that makes the kernel look for the way anew is taken from our packets
// alone.
func TestReroute(t *testing.T) {
	for _, c := range []struct {
		device     string
		mark, want uint32
	}{{"lo", injectedMark, 0}, {"eth0", injectedMark, injectedMark}, {"lo", 5, 5}} {
		k := &kernel{device: c.device, mark: c.mark, ip: zlb(false, 9)}
		k.follow(t, sent, newRules().outgoing(0))
		if k.mark != c.want || (k.queue == nil) != (c.device == "lo") {
			t.Errorf("%+v: mark %d, %v", c, k.mark, k.queue)
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
		if got := explain(fmt.Errorf("x: %w", c.err)); !strings.Contains(got.Error(), c.want) || !errors.Is(got, c.err) {
			t.Errorf("%v", got)
		}
	}
}

// Every key is its flow's alone.
func TestKeys(t *testing.T) {
	seen := map[string]flow{}
	for range 1000 {
		tunnel := translator.Tunnel{LocalID: uint16(rand.Uint32()), PeerID: uint16(rand.Uint32())}
		for _, a := range []*netip.AddrPort{&tunnel.Local, &tunnel.Peer} {
			b := binary.BigEndian.AppendUint32(nil, rand.Uint32())
			*a = netip.AddrPortFrom(netip.AddrFrom4([4]byte(b)), uint16(rand.Uint32()))
		}
		for _, f := range flows(tunnel) {
			k := string(f.key())
			if other, ok := seen[k]; ok && other != f || len(k) != 20 {
				t.Fatalf("%v and %v share %x", f, other, k)
			}
			seen[k] = f
		}
	}
}
