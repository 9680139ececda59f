package helloguard

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"testing"
	"time"

	"xl2tpd-keepalive/internal/helloguard/translator"
	"xl2tpd-keepalive/internal/l2tp"
)

// What a Hello and its acknowledgement cost with many tunnels, which have peers
// of their own, or all the same one.
func BenchmarkJudge(b *testing.B) {
	for _, peers := range []string{"many", "one"} {
		for _, n := range []int{10, 100, 1000, 4000} {
			b.Run(fmt.Sprintf("peers=%s/tunnels=%d", peers, n), func(b *testing.B) { benchmarkJudge(b, n, peers == "one") })
		}
	}
}

func benchmarkJudge(b *testing.B, n int, one bool) {
	d := &desk{
		ctx: b.Context(), log: slog.New(slog.DiscardHandler), store: store(b.TempDir()), host: Host{Daemon: "100 5"},
		x: newExchange(),
		signs: func(context.Context, translator.Tunnel, int) Signs {
			return Signs{Wanted: true, Offer: true, Alive: true}
		},
		owe:  func(translator.Tunnel, bool) error { return nil },
		send: func(translator.Injection) error { return nil },
	}
	if _, err := d.store.load(epoch, nil); err != nil { // makes the directory
		b.Fatal(err)
	}
	var all []translator.Tunnel
	for i := range n {
		peer := there
		if !one {
			peer = netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}), 1701)
		}
		all = append(all, translator.Tunnel{Local: here, Peer: peer, LocalID: uint16(1 + i), PeerID: uint16(10000 + i)})
	}
	d.x.meet(all, epoch)
	now, i, ns := epoch.Add(time.Minute), 0, uint16(0)
	b.ReportAllocs()
	for b.Loop() {
		t := all[i]
		ask := l2tp.AppendPacket(nil, t.Local, t.Peer, l2tp.Message{Type: l2tp.TypeHello, Tunnel: t.PeerID, Ns: ns})
		d.judge(ask, outbound, now)
		d.due(now)
		ack := l2tp.AppendPacket(nil, t.Peer, t.Local, l2tp.Message{Tunnel: t.LocalID, Nr: ns + 1})
		d.judge(ack, inbound, now)
		d.due(now)
		if i++; i == n {
			i, ns = 0, ns+1
			now = now.Add(time.Minute)
		}
	}
}
