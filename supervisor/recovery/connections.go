package recovery

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/semaphore"

	"xl2tpd-keepalive/supervisor"
	"xl2tpd-keepalive/vici"
)

// listedFor is for how long a list of connections may be used again for a LAC whose connection is in it.
const listedFor = 10 * time.Second

// listing is charon's list of connections. charon is asked once for many LACs that recover at the same time: with many
// LACs, the list is long.
type listing struct {
	charon Charon
	names  Names
	lock   *semaphore.Weighted // of what follows
	all    []vici.Connection
	at     time.Time // when charon was asked for them
}

func newListing(charon Charon, names Names) *listing {
	return &listing{charon: charon, names: names, lock: semaphore.NewWeighted(1)}
}

// find finds strongSwan's connection for a LAC, and its child for L2TP. ok is false if there is none: only a list that was
// asked for after the call can show that.
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

// list returns charon's connections. An earlier list is enough if it is recent and has the LAC's connection.
func (l *listing) list(ctx context.Context, r supervisor.Recover) ([]vici.Connection, error) {
	called := time.Now()
	if err := l.lock.Acquire(ctx, 1); err != nil {
		return nil, err
	}
	defer l.lock.Release(1)
	if called.Sub(l.at) < listedFor {
		if _, _, ok := connection(l.all, r); ok || l.at.After(called) {
			return l.all, nil
		}
	}
	at := time.Now()
	all, err := l.charon.Connections(ctx)
	if err != nil {
		return nil, err
	}
	l.all, l.at = all, at
	return all, nil
}

// byName finds a connection with a name as its remote address that leads to the LNS. While a name can't be looked up,
// it may be the LNS, so that is an error. A connection that has the LNS only as a later address is an error too: the
// LNS must not be dialled in the clear.
func (l *listing) byName(
	ctx context.Context, all []vici.Connection, r supervisor.Recover,
) (ike, child string, ok bool, err error) {
	var elsewhere error
	for _, c := range all {
		i := slices.IndexFunc(c.Children, func(child vici.ChildConfig) bool {
			return takesAsTransport(child) || takesAsTunnel(child, r.LNS)
		})
		if i < 0 {
			continue
		}
		if !r.LNS.IsValid() {
			return "", "", false, fmt.Errorf("no address of %s is known, so nobody can say which connection of strongSwan is for it", r.Host)
		}
		leads, err := l.leadsTo(ctx, c, r.LNS)
		if err != nil {
			return "", "", false, err
		}
		if leads {
			return c.Name, c.Children[i].Name, true, nil
		}
		if hosts := dialled(c); slices.ContainsFunc(hosts, func(h string) bool { return isLNS(h, r.LNS, r.Host) }) {
			err = fmt.Errorf("charon dials %s first of the remote addresses of the connection %s: put the LNS there", hosts[0], c.Name)
			elsewhere = errors.Join(elsewhere, err)
		}
	}
	return "", "", false, elsewhere
}

// leadsTo reports whether charon would dial the LNS if it looked up a connection's addresses now. charon takes the
// first one that it can resolve.
func (l *listing) leadsTo(ctx context.Context, c vici.Connection, lns netip.Addr) (bool, error) {
	for _, remote := range dialled(c) {
		if a, err := netip.ParseAddr(remote); err == nil {
			return a.Unmap() == lns, nil
		}
		addrs, err := l.names.LookupIPv4(ctx, strings.TrimSuffix(remote, "."))
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

// connection finds the connection for an LNS and its child for L2TP. If charon dials the LNS with none, it is the
// connection that the last tunnel came through. A child in transport mode comes first.
func connection(all []vici.Connection, r supervisor.Recover) (ike, child string, ok bool) {
	for _, leads := range []func(vici.Connection) bool{
		func(c vici.Connection) bool {
			hosts := dialled(c)
			return len(hosts) > 0 && isLNS(hosts[0], r.LNS, r.Host)
		},
		func(c vici.Connection) bool { return c.Name == r.IKE && len(dialled(c)) > 0 },
	} {
		for _, takes := range []func(vici.ChildConfig) bool{takesAsTransport, func(c vici.ChildConfig) bool { return takesAsTunnel(c, r.LNS) }} {
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
		if isOneHost(remote) {
			hosts = append(hosts, remote)
		}
	}
	return hosts
}

// isOneHost reports whether a connection's remote address is one host, and not a range, a prefix or %any. charon can
// initiate only to one host.
func isOneHost(remote string) bool {
	from, _, _ := strings.Cut(remote, "-")
	_, err := netip.ParseAddr(from)
	ranged := err == nil && from != remote
	return !ranged && !strings.Contains(remote, "/") && !strings.HasPrefix(remote, "%")
}

// takesAsTransport reports whether a child in transport mode takes L2TP.
func takesAsTransport(c vici.ChildConfig) bool {
	return strings.EqualFold(c.Mode, "transport") && vici.TakesL2TP(nil, c.RemoteTS)
}

// takesAsTunnel reports whether a child in tunnel mode takes the LNS's own packets.
func takesAsTunnel(c vici.ChildConfig, lns netip.Addr) bool {
	return !c.Shunt() && vici.TakesL2TP(nil, c.RemoteTS) && vici.Selects(c.RemoteTS, lns)
}

// isLNS reports whether a connection's remote address is the LNS and no other.
func isLNS(remote string, lns netip.Addr, host string) bool {
	if a, err := netip.ParseAddr(remote); err == nil {
		return a.Unmap() == lns
	}
	return host != "" && strings.EqualFold(strings.TrimSuffix(remote, "."), strings.TrimSuffix(host, "."))
}
