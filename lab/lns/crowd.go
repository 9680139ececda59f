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

// crowd is many LNSs in one process, each at an address of its own, that do without the kernel's L2TP and pppd.
type crowd struct {
	behaviour l2tp.Behaviour
	journal   journal
	grace     time.Duration
	log       *slog.Logger
}

// run serves until ctx ends. The addresses are those of the first LNS, of its end of the PPP link and of its client's;
// the next ones have the next ones.
func (c crowd) run(ctx context.Context, count int, address netip.AddrPort, ours, client netip.Addr) error {
	var servers []*server
	for range count {
		conn, send, err := listenAt(ctx, address, c.log)
		if err != nil {
			return err
		}
		defer conn.Close()
		plane := &answerer{local: ours, send: send}
		s := newServer(c.behaviour, journal{out: io.Discard}, plane, &pool{first: client, last: client, used: map[netip.Addr]bool{}}, send, c.grace)
		servers = append(servers, s)
		go read(conn, func(d datagram) {
			if !l2tp.IsControl(d.data) {
				plane.receive(d.data)
				return
			}
			s.deliver(d)
		})
		address, ours, client = netip.AddrPortFrom(address.Addr().Next(), address.Port()), ours.Next(), client.Next()
	}
	c.journal.write(record{Event: "listening", Detail: "all of them"})
	var wg sync.WaitGroup
	for _, s := range servers {
		wg.Go(func() { s.run(ctx) })
	}
	wg.Wait()
	c.journal.write(record{Event: "stopped"})
	return nil
}
