package guard

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"xl2tpd-keepalive/internal/config"
	"xl2tpd-keepalive/internal/helloguard"
	"xl2tpd-keepalive/internal/procfs"
	"xl2tpd-keepalive/internal/xl2tpd"
	"xl2tpd-keepalive/supervisor"
)

// A tunnel is alive and wanted if all its links are.
func TestSigns(t *testing.T) {
	now := time.Now()
	link := func(age time.Duration, which config.GuardMode) supervisor.Tunnel {
		return supervisor.Tunnel{Guard: which, Window: 39 * time.Second,
			Evidence: supervisor.Evidence{Reply: now.Add(-age)}}
	}
	on, off, idle := config.Defaults(), config.Defaults(), config.Defaults()
	on.Guard, off.Guard, idle.Keepalive = config.GuardOn, config.GuardOff, false
	auto := config.Defaults()
	window := supervisor.Window(auto)
	fresh, stale := link(time.Second, config.GuardOn), link(time.Minute, config.GuardOn)
	alone, offered := link(time.Second, config.GuardOff), link(time.Second, config.GuardAuto)
	for name, c := range map[string]struct {
		links   []supervisor.Tunnel
		certain bool
		global  *config.Settings
		want    helloguard.Links
	}{
		"alive":            {[]supervisor.Tunnel{fresh}, true, &off, helloguard.Links{Linked: true, Certain: true, Wanted: true, Alive: true, Window: fresh.Window}},
		"silent":           {[]supervisor.Tunnel{stale}, true, &on, helloguard.Links{Linked: true, Certain: true, Wanted: true, Window: fresh.Window}},
		"one of two":       {[]supervisor.Tunnel{fresh, stale}, true, &on, helloguard.Links{Linked: true, Certain: true, Wanted: true, Window: fresh.Window}},
		"not wanted":       {[]supervisor.Tunnel{alone}, true, &on, helloguard.Links{Linked: true, Certain: true, Alive: true, Window: fresh.Window}},
		"offered":          {[]supervisor.Tunnel{fresh, offered}, true, &on, helloguard.Links{Linked: true, Certain: true, Wanted: true, PassFirst: true, Alive: true, Window: fresh.Window}},
		"perhaps its own":  {[]supervisor.Tunnel{fresh, offered}, false, &on, helloguard.Links{Linked: true, Wanted: true, PassFirst: true, Window: fresh.Window}},
		"no links":         {nil, false, &on, helloguard.Links{Wanted: true, Window: window}},
		"no links, auto":   {nil, false, &auto, helloguard.Links{Wanted: true, PassFirst: true, Window: window}},
		"no keepalive":     {nil, false, &idle, helloguard.Links{Window: window}},
		"no links, off":    {nil, false, &off, helloguard.Links{Window: window}},
		"no configuration": {nil, false, nil, helloguard.Links{}},
	} {
		if got := linksShow(c.links, c.certain, c.global, now); got != c.want {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
}

func TestHost(t *testing.T) {
	h := host(xl2tpd.Snapshot{}, nil)
	if h.Ports != nil || h.Daemons != nil || h.Sessions != nil {
		t.Errorf("got %+v, want an empty host", h)
	}
	one, two, three := procfs.ID{Pid: 12, Start: 34}, procfs.ID{Pid: 56, Start: 78}, procfs.ID{Pid: 90, Start: 12}
	h = host(xl2tpd.Snapshot{
		Instances: []xl2tpd.Instance{
			{Process: one, Conf: &xl2tpd.Conf{Port: 1801, MaxRetries: 5}}, {Process: two, Conf: &xl2tpd.Conf{MaxRetries: 6}},
			{Process: three, Conf: &xl2tpd.Conf{MaxRetries: 3}}, {Conf: &xl2tpd.Conf{Port: 1801}}, {Conf: &xl2tpd.Conf{Port: 1901}}, {},
		},
		Sessions: []xl2tpd.Session{{LocalTunnel: 7, PeerTunnel: 9, Ifindex: 5}, {LocalTunnel: 8, PeerTunnel: 10, Ifindex: 6}},
	}, map[int]int{5: 12})
	if !slices.Equal(h.Ports, []uint16{1801, 1901}) || !slices.Equal(h.Daemons, []procfs.ID{one, two, three}) ||
		!slices.Equal(h.GiveUp, []procfs.ID{one, three}) || !slices.Equal(h.Hurry, []procfs.ID{three}) || len(h.Sessions) != 2 {
		t.Fatalf("got %+v, want both ports, the xl2tpds, those that give up and the one that hurries", h)
	}
	if a, b := h.Sessions[0], h.Sessions[1]; a.LocalID != 7 || a.PeerID != 9 || a.Xl2tpd != 12 || b.Xl2tpd != 0 {
		t.Errorf("got %+v, want the ids, and the xl2tpd of the one link", h.Sessions)
	}
}

// Without a readable file, a fixed port or an address, the guard does not know where xl2tpd listens.
func TestDaemon(t *testing.T) {
	id := procfs.ID{Pid: 12, Start: 34}
	all := netip.IPv4Unspecified()
	for name, tc := range map[string]struct {
		conf *xl2tpd.Conf
		want helloguard.Daemon
	}{
		"no file":     {nil, helloguard.Daemon{ID: id, Cgroup: 7}},
		"a port":      {&xl2tpd.Conf{Port: 1701, ListenAddr: all, Saref: true}, helloguard.Daemon{ID: id, Cgroup: 7, Saref: true, Listens: netip.AddrPortFrom(all, 1701)}},
		"any port":    {&xl2tpd.Conf{ListenAddr: all}, helloguard.Daemon{ID: id, Cgroup: 7}},
		"a host name": {&xl2tpd.Conf{Port: 1701}, helloguard.Daemon{ID: id, Cgroup: 7}},
	} {
		if got := daemon(xl2tpd.Daemon{ID: id, Cgroup: 7, Conf: tc.conf}); got != tc.want {
			t.Errorf("%s: %+v, want %+v", name, got, tc.want)
		}
	}
}
