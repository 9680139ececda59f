package main

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestReason(t *testing.T) {
	zero := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	at := func(s float64) time.Time { return zero.Add(time.Duration(s * float64(time.Second))) }
	established := record{at: at(1), kind: "journal", tunnel: "a", reason: "tunnel 7"}
	for _, c := range []struct {
		name    string
		records []record
		want    string
	}{
		{"nothing seen", []record{established}, "unknown"},
		{"the router says why", []record{established, {at: at(59.9), kind: "lns", tunnel: "a", text: "close", reason: "idle"}}, "idle"},
		{"another router's close", []record{established, {at: at(59.9), kind: "lns", tunnel: "b", text: "close", reason: "idle"}}, "unknown"},
		{"too long ago", []record{established, {at: at(30), kind: "lns", tunnel: "a", text: "close", reason: "idle"}}, "unknown"},
		{"xl2tpd gave up", []record{established, {at: at(60.1), kind: "journal", reason: "tunnel 7 exceeded"}}, "hello-unanswered"},
		{"xl2tpd gave another up", []record{established, {at: at(60.1), kind: "journal", reason: "tunnel 8 exceeded"}}, "unknown"},
		{"xl2tpd gave up and said so", []record{established, {at: at(59.9), kind: "lns", tunnel: "a", text: "close", reason: "stopccn-from-peer"},
			{at: at(60.1), kind: "journal", reason: "tunnel 7 exceeded"}}, "hello-unanswered"},
		{"hung up", []record{established, {at: at(59), kind: "operator", tunnel: "a", reason: "operator"}}, "operator"},
	} {
		if got := reason(c.records, "a", at(60)); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

func TestAwait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHistory()
		up := func(r []record) bool { _, ok := isUp(r, "a"); return ok }
		time.AfterFunc(3*time.Second, func() { h.add(record{kind: "up", tunnel: "a", at: time.Now()}) })
		began := time.Now()
		if !h.await(10*time.Second, up) || time.Since(began) != 3*time.Second {
			t.Errorf("not seen as it happened, but after %v", time.Since(began))
		}
		h.add(record{kind: "down", tunnel: "a", at: time.Now()})
		if h.await(10*time.Second, up) {
			t.Error("down, but seen as up")
		}
	})
}
