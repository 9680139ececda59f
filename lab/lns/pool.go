package main

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
)

// pool hands out the clients' PPP addresses, the lowest free one first.
type pool struct {
	first, last netip.Addr
	used        map[netip.Addr]bool
}

// parsePool reads "FIRST-LAST" or a single address.
func parsePool(s string) (*pool, error) {
	from, to, ok := strings.Cut(s, "-")
	if !ok {
		to = from
	}
	first, err := netip.ParseAddr(from)
	if err != nil {
		return nil, fmt.Errorf("pool: %w", err)
	}
	last, err := netip.ParseAddr(to)
	if err != nil {
		return nil, fmt.Errorf("pool: %w", err)
	}
	if !first.Is4() || !last.Is4() || last.Less(first) {
		return nil, fmt.Errorf("pool %q: want FIRST-LAST, IPv4, in order", s)
	}
	return &pool{first: first, last: last, used: map[netip.Addr]bool{}}, nil
}

func (p *pool) take() (netip.Addr, error) {
	for a := p.first; a.IsValid() && !p.last.Less(a); a = a.Next() {
		if !p.used[a] {
			p.used[a] = true
			return a, nil
		}
	}
	return netip.Addr{}, errors.New("no address is free in the pool")
}

func (p *pool) release(a netip.Addr) { delete(p.used, a) }
