package vici

import (
	"context"
	"slices"
	"strings"
	"time"

	govici "github.com/strongswan/govici/vici"
)

// Connection is one of charon's configured connections, from swanctl.conf or
// ipsec.conf.
type Connection struct {
	Name        string
	RemoteAddrs []string      // as configured: addresses, prefixes, ranges, host names, %any
	DPDDelay    time.Duration // between checks of a silent peer; 0: none
	Children    []ChildConfig
}

// ChildConfig is a CHILD SA as configured.
type ChildConfig struct {
	Name     string
	Mode     string   // TRANSPORT, TUNNEL, …; PASS or DROP: a shunt, which has no peer
	RemoteTS []string // as 192.0.2.1/32[udp/l2f]; "dynamic" is the peer's address
}

// Shunt reports whether charon does not negotiate this child: it is a kernel policy for packets that
// pass, or are dropped, without IPsec.
func (c ChildConfig) Shunt() bool {
	return strings.EqualFold(c.Mode, "PASS") || strings.EqualFold(c.Mode, "DROP")
}

// Shunt reports whether all children of a connection are shunts. It has no peer and no SA.
func (c Connection) Shunt() bool {
	return len(c.Children) > 0 && !slices.ContainsFunc(c.Children, func(child ChildConfig) bool { return !child.Shunt() })
}

// Connections returns charon's connections.
func (c *Commander) Connections(ctx context.Context) ([]Connection, error) {
	s, err := open(ctx, c.sockets, c.dial, true)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	var all []Connection
	err = s.stream(ctx, "list-conns", "list-conn", nil, func(m *govici.Message) {
		for name, c := range sections(m) {
			one := Connection{Name: name, RemoteAddrs: list(c, "remote_addrs"), DPDDelay: seconds(c, "dpd_delay")}
			children, _ := c.Get("children").(*govici.Message)
			for child, in := range sections(children) {
				one.Children = append(one.Children, ChildConfig{
					Name:     child,
					Mode:     text(in, "mode"),
					RemoteTS: list(in, "remote-ts"),
				})
			}
			all = append(all, one)
		}
	})
	return all, err
}
