package supervisor

import (
	"context"
	"log/slog"
	"net/netip"
	"testing"
	"time"

	"xl2tpd-keepalive/internal/config"
	"xl2tpd-keepalive/internal/helloguard"
	"xl2tpd-keepalive/internal/l2tp"
	"xl2tpd-keepalive/internal/ppp"
	"xl2tpd-keepalive/internal/procfs"
	"xl2tpd-keepalive/internal/xl2tpd"
)

// These are the links of a control connection, by their names.
func TestControlLinks(t *testing.T) {
	at := func(s string) netip.AddrPort { return netip.AddrPortFrom(addr(s), 1701) }
	c := helloguard.OwnedConnection{Connection: l2tp.Connection{Local: at("192.0.2.100"), Peer: at("192.0.2.1"), LocalID: 7}}
	type link struct {
		name    string
		session xl2tpd.Session
		outer   netip.Addr
	}
	own := link{name: "own", outer: addr("192.0.2.1"),
		session: xl2tpd.Session{Ifname: "own", Local: c.Local, Peer: c.Peer, LocalTunnel: 7}}
	twin := own // another caller behind the same address
	twin.name, twin.session.LocalTunnel = "twin", 8
	near := link{name: "near", outer: addr("192.0.2.1")}
	far := link{name: "far", outer: addr("192.0.2.2")}
	stray := link{name: "stray"}
	mine, theirs := c, c
	mine.Owner, theirs.Owner = procfs.ID{Pid: 100, Start: 1}, procfs.ID{Pid: 200, Start: 1}
	for name, k := range map[string]struct {
		of      helloguard.OwnedConnection
		links   []link
		want    string
		certain bool
	}{
		"by session":                  {c, []link{twin, own, near, stray}, "own ", true},
		"by session, owner known":     {mine, []link{twin, own, near, stray}, "own ", true},
		"twin alone":                  {c, []link{twin, far}, "", false},
		"by address, owner not known": {c, []link{far, near, stray, near}, "near near ", false},
		"by address":                  {mine, []link{far, near, stray}, "near ", false},
		"by address, another's":       {theirs, []link{far, near, stray}, "", false},
		"nobody's in userspace mode":  {nobodys(c), []link{near}, "", false},
		"nobody's in kernel mode":     {nobodys(c), []link{own}, "own ", true},
		"none that can be any's":      {c, []link{far, stray}, "", false},
		"nothing":                     {c, nil, "", false},
	} {
		var all ConnectionLinks[string]
		for _, l := range k.links {
			all.Add(l.name, l.session, l.outer, 100)
		}
		got := ""
		links, certain := all.Of(k.of)
		for _, l := range links {
			got += l + " "
		}
		if got != k.want || certain != k.certain {
			t.Errorf("%s: %q certain %v, want %q certain %v", name, got, certain, k.want, k.certain)
		}
	}
}

func nobodys(c helloguard.OwnedConnection) helloguard.OwnedConnection {
	c.Owner = unknownOwner
	return c
}

func TestFresh(t *testing.T) {
	now := time.Now()
	tunnel := Tunnel{Window: 39 * time.Second}
	if tunnel.Fresh(now) {
		t.Error("fresh without evidence")
	}
	tunnel.Evidence.Data = now.Add(-39 * time.Second)
	if !tunnel.Fresh(now) || tunnel.Fresh(now.Add(time.Nanosecond)) {
		t.Error("not fresh for exactly its window")
	}
}

// The loop answers with the links that it knows, including the latest. It does not answer once ctx has ended.
func TestLoopLinksOf(t *testing.T) {
	var all []Tunnel
	c := helloguard.OwnedConnection{Connection: l2tp.Connection{Peer: netip.MustParseAddrPort("192.0.2.1:1701")}}
	near := func(name string, index int) ppp.Link {
		l := link(name, index, true)
		l.OuterPeer = c.Peer.Addr()
		return l
	}
	live(t, time.Second, func(h *host) {
		conf := config.Default("")
		conf.Global.Guard = config.GuardOn
		h.loop.Post(conf)
		h.links(near("ppp0", 5))
		h.links(near("ppp0", 5), near("ppp1", 6))
		all, _ = h.loop.LinksOf(context.Background(), c)
	})
	if len(all) != 2 || all[0].Window != 39*time.Second || all[0].Guard != config.GuardOn {
		t.Errorf("got %+v, want two links, with their settings", all)
	}
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	idle := NewLoop(New(config.Default(""), nil), fakeExecutors{}, quiet(0), slog.Default())
	if all, _ := idle.LinksOf(ended, c); all != nil {
		t.Errorf("got %+v, want none", all)
	}
}
