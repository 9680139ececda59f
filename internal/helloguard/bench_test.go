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
	"xl2tpd-keepalive/internal/procfs"
)

// nothing has no effects.
type nothing struct{}

func (nothing) send(translator.Injection) error        { return nil }
func (nothing) failClosed(l2tp.Connection, bool) error { return nil }
func (nothing) listen(l2tp.Connection, bool) error     { return nil }
func (nothing) noteData(path, bool) error              { return nil }
func (nothing) arrivals() (map[address]arrival, error) { return nil, nil }

// What a Hello and its acknowledgement cost with many tunnels, which have peers
// of their own, or all the same one.
func BenchmarkHandle(b *testing.B) {
	for _, peers := range []string{"many", "one"} {
		for _, n := range []int{10, 100, 1000, 4000} {
			b.Run(fmt.Sprintf("peers=%s/tunnels=%d", peers, n), func(b *testing.B) { benchmarkHandle(b, n, peers == "one") })
		}
	}
}

func benchmarkHandle(b *testing.B, n int, one bool) {
	d := newHandler(b.Context(), &Guard{
		Dir: memoryDir(b), Log: slog.New(slog.DiscardHandler),
		Links: func(context.Context, OwnedConnection) Links {
			return Links{Certain: true, Linked: true, Wanted: true, PassFirst: true, Alive: true}
		},
	}, Host{Daemons: []procfs.ID{watched}, GiveUp: []procfs.ID{watched}}, nothing{})
	d.owners.facts, d.owners.gone = newFakeHost(), func(procfs.ID) bool { return false }
	if _, err := d.exec.store.load(epoch, nil); err != nil { // makes the directory
		b.Fatal(err)
	}
	var all []KernelSession
	for i := range n {
		peer := there
		if !one {
			peer = netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}), 1701)
		}
		all = append(all, KernelSession{l2tp.Connection{Local: here, Peer: peer, LocalID: uint16(1 + i), PeerID: uint16(10000 + i)}, watched.Pid})
	}
	d.opener.takeSessions(all, epoch)
	now, i, ns := epoch.Add(time.Minute), 0, uint16(0)
	round := func() {
		t := all[i]
		ask := l2tp.AppendPacket(nil, t.Local, t.Peer, l2tp.Message{Type: l2tp.TypeHello, Tunnel: t.PeerID, Ns: ns})
		handleRaw(d, ask, outbound, now)
		d.handleTimers(now)
		ack := l2tp.AppendPacket(nil, t.Peer, t.Local, l2tp.Message{Tunnel: t.LocalID, Nr: ns + 1})
		handleRaw(d, ack, inbound, now)
		d.handleTimers(now)
		if i++; i == n {
			i, ns = 0, ns+1
			now = now.Add(time.Minute)
		}
	}
	for range 2 * n { // a peer has to show once that it takes Hellos
		round()
	}
	b.ReportAllocs()
	for b.Loop() {
		round()
	}
}

// What a made-up message costs beside 4000 tunnels, as it comes in and as xl2tpd is made to
// send it.
func BenchmarkFlood(b *testing.B) {
	for name, m := range map[string]l2tp.Message{
		"SCCRP": {Type: l2tp.TypeSCCRP, Nr: 1}, "StopCCN": {Type: l2tp.TypeStopCCN}, "Hello": {Type: l2tp.TypeHello}, "ZLB": {},
	} {
		for _, from := range []direction{outbound, inbound} {
			b.Run(fmt.Sprintf("%s/inbound=%v", name, from != outbound), func(b *testing.B) {
				f := newFixture(b, memoryDir(b))
				f.dial(4000)
				var flood [][]byte
				for i := range 1 << 16 {
					m := m
					m.Tunnel = uint16(1 + i)
					src, dst := here, peerNumber(1<<20+i)
					if from != outbound {
						src, dst = dst, src
					}
					own := uint16(0)
					if m.Type == l2tp.TypeSCCRP {
						own = uint16(1 + i)
					}
					flood = append(flood, between(src, dst, m, own))
				}
				i := 0
				b.ReportAllocs()
				for b.Loop() {
					f.handle(flood[i], from, f.now)
					i = (i + 1) % len(flood)
				}
			})
		}
	}
}

func (nothing) sentFrom(_ address) func(uint32) bool { return func(uint32) bool { return false } }

// What a Hello and its acknowledgement cost while nobody traces, and while somebody does.
func BenchmarkTraced(b *testing.B) {
	for _, watched := range []bool{false, true} {
		b.Run(fmt.Sprintf("watched=%v", watched), func(b *testing.B) {
			f := newFixture(b, memoryDir(b))
			f.links.PassFirst = true
			f.dial(1)
			if watched {
				w, err := f.flight.hub.Watch(false)
				if err != nil {
					b.Fatal(err)
				}
				defer w.Close()
				stop := make(chan struct{})
				defer close(stop)
				go func() {
					for {
						select {
						case <-w.Wake():
							w.Take()
						case <-stop:
							return
						}
					}
				}()
			}
			ns := uint16(2)
			b.ReportAllocs()
			for b.Loop() {
				f.handle(between(here, peerNumber(0), l2tp.Message{Type: l2tp.TypeHello, Tunnel: 20000, Ns: ns, Nr: 1}, 0), outbound, f.now)
				f.handle(between(peerNumber(0), here, l2tp.Message{Tunnel: 1, Ns: 1, Nr: ns + 1}, 0), inbound, f.now)
				ns++
			}
		})
	}
}
