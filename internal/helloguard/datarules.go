package helloguard

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Data packets never enter a queue. For a tunnel whose links are not certain the kernel notes
// when they come in: each packet renews the time of its tunnel's element in a set.

const (
	// maxClear is how many tunnels the set of packets in the clear holds: anybody can forge those.
	// Packets that came through IPsec have a set of their own, without a size. The kernel gives a set a
	// hash table of its full size, and walks through the table every second (net/netfilter/nft_set_hash.c,
	// nft_rhash_gc).
	maxClear = maxChannels

	// The hook's chain, which is not there before data are to be noted, and the chain that notes.
	dataHook = "data"
	noting   = "noting"

	opUpdate = 1 // NFT_DYNSET_OP_UPDATE of linux/netfilter/nf_tables.h
)

// inwardPath is the element of a path's packets that come in.
func inwardPath(at path) nftables.SetElement {
	return nftables.SetElement{Key: newFlow(at.peer, at.local, 0).address()}
}

func inwardPaths(all []path) (elements []nftables.SetElement) {
	for _, at := range all {
		elements = append(elements, inwardPath(at))
	}
	return elements
}

// setData says whether data are noted that come in on a path. The hook's chain and the sets come with
// the first such path, and stay until the table goes: with a chain the kernel drops every packet that
// waits in a queue (net/netfilter/core.c, nf_unregister_net_hook).
func (r *rules) setData(at path, on bool) error {
	if err := r.change(r.dataPeers, []nftables.SetElement{inwardPath(at)}, on); err != nil {
		return err
	}
	if r.noted[at] = on; !on {
		delete(r.noted, at)
	}
	if _, has := r.want[dataHook]; has || !on {
		return nil
	}
	return r.kernel.change(r.addDataHook)
}

// addDataHook adds the sets, the chain that notes, and the hook's chain after that of control
// messages. For a packet in a queue the kernel keeps only the place of its chain in the list. Another
// chain before it would move that place, and the packet would go through its chain again
// (net/netfilter/nf_queue.c, nf_reinject).
func (r *rules) addDataHook(c *nftables.Conn) error {
	for _, s := range []*nftables.Set{r.clear, r.secured} {
		if err := addSet(c, s, nil); err != nil {
			return fmt.Errorf("nf_tables: set: %w", err)
		}
	}
	r.addChain(c, nftables.Chain{Name: noting}, r.noteData()...)
	r.addBase(c, dataHook, nftables.ChainHookInput, lastPriority+1, data(noting))
	return nil
}

// data sends data messages of L2TP version 2 to another chain (RFC 2661 §3.1).
func data(to string) []expr.Any { return messages(0, to) }

// noteData are the rules for data messages: ip saddr . ip daddr . both ports
// @datapeers update @cleardata (or @secureddata) { the same . tunnel id }. The id lies after the
// length, if the message has a length.
func (r *rules) noteData() [][]expr.Any {
	const length = 0x40 // L bit
	forms := []struct {
		flag byte
		id   uint32
	}{{0, 2}, {length, 4}}
	back := &expr.Verdict{Kind: expr.VerdictReturn}
	all := [][]expr.Any{append(r.inverted(r.dataPeers), back)}
	for _, w := range []struct {
		which []expr.Any
		set   *nftables.Set
	}{{secured(), r.secured}, {nil, r.clear}} {
		for _, f := range forms {
			all = append(all, slices.Concat(w.which, []expr.Any{
				payload(header, udpHeaderLen, 1, 1),
				&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 1, Mask: []byte{length}, Xor: []byte{0}},
				&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{f.flag}},
			}, pathKey(), []expr.Any{
				payload(header, udpHeaderLen+f.id, 2, unix.NFT_REG32_03),
				&expr.Dynset{SrcRegKey: unix.NFT_REG32_00, SetName: w.set.Name, SetID: w.set.ID, Operation: opUpdate},
			}))
		}
		if w.which != nil {
			all = append(all, append(slices.Clone(w.which), back))
		}
	}
	return all
}

func (r *rules) inverted(s *nftables.Set) []expr.Any {
	return append(pathKey(), &expr.Lookup{SourceRegister: unix.NFT_REG32_00, SetName: s.Name, SetID: s.ID, Invert: true})
}

// arrivals reads when data came in last. The kernel keeps how much is left of an element's time,
// by a clock that rests while the host is suspended, as this process's does.
func (r *rules) arrivals() (map[address]arrival, error) {
	if _, notes := r.want[dataHook]; !notes {
		return nil, nil
	}
	all := map[address]arrival{}
	for _, s := range []*nftables.Set{r.clear, r.secured} {
		elements, err := r.elements(s)
		if err != nil {
			return nil, fmt.Errorf("nf_tables: set: %w", err)
		}
		now := time.Now()
		for _, e := range elements {
			a, ok := parseArrival(e.Key)
			if !ok {
				continue
			}
			one, at := all[a], now.Add(e.Expires-dataTTL)
			if s == r.secured {
				one.secured = at
			} else {
				one.clear = at
			}
			all[a] = one
		}
	}
	return all, nil
}

// parseArrival reads an element's key, see flow.key.
func parseArrival(key []byte) (address, bool) {
	if len(key) != 16 {
		return address{}, false
	}
	end := func(ip, port int) netip.AddrPort {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(key[ip:])), binary.BigEndian.Uint16(key[port:]))
	}
	return address{path: path{local: end(4, 10), peer: end(0, 8)}, id: binary.BigEndian.Uint16(key[12:])}, true
}
