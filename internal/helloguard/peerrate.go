package helloguard

import (
	"slices"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"

	"xl2tpd-keepalive/internal/l2tp"
)

// peerRate is how many messages a second of an unpaired peer's address come to the guard, and how many at once. A flood
// of made-up messages gets answers from xl2tpd, and so looks like such a peer. In the guard's queue it would displace
// the messages of real ones. What is above the rate goes to xl2tpd unread: pairing waits for later messages.
const peerRate = 100

const (
	// answerRate is the same for what xl2tpd answers to the callers of one address; at once there may be peerRate.
	answerRate = 20
	// answerMessages is how many messages xl2tpd may send to somebody who has no tunnel: it accepts one and then gives up on
	// it, or refuses it. Their Ns are 0 and 1. A ZLB has the Ns of the message that comes next.
	answerMessages = 2

	// maxAnswered is for how many addresses the kernel knows the rate of xl2tpd's answers, answersTTL the time that it
	// remembers one after the last answer. While that many are known, the guard reads every answer to a new one.
	maxAnswered = 8192
	answersTTL  = 10 * time.Second
)

func rateSet(t *nftables.Table, name string, remembered time.Duration, size uint32) *nftables.Set {
	return &nftables.Set{Table: t, Name: name, KeyType: nftables.TypeIPAddr, Dynamic: true, HasTimeout: true, Timeout: remembered, Size: size}
}

// paced: update @rates { ip saddr limit rate 100/second burst 100 packets }. A kernel without nft_limit queues them all.
func (r *rules) paced() []expr.Any {
	if !r.paces {
		return nil
	}
	return limited(r.rates, 12, peerRate, false)
}

// unread are rules for xl2tpd's first answers to callers: @th,192,32 != 1, or udp length 20, and @th,128,16 < 2 FLOW !=
// @connections update @answers { ip daddr limit rate over 20/second burst 100 packets } return. What is over the rate goes
// out unread. The guard meets the tunnel of such a caller later, by the kernel's list of sessions or by pairing. It reads
// all that xl2tpd sends in a known tunnel or in one that is older than the guard, and its own requests.
func (r *rules) unread() (all [][]expr.Any) {
	if !r.paces {
		return nil
	}
	for _, kind := range [][]expr.Any{
		{payload(header, messageType, 4, 1), &expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: []byte{0, 0, 0, byte(l2tp.TypeSCCRQ)}}},
		{payload(header, 4, 2, 1), &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{0, udpHeaderLen + l2tp.HeaderLen}}},
	} {
		known := r.lookup(r.connections)
		known[len(known)-1].(*expr.Lookup).Invert = true
		all = append(all, slices.Concat(kind, []expr.Any{
			payload(header, udpHeaderLen+8, 2, 1),
			&expr.Cmp{Op: expr.CmpOpLt, Register: 1, Data: []byte{0, answerMessages}},
		}, known, limited(r.answers, 16, answerRate, true), []expr.Any{&expr.Verdict{Kind: expr.VerdictReturn}}))
	}
	return all
}

// limited matches packets within the rate of their address, or those over it. The address is at an offset of the IPv4 header.
func limited(rates *nftables.Set, address uint32, rate uint64, over bool) []expr.Any {
	return []expr.Any{
		payload(expr.PayloadBaseNetworkHeader, address, 4, 1),
		&expr.Dynset{SrcRegKey: 1, SetName: rates.Name, SetID: rates.ID, Operation: opUpdate, Exprs: []expr.Any{
			&expr.Limit{Type: expr.LimitTypePkts, Rate: rate, Unit: expr.LimitTimeSecond, Burst: peerRate, Over: over},
		}},
	}
}
