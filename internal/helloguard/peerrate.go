package helloguard

import (
	"slices"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
)

// peerRate is how many messages a second of an unpaired peer's address come to the guard, and how many at once. A flood
// of made-up messages gets answers from xl2tpd, and so looks like such a peer. In the guard's queue it would displace
// the messages of real ones. What is above the rate goes to xl2tpd unread: pairing waits for later messages.
const peerRate = 100

const (
	// unknownRate is how many control messages of unknown tunnels may come to an xl2tpd from one address: in a second, and
	// at once. A caller has four until the guard knows its tunnel. xl2tpd's socket has room for some 270.
	unknownRate = 200

	// The kernel remembers the rate of at most maxUnknown addresses, each for unknownTTL after its last message. While it
	// remembers that many, all messages of a new address pass.
	maxUnknown = 65535
	unknownTTL = 10 * time.Second
)

func rateSet(t *nftables.Table, name string, remembered time.Duration, size uint32) *nftables.Set {
	return &nftables.Set{Table: t, Name: name, KeyType: nftables.TypeIPAddr, Dynamic: true, HasTimeout: true, Timeout: remembered, Size: size}
}

// paced: update @rates { ip saddr limit rate 100/second burst 100 packets }. A kernel without nft_limit queues them all.
func (r *rules) paced() []expr.Any {
	if !r.paces {
		return nil
	}
	return limited(r.rates, peerRate, false)
}

// unknown are rules for what no rule above it has taken: th dport PORT meta ipsec missing update @unknown { ip saddr limit rate
// over 200/second burst 200 packets } counter drop. A flood would fill xl2tpd's socket, and have xl2tpd open a tunnel for each
// request, see doubled. What came through IPsec does not count: a flood in its sender's name, which the IPsec policy drops
// after this hook, would keep it out.
func (r *rules) unknown(ports []uint16) (all [][]expr.Any) {
	if !r.paces {
		return nil
	}
	for _, p := range ports {
		all = append(all, slices.Concat([]expr.Any{
			payload(header, 2, 2, 1),
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binaryutil.BigEndian.PutUint16(p)},
		}, unsecured(), limited(r.unknownRates, unknownRate, true), []expr.Any{&expr.Counter{}, &expr.Verdict{Kind: expr.VerdictDrop}}))
	}
	return all
}

// counted is how many packets the counters of rules have counted.
func counted(all []*nftables.Rule) (packets uint64) {
	for _, rule := range all {
		for _, e := range rule.Exprs {
			if c, ok := e.(*expr.Counter); ok {
				packets += c.Packets
			}
		}
	}
	return packets
}

// limited matches packets within the rate of the address that they come from, or those over it.
func limited(rates *nftables.Set, rate uint64, over bool) []expr.Any {
	return []expr.Any{
		payload(expr.PayloadBaseNetworkHeader, 12, 4, 1),
		&expr.Dynset{SrcRegKey: 1, SetName: rates.Name, SetID: rates.ID, Operation: opUpdate, Exprs: []expr.Any{
			&expr.Limit{Type: expr.LimitTypePkts, Rate: rate, Unit: expr.LimitTimeSecond, Burst: uint32(rate), Over: over},
		}},
	}
}
