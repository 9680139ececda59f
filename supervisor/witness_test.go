package supervisor

import (
	"context"
	"log/slog"
	"net/netip"
	"testing"
	"time"

	"xl2tpd-keepalive/config"
	"xl2tpd-keepalive/xl2tpd"
)

// Which links speak for a control tunnel, by their names.
func TestControlLinks(t *testing.T) {
	at := func(s string) netip.AddrPort { return netip.AddrPortFrom(addr(s), 1701) }
	c := Control{Local: at("192.0.2.100"), Peer: at("192.0.2.1"), LocalID: 7}
	own := Tunnel{Link: Key{Name: "own"}, Outer: addr("192.0.2.1"),
		Session: xl2tpd.Session{Ifname: "own", Local: c.Local, Peer: c.Peer, LocalTunnel: 7}}
	twin := own // another caller behind the same address
	twin.Link.Name, twin.Session.LocalTunnel = "twin", 8
	near := Tunnel{Link: Key{Name: "near"}, Outer: addr("192.0.2.1")}
	far := Tunnel{Link: Key{Name: "far"}, Outer: addr("192.0.2.2")}
	stray := Tunnel{Link: Key{Name: "stray"}}
	for name, k := range map[string]struct {
		links    []Tunnel
		controls int
		want     string
	}{
		"by session":               {[]Tunnel{twin, own, near, stray}, 4, "own "},
		"twin alone":               {[]Tunnel{twin, far}, 2, ""},
		"by address":               {[]Tunnel{far, near, stray, near}, 4, "near near "},
		"by elimination":           {[]Tunnel{far, stray}, 2, "stray "},
		"more controls than links": {[]Tunnel{far, stray}, 3, ""},
		"nothing":                  {nil, 1, ""},
	} {
		var all Links[string]
		for _, l := range k.links {
			all.Add(l.Link.Name, l.Session, l.Outer)
		}
		got := ""
		for _, l := range all.Of(c, k.controls) {
			got += l + " "
		}
		if got != k.want {
			t.Errorf("%s: %q, want %q", name, got, k.want)
		}
	}
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

// The loop answers with the links it knows, those that have come last too, and not
// at all once ctx has ended.
func TestLoopWitnesses(t *testing.T) {
	var all []Tunnel
	live(t, time.Second, func(h *host) {
		c := config.Default("")
		c.Global.Guard = config.GuardOn
		h.loop.Post(c)
		h.links(link("ppp0", 5, true))
		if all := h.loop.Witnesses(context.Background(), Control{}, 2); len(all) != 0 {
			t.Errorf("%+v", all)
		}
		h.links(link("ppp0", 5, true), link("ppp1", 6, true))
		all = h.loop.Witnesses(context.Background(), Control{}, 2)
	})
	if len(all) != 2 || all[0].Window != 39*time.Second || all[0].Guard != config.GuardOn {
		t.Errorf("%+v", all)
	}
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	idle := NewLoop(New(config.Default(""), nil), Hands{}, Front{}, slog.Default())
	if all := idle.Witnesses(ended, Control{}, 1); all != nil {
		t.Errorf("%+v", all)
	}
}
