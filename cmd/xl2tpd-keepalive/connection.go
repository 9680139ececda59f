package main

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"time"

	"xl2tpd-keepalive/supervisor"
	"xl2tpd-keepalive/vici"
)

// listed is how long a list of connections will do for a LAC that stands in it.
const listed = 10 * time.Second

// listing has charon list its connections, once for many LACs that are brought back at the
// same time: where there are many, the list is long.
type listing struct {
	ask  func(context.Context, ...string) ([]vici.Connection, error)
	turn chan struct{} // full: somebody uses what follows
	all  []vici.Connection
	at   time.Time // when they were asked for
}

func newListing(ask func(context.Context, ...string) ([]vici.Connection, error)) *listing {
	return &listing{ask: ask, turn: make(chan struct{}, 1)}
}

// find finds the connection that a LAC is to be brought back through. That there is none is
// said only by a list that was asked for since the call.
func (l *listing) find(ctx context.Context, r supervisor.Recover) (ike, child string, ok bool, err error) {
	called := time.Now()
	select {
	case l.turn <- struct{}{}:
	case <-ctx.Done():
		return "", "", false, ctx.Err()
	}
	defer func() { <-l.turn }()
	if called.Sub(l.at) < listed {
		if ike, child, ok = connection(l.all, r); ok || l.at.After(called) {
			return ike, child, ok, nil
		}
	}
	at := time.Now()
	all, err := l.ask(ctx)
	if err != nil {
		return "", "", false, err
	}
	l.all, l.at = all, at
	ike, child, ok = connection(all, r)
	return ike, child, ok, nil
}

// connection finds the connection for an LNS, which is the one that the last tunnel
// came through if no address tells, and the child of it that L2TP takes.
func connection(all []vici.Connection, r supervisor.Recover) (ike, child string, ok bool) {
	for _, leads := range []func(vici.Connection) bool{
		func(c vici.Connection) bool {
			return slices.ContainsFunc(c.RemoteAddrs, func(a string) bool { return reaches(a, r.LNS, r.Host) })
		},
		func(c vici.Connection) bool { return c.Name == r.IKE && slices.ContainsFunc(c.RemoteAddrs, single) },
	} {
		for _, takes := range []func(vici.ChildConfig) bool{transports, func(c vici.ChildConfig) bool {
			return vici.TakesL2TP(nil, c.RemoteTS) && vici.Selects(c.RemoteTS, r.LNS)
		}} {
			for _, c := range all {
				if i := slices.IndexFunc(c.Children, takes); i >= 0 && leads(c) {
					return c.Name, c.Children[i].Name, true
				}
			}
		}
	}
	return "", "", false
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

// reaches tells whether a connection's remote address is the LNS and no other.
func reaches(remote string, lns netip.Addr, host string) bool {
	if a, err := netip.ParseAddr(remote); err == nil {
		return a.Unmap() == lns
	}
	return host != "" && strings.EqualFold(remote, host)
}
