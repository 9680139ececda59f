package main

import (
	"testing"
	"time"

	"xl2tpd-keepalive/status"
)

// A link that has been up all the time has come up at the same time in each report.
func TestReckonIsSteady(t *testing.T) {
	up := time.Now()
	for range 10_000 {
		r := status.Tunnel{Link: &status.Link{Up: up}}
		reckon(&r, time.Now())
		if r.Link.Up.UnixNano() != up.UnixNano() {
			t.Fatalf("up since %v, then since %v", up, r.Link.Up)
		}
	}
}
