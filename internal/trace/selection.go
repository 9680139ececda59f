package trace

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"xl2tpd-keepalive/internal/l2tp"
	"xl2tpd-keepalive/internal/message"
	"xl2tpd-keepalive/internal/status"
)

// askAgain is how often the service is asked again which tunnels there are.
const askAgain = time.Second

// A Selection is which tunnels a trace shows, and how they are called.
type Selection struct {
	typed  string              // a tunnel or an address; empty: all tunnels
	peers  map[netip.Addr]bool // those of the tunnels that were typed
	titles map[string]bool     // the same
	names  status.Names
	asked  time.Time
}

// NewSelection asks the service for its tunnels. Without the service only an address can be typed.
func NewSelection(ctx context.Context, typed string) (*Selection, error) {
	s := &Selection{typed: typed, peers: map[netip.Addr]bool{}, titles: map[string]bool{}}
	r, err := status.Read(ctx, status.DefaultSocket)
	s.take(r.Tunnels)
	if typed == "" {
		return s, nil
	}
	if addr, wrong := netip.ParseAddr(typed); wrong == nil {
		s.peers[addr] = true
		return s, nil
	}
	switch {
	case errors.Is(err, status.ErrNotRunning):
		return nil, message.Errorf("the service is not running, so nobody knows which tunnel %q is: type the peer's address", typed)
	case err != nil:
		return nil, err
	}
	chosen, err := status.Named(r.Tunnels, []string{typed})
	if err != nil {
		return nil, err
	}
	for _, t := range chosen {
		s.titles[t.Title()], s.peers[t.Peer] = true, true
	}
	return s, nil
}

func (s *Selection) take(all []status.Tunnel) { s.names, s.asked = status.NamesOf(all), time.Now() }

// name returns the name of a connection's tunnel, and whether it is shown. A connection that nobody knows yet may
// belong to a tunnel that has just come: then the service is asked again.
func (s *Selection) name(ctx context.Context, t l2tp.Connection) (name string, wanted bool) {
	name = s.names.Of(t)
	if name == "" && time.Since(s.asked) >= askAgain {
		if r, err := status.Read(ctx, status.DefaultSocket); err == nil {
			s.take(r.Tunnels)
			name = s.names.Of(t)
		}
		s.asked = time.Now()
	}
	switch {
	case s.typed == "":
		return name, true
	case name != "" && len(s.titles) > 0:
		return name, s.titles[name]
	}
	return name, s.peers[t.Peer.Addr()]
}
