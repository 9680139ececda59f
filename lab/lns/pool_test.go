package main

import (
	"testing"
)

func TestPool(t *testing.T) {
	p, err := parsePool("192.0.2.254-192.0.3.0")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"192.0.2.254", "192.0.2.255", "192.0.3.0"} {
		if a, err := p.take(); err != nil || a.String() != want {
			t.Fatalf("took %v, %v, want %s", a, err, want)
		}
	}
	if a, err := p.take(); err == nil {
		t.Fatalf("took %v of an empty pool", a)
	}
	p.release(p.first)
	if a, err := p.take(); err != nil || a != p.first {
		t.Fatalf("took %v, %v, want the one released", a, err)
	}
}

func TestPoolErrors(t *testing.T) {
	for _, s := range []string{"", "x", "192.0.2.1-", "192.0.2.2-192.0.2.1", "::1", "192.0.2.1-::1"} {
		if _, err := parsePool(s); err == nil {
			t.Errorf("%q: accepted", s)
		}
	}
	if p, err := parsePool("255.255.255.255"); err != nil {
		t.Error(err)
	} else if _, err := p.take(); err != nil {
		t.Error(err)
	} else if _, err := p.take(); err == nil {
		t.Error("a pool of one gave two")
	}
}
