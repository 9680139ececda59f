package guard

import (
	"net/netip"
	"slices"

	"xl2tpd-keepalive/internal/helloguard"
	"xl2tpd-keepalive/internal/l2tp"
	"xl2tpd-keepalive/internal/ppp"
	"xl2tpd-keepalive/internal/xl2tpd"
)

// TakeDaemons passes the snapshot of every xl2tpd to the guard.
func (g *Guard) TakeDaemons(s xl2tpd.Snapshot) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.seen = s
	g.SetHost(host(s, g.parents))
}

// TakeLinks passes to the guard which xl2tpd each of the kernel's sessions belongs to.
func (g *Guard) TakeLinks(links []ppp.Link) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.parents = make(map[int]int, len(links))
	for _, l := range links {
		g.parents[l.Index] = l.Xl2tpdPid
	}
	g.SetHost(host(g.seen, g.parents))
}

// host returns what the guard needs to know of the host.
func host(s xl2tpd.Snapshot, parents map[int]int) helloguard.Host {
	var h helloguard.Host
	for _, in := range s.Instances {
		if in.Runs() {
			h.Daemons = append(h.Daemons, in.Process)
			if in.Conf != nil && in.Conf.MaxRetries <= xl2tpd.DefaultMaxRetries {
				h.GiveUp = append(h.GiveUp, in.Process)
			}
			if in.Conf != nil && in.Conf.MaxRetries < xl2tpd.DefaultMaxRetries {
				h.Hurry = append(h.Hurry, in.Process)
			}
		}
		if in.Conf != nil && in.Conf.Port != 0 && !slices.Contains(h.Ports, in.Conf.Port) {
			h.Ports = append(h.Ports, in.Conf.Port)
		}
	}
	for _, one := range s.Sessions {
		h.Sessions = append(h.Sessions, helloguard.KernelSession{
			Connection: l2tp.Connection{Local: one.Local, Peer: one.Peer, LocalID: one.LocalTunnel, PeerID: one.PeerTunnel},
			Xl2tpd:     parents[one.Ifindex],
		})
	}
	return h
}

// daemons returns what the guard needs to know of every xl2tpd that runs.
func daemons() []helloguard.Daemon {
	var all []helloguard.Daemon
	for _, d := range xl2tpd.Daemons() {
		all = append(all, daemon(d))
	}
	return all
}

// daemon returns what the guard needs to know of one xl2tpd.
func daemon(d xl2tpd.Daemon) helloguard.Daemon {
	is := helloguard.Daemon{ID: d.ID, Cgroup: d.Cgroup, Alone: d.Alone}
	if d.Conf != nil {
		is.Saref = d.Conf.Saref
		if d.Conf.Port != 0 && d.Conf.ListenAddr.IsValid() {
			is.Listens = netip.AddrPortFrom(d.Conf.ListenAddr, d.Conf.Port)
		}
	}
	return is
}
