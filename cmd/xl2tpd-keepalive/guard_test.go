package main

import (
	"testing"
	"time"

	"xl2tpd-keepalive/config"
	"xl2tpd-keepalive/internal/helloguard"
	"xl2tpd-keepalive/supervisor"
	"xl2tpd-keepalive/xl2tpd"
)

// What the links of a tunnel come to: all have to be alive, and wanted.
func TestSigns(t *testing.T) {
	now := time.Now()
	link := func(age time.Duration, which config.Guard) supervisor.Tunnel {
		return supervisor.Tunnel{Guard: which, Window: 39 * time.Second,
			Evidence: supervisor.Evidence{Reply: now.Add(-age)}}
	}
	on, off, idle := config.Defaults(), config.Defaults(), config.Defaults()
	on.Guard, off.Guard, idle.Keepalive = config.GuardOn, config.GuardOff, false
	auto := config.Defaults()
	fresh, stale := link(time.Second, config.GuardOn), link(time.Minute, config.GuardOn)
	alone, offered := link(time.Second, config.GuardOff), link(time.Second, config.GuardAuto)
	for name, c := range map[string]struct {
		links  []supervisor.Tunnel
		global *config.Settings
		want   helloguard.Signs
	}{
		"alive":            {[]supervisor.Tunnel{fresh}, &off, helloguard.Signs{Wanted: true, Alive: true, Window: fresh.Window}},
		"silent":           {[]supervisor.Tunnel{stale}, &on, helloguard.Signs{Wanted: true, Window: fresh.Window}},
		"one of two":       {[]supervisor.Tunnel{fresh, stale}, &on, helloguard.Signs{Wanted: true, Window: fresh.Window}},
		"not wanted":       {[]supervisor.Tunnel{alone}, &on, helloguard.Signs{Alive: true, Window: fresh.Window}},
		"offered":          {[]supervisor.Tunnel{fresh, offered}, &on, helloguard.Signs{Wanted: true, Offer: true, Alive: true, Window: fresh.Window}},
		"no links":         {nil, &on, helloguard.Signs{Wanted: true}},
		"no links, auto":   {nil, &auto, helloguard.Signs{Wanted: true, Offer: true}},
		"no keepalive":     {nil, &idle, helloguard.Signs{}},
		"no links, off":    {nil, &off, helloguard.Signs{}},
		"no configuration": {nil, nil, helloguard.Signs{}},
	} {
		if got := signs(c.links, c.global, now); got != c.want {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
}

func TestHost(t *testing.T) {
	h := host(xl2tpd.Snapshot{})
	if h.Port != 0 || h.Daemon != "" || h.Sessions != nil {
		t.Errorf("%+v", h)
	}
	h = host(xl2tpd.Snapshot{Conf: &xl2tpd.Conf{Port: 1801}, Pid: 12, Started: 34,
		Sessions: []xl2tpd.Session{{LocalTunnel: 7, PeerTunnel: 9}}})
	if h.Port != 1801 || h.Daemon != "12 34" || len(h.Sessions) != 1 || h.Sessions[0].LocalID != 7 || h.Sessions[0].PeerID != 9 {
		t.Errorf("%+v", h)
	}
}
