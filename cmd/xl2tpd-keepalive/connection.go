package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"xl2tpd-keepalive/internal/xl2tpd"
	"xl2tpd-keepalive/supervisor"
	"xl2tpd-keepalive/vici"
)

// listed is how long a list of connections will do for a LAC that stands in it.
const listed = 10 * time.Second

// listing has charon list its connections, once for many LACs that are brought back at the
// same time: where there are many, the list is long.
type listing struct {
	ask    func(context.Context, ...string) ([]vici.Connection, error)
	lookup func(ctx context.Context, host string) ([]netip.Addr, error)
	turn   chan struct{} // full: somebody reads or renews the list
	all    []vici.Connection
	at     time.Time // when they were asked for
}

func newListing(ask func(context.Context, ...string) ([]vici.Connection, error)) *listing {
	return &listing{ask: ask, lookup: xl2tpd.LookupIPv4, turn: make(chan struct{}, 1)}
}

// find finds the connection that a LAC is to be brought back through. That there is none is
// said only by a list that was asked for since the call.
func (l *listing) find(ctx context.Context, r supervisor.Recover) (ike, child string, ok bool, err error) {
	all, err := l.list(ctx, r)
	if err != nil {
		return "", "", false, err
	}
	if ike, child, ok = connection(all, r); ok {
		return ike, child, ok, nil
	}
	return l.byName(ctx, all, r)
}

// list returns charon's connections: as they are now, or have just been, if the LAC's is there.
func (l *listing) list(ctx context.Context, r supervisor.Recover) ([]vici.Connection, error) {
	called := time.Now()
	select {
	case l.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { <-l.turn }()
	if called.Sub(l.at) < listed {
		if _, _, ok := connection(l.all, r); ok || l.at.After(called) {
			return l.all, nil
		}
	}
	at := time.Now()
	all, err := l.ask(ctx)
	if err != nil {
		return nil, err
	}
	l.all, l.at = all, at
	return all, nil
}

// byName finds a connection whose remote address is a name that leads to the LNS. While a name
// can't be looked up, nobody can say that there is no connection.
func (l *listing) byName(ctx context.Context, all []vici.Connection, r supervisor.Recover) (ike, child string, ok bool, err error) {
	for _, c := range all {
		i := slices.IndexFunc(c.Children, func(child vici.ChildConfig) bool {
			return transports(child) || tunnels(child, r.LNS)
		})
		if i < 0 {
			continue
		}
		if !r.LNS.IsValid() {
			return "", "", false, fmt.Errorf("%s can't be looked up, so nobody can say which connection of strongSwan is for it", r.Host)
		}
		leads, err := l.leads(ctx, c, r.LNS)
		if err != nil {
			return "", "", false, err
		}
		if leads {
			return c.Name, c.Children[i].Name, true, nil
		}
	}
	return "", "", false, nil
}

// leads tells whether charon dials the LNS when it looks up a connection's addresses now. It takes the
// first that has an address.
func (l *listing) leads(ctx context.Context, c vici.Connection, lns netip.Addr) (bool, error) {
	for _, remote := range dialled(c) {
		if a, err := netip.ParseAddr(remote); err == nil {
			return a.Unmap() == lns, nil
		}
		addrs, err := l.lookup(ctx, strings.TrimSuffix(remote, "."))
		if none := (*net.DNSError)(nil); errors.As(err, &none) && none.IsNotFound {
			continue // there is no such name
		}
		if err != nil {
			return false, fmt.Errorf("%s of the connection %s can't be looked up, so it may be the LNS: %w", remote, c.Name, err)
		}
		return slices.ContainsFunc(addrs, func(a netip.Addr) bool { return a.Unmap() == lns }), nil
	}
	return false, nil
}

// connection finds the connection for an LNS, which is the one that the last tunnel
// came through if no address tells, and the child of it that L2TP takes.
func connection(all []vici.Connection, r supervisor.Recover) (ike, child string, ok bool) {
	for _, leads := range []func(vici.Connection) bool{
		func(c vici.Connection) bool {
			hosts := dialled(c)
			return len(hosts) > 0 && reaches(hosts[0], r.LNS, r.Host)
		},
		func(c vici.Connection) bool { return c.Name == r.IKE && len(dialled(c)) > 0 },
	} {
		for _, takes := range []func(vici.ChildConfig) bool{transports, func(c vici.ChildConfig) bool { return tunnels(c, r.LNS) }} {
			for _, c := range all {
				if i := slices.IndexFunc(c.Children, takes); i >= 0 && leads(c) {
					return c.Name, c.Children[i].Name, true
				}
			}
		}
	}
	return "", "", false
}

// dialled returns the hosts of a connection in the order in which charon tries them. It passes over
// prefixes and ranges, and with %any it dials nobody (ike_cfg.c, resolve_other).
func dialled(c vici.Connection) (hosts []string) {
	for _, remote := range c.RemoteAddrs {
		if strings.HasPrefix(remote, "%") {
			break
		}
		if single(remote) {
			hosts = append(hosts, remote)
		}
	}
	return hosts
}

// single tells whether a connection's remote address is one host, and no range, prefix
// or %any: charon can initiate nothing else.
func single(remote string) bool {
	from, _, _ := strings.Cut(remote, "-")
	_, err := netip.ParseAddr(from)
	ranged := err == nil && from != remote
	return !ranged && !strings.Contains(remote, "/") && !strings.HasPrefix(remote, "%")
}

func transports(c vici.ChildConfig) bool {
	return strings.EqualFold(c.Mode, "transport") && vici.TakesL2TP(nil, c.RemoteTS)
}

// tunnels tells whether a child in tunnel mode takes the LNS's own packets.
func tunnels(c vici.ChildConfig, lns netip.Addr) bool {
	return !c.Shunt() && vici.TakesL2TP(nil, c.RemoteTS) && vici.Selects(c.RemoteTS, lns)
}

// reaches tells whether a connection's remote address is the LNS and no other.
func reaches(remote string, lns netip.Addr, host string) bool {
	if a, err := netip.ParseAddr(remote); err == nil {
		return a.Unmap() == lns
	}
	return host != "" && strings.EqualFold(strings.TrimSuffix(remote, "."), strings.TrimSuffix(host, "."))
}
