package main

import (
	"context"
	"io"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"xl2tpd-keepalive/lab/lns/l2tp"
)

// servers is many LNSs in one process, each at an address of its own, that do without the kernel's L2TP and pppd.
type servers struct {
	behaviour l2tp.Behaviour
	journal   journal
	grace     time.Duration
	log       *slog.Logger
}

// run serves until ctx ends. The addresses are those of the first LNS, of its end of the PPP link and of its client's;
// the next ones have the next ones.
func (s servers) run(ctx context.Context, count int, address netip.AddrPort, ours, client netip.Addr) error {
	var all []*server
	for range count {
		conn, send, err := listenAt(ctx, address, s.log)
		if err != nil {
			return err
		}
		defer conn.Close()
		plane := &answerer{local: ours, send: send}
		one := newServer(s.behaviour, journal{out: io.Discard}, plane, &pool{first: client, last: client, used: map[netip.Addr]bool{}}, send, s.grace)
		all = append(all, one)
		go read(conn, func(d datagram) {
			if !l2tp.IsControl(d.data) {
				plane.receive(d.data)
				return
			}
			one.deliver(d)
		})
		address, ours, client = netip.AddrPortFrom(address.Addr().Next(), address.Port()), ours.Next(), client.Next()
	}
	s.journal.write(record{Event: "listening", Detail: "all of them"})
	var wg sync.WaitGroup
	for _, one := range all {
		wg.Go(func() { one.run(ctx) })
	}
	wg.Wait()
	s.journal.write(record{Event: "stopped"})
	return nil
}
