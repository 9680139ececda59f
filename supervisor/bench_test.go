package supervisor

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"xl2tpd-keepalive/internal/config"
	"xl2tpd-keepalive/internal/helloguard"
	"xl2tpd-keepalive/internal/l2tp"
	"xl2tpd-keepalive/internal/ppp"
	"xl2tpd-keepalive/internal/xl2tpd"
	"xl2tpd-keepalive/vici"
)

// fleet is a host with many tunnels in kernel mode under recovery. Each has an LNS and an SA of its own.
type fleet struct {
	links    []ppp.Link
	xl2tpd   xl2tpd.Snapshot
	vici     vici.Snapshot
	config   *config.Config
	controls []helloguard.OwnedConnection
}

func newFleet(n int) *fleet {
	f := &fleet{xl2tpd: running(&xl2tpd.Conf{}, 100), config: config.Default("")}
	f.config.Global.Recover = config.RecoverAuto
	here := netip.MustParseAddrPort("192.0.2.100:1701")
	for i := range n {
		outer := netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)})
		l := link(fmt.Sprint("ppp", i), 1+i, true)
		l.Peer = netip.AddrFrom4([4]byte{10, 2, byte(i >> 8), byte(i)})
		c := helloguard.OwnedConnection{Connection: l2tp.Connection{Local: here, Peer: netip.AddrPortFrom(outer, 1701), LocalID: uint16(1 + i)}}
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

// start returns a core that has just got all snapshots.
func (f *fleet) start() (*Core, []Action) {
	b := New(config.Default(""), func() float64 { return 0.5 })
	var all []Action
	for _, ev := range []Event{f.config, f.xl2tpd, f.vici, f.ppp()} {
		all = append(all, b.Step(ev, epoch)...)
	}
	return b, all
}

// up returns a core with all tunnels alive.
func (f *fleet) up() *Core {
	b, actions := f.start()
	b.answer(actions, epoch)
	return b
}

// answer answers the actions of the core until there are none.
func (core *Core) answer(actions []Action, now time.Time) {
	for len(actions) > 0 {
		a := actions[0]
		actions = actions[1:]
		switch a := a.(type) {
		case ReadCounter:
			actions = append(actions, core.Step(Counters{{Link: a.Link}}, now)...)
		case SendEcho:
			actions = append(actions, core.Step(Results{{Link: a.Link, Index: a.Index}}, now)...)
		}
	}
}

func sizes(b *testing.B, measure func(b *testing.B, f *fleet)) {
	for _, n := range []int{10, 100, 1000, 4000} {
		b.Run(fmt.Sprint("tunnels=", n), func(b *testing.B) {
			b.ReportAllocs()
			measure(b, newFleet(n))
		})
	}
}

// each reports what came to each tunnel.
func each(b *testing.B, f *fleet) {
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(f.links)), "ns/tunnel")
}

// The cost of a tunnel in each interval: readings of its counter, an echo and its reply.
func BenchmarkStep(b *testing.B) {
	sizes(b, func(b *testing.B, f *fleet) {
		core, until := f.up(), epoch
		for b.Loop() {
			until = until.Add(10 * time.Second)
			for at, _ := core.NextWake(); !at.After(until); at, _ = core.NextWake() {
				core.answer(core.Step(Tick{}, at), at)
			}
		}
		each(b, f)
	})
}

// The cost of each of many tunnels after a start, until it is alive.
func BenchmarkStart(b *testing.B) {
	sizes(b, func(b *testing.B, f *fleet) {
		for b.Loop() {
			f.up()
		}
		each(b, f)
	})
}

// The cost of a snapshot in which one SA has changed.
func BenchmarkRekeyed(b *testing.B) {
	sizes(b, func(b *testing.B, f *fleet) {
		core := f.up()
		for i := 0; b.Loop(); i++ {
			f.vici.SAs[0].UniqueID = fmt.Sprint(-i)
			core.Step(f.vici, epoch)
		}
	})
}

// The cost of an answer to the Hello guard about one control connection.
func BenchmarkLinksOf(b *testing.B) {
	sizes(b, func(b *testing.B, f *fleet) {
		core := f.up()
		i := 0
		for b.Loop() {
			i = (i + 1) % len(f.links)
			if got, _ := core.LinksOf(f.controls[i]); len(got) != 1 {
				b.Fatal(got)
			}
		}
	})
}
