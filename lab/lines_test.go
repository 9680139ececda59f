package main

import (
	"testing"
	"time"

	"xl2tpd-keepalive/lab/event"
)

func TestAddExpected(t *testing.T) {
	all := event.Figures{"without.xl2tpd-20.tunnels": 4, "with.xl2tpd-20.tunnels": 4}
	if err := addExpected(all, 2*time.Hour); err != nil {
		t.Fatal(err)
	}
	without, with := all["line.without.xl2tpd-20.drops"], all["line.with.xl2tpd-20.drops"]
	if without < 6 || without > 11 || with < 3 || with > 6 {
		t.Errorf("four tunnels drop %.1f times in two hours without the guard, %.1f with it", without, with)
	}
	if _, ok := all["line.with.nvr510-20.drops"]; ok {
		t.Error("a group without tunnels has a figure")
	}
}
