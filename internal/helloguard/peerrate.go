package helloguard

import (
	"github.com/google/nftables/expr"
)

// peerRate is how many messages a second of an unpaired peer's address come to the guard, and how many at once. A flood
// of made-up messages gets answers from xl2tpd, and so looks like such a peer. In the guard's queue it would displace
// the messages of real ones. What is above the rate goes to xl2tpd unread: pairing waits for later messages.
const peerRate = 100

// paced: update @rates { ip saddr limit rate 100/second burst 100 packets }. A kernel without nft_limit queues them all.
func (r *rules) paced() []expr.Any {
	if !r.paces {
		return nil
	}
	return []expr.Any{
		payload(expr.PayloadBaseNetworkHeader, 12, 4, 1),
		&expr.Dynset{SrcRegKey: 1, SetName: r.rates.Name, SetID: r.rates.ID, Operation: opUpdate, Exprs: []expr.Any{
			&expr.Limit{Type: expr.LimitTypePkts, Rate: peerRate, Unit: expr.LimitTimeSecond, Burst: peerRate},
		}},
	}
}
