package supervisor

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"xl2tpd-keepalive/internal/config"
	"xl2tpd-keepalive/internal/ppp"
	"xl2tpd-keepalive/internal/xl2tpd"
	"xl2tpd-keepalive/probe"
	"xl2tpd-keepalive/vici"
)

// fleet is a host with that many tunnels in kernel mode, each to an LNS of its
// own by an SA of its own, which recovery looks after.
type fleet struct {
	links    []ppp.Link
	xl2tpd   xl2tpd.Snapshot
	vici     vici.Snapshot
	config   *config.Config
	controls []ControlConnection
}

func newFleet(n int) *fleet {
	f := &fleet{xl2tpd: running(&xl2tpd.Conf{}, 100), config: config.Default("")}
	f.config.Global.Recover = config.RecoverAuto
	here := netip.MustParseAddrPort("192.0.2.100:1701")
	for i := range n {
		outer := netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)})
		l := link(fmt.Sprint("ppp", i), 1+i, true)
		l.Peer = netip.AddrFrom4([4]byte{10, 2, byte(i >> 8), byte(i)})
		c := ControlConnection{Local: here, Peer: netip.AddrPortFrom(outer, 1701), LocalID: uint16(1 + i)}
		f.links, f.controls = append(f.links, l), append(f.controls, c)
		f.xl2tpd.Sessions = append(f.xl2tpd.Sessions, xl2tpd.Session{Ifname: l.Name, Ifindex: l.Index, Local: c.Local, Peer: c.Peer, LocalTunnel: c.LocalID})
		f.xl2tpd.Home().Conf.Sections = append(f.xl2tpd.Home().Conf.Sections, xl2tpd.Section{
			Kind: "lac", Name: fmt.Sprint("Branch", i), PPPOptFile: l.OptFile, LNSIPs: []netip.Addr{outer}, Redial: true})
		f.vici.SAs = append(f.vici.SAs, vici.SA{Name: fmt.Sprint("branch", i), UniqueID: fmt.Sprint(i), State: "ESTABLISHED",
			RemoteHost: netip.AddrPortFrom(outer, 4500), Children: []vici.Child{{State: "INSTALLED"}}})
	}
	return f
}

func (f *fleet) ppp() ppp.Snapshot {
	return ppp.Snapshot{Links: f.links, Sources: ppp.Sources{DBus: true, Rtnetlink: true}}
}

// start returns a brain that has just seen all of it.
func (f *fleet) start() (*Core, []Action) {
	b := New(config.Default(""), func() float64 { return 0.5 })
	var all []Action
	for _, ev := range []Event{f.config, f.xl2tpd, f.vici, f.ppp()} {
		all = append(all, b.Step(ev, epoch)...)
	}
	return b, all
}

// up returns a brain with all of them alive.
func (f *fleet) up() *Core {
	b, actions := f.start()
	b.answer(actions, epoch)
	return b
}

// answer gives the brain what it asks for until it asks no more.
func (core *Core) answer(actions []Action, now time.Time) {
	for len(actions) > 0 {
		a := actions[0]
		actions = actions[1:]
		switch a := a.(type) {
		case ReadCounter:
			actions = append(actions, core.Step(Counter{Link: a.Link}, now)...)
		case SendEcho:
			actions = append(actions, core.Step(probe.Result{Link: a.Link, Index: a.Index}, now)...)
		}
	}
}

func sizes(b *testing.B, bench func(b *testing.B, f *fleet)) {
	for _, n := range []int{10, 100, 1000, 4000} {
		b.Run(fmt.Sprint("tunnels=", n), func(b *testing.B) {
			b.ReportAllocs()
			bench(b, newFleet(n))
		})
	}
}

// each reports what came to each tunnel.
func each(b *testing.B, f *fleet) {
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(f.links)), "ns/tunnel")
}

// What a tunnel costs in each interval when all is well: readings of its counter,
// an echo and its reply.
func BenchmarkStep(b *testing.B) {
	sizes(b, func(b *testing.B, f *fleet) {
		brain, until := f.up(), epoch
		for b.Loop() {
			until = until.Add(10 * time.Second)
			for at, _ := brain.NextWake(); !at.After(until); at, _ = brain.NextWake() {
				brain.answer(brain.Step(Tick{}, at), at)
			}
		}
		each(b, f)
	})
}

// What each of many tunnels costs until it is alive, after a start of ours.
func BenchmarkStart(b *testing.B) {
	sizes(b, func(b *testing.B, f *fleet) {
		for b.Loop() {
			f.up()
		}
		each(b, f)
	})
}

// What it costs to hear that one of the SAs is another now.
func BenchmarkRekeyed(b *testing.B) {
	sizes(b, func(b *testing.B, f *fleet) {
		brain := f.up()
		for i := 0; b.Loop(); i++ {
			f.vici.SAs[0].UniqueID = fmt.Sprint(-i)
			brain.Step(f.vici, epoch)
		}
	})
}

// What it costs to tell the Hello guard about one control tunnel.
func BenchmarkWitness(b *testing.B) {
	sizes(b, func(b *testing.B, f *fleet) {
		brain := f.up()
		i := 0
		for b.Loop() {
			i = (i + 1) % len(f.links)
			if got, _ := brain.LinksOf(f.controls[i]); len(got) != 1 {
				b.Fatal(got)
			}
		}
	})
}
