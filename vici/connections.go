package vici

import (
	"context"
	"slices"
	"strings"
	"time"

	govici "github.com/strongswan/govici/vici"
)

// Connection is one of charon's configured connections, from whichever of
// swanctl.conf and ipsec.conf.
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

	// What charon does by itself: "none", "trap" (negotiate when there is traffic),
	// "start" (negotiate at once), or several joined by "|".
	DPDAction   string // after the peer was found dead
	CloseAction string // after the peer has closed the CHILD SA

	// Trapped: traffic to RemoteTS makes charon negotiate, now. It is what shows of
	// start_action = trap; VICI does not tell start_action itself, and that
	// one's "start" brings nothing back.
	Trapped bool
}

// Shunt reports whether it is none that charon negotiates, but a policy of the kernel for packets that
// pass, or are dropped, without IPsec.
func (c ChildConfig) Shunt() bool {
	return strings.EqualFold(c.Mode, "PASS") || strings.EqualFold(c.Mode, "DROP")
}

// Shunt reports whether all that a connection has are shunts. It has no peer and no SA.
func (c Connection) Shunt() bool {
	return len(c.Children) > 0 && !slices.ContainsFunc(c.Children, func(child ChildConfig) bool { return !child.Shunt() })
}

// Connections asks charon once for its connections. Without sockets it tries the
// default ones.
func Connections(ctx context.Context, sockets ...string) ([]Connection, error) {
	return connections(ctx, sockets, nil)
}

func connections(ctx context.Context, sockets []string, dial dialer) ([]Connection, error) {
	s, err := open(ctx, sockets, dial, true)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	in, err := arguments("trap", "yes")
	if err != nil {
		return nil, err
	}
	type pair struct{ ike, child string }
	trapped := map[pair]bool{}
	err = s.stream(ctx, "list-policies", "list-policy", in, func(m *govici.Message) {
		for _, p := range sections(m) {
			trapped[pair{text(p, "ike"), text(p, "child")}] = true
		}
	})
	if err != nil {
		return nil, err
	}
	var all []Connection
	err = s.stream(ctx, "list-conns", "list-conn", nil, func(m *govici.Message) {
		for name, c := range sections(m) {
			one := Connection{Name: name, RemoteAddrs: list(c, "remote_addrs"), DPDDelay: seconds(c, "dpd_delay")}
			children, _ := c.Get("children").(*govici.Message)
			for child, in := range sections(children) {
				one.Children = append(one.Children, ChildConfig{
					Name:        child,
					Mode:        text(in, "mode"),
					RemoteTS:    list(in, "remote-ts"),
					DPDAction:   action(text(in, "dpd_action")),
					CloseAction: action(text(in, "close_action")),
					Trapped:     trapped[pair{name, child}],
				})
			}
			all = append(all, one)
		}
	})
	return all, err
}

// action is the present name of one: strongSwan before 5.9.6 had others.
func action(name string) string {
	switch name {
	case "clear":
		return "none"
	case "hold":
		return "trap"
	case "restart":
		return "start"
	}
	return name
}
